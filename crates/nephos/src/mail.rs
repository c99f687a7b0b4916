//! Sends mail through the machine's own `sendmail`, or a command with the same interface.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use identity::{Mail, MailTransport};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

/// Timeout for handing over a mail.
const TIMEOUT: Duration = Duration::from_secs(60);

/// A command that reads a message with headers from standard input. `-t` makes it take the recipient from there.
#[derive(Clone, Debug)]
pub struct Sendmail {
    /// The program and its arguments before `-i -t`.
    pub command: Vec<String>,
    /// Sender address.
    pub from: String,
}

impl Sendmail {
    async fn hand_over(&self, message: &str) -> Result<(), String> {
        let (program, words) = self.command.split_first().ok_or("no command")?;
        let mut child = Command::new(program)
            .args(words)
            .args(["-i", "-t"])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("{program}: {e}"))?;
        if let Some(mut stdin) = child.stdin.take() {
            stdin.write_all(message.as_bytes()).await.map_err(|e| format!("{program}: {e}"))?;
        }
        let output = child.wait_with_output().await.map_err(|e| format!("{program}: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        let said = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program}: {}: {}", output.status, said.lines().next().unwrap_or_default()))
    }
}

#[async_trait]
impl MailTransport for Sendmail {
    async fn send(&self, mail: Mail) -> Result<(), String> {
        // A header ends at its line feed, so an address with a line feed could add headers.
        if [&mail.to, &mail.subject].iter().any(|text| text.contains(char::is_control)) {
            return Err("the address or subject contains a control character".to_owned());
        }
        let message = format!(
            "From: {}\nTo: {}\nSubject: {}\nMIME-Version: 1.0\nContent-Type: text/plain; charset=utf-8\n\
             Content-Transfer-Encoding: 8bit\n\n{}",
            self.from, mail.to, mail.subject, mail.text
        );
        match tokio::time::timeout(TIMEOUT, self.hand_over(&message)).await {
            Ok(outcome) => outcome,
            Err(_) => {
                Err(format!("{} did not finish within {} s", self.command.join(" "), TIMEOUT.as_secs()))
            }
        }
    }
}
