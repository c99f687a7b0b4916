//! Administration: through the running server's socket, or directly while none runs.

mod execute;
mod images;
mod order;
mod shown;
pub mod socket;

use std::io::Write;

use serde_json::Value;

pub use order::Order;

use crate::cloud::Cloud;
use crate::config::{Bad, Config};
use crate::data_dir::DataDir;
use crate::{Failure, runtime};

/// Has an order carried out and prints the answer, for people or for programs.
pub fn run(config: &Config, order: Order, json: bool) -> Result<(), Failure> {
    let answer = carry_out(config, order)?;
    if json {
        print_json(&answer);
    } else {
        print_text(&shown::text(&answer));
    }
    Ok(())
}

/// Has an order carried out, by the running server or, without one, here.
pub fn carry_out(config: &Config, order: Order) -> Result<Value, Failure> {
    runtime()?.block_on(async {
        if let Some(stream) = socket::connect(&config.data_dir).await {
            return socket::ask(stream, &order).await;
        }
        // A mistyped directory must not become a new cloud.
        if !config.database.is_shared() && !config.data_dir.join("db").is_dir() {
            let reason =
                format!("{}: there is no cloud; `nephos serve` makes one", config.data_dir.display());
            return Err(Bad::new("data_dir", reason).into());
        }
        let dir = DataDir::hold(&config.data_dir)?;
        let cloud = Cloud::open(config, dir).await?;
        let answer = execute::execute(&cloud, order).await.map_err(Failure::Failed);
        cloud.close().await;
        answer
    })
}

/// Lists as one JSON object a line, single things indented.
pub fn print_json(answer: &Value) {
    match answer {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| say(&item.to_string())),
        other => say(&serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}

fn print_text(text: &str) {
    if !text.is_empty() {
        say(text);
    }
}

/// Prints a line. A reader that has gone, such as `head`, has read what it wanted.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
