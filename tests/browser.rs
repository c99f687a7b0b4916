//! Debian's Chromium, controlled by its driver (W3C, WebDriver), and a server for test pages.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::cloud::{PATIENCE, clean, free_port, until};
use crate::http::curl;

/// The key of an element's id in WebDriver.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";

/// Flags that disable features which a test does not need. The browser connects only to loopback.
const FLAGS: [&str; 8] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--no-proxy-server",
];

/// A running browser with one window.
pub struct Browser {
    driver: Child,
    url: String,
    session: String,
    _home: TempDir,
}

impl Browser {
    /// Starts a browser.
    ///
    /// # Panics
    /// If it does not start; `scripts/need.sh test` installs it.
    #[must_use]
    pub fn open() -> Self {
        let home = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let mut command = Command::new("chromedriver");
        clean(&mut command);
        command.arg(format!("--port={port}")).env("HOME", home.path());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let driver = command.spawn().expect("chromedriver, which scripts/need.sh test installs");
        let mut browser =
            Self { driver, url: format!("http://127.0.0.1:{port}"), session: String::new(), _home: home };
        until("chromedriver to start", PATIENCE, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
        let wanted = json!({"capabilities": {"alwaysMatch": {"goog:chromeOptions": {"args": FLAGS}}}});
        let session = browser.ask("POST", "/session", &wanted);
        browser.session = session["sessionId"].as_str().expect("a session").to_owned();
        browser
    }

    fn ask(&self, method: &str, path: &str, body: &Value) -> Value {
        let (url, body) = (format!("{}{path}", self.url), body.to_string());
        let mut words = vec!["-X", method, &url];
        if method == "POST" {
            words.extend(["-H", "Content-Type: application/json", "-d", &body]);
        }
        let mut answer = curl(&words).json();
        assert!(answer["value"]["error"].is_null(), "{method} {path} {body}: {}", answer["value"]["message"]);
        answer["value"].take()
    }

    fn command(&self, path: &str, body: &Value) -> Value {
        self.ask("POST", &format!("/session/{}{path}", self.session), body)
    }

    /// Opens a page and waits until it is loaded.
    pub fn visit(&self, url: &str) {
        self.command("/url", &json!({"url": url}));
    }

    /// Returns the current URL.
    #[must_use]
    pub fn place(&self) -> String {
        let place = self.ask("GET", &format!("/session/{}/url", self.session), &Value::Null);
        place.as_str().unwrap_or_default().to_owned()
    }

    /// Runs a script in the page and returns its result. The script may use `await`.
    #[must_use]
    pub fn run(&self, script: &str) -> Value {
        let script = format!(
            "const done = arguments[0]; (async () => {{ {script} }})().then(done, error => done('' + error));"
        );
        self.command("/execute/async", &json!({"script": script, "args": []}))
    }

    fn element(&self, selector: &str) -> String {
        let found = self.command("/element", &json!({"using": "css selector", "value": selector}));
        found[ELEMENT].as_str().expect("an element").to_owned()
    }

    /// Clicks the element that a CSS selector matches.
    pub fn click(&self, selector: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/click"), &json!({}));
    }

    /// Types into the element that a CSS selector matches; for a file input, the text is the file's path.
    pub fn type_into(&self, selector: &str, text: &str) {
        let element = self.element(selector);
        self.command(&format!("/element/{element}/value"), &json!({"text": text}));
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if !self.session.is_empty() && !std::thread::panicking() {
            self.ask("DELETE", &format!("/session/{}", self.session), &Value::Null);
        }
        let _ = self.driver.kill();
        let _ = self.driver.wait();
    }
}

/// A server for a directory of pages, with its own origin.
pub struct Pages {
    server: Child,
    /// The origin, such as `http://localhost:40001`.
    pub origin: String,
}

impl Pages {
    /// Serves a directory.
    ///
    /// If it does not start.
    /// When it does not start.
    #[must_use]
    pub fn serve(dir: &Path) -> Self {
        let port = free_port();
        let mut command = Command::new("python3");
        clean(&mut command);
        command.args(["-m", "http.server", &port.to_string(), "--bind", "127.0.0.1", "--directory"]).arg(dir);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let server = command.spawn().expect("python3");
        let pages = Self { server, origin: format!("http://localhost:{port}") };
        until("the page server to start", PATIENCE, || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        pages
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}
