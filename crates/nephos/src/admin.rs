//! Administration: through the running server's socket, or directly if no server runs.

mod execute;
mod images;
mod order;
mod shown;
pub mod socket;

use std::io::Write;

use serde_json::Value;

pub use order::Order;

use crate::cloud::Cloud;
use crate::config::{Config, SettingError};
use crate::data_dir::DataDir;
use crate::{Failure, runtime};

/// Runs an order and prints the result, as text or as JSON.
pub fn run(config: &Config, order: Order, json: bool) -> Result<(), Failure> {
    let answer = run_order(config, order)?;
    if json {
        print_json(&answer);
    } else {
        print_text(&shown::text(&answer));
    }
    Ok(())
}

/// Runs an order in the running server, or in this process if no server runs.
pub fn run_order(config: &Config, order: Order) -> Result<Value, Failure> {
    runtime()?.block_on(async {
        if let Some(stream) = socket::connect(&config.data_dir).await {
            return socket::ask(stream, &order).await;
        }
        // Do not create a new cloud because a directory was mistyped.
        if !config.database.is_shared() && !config.data_dir.join("db").is_dir() {
            let reason =
                format!("{}: there is no cloud; `nephos serve` creates one", config.data_dir.display());
            return Err(SettingError::new("data_dir", reason).into());
        }
        let dir = DataDir::hold(&config.data_dir)?;
        let cloud = Cloud::open(config, dir).await?;
        let answer = execute::execute(&cloud, order).await.map_err(Failure::Failed);
        cloud.close().await;
        answer
    })
}

/// Prints a list with one JSON object per line, and anything else indented.
pub fn print_json(answer: &Value) {
    match answer {
        Value::Null => {}
        Value::Array(items) => items.iter().for_each(|item| print_line(&item.to_string())),
        other => print_line(&serde_json::to_string_pretty(other).unwrap_or_default()),
    }
}

fn print_text(text: &str) {
    if !text.is_empty() {
        print_line(text);
    }
}

/// Prints a line. Ignores a closed pipe: a reader such as `head` has what it wanted.
pub fn print_line(line: &str) {
    let _ = writeln!(std::io::stdout(), "{line}");
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}
