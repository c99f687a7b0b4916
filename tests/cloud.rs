//! A running program with free ports and a directory of its own, which is stopped by its pid.

use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// The administrator's password that every first start is given.
pub const PASSWORD: &str = "correct horse battery";
/// The first user's API key.
pub const API_KEY: &str = "a86850deb2742ec3cb41518e26aa2d89";
/// Default time limit for anything that a test waits for.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Returns the path of the built program.
#[must_use]
pub fn program() -> PathBuf {
    if let Some(path) = std::env::var_os("NEPHOS_BIN") {
        return path.into();
    }
    // target/debug/deps/outside-… → target/debug/nephos
    let me = std::env::current_exe().expect("this test's path");
    let path = me.parent().and_then(Path::parent).expect("target directory").join("nephos");
    assert!(path.exists(), "{} is not built: run the tests by `make test`", path.display());
    path
}

/// Returns a port that was free a moment ago.
#[must_use]
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port()
}

/// A running cloud.
pub struct Cloud {
    child: Option<Child>,
    /// Its directory, which contains the data directory and logs.
    pub dir: TempDir,
    /// The URL of its API, such as `http://127.0.0.1:40001`; https with TLS.
    pub url: String,
    port: u16,
    edge_port: u16,
    /// Arguments of `serve` at the next launch.
    pub arguments: Vec<String>,
    wrapper: Vec<String>,
    variables: HashMap<String, String>,
}

impl Cloud {
    /// Starts a cloud with simulated hosts.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&["--hypervisor", "simulated:?delay=20"], &[])
    }

    /// Starts a cloud with these arguments, optionally under another program such as `strace`.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start_with(arguments: &[&str], wrapper: &[&str]) -> Self {
        Self::start_saying(arguments, wrapper, &[])
    }

    /// Starts a cloud with these arguments and environment variables.
    ///
    /// # Panics
    /// If it does not become ready.
    #[must_use]
    pub fn start_saying(arguments: &[&str], wrapper: &[&str], variables: &[(&str, &str)]) -> Self {
        let port = free_port();
        let secure = arguments.iter().any(|word| word.starts_with("--tls"));
        let scheme = if secure { "https" } else { "http" };
        let mut cloud = Self {
            child: None,
            dir: tempfile::tempdir().expect("a directory"),
            url: format!("{scheme}://127.0.0.1:{port}"),
            port,
            edge_port: free_port(),
            arguments: arguments.iter().map(|text| (*text).to_owned()).collect(),
            wrapper: wrapper.iter().map(|text| (*text).to_owned()).collect(),
            variables: HashMap::new(),
        };
        variables.iter().for_each(|(name, value)| cloud.say(name, value));
        cloud.launch();
        cloud
    }

    /// Sets an environment variable for the next launch.
    pub fn say(&mut self, name: &str, value: &str) {
        self.variables.insert(name.to_owned(), value.to_owned());
    }

    /// Runs a statement on one of its databases and returns the rows, for what no API shows or does.
    ///
    /// # Panics
    /// If the statement fails.
    #[must_use]
    pub fn query(&self, database: &str, statement: &str) -> Vec<Vec<String>> {
        let script = "import sqlite3, sys, json\n\
                      db = sqlite3.connect(sys.argv[1], timeout=60)\n\
                      found = db.execute(sys.argv[2]).fetchall()\n\
                      db.commit()\n\
                      print(json.dumps([[str(v) for v in row] for row in found]))";
        let path = self.data().join("db").join(format!("{database}.db"));
        let found = succeed(Command::new("python3").args(["-c", script]).arg(path).arg(statement));
        serde_json::from_str(&found).expect("rows")
    }

    /// Returns the data directory.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    /// Returns the API's port.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the port of its edge.
    #[must_use]
    pub fn edge_port(&self) -> u16 {
        self.edge_port
    }

    /// Returns the command that runs this cloud.
    #[must_use]
    pub fn serve(&self) -> Command {
        let program = program();
        let mut words = self.wrapper.clone();
        words.push(program.display().to_string());
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg("serve").arg("--data-dir").arg(self.data());
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]);
        command.args(["--edge-listen", &format!("127.0.0.1:{}", self.edge_port)]).args(&self.arguments);
        clean(&mut command);
        command.env("NEPHOS_ADMIN_PASSWORD", PASSWORD).env("NEPHOS_ADMIN_API_KEY", API_KEY);
        command.env("NEPHOS_SERVERS_RATE_LIMITS", "off").envs(&self.variables);
        command
    }

    /// Starts it again with the same data; returns how long it took to become ready.
    ///
    /// # Panics
    /// If it does not become ready.
    pub fn launch(&mut self) -> Duration {
        assert!(self.child.is_none(), "it is running already");
        let log = std::fs::File::options().create(true).append(true).open(self.dir.path().join("log"));
        let started = Instant::now();
        let mut child = self
            .serve()
            .stdout(Stdio::piped())
            .stderr(log.expect("a log"))
            .stdin(Stdio::null())
            .spawn()
            .expect("the program starts");
        let mut line = String::new();
        let stdout = child.stdout.take().expect("its output");
        BufReader::new(stdout).read_line(&mut line).expect("its first line");
        let took = started.elapsed();
        assert!(line.starts_with("ready "), "{line:?}; log:\n{}", self.log());
        self.child = Some(child);
        took
    }

    /// Returns its log.
    #[must_use]
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap_or_default()
    }

    /// Returns the running process's id.
    ///
    /// # Panics
    /// If it is not running.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().expect("it runs").id()
    }

    /// Asks it to stop and waits until it has stopped.
    ///
    /// # Panics
    /// If its exit code is not 0.
    pub fn stop(&mut self) {
        signal(self.pid(), "TERM");
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "log:\n{}", self.log());
    }

    /// Asks it to reload its certificate.
    pub fn hang_up(&self) {
        signal(self.pid(), "HUP");
    }

    /// Kills the process without warning.
    pub fn kill(&mut self) {
        signal(self.pid(), "KILL");
        self.wait();
    }

    /// Waits until it exits by itself.
    ///
    /// # Panics
    /// If its exit code is not 0.
    pub fn ended(&mut self) {
        let status = self.wait();
        assert_eq!(status.code(), Some(0), "log:\n{}", self.log());
    }

    fn wait(&mut self) -> ExitStatus {
        let mut child = self.child.take().expect("it runs");
        child.wait().expect("it ends")
    }

    /// Runs an administrative command on this cloud's data.
    #[must_use]
    pub fn admin(&self, words: &[&str]) -> Output {
        let mut command = Command::new(program());
        command.args(words).arg("--data-dir").arg(self.data());
        command.args(["--listen", &format!("127.0.0.1:{}", self.port)]).args(&self.arguments);
        clean(&mut command);
        command.output().expect("the program runs")
    }

    /// Returns the JSON that an administrative command prints.
    ///
    /// # Panics
    /// If the command fails.
    pub fn admin_json(&self, words: &[&str]) -> serde_json::Value {
        let output = self.admin(&[words, &["--json"]].concat());
        assert!(output.status.success(), "{words:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap_or(serde_json::Value::Null)
    }

    /// Returns the variables in `openrc`.
    ///
    /// # Panics
    /// If it cannot be read.
    #[must_use]
    pub fn openrc(&self) -> HashMap<String, String> {
        let text = std::fs::read_to_string(self.data().join("openrc")).expect("openrc");
        let lines = text.lines().filter_map(|line| line.strip_prefix("export ")?.split_once('='));
        lines.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned())).collect()
    }
}

