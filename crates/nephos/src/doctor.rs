//! `nephos doctor`: reports what this machine can run, one line per check.

use std::path::Path;
use std::process::Command;

use ::database::ServerReport;
use rustix::fs::{Access, access};

use crate::Failure;
use crate::admin::{self, Order, print_line};
use crate::config::Config;

/// Prints the result of every check. A failed check for servers is not an error, because storage works without servers.
pub fn run(config: &Config, deep: bool, json: bool) -> Result<(), Failure> {
    if deep {
        return check_storage(config, json);
    }
    let dir = &config.data_dir;
    let made_in = if dir.is_dir() { Some(dir.as_path()) } else { dir.parent() };
    let writable = made_in.is_some_and(|dir| access(dir, Access::WRITE_OK).is_ok());
    check(writable, &format!("data directory {}", dir.display()), "not writable by this user");
    let bound = std::net::TcpListener::bind(config.listen);
    check(bound.is_ok(), &format!("address {}", config.listen), "in use, perhaps by a running nephos");
    let database = database(config)?;
    let damage = damage(config)?;
    check(runs("qemu-img"), "qemu-img, which checks images", "apt-get install qemu-utils");
    let simulated =
        !config.hypervisors.is_empty() && config.hypervisors.iter().all(|uri| uri.starts_with("simulated"));
    if !simulated {
        machines(config);
    }
    if !damage.is_empty() {
        return Err(Failure::Failed(format!("{} blobs are damaged: restore their objects", damage.len())));
    }
    if writable && database {
        Ok(())
    } else {
        Err(Failure::Failed("storage cannot work until the failed checks pass".into()))
    }
}

/// Whether the databases can be used. For PostgreSQL, also reports the server's limits.
fn database(config: &Config) -> Result<bool, Failure> {
    let report = match crate::runtime()?.block_on(::database::inspect(&config.database)) {
        Ok(None) => return Ok(true),
        Ok(Some(report)) => report,
        Err(error) => {
            check(false, "PostgreSQL", &error.to_string());
            return Ok(false);
        }
    };
    let encryption = if report.encrypted { "encrypted" } else { "not encrypted" };
    check(true, &format!("PostgreSQL {}, {encryption}", report.version), "");
    let ServerReport { connections_wanted: wanted, connections_used: used, connections_max: max, .. } =
        report;
    check(
        report.has_room(),
        &format!("{wanted} connections to PostgreSQL, with {used} of {max} in use by other clients"),
        "lower database.connections, or raise max_connections of PostgreSQL",
    );
    let remedy =
        "set fsync and synchronous_commit of PostgreSQL to on: a power cut may lose what was acknowledged";
    check(report.durable, "PostgreSQL syncs before it acknowledges", remedy);
    Ok(report.has_room())
}

/// Prints and returns the damaged blobs that a running server knows of.
fn damage(config: &Config) -> Result<Vec<serde_json::Value>, Failure> {
    let running = std::os::unix::net::UnixStream::connect(config.data_dir.join("admin.sock")).is_ok();
    if !running {
        return Ok(Vec::new());
    }
    let found = admin::run_order(config, Order::ListDamage {})?.as_array().cloned().unwrap_or_default();
    check(found.is_empty(), "no object is known to be damaged", "restore these objects from a copy");
    for blob in &found {
        let shown = |field: &str| blob[field].as_str().unwrap_or_default().to_owned();
        print_line(&format!("damaged  blob {}, found {}: {}", shown("blob"), shown("found"), shown("what")));
    }
    Ok(found)
}

/// Checks everything that is stored and prints the problems. Fails (exit code 1) if a problem cannot be corrected.
fn check_storage(config: &Config, json: bool) -> Result<(), Failure> {
    let report = admin::run_order(config, Order::CheckStorage {})?;
    let list = |field: &str| report[field].as_array().cloned().unwrap_or_default();
    let (repaired, broken) = (list("repaired"), list("broken"));
    if json {
        admin::print_json(&report);
    } else {
        print_line(&format!("checked   {} containers, {} blobs", report["containers"], report["blobs"]));
        for (label, lines) in [("repaired", &repaired), ("broken", &broken)] {
            lines
                .iter()
                .for_each(|line| print_line(&format!("{label:<8}  {}", line.as_str().unwrap_or_default())));
        }
    }
    if broken.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!(
        "{} problems cannot be corrected: restore the objects from a copy",
        broken.len()
    )))
}

/// Checks the requirements of real machines.
fn machines(config: &Config) {
    check(
        runs("qemu-system-x86_64"),
        "QEMU, which runs servers on this machine",
        "apt-get install qemu-system-x86",
    );
    let dirs = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"];
    let library = dirs.iter().any(|dir| Path::new(dir).join("libvirt.so.0").is_file());
    check(library, "libvirt's client library", "apt-get install libvirt0");
    let answers = std::os::unix::net::UnixStream::connect("/run/libvirt/libvirt-sock").is_ok();
    let remedy = "apt-get install libvirt-daemon-system, or --hypervisor simulated:";
    check(answers, "a libvirt daemon on this machine", remedy);
    let (accelerator, why) = accelerator(config);
    print_line(&format!(
        "{}  {accelerator}: {why}",
        if accelerator == "KVM" { "ok     " } else { "slow   " }
    ));
}

/// Returns the accelerator of servers on this machine's own libvirt, and the reason.
fn accelerator(config: &Config) -> (&'static str, String) {
    let uri = config.hypervisors.iter().find(|uri| uri.starts_with("qemu:///")).map_or("", String::as_str);
    match uri.split(['?', '&']).find_map(|option| option.strip_prefix("accel=")) {
        Some("kvm") => return ("KVM", format!("{uri} says so")),
        Some("tcg") => return ("emulation (TCG)", format!("{uri} says so")),
        _ => {}
    }
    if !Path::new("/dev/kvm").exists() {
        return (
            "emulation (TCG)",
            "there is no /dev/kvm; enable virtualisation, or nested virtualisation in a guest".into(),
        );
    }
    // The result of the probe guest, as `nephos serve` stored it.
    let found = std::fs::read_dir(config.data_dir.join("hosts")).into_iter().flatten().filter_map(Result::ok);
    let probes =
        found.filter(|entry| entry.file_name().to_string_lossy().starts_with("accelerator-qemu_system"));
    let probed = probes.filter_map(|entry| std::fs::read(entry.path()).ok()).find_map(|bytes| {
        let probe: serde_json::Value = serde_json::from_slice(&bytes).ok()?;
        probe["accelerator"].as_str().map(str::to_owned)
    });
    match probed.as_deref() {
        Some("kvm") => ("KVM", "the probe guest ran under it".into()),
        Some("tcg") => {
            let why = "/dev/kvm is there, but the probe guest did not run under KVM on this machine";
            ("emulation (TCG)", why.into())
        }
        _ => (
            "unknown accelerator",
            "/dev/kvm is there; `nephos serve` tries a probe guest when it first uses libvirt".into(),
        ),
    }
}

fn check(good: bool, what: &str, remedy: &str) {
    if good {
        print_line(&format!("ok       {what}"));
    } else {
        print_line(&format!("missing  {what}: {remedy}"));
    }
}

fn runs(program: &str) -> bool {
    Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success())
}
