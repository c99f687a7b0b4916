//! Parses `simulated:?hosts=N&memory=MiB&vcpus=N&disk=GiB&delay=ms`.

use std::time::Duration;

use crate::{Error, Result};

/// Number, size and delay of simulated hosts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Number of hosts, 1 to 100,000; 1 by default.
    pub hosts: u32,
    /// Memory of each, in MiB; 64 GiB by default.
    pub memory_mib: u64,
    /// Processors of each; 16 by default.
    pub vcpus: u32,
    /// Disk of each, in GiB; 10 TiB by default.
    pub disk_gib: u64,
    /// Duration of each change; 20 ms by default.
    pub delay: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { hosts: 1, memory_mib: 65_536, vcpus: 16, disk_gib: 10_240, delay: Duration::from_millis(20) }
    }
}

const MOST_HOSTS: u64 = 100_000;

impl Settings {
    /// Returns whether a URI is for simulated hosts.
    pub fn is_simulated(uri: &str) -> bool {
        uri == "simulated" || uri.starts_with("simulated:")
    }

    /// Parses a URI. [`Error::BadUri`] names the invalid key.
    pub fn parse(uri: &str) -> Result<Self> {
        let bad = |reason: String| Error::BadUri { uri: uri.to_owned(), reason };
        let rest =
            uri.strip_prefix("simulated").ok_or_else(|| bad("it must begin with `simulated:`".into()))?;
        let query = match rest.strip_prefix(':').unwrap_or(rest).split_once('?') {
            None if rest.is_empty() || rest == ":" => "",
            Some(("", query)) => query,
            _ => return Err(bad("only `?key=value` may follow `simulated:`".into())),
        };
        let mut settings = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let number = |range: std::ops::RangeInclusive<u64>| {
                let wrong =
                    || bad(format!("`{key}` must be a number from {} to {}", range.start(), range.end()));
                value.parse().ok().filter(|n| range.contains(n)).ok_or_else(wrong)
            };
            match key {
                "hosts" => settings.hosts = number(1..=MOST_HOSTS)? as u32,
                "memory" => settings.memory_mib = number(1..=1 << 40)?,
                "vcpus" => settings.vcpus = number(1..=65_536)? as u32,
                "disk" => settings.disk_gib = number(1..=1 << 30)?,
                "delay" => settings.delay = Duration::from_millis(number(0..=3_600_000)?),
                _ => {
                    return Err(bad(format!("`{key}` is not one of hosts, memory, vcpus, disk, delay")));
                }
            }
        }
        Ok(settings)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_and_every_key() {
        assert_eq!(Settings::parse("simulated").unwrap(), Settings::default());
        assert_eq!(Settings::parse("simulated:").unwrap(), Settings::default());
        let all = Settings::parse("simulated:?hosts=3&memory=512&vcpus=2&disk=9&delay=0").unwrap();
        let expected = Settings { hosts: 3, memory_mib: 512, vcpus: 2, disk_gib: 9, delay: Duration::ZERO };
        assert_eq!(all, expected);
    }

    #[test]
    fn errors_name_the_invalid_key() {
        for (uri, key) in [
            ("simulated:?hosts=0", "hosts"),
            ("simulated:?memory=many", "memory"),
            ("simulated:?colour=red", "colour"),
            ("simulated:/x", "key=value"),
        ] {
            assert!(Settings::parse(uri).unwrap_err().to_string().contains(key), "{uri}");
        }
    }
}
