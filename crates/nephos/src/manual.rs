//! Shell completions and manual pages, generated from the definition of the command line.

use std::io::Write;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::Shell;

use crate::Failure;
use crate::cli::Cli;

/// Prints completions for a shell.
pub fn completions(shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nephos", &mut script);
    std::io::stdout().write_all(&script).map_err(|e| Failure::Failed(format!("cannot print: {e}")))
}

/// Writes `nephos.1` and a page for each command.
pub fn pages(dir: &Path) -> Result<(), Failure> {
    let failed = |e| Failure::Failed(format!("{}: {e}", dir.display()));
    std::fs::create_dir_all(dir).map_err(failed)?;
    clap_mangen::generate_to(Cli::command(), dir).map_err(failed)
}
