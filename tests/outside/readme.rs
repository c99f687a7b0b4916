//! Runs the README's tour as written against what `make run` starts.

use std::path::Path;
use std::process::{Command, Stdio};

use tests::cloud::{PATIENCE, clean, free_port, program, succeed, until};

/// Returns the commands of a section: its indented lines.
fn commands(readme: &str, section: &str) -> String {
    let from = readme.split_once(&format!("\n## {section}\n")).expect("the section").1;
    let section = from.split("\n## ").next().unwrap_or(from);
    let lines: Vec<&str> = section.lines().filter_map(|line| line.strip_prefix("    ")).collect();
    lines.join("\n")
}

#[test]
fn the_tour_works_as_it_is_written() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let readme = std::fs::read_to_string(root.join("README.md")).unwrap();
    let tour = commands(&readme, "Five minutes");
    assert!(tour.lines().count() > 15, "{tour}");
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("nephos-data");
    let mut run = Command::new("bash");
    run.arg(root.join("scripts/run.sh")).current_dir(dir.path());
    clean(&mut run);
    run.env("NEPHOS_BIN", program())
        .env("NEPHOS_DATA_DIR", &data)
        .env("NEPHOS_HYPERVISOR", "simulated:?delay=10");
    run.env("NEPHOS_LISTEN", format!("127.0.0.1:{}", free_port()));
    run.env("NEPHOS_EDGE_LISTEN", format!("127.0.0.1:{}", free_port()));
    let target = program().parent().and_then(Path::parent).unwrap().to_owned();
    run.env("CARGO_TARGET_DIR", target);
    let log = std::fs::File::create(dir.path().join("log")).unwrap();
    let mut running = run.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
    let said = || std::fs::read_to_string(dir.path().join("log")).unwrap();
    until("make run to print that it is ready", PATIENCE * 5, || {
        said().contains("ready after").then_some(())
    });

    let script = format!("set -euo pipefail\n{tour}\n");
    let mut shell = Command::new("bash");
    clean(&mut shell);
    shell.arg("-c").arg(&script).current_dir(dir.path()).stdin(Stdio::null());
    let output = shell.output().unwrap();
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    succeed(Command::new("kill").args(["-s", "TERM", &running.id().to_string()]));
    running.wait().unwrap();
    assert!(output.status.success(), "{script}\n{out}\n{err}\n{}", said());
    for expected in [
        "204 No Content",
        "Hello World",
        "max-age=3600, public",
        "\"name\": \"hello.txt\"",
        "adminPass",
        "status=\"",
        "acme",
        "ann",
    ] {
        assert!(out.contains(expected), "the tour does not show {expected:?}:\n{out}\n{err}");
    }
}
