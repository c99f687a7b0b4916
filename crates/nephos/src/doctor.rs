//! `nephos doctor`: what this machine can do, in a line each.

use std::path::Path;
use std::process::Command;

use crate::Failure;
use crate::config::Config;

/// Prints what is there and what is missing; fails when storage could not be served.
pub fn run(config: &Config) -> Result<(), Failure> {
    let mut broken = false;
    let mut say = |good: bool, what: &str, remedy: &str| {
        println!(
            "{:8} {what}{}",
            if good { "ok" } else { "missing" },
            if good { String::new() } else { format!(": {remedy}") }
        );
        broken |= !good && remedy.starts_with('!');
    };
    let dir = &config.data_dir;
    let writable = if dir.exists() {
        rustix::fs::access(dir, rustix::fs::Access::WRITE_OK).is_ok()
    } else {
        dir.parent().is_some_and(|above| rustix::fs::access(above, rustix::fs::Access::WRITE_OK).is_ok())
    };
    say(writable, &format!("data directory {}", dir.display()), "!not writable by this user");
    let bound = std::net::TcpListener::bind(config.listen);
    say(bound.is_ok(), &format!("address {}", config.listen), "in use, perhaps by a running nephos");
    let runs =
        |program: &str| Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    say(runs("qemu-img"), "qemu-img, which checks images", "apt-get install qemu-utils");
    say(
        runs("qemu-system-x86_64"),
        "QEMU, which runs servers on this machine",
        "apt-get install qemu-system-x86",
    );
    let library = ["/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .iter()
        .any(|dir| Path::new(dir).join("libvirt.so.0").exists());
    say(library, "libvirt's client library", "apt-get install libvirt0");
    let answers = Path::new("/run/libvirt/libvirt-sock").exists();
    say(
        answers,
        "a libvirt daemon on this machine",
        "apt-get install libvirt-daemon-system, or --hypervisor simulated:",
    );
    say(Path::new("/dev/kvm").exists(), "KVM", "servers run under emulation, slowly");
    if broken { Err(Failure::Failed("storage cannot be served like this".into())) } else { Ok(()) }
}
