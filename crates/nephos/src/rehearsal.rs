//! What tests and an operator's rehearsal may turn on by variables, and nothing else does: a clock that can be moved, and
//! calls to hosts that stop where they are asked to.

use std::path::PathBuf;
use std::time::Duration;

use work::Clock;

use crate::config::Bad;

/// `+SECONDS`: how far the cloud's clock is ahead of the machine's; and `nephos clock --advance` moves it.
const CLOCK: &str = "NEPHOS_CLOCK";
/// A directory in which files ask calls to hosts to stop.
const STOPS: &str = "NEPHOS_STOPS";

/// The clock, and whether it may be moved.
pub fn clock() -> Result<(Clock, bool), Bad> {
    let clock = Clock::system();
    let Ok(text) = std::env::var(CLOCK) else { return Ok((clock, false)) };
    let ahead = text.strip_prefix('+').and_then(|seconds| seconds.parse().ok());
    let ahead = ahead.ok_or_else(|| Bad::new(CLOCK, format!("{text:?}: expected +SECONDS")))?;
    clock.advance(Duration::from_secs(ahead));
    tracing::warn!(ahead, "a rehearsal: the clock can be moved");
    Ok((clock, true))
}

/// Where calls to hosts are asked to stop.
pub fn stops() -> Option<PathBuf> {
    std::env::var_os(STOPS).map(PathBuf::from)
}
