//! File descriptors: as many as the system lets this process have.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// No more are asked for: some systems call a billion no limit, and tables grow with it.
const WANTED_MAX: u64 = 1 << 20;

/// Raises the soft limit to the hard one, and returns what holds then.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(WANTED_MAX).min(WANTED_MAX).max(limit.current.unwrap_or(0));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(WANTED_MAX)
}
