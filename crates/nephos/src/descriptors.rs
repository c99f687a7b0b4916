//! Raises the limit on open files as far as the system allows.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Upper bound. Some systems use a billion for "no limit", and tables grow with the number.
const WANTED_MAX: u64 = 1 << 20;

/// Raises the soft limit to the hard limit, and returns the resulting limit.
pub fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.unwrap_or(WANTED_MAX).min(WANTED_MAX).max(limit.current.unwrap_or(0));
    let raised = setrlimit(Resource::Nofile, Rlimit { current: Some(wanted), maximum: limit.maximum });
    if let Err(error) = raised {
        tracing::warn!(%error, "cannot raise the limit on open files");
    }
    getrlimit(Resource::Nofile).current.unwrap_or(WANTED_MAX)
}
