//! Test and rehearsal features that only environment variables turn on: a clock that can be moved, and calls to hosts that
//! stop where a file asks them to.

use std::path::PathBuf;
use std::time::Duration;

use work::Clock;

use crate::config::SettingError;

/// `+SECONDS`: how far the cloud's clock runs ahead of the machine's. Also allows `nephos clock --advance`.
const CLOCK: &str = "NEPHOS_CLOCK";
/// Directory with files that ask calls to hosts to stop.
const STOPS: &str = "NEPHOS_STOPS";

/// Returns the clock, and whether it may be moved.
pub fn clock() -> Result<(Clock, bool), SettingError> {
    let clock = Clock::system();
    let Ok(text) = std::env::var(CLOCK) else { return Ok((clock, false)) };
    let ahead = text.strip_prefix('+').and_then(|seconds| seconds.parse().ok());
    let ahead = ahead.ok_or_else(|| SettingError::new(CLOCK, format!("{text:?}: expected +SECONDS")))?;
    clock.advance(Duration::from_secs(ahead));
    tracing::warn!(ahead, "rehearsal mode: the clock can be moved");
    Ok((clock, true))
}

/// Returns the directory with the files that stop calls to hosts.
pub fn stops() -> Option<PathBuf> {
    std::env::var_os(STOPS).map(PathBuf::from)
}
