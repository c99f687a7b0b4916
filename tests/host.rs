//! A libvirt host of a test's own, in a network namespace: whatever dials a guest runs in there.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU32, Ordering};

use tempfile::TempDir;

use crate::cloud::{PATIENCE, succeed, until};

static NEXT: AtomicU32 = AtomicU32::new(0);

/// A running host.
pub struct Host {
    /// Its name, which is its namespace's.
    pub name: String,
    dir: TempDir,
    uri: String,
    address: Option<String>,
}

impl Host {
    /// Starts libvirt in a namespace of its own.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn start() -> Self {
        Self::start_in(&new_name(), None)
    }

    /// Starts libvirt in the namespace of this name, listening at an address of it, too.
    ///
    /// # Panics
    /// When it does not answer.
    #[must_use]
    pub fn start_in(name: &str, address: Option<&str>) -> Self {
        // Short, since sockets are made below it.
        let dir = tempfile::Builder::new().prefix("nt").tempdir_in("/tmp").expect("a directory");
        let mut script = script();
        script.args(["start", name]).arg(dir.path());
        if let Some(address) = address {
            script.env("LIBVIRTD_TCP", address);
        }
        let uri = succeed(&mut script).trim().to_owned();
        Self { name: name.to_owned(), dir, uri, address: address.map(str::to_owned) }
    }

    /// Where images and disks are.
    #[must_use]
    pub fn pool(&self) -> PathBuf {
        self.dir.path().join("pool")
    }

    /// What the program is told.
    #[must_use]
    pub fn hypervisor(&self) -> String {
        format!("{}&accel=tcg&pool={}", self.uri, self.pool().display())
    }

    /// What a program on another machine is told.
    ///
    /// # Panics
    /// When libvirt listens nowhere.
    #[must_use]
    pub fn remote_hypervisor(&self) -> String {
        let address = self.address.as_deref().expect("an address");
        format!("qemu+tcp://{address}/system?accel=tcg&pool={}", self.pool().display())
    }

    /// Ends libvirt as a crash would.
    ///
    /// # Panics
    /// When it does not run.
    pub fn crash(&self) {
        let pid = std::fs::read_to_string(self.dir.path().join("run/libvirtd.pid")).expect("its pid");
        succeed(Command::new("kill").args(["-9", pid.trim()]));
        // One that is still ending would be taken for one that runs.
        let stat = PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        until("libvirt to be gone", PATIENCE, || {
            let ended = std::fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
            ended.then_some(())
        });
    }

    /// Starts it again.
    pub fn back(&self) {
        let mut script = script();
        script.args(["start", &self.name]).arg(self.dir.path());
        if let Some(address) = &self.address {
            script.env("LIBVIRTD_TCP", address);
        }
        succeed(&mut script);
    }

    /// Ends libvirt as a crash would, and starts it again.
    pub fn crash_and_return(&self) {
        self.crash();
        self.back();
    }

    /// Ends a machine's QEMU as a crash would; whether there was one.
    #[must_use]
    pub fn crash_machine(&self, uuid: &str) -> bool {
        let path = self.dir.path().join(format!("run/qemu/nephos-{uuid}.pid"));
        let Ok(pid) = std::fs::read_to_string(path) else { return false };
        if !Command::new("kill").args(["-9", pid.trim()]).status().is_ok_and(|status| status.success()) {
            return false;
        }
        // libvirt calls it running until it has seen its end.
        until("libvirt to see the machine's end", PATIENCE, || {
            (!self.virsh(&["list", "--state-running", "--uuid"]).contains(uuid)).then_some(())
        });
        true
    }

    /// The DHCP reservations of its networks for machines: all but the one that a network keeps of its gateway's own.
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

    /// The names of what is in the pool, in order.
    #[must_use]
    pub fn volumes(&self) -> Vec<String> {
        let Ok(entries) = std::fs::read_dir(self.pool()) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }

    /// What virsh says.
    #[must_use]
    pub fn virsh(&self, words: &[&str]) -> String {
        succeed(Command::new("virsh").args(["-q", "-c", &self.uri]).args(words))
    }

    /// Where the console of a machine is written.
    #[must_use]
    pub fn console_path(&self, uuid: &str) -> PathBuf {
        self.pool().join(format!("{uuid}.console.log"))
    }

    /// The console of a machine, so far.
    #[must_use]
    pub fn console(&self, uuid: &str) -> String {
        String::from_utf8_lossy(&std::fs::read(self.console_path(uuid)).unwrap_or_default()).replace('\r', "")
    }

    /// Runs a command within the host's network.
    #[must_use]
    pub fn within(&self, words: &[&str]) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name]).args(words);
        command
    }

    /// Runs a command in a guest, signed in by password.
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

/// A namespace that nobody has.
#[must_use]
pub fn new_name() -> String {
    format!("nt{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn script() -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    Command::new(root.join("hosts/libvirtd.sh"))
}

/// The built guest: disk, kernel, initial RAM disk, command line.
///
/// # Panics
/// When it was not built.
#[must_use]
pub fn guest() -> PathBuf {
    let path =
        std::env::var_os("NEPHOS_TEST_GUEST").expect("NEPHOS_TEST_GUEST: run the tests by `make test`");
    PathBuf::from(path)
}
