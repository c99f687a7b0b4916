//! `edge_listen`, `cdn_host` and `[edge]`: where published containers are served, and under what name.

use std::net::SocketAddr;

use serde::Deserialize;

use super::{SettingError, address};

/// Where the edge listens unless it is configured.
const LISTEN: &str = "127.0.0.1:8081";
/// A name below which every name resolves to this machine, everywhere.
const HOST: &str = "cdn.localhost";
/// The edge's port where there is no edge here.
const PORT: u16 = 8081;
/// MiB of the cache in memory and on disk.
const MEMORY: usize = 64;
const DISK: usize = 1024;
/// The cache's least sizes in MiB: some blocks of 16 MiB on the disk.
const MEMORY_MIN: usize = 32;
const DISK_MIN: usize = 128;
/// 1 TiB.
const SIZE_MAX: usize = 1 << 20;

/// `[edge]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EdgeKeys {
    /// MiB of the cache in memory.
    memory: Option<usize>,
    /// MiB of the cache on disk; 0 for none.
    disk: Option<usize>,
}

/// The edge of this process, and what containers are published under.
#[derive(Clone, Debug)]
pub struct EdgeConfig {
    /// Where it listens, if it does.
    pub listen: Option<SocketAddr>,
    /// The host name that containers are published under, perhaps with a port.
    pub host: String,
    /// Bytes of the cache in memory.
    pub memory: usize,
    /// Bytes of the cache on disk; 0 for none.
    pub disk: usize,
}

impl EdgeConfig {
    /// Puts the settings together.
    ///
    /// # Errors
    /// [`SettingError`] with the key that cannot be used.
    pub(super) fn load(
        listen: Option<String>,
        host: Option<String>,
        keys: &EdgeKeys,
    ) -> Result<Self, SettingError> {
        let listen = match listen.as_deref().unwrap_or(LISTEN) {
            "off" => None,
            text => Some(address("edge_listen", text)?),
        };
        let port = listen.map_or(PORT, |listen| listen.port());
        let host = checked_host(host.unwrap_or_else(|| format!("{HOST}:{port}")))?;
        let size = |key: &str, given: Option<usize>, own: usize, min: usize| {
            let mib = given.unwrap_or(own);
            let is_size = mib == 0 && min == DISK_MIN || (min..=SIZE_MAX).contains(&mib);
            let reason = || format!("{mib}: expected {min} or more MiB");
            if is_size { Ok(mib << 20) } else { Err(SettingError::new(key, reason())) }
        };
        let memory = size("edge.memory", keys.memory, MEMORY, MEMORY_MIN)?;
        let disk = size("edge.disk", keys.disk, DISK, DISK_MIN)?;
        Ok(Self { listen, host, memory, disk })
    }
}

/// Checks the host name that containers are published under.
fn checked_host(host: String) -> Result<String, SettingError> {
    let host = host.to_ascii_lowercase();
    let (name, port) = host.split_once(':').map_or((&*host, None), |(name, port)| (name, Some(port)));
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    let is_port = port.is_none_or(|port| port.parse::<u16>().is_ok());
    // The labels before it take 66 of a name's 253 bytes.
    if name.len() <= 180 && name.split('.').all(is_label) && is_port {
        return Ok(host);
    }
    Err(SettingError::new(
        "cdn_host",
        format!("{host:?}: expected NAME or NAME:PORT, such as cdn.example.com"),
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(listen: Option<&str>, host: Option<&str>, keys: &EdgeKeys) -> Result<EdgeConfig, SettingError> {
        EdgeConfig::load(listen.map(str::to_owned), host.map(str::to_owned), keys)
    }

    #[test]
    fn containers_are_published_under_the_edges_port() {
        let keys = EdgeKeys::default();
        let own = load(None, None, &keys).unwrap();
        assert_eq!((own.listen, &*own.host), (Some("127.0.0.1:8081".parse().unwrap()), "cdn.localhost:8081"));
        assert_eq!((own.memory, own.disk), (64 << 20, 1 << 30));
        assert_eq!(load(Some("127.0.0.1:9"), None, &keys).unwrap().host, "cdn.localhost:9");
        let other = load(Some("off"), Some("CDN.Example.com"), &keys).unwrap();
        assert_eq!((other.listen, &*other.host), (None, "cdn.example.com"));
    }

    #[test]
    fn a_bad_setting_is_named() {
        let keys = EdgeKeys::default();
        for bad in ["", "a..b", "http://a", "a/b", "a:b", "a:70000", "a b", ".a", "a:1:2"] {
            assert_eq!(load(None, Some(bad), &keys).unwrap_err().key, "cdn_host", "{bad:?}");
        }
        assert_eq!(load(Some("nowhere"), None, &keys).unwrap_err().key, "edge_listen");
        let sized = |memory, disk| load(None, None, &EdgeKeys { memory, disk });
        assert_eq!(sized(Some(0), None).unwrap_err().key, "edge.memory");
        assert_eq!(sized(None, Some(127)).unwrap_err().key, "edge.disk");
        assert_eq!(sized(Some(32), Some(0)).unwrap().disk, 0);
    }
}
