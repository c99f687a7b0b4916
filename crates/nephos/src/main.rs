//! The program: command line, configuration, and the services behind one listener.
//!
//! Exit codes: 0 when it was asked to stop or the command succeeded, 1 when the command failed, 2 for bad usage or
//! configuration, with one line that names the key.

mod admin;
mod certificate;
mod clearing;
mod cli;
mod cloud;
mod cloud_id;
mod config;
mod data_dir;
mod descriptors;
mod doctor;
mod edge;
mod fence;
mod mail;
mod manual;
mod openrc;
mod pools;
mod refuse;
mod rehearsal;
mod serve;
mod tokens;
mod vault;

use std::process::ExitCode;

use crate::admin::Order;
use crate::cli::{Cli, Command};
use crate::config::{Config, SettingError};

/// An error that ends the program.
enum Failure {
    /// Exit code 2.
    SettingError(SettingError),
    /// Exit code 1.
    Failed(String),
}

impl From<SettingError> for Failure {
    fn from(bad: SettingError) -> Self {
        Self::SettingError(bad)
    }
}

fn main() -> ExitCode {
    let cli = Cli::read();
    let failure = match run(cli) {
        Ok(()) => return ExitCode::SUCCESS,
        Err(failure) => failure,
    };
    match failure {
        Failure::SettingError(bad) => {
            eprintln!("nephos: {bad}");
            ExitCode::from(2)
        }
        Failure::Failed(reason) => {
            eprintln!("nephos: {reason}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    match &cli.command {
        Command::Completions { shell } => return manual::completions(*shell),
        Command::Man { dir } => return manual::pages(dir),
        _ => {}
    }
    let config = Config::load(&cli.common)?;
    match cli.command {
        Command::Serve => serve::run(&config),
        Command::Doctor { deep } => doctor::run(&config, deep, cli.json),
        other => admin::run(&config, Order::of(other)?, cli.json),
    }
}

/// Creates the runtime for all asynchronous work.
fn runtime() -> Result<tokio::runtime::Runtime, Failure> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| Failure::Failed(format!("cannot start threads: {e}")))
}
