//! Powers off hosts with a command of the operator's.

use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use compute::Fence;
use tokio::process::Command;

/// Timeout for powering off a host.
const TIMEOUT: Duration = Duration::from_secs(300);

/// A command that takes a host's name and succeeds once that host is certainly off.
#[derive(Clone, Debug)]
pub struct FenceCommand(pub Vec<String>);

#[async_trait]
impl Fence for FenceCommand {
    async fn power_off(&self, host: &str) -> Result<(), String> {
        let (program, words) = self.0.split_first().ok_or("no command")?;
        let run = Command::new(program)
            .args(words)
            .arg(host)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .output();
        let output = match tokio::time::timeout(TIMEOUT, run).await {
            Ok(output) => output.map_err(|e| format!("{program}: {e}"))?,
            Err(_) => return Err(format!("{program} did not finish within {} s", TIMEOUT.as_secs())),
        };
        if output.status.success() {
            return Ok(());
        }
        let message = String::from_utf8_lossy(&output.stderr);
        Err(format!("{program}: {}: {}", output.status, message.lines().next().unwrap_or_default()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_is_off_only_if_the_command_succeeds() {
        let shell = |script: &str| FenceCommand(["sh", "-c", script, "fence"].map(str::to_owned).to_vec());
        assert_eq!(shell(r#"test "$1" = host-7"#).power_off("host-7").await, Ok(()));
        let refused = shell("echo no such outlet >&2; exit 3").power_off("host-7").await.unwrap_err();
        assert!(refused.ends_with("no such outlet") && refused.contains('3'), "{refused}");
        let missing = FenceCommand(vec!["/nowhere/fence".into()]).power_off("host-7").await.unwrap_err();
        assert!(missing.starts_with("/nowhere/fence: "), "{missing}");
    }
}
