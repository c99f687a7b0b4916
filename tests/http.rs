//! Requests with curl, a third-party client.

use std::collections::HashMap;
use std::process::{Command, Stdio};

use crate::cloud::clean;

/// A response.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Headers by lower-case name.
    pub headers: HashMap<String, String>,
    /// The body.
    pub body: Vec<u8>,
}

impl Answer {
    /// Returns a header's value; empty if it is missing.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", String::as_str)
    }

    /// Returns the body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Parses the body as JSON.
    ///
    /// # Panics
    /// If it is not JSON.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// Runs curl with these arguments, `-s` and output files.
///
/// # Panics
/// If curl fails.
#[must_use]
pub fn curl(words: &[&str]) -> Answer {
    curl_within(None, words)
}

/// As [`curl`], in a network namespace.
///
/// # Panics
/// If curl fails.
#[must_use]
pub fn curl_within(namespace: Option<&str>, words: &[&str]) -> Answer {
    let mut command = match namespace {
        None => Command::new("curl"),
        Some(namespace) => {
            let mut command = Command::new("ip");
            command.args(["netns", "exec", namespace, "curl"]);
            command
        }
    };
    command.args(["-s", "-S", "-g", "-D", "/dev/stderr", "-o", "-", "--max-time", "120", "--noproxy", "*"]);
    command.args(words).stdin(Stdio::null());
    clean(&mut command);
    let output = command.output().expect("curl");
    let head = String::from_utf8_lossy(&output.stderr);
    // The last head is the response's; any before it are `100 Continue`.
    let last = head.trim_end().rsplit("\r\n\r\n").next().unwrap_or_default();
    let mut lines = last.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok());
    let status = status.unwrap_or_else(|| panic!("curl {words:?}: {head}"));
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status, headers, body: output.stdout }
}

/// Sends the guide's authentication request, `GET /v1.0`, with these credentials.
#[must_use]
pub fn sign_in(url: &str, user: &str, key: &str) -> Answer {
    sign_in_within(None, url, user, key)
}

/// As [`sign_in`], in a network namespace.
#[must_use]
pub fn sign_in_within(namespace: Option<&str>, url: &str, user: &str, key: &str) -> Answer {
    curl_within(
        namespace,
        &["-H", &format!("X-Auth-User: {user}"), "-H", &format!("X-Auth-Key: {key}"), &format!("{url}/v1.0")],
    )
}