impl Drop for Cloud {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            if let Ok(Some(status)) = child.try_wait() {
                eprintln!("the program had ended by itself: {status}");
            } else {
                signal(child.id(), "TERM");
            }
            let deadline = Instant::now() + Duration::from_secs(20);
            while Instant::now() < deadline && !matches!(child.try_wait(), Ok(Some(_))) {
                std::thread::yield_now();
            }
            let _ = child.kill();
            let _ = child.wait();
        }
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<&str> = log.lines().rev().take(60).collect();
            eprintln!("the program's last lines:");
            tail.iter().rev().for_each(|line| eprintln!("  {line}"));
        }
    }
}

/// Removes environment variables of the caller that would affect the program or clients.
pub fn clean(command: &mut Command) {
    for (name, _) in std::env::vars() {
        let ours = ["NEPHOS_", "OS_", "ST_", "RCLONE_"].iter().any(|prefix| name.starts_with(prefix));
        if ours || name.to_ascii_lowercase().ends_with("_proxy") {
            command.env_remove(name);
        }
    }
}

fn signal(pid: u32, name: &str) {
    let sent = Command::new("kill").args(["-s", name, &pid.to_string()]).status();
    assert!(sent.is_ok_and(|status| status.success()), "kill -{name} {pid}");
}

/// Runs a command to completion and returns its output.
///
/// # Panics
/// If it cannot be run or fails; prints its output.
pub fn succeed(command: &mut Command) -> String {
    let output = command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{command:?}: {}\n{out}\n{err}", output.status);
    out.into_owned()
}

/// Waits until `condition` returns a value, and returns it.
///
/// # Panics
/// If that takes longer than `patience`; the message contains `what`.
#[track_caller]
pub fn until<T>(what: &str, patience: Duration, mut condition: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(found) = condition() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited {patience:?} for {what}");
        // Polling loads the system under test, so pause between two polls.
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// Returns a file's contents.
///
/// # Panics
/// If it cannot be read.
#[must_use]
pub fn read(path: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    std::fs::File::open(path).and_then(|mut file| file.read_to_end(&mut bytes)).expect("a readable file");
    bytes
}
