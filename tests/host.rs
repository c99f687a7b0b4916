//! A libvirt host in a network namespace of its own. Whatever connects to a guest runs in that namespace.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::cloud::{PATIENCE, succeed, until};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A running host.
pub struct Host {
    /// Its name, which is also the namespace's.
    pub name: String,
    dir: TempDir,
    uri: String,
    address: Option<String>,
}

impl Host {
    /// Starts libvirt in a new namespace.
    ///
    /// # Panics
    /// If it does not respond.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(&new_name(), None)
    }

    /// Starts libvirt in the namespace with this name, optionally listening on an address in it.
    ///
    /// # Panics
    /// If it does not respond.
    #[must_use]
    pub fn start_in(name: &str, address: Option<&str>) -> Self {
        // A short path, since sockets are created below it.
        let dir = tempfile::Builder::new().prefix("nt").tempdir_in("/tmp").expect("a directory");
        let mut script = script();
        script.args(["start", name]).arg(dir.path());
        if let Some(address) = address {
            script.env("LIBVIRTD_TCP", address);
        }
        let uri = succeed(&mut script).trim().to_owned();
        Self { name: name.to_owned(), dir, uri, address: address.map(str::to_owned) }
    }

    /// Returns the directory of images and disks.
    #[must_use]
    pub fn pool(&self) -> PathBuf {
        self.dir.path().join("pool")
    }

    /// Returns the hypervisor URI for a program on the same machine.
    #[must_use]
    pub fn hypervisor(&self) -> String {
        format!("{}&accel=tcg&pool={}", self.uri, self.pool().display())
    }

    /// Returns the hypervisor URI for a program on another machine.
    ///
    /// # Panics
    /// If libvirt listens on no address.
    #[must_use]
    pub fn remote_hypervisor(&self) -> String {
        let address = self.address.as_deref().expect("an address");
        format!("qemu+tcp://{address}/system?accel=tcg&pool={}", self.pool().display())
    }

    /// Kills libvirt.
    ///
    /// # Panics
    /// If it is not running.
    pub fn crash(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("run/libvirtd.pid")).expect("its pid");
        succeed(Command::new("kill").args(["-9", pid.trim()]));
        // While the process is still exiting, a restart would take it for a running one.
        let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        until("libvirt to exit", PATIENCE, || {
            let ended = std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
            ended.then_some(())
        });
    }

    /// Starts libvirt again.
    pub fn back(&self) {
        let mut script = script();
        script.args(["start", &self.name]).arg(self.dir.path());
        if let Some(address) = &self.address {
            script.env("LIBVIRTD_TCP", address);
        }
        succeed(&mut script);
    }

    /// Kills libvirt and starts it again.
    pub fn crash_and_return(&self) {
        self.crash();
        self.back();
    }

    /// Kills a machine's QEMU; returns whether there was one.
    #[must_use]
    pub fn crash_machine(&self, uuid: &str) -> bool {
        let path = self.dir.path().join(format!("run/qemu/nephos-{uuid}.pid"));
        let Ok(pid) = std::fs::read_to_string(path) else { return false };
        if !Command::new("kill").args(["-9", pid.trim()]).status().is_ok_and(|status| status.success()) {
            return false;
        }
        // libvirt reports the machine as running until it notices the exit.
        until("libvirt to notice that the machine ended", PATIENCE, || {
            (!self.virsh(&["list", "--state-running", "--uuid"]).contains(uuid)).then_some(())
        });
        true
    }

    /// Returns the networks' DHCP reservations for machines: all except a network's reservation for its own gateway.
    #[must_use]
    pub fn reservations(&self) -> Vec<String> {
        let mut found = Vec::new();
        for network in self.virsh(&["net-list", "--all", "--name"]).split_whitespace() {
            let definition = self.virsh(&["net-dumpxml", network]);
            let reserved = definition.lines().filter(|line| line.contains("<host "));
            found.extend(reserved.filter(|line| !line.contains("02:4e:00:00:00:00")).map(str::to_owned));
        }
        found
    }

    /// Returns the names of the volumes in the pool, sorted.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.pool()) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// Returns the output of virsh.
    #[must_use]
    pub fn virsh(&self, words: &[&str]) -> String {
        succeed(Command::new("virsh").args(["-q", "-c", &self.uri]).args(words))
    }

    /// Returns the path of a machine's console log.
    #[must_use]
    pub fn console_path(&self, uuid: &str) -> PathBuf {
        self.pool().join(format!("{uuid}.console.log"))
    }

    /// Returns a machine's console log so far.
    #[must_use]
    pub fn console(&self, uuid: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.console_path(uuid)).unwrap_or_default()).replace('\r', "")
    }

    /// Returns a command that runs in the host's network namespace.
    #[must_use]
    pub fn within(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words);
        command
    }

    /// Runs a script in a guest over ssh, with a password.
    #[must_use]
    pub fn ssh(&self, address: &str, password: &str, script: &str) -> Output {
        let mut command = self.within(&["sshpass", "-e", "ssh"]);
        command.args(["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]);
        command.args(["-o", "LogLevel=ERROR", "-o", "ConnectTimeout=20", &format!("root@{address}"), script]);
        command.env("SSHPASS", password).stdin(std::process::Stdio::null()).output().expect("ssh")
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        let _ = script().args(["stop", &self.name]).arg(self.dir.path()).output();
    }
}

/// Returns an unused namespace name.
#[must_use]
pub fn new_name() -> String {
    format!("nt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn script() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(root.join("hosts/libvirtd.sh"))
}

/// Returns the directory of the built guest: disk, kernel, initial RAM disk, command line.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn guest() -> PathBuf {
    let path =
        std::env::var_os("NEPHOS_TEST_GUEST").expect("NEPHOS_TEST_GUEST: run the tests by `make test`");
    PathBuf::from(path)
}
