//! Administration: through the running server's socket, or directly while none runs.

mod execute;
mod order;
pub mod socket;

use serde_json::Value;

pub use order::Order;

use crate::cloud::Cloud;
use crate::config::Config;
use crate::data_dir::DataDir;
use crate::{Failure, runtime};

/// Has an order carried out and prints the answer.
pub fn run(config: &Config, order: Order) -> Result<(), Failure> {
    let runtime = runtime()?;
    let answer = runtime.block_on(async {
        if let Some(stream) = socket::connect(&config.data_dir).await {
            return socket::ask(stream, &order).await;
        }
        let dir = DataDir::hold(&config.data_dir)?;
        let cloud = Cloud::open(config, dir).await?;
        let answer = execute::execute(&cloud, order).await.map_err(Failure::Failed);
        cloud.close().await;
        answer
    })?;
    print(&answer);
    Ok(())
}

/// Lists as one JSON object a line, single things indented.
fn print(answer: &Value) {
    match answer {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| println!("{item}")),
        other => println!("{}", serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}
