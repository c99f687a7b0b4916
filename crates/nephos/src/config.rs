//! The configuration: flags override variables, which override the file, which overrides the defaults.

mod cdn;
pub mod certificate;
mod database;
mod listening;
mod storage;

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

pub use cdn::EdgeConfig;
use ipnet::IpNet;
pub use listening::Connections;
use serde::Deserialize;
pub use storage::FilesConfig;

use crate::cli::Common;
use crate::fence::FenceCommand;
use crate::mail::Sendmail;
use certificate::{CertificateSettings, Source};

/// An invalid setting: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct SettingError {
    /// The setting's key.
    pub key: String,
    /// Why it is invalid.
    pub reason: String,
}

impl SettingError {
    /// Creates the error from a setting's key and the reason.
    pub fn new(key: &str, reason: impl std::fmt::Display) -> Self {
        Self { key: key.to_owned(), reason: reason.to_string() }
    }
}

/// The configuration file. Every key is optional.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct File {
    data_dir: Option<PathBuf>,
    listen: Option<String>,
    database: database::Database,
    blobs: Option<String>,
    hypervisor: Vec<String>,
    public_url: Option<String>,
    edge_listen: Option<String>,
    cdn_host: Option<String>,
    edge: cdn::EdgeKeys,
    trusted_proxies: Vec<String>,
    tls_cert: Option<PathBuf>,
    tls_key: Option<PathBuf>,
    tls: Option<String>,
    region: Region,
    identity: Identity,
    servers: Servers,
    networks: Networks,
    files: storage::Files,
    connections: Connections,
    metrics: listening::Metrics,
    log: Log,
}

/// `[region]`
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Region {
    /// The region's name in catalogs and feeds.
    pub name: String,
}

impl Default for Region {
    fn default() -> Self {
        Self { name: "DFW".into() }
    }
}

/// `[identity]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Identity {
    /// Command that sends mail, such as `/usr/sbin/sendmail`, with arguments separated by blanks.
    sendmail: Option<String>,
    /// Sender address of mail.
    mail_from: Option<String>,
}

impl Identity {
    fn sendmail(self) -> Result<Option<Sendmail>, SettingError> {
        let Some(command) = self.sendmail else {
            return match self.mail_from {
                Some(_) => Err(SettingError::new("identity.sendmail", "missing: identity.mail_from is set")),
                None => Ok(None),
            };
        };
        let command: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
        if command.is_empty() {
            return Err(SettingError::new("identity.sendmail", "expected a program"));
        }
        let from = self
            .mail_from
            .ok_or_else(|| SettingError::new("identity.mail_from", "missing: identity.sendmail is set"))?;
        if !from.contains('@') || from.contains(char::is_control) {
            return Err(SettingError::new(
                "identity.mail_from",
                format!("{from:?}: expected a mail address"),
            ));
        }
        Ok(Some(Sendmail { command, from }))
    }
}

/// `[servers]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Servers {
    rate_limits: Option<String>,
    /// Command that powers off a lost host, with arguments separated by blanks.
    fence: Option<String>,
    /// `[servers.v1]`
    pub v1: ServersV1,
}

/// `[servers.v1]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServersV1 {
    /// `guide` or `live`: which status codes to return where the guide and the live service differ.
    pub answers: Option<String>,
    /// Whether images made from a server outlive it.
    pub keep_images: bool,
}

/// `[networks]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Networks {
    /// `[networks.public]`
    pub public: Pool,
    /// `[networks.private]`
    pub private: Pool,
}

/// An address pool.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Pool {
    /// Such as `203.0.113.0/24`.
    pub cidr: Option<String>,
    /// The pool's router, an address inside it.
    pub gateway: Option<String>,
    /// The bridge on each host.
    pub bridge: Option<String>,
}

/// `[log]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Log {
    /// `text` or `json`.
    pub format: Option<String>,
    /// A level or `tracing` filter, such as `info` or `warn,request=info`.
    pub level: Option<String>,
}

/// The effective settings.
#[derive(Clone, Debug)]
pub struct Config {
    /// The data directory, absolute.
    pub data_dir: PathBuf,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// Location of the metadata.
    pub database: ::database::Location,
    /// Hosts. Empty if none were configured, which means the machine's own libvirt.
    pub hypervisors: Vec<String>,
    /// The cloud's URL as clients see it.
    pub public_url: String,
    /// The edge, and the host name under which containers are published.
    pub edge: EdgeConfig,
    /// Networks of proxies whose `X-Forwarded-For` is trusted.
    pub trusted_proxies: Vec<IpNet>,
    /// The API's certificate; `None` for plain HTTP.
    pub tls: Option<Source>,
    /// The region.
    pub region: String,
    /// The command that sends mail.
    pub sendmail: Option<Sendmail>,
    /// Whether the guide's rate limits apply.
    pub rate_limits: bool,
    /// The command that powers off a lost host.
    pub fence: Option<FenceCommand>,
    /// Cloud Servers, first generation.
    pub servers_v1: ServersV1,
    /// Address pools as configured.
    pub networks: Networks,
    /// Cloud Files.
    pub files: FilesConfig,
    /// Limits on connections.
    pub connections: Connections,
    /// Address of the metrics listener that needs no token, if there is one.
    pub metrics_listen: Option<SocketAddr>,
    /// Logging.
    pub log: Log,
}

impl Config {
    /// Combines the settings of flags, variables and file.
    ///
    /// # Errors
    /// [`SettingError`] with the key at fault.
    pub fn load(common: &Common) -> Result<Self, SettingError> {
        let file = read_file(common.config.as_deref())?;
        let data_dir = common.data_dir.clone().or(file.data_dir).unwrap_or_else(|| "nephos-data".into());
        let data_dir = std::path::absolute(&data_dir).map_err(|e| SettingError::new("data_dir", e))?;
        let listen = common.listen.clone().or(file.listen).unwrap_or_else(|| "127.0.0.1:8080".into());
        let listen = address("listen", &listen)?;
        let database = file.database.location(common, &data_dir)?;
        let blobs = common.blobs.clone().or(file.blobs).unwrap_or_else(|| "file:".into());
        let blobs = blob_dir("blobs", &blobs, &data_dir.join("blobs"), Path::new(""))?;
        let hypervisors =
            if common.hypervisor.is_empty() { file.hypervisor } else { common.hypervisor.clone() };
        let said = CertificateSettings {
            word: common.tls.clone(),
            certificate: common.tls_cert.clone(),
            key: common.tls_key.clone(),
        };
        let tls = said
            .or(CertificateSettings { word: file.tls, certificate: file.tls_cert, key: file.tls_key })
            .source()?;
        let public_url = common.public_url.clone().or(file.public_url);
        let public_url = public_url.map_or_else(|| Ok(own_url(listen, tls.is_some())), checked_url)?;
        let edge_listen = common.edge_listen.clone().or(file.edge_listen);
        let edge = EdgeConfig::load(edge_listen, common.cdn_host.clone().or(file.cdn_host), &file.edge)?;
        let fence = file.servers.fence.map(|command| {
            let words: Vec<String> = command.split_whitespace().map(str::to_owned).collect();
            if words.is_empty() {
                Err(SettingError::new("servers.fence", "expected a program"))
            } else {
                Ok(FenceCommand(words))
            }
        });
        let fence = fence.transpose()?;
        let rate_limits = common.servers_rate_limits.clone().or(file.servers.rate_limits);
        let rate_limits = match rate_limits.as_deref() {
            None | Some("on") => true,
            Some("off") => false,
            Some(other) => {
                return Err(SettingError::new(
                    "servers.rate_limits",
                    format!("{other:?}: expected on or off"),
                ));
            }
        };
        let trusted_proxies =
            file.trusted_proxies.iter().map(|text| network(text)).collect::<Result<_, _>>()?;
        let files = FilesConfig::load(&common.files, file.files, &blobs, &data_dir, &public_url)?;
        Ok(Self {
            data_dir,
            listen,
            database,
            hypervisors,
            public_url,
            edge,
            trusted_proxies,
            tls,
            region: file.region.name,
            sendmail: file.identity.sendmail()?,
            rate_limits,
            fence,
            servers_v1: file.servers.v1,
            networks: file.networks,
            files,
            connections: file.connections.checked()?,
            metrics_listen: file.metrics.listen()?,
            log: file.log,
        })
    }
}

fn read_file(named: Option<&Path>) -> Result<File, SettingError> {
    let path = named.unwrap_or(Path::new("nephos.toml"));
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if named.is_none() && error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(File::default());
        }
        Err(error) => return Err(SettingError::new("config", format!("{}: {error}", path.display()))),
    };
    toml::from_str(&text).map_err(|error| {
        // One line: the position, then what is wrong with the key.
        let line = error.span().map_or(0, |span| text[..span.start].lines().count().max(1));
        let message = error.message().lines().collect::<Vec<_>>().join(" ");
        SettingError::new("config", format!("{}, line {line}: {message}", path.display()))
    })
}

/// Returns the directory that `file:` or `file:DIR` names. A relative one is resolved against `base`.
fn blob_dir(key: &str, url: &str, own: &Path, base: &Path) -> Result<PathBuf, SettingError> {
    match url.strip_prefix("file:") {
        Some("") => Ok(own.to_owned()),
        Some(dir) => Ok(base.join(dir)),
        None => Err(SettingError::new(key, format!("{url:?}: expected file: or file:DIR"))),
    }
}

fn address(key: &str, text: &str) -> Result<SocketAddr, SettingError> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| SettingError::new(key, format!("{text:?}: expected ADDRESS:PORT")))
}

/// Parses a network such as `10.0.0.0/8`, or one address.
fn network(text: &str) -> Result<IpNet, SettingError> {
    let one = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().or_else(|_| one()).map_err(|_| {
        SettingError::new(
            "trusted_proxies",
            format!("{text:?}: expected an address or a network such as 10.0.0.0/8"),
        )
    })
}

fn checked_url(url: String) -> Result<String, SettingError> {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    if rest.is_none_or(|rest| rest.is_empty() || rest.starts_with('/') || rest.contains(['?', '#'])) {
        return Err(SettingError::new(
            "public_url",
            format!("{url:?}: expected http://HOST[:PORT] or https://HOST[:PORT]"),
        ));
    }
    Ok(url.trim_end_matches('/').to_owned())
}

fn own_url(listen: SocketAddr, secure: bool) -> String {
    let host = match listen.ip() {
        // With a wildcard address, only clients on this machine are certain to be served.
        ip if ip.is_unspecified() => "127.0.0.1".to_owned(),
        IpAddr::V4(ip) => ip.to_string(),
        IpAddr::V6(ip) => format!("[{ip}]"),
    };
    let scheme = if secure { "https" } else { "http" };
    format!("{scheme}://{host}:{}", listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, common: Common) -> Result<Config, SettingError> {
        let dir = std::env::temp_dir().join(format!("nephos-config-{:?}", std::thread::current().id()));
        std::fs::create_dir_all(&dir).unwrap();
        let path = dir.join("nephos.toml");
        std::fs::write(&path, toml).unwrap();
        Config::load(&Common { config: Some(path), ..common })
    }

    #[test]
    fn flags_override_the_file_which_overrides_the_defaults() {
        let flags = Common { listen: Some("127.0.0.1:9000".into()), ..Common::default() };
        let config = load("listen = '127.0.0.1:9001'\n[region]\nname = 'ORD'", flags).unwrap();
        assert_eq!(config.listen.port(), 9000);
        assert_eq!(config.public_url, "http://127.0.0.1:9000");
        assert_eq!(config.region, "ORD");
        assert!(config.rate_limits);
        assert_eq!(load("listen = '127.0.0.1:9001'", Common::default()).unwrap().listen.port(), 9001);
        assert_eq!(load("", Common::default()).unwrap().listen.port(), 8080);
    }

    #[test]
    fn the_database_is_a_url_or_a_table() {
        let connections = |toml: &str, flags: Common| match load(toml, flags).unwrap().database {
            ::database::Location::Postgres(server) => server.connections(),
            ::database::Location::Sqlite(_) => 0,
        };
        assert_eq!(connections("database = 'postgres://h/d'", Common::default()), ::database::CONNECTIONS);
        let table = "[database]\nurl = 'postgres://h/d'\nconnections = 7";
        assert_eq!(connections(table, Common::default()), 7);
        let flags = Common { database_connections: Some(9), ..Common::default() };
        assert_eq!(connections(table, flags), 9);
        assert_eq!(connections("", Common::default()), 0);
        let refused = |toml: &str| load(toml, Common::default()).unwrap_err().to_string();
        assert_eq!(
            refused("[database]\nconnections = 1"),
            "database.connections: 1: expected a number from 2 to 10000"
        );
        assert!(refused("[database]\nconections = 5").contains("unknown field `conections`"));
        assert!(refused("database = 5").contains("a URL, or a table"));
    }

    #[test]
    fn the_certificate_follows_the_source_of_highest_precedence() {
        let files = |certificate: &str, key: &str| {
            Some(Source::Files { certificate: certificate.into(), key: key.into() })
        };
        let pair = "tls_cert = 'c'\ntls_key = 'k'";
        assert_eq!(load("", Common::default()).unwrap().tls, None);
        assert_eq!(load(pair, Common::default()).unwrap().tls, files("c", "k"));
        let other = Common { tls_key: Some("other".into()), ..Common::default() };
        assert_eq!(load(pair, other.clone()).unwrap().tls, files("c", "other"));
        assert!(load("tls = 'self-signed'", other).unwrap_err().to_string().starts_with("tls_cert: "));
        let own = Common { tls: Some("self-signed".into()), ..Common::default() };
        let config = load(pair, own).unwrap();
        assert_eq!(config.tls, Some(Source::SelfSigned));
        assert_eq!(config.public_url, "https://127.0.0.1:8080");
    }

    #[test]
    fn cloud_files_settings_are_applied() {
        let toml = "[files]\nread_only = true\nexpired_stay = 7\nstorage_domains = ['.Files.Example.com']
            cname_resolver = '127.0.0.1'\npublic = 1";
        assert!(load(toml, Common::default()).is_err());
        let toml = "blobs = 'file:/b'\npublic_url = 'https://API.example.com:8443'\n[files]\nread_only = true
            expired_stay = 7\nstorage_domains = ['.Files.Example.com']\ncname_resolver = '127.0.0.1'
            [[files.policies]]\nname = 'gold'\naliases = ['Au']\n[[files.policies]]\nname = 'tape'\nencryption = true
            [[files.policies]]\nname = 'old'\ndeprecated = true\nblobs = 'file:/old'
            [files.ratelimit]\ncontainer_ratelimits = [[100, 5], [200, 2.5]]
            [files.container_sync]\ncurrent = '//us/dfw'\n[files.container_sync.realms.us]\nkey = 'k'
            clusters = {dfw = 'http://dfw.example.com/v1/'}";
        let flags = Common {
            files: crate::cli::FilesFlags {
                files_read_only: Some("off".into()),
                files_expired_stay: Some("9".into()),
                ..Default::default()
            },
            ..Common::default()
        };
        let files = load(toml, flags).unwrap().files;
        let settings = &files.settings;
        assert!(!settings.read_only && settings.allow_open_expired && !settings.encryption);
        assert_eq!(settings.expired_stay.as_secs(), 9);
        assert_eq!(settings.storage_domains, ["files.example.com"]);
        let lookup = settings.cname.as_ref().unwrap();
        assert_eq!((lookup.resolver.port(), lookup.depth), (53, 1));
        assert_eq!(lookup.own, ["api.example.com", "localhost"]);
        assert_eq!(settings.policies.named("au").unwrap().0, 0);
        assert_eq!(settings.policies.encrypts(1), Some(true));
        assert_eq!(files.stores, [Path::new("/b"), Path::new("/b/policy-1"), Path::new("/old")]);
        assert_eq!(settings.rates.container_ratelimits, [(100, 5.0), (200, 2.5)]);
        assert_eq!(settings.realms.current, Some(("US".into(), "DFW".into())));
        let stores = load("", Common::default()).unwrap().files.stores;
        assert!(
            stores[0].ends_with("nephos-data/blobs") && stores[1].ends_with("nephos-data/blobs/policy-1")
        );
        let bad = crate::cli::FilesFlags { files_encryption: Some("maybe".into()), ..Default::default() };
        let error = load("", Common { files: bad, ..Common::default() }).unwrap_err().to_string();
        assert_eq!(error, "files.encryption: \"maybe\": expected on or off");
    }

    #[test]
    fn a_bad_setting_is_reported_in_one_line() {
        let cases = [
            ("listen = 'nowhere'", "listen: "),
            ("database = 'mysql://x'", "database: "),
            ("blobs = 'ftp:'", "blobs: "),
            ("public_url = 'x'", "public_url: "),
            ("tls = 'on'", "tls: "),
            ("tls_cert = 'x'", "tls_key: missing"),
            ("tls_key = 'x'", "tls_cert: missing"),
            ("tls = 'self-signed'\ntls_key = 'x'", "tls: "),
            ("trusted_proxies = ['10.0.0.0/8', 'proxy']", "trusted_proxies: \"proxy\": expected an address"),
            ("[identity]\nsendmail = '/bin/true'", "identity.mail_from: missing"),
            ("[identity]\nmail_from = 'a@b'", "identity.sendmail: missing"),
            ("[identity]\nsendmail = '/bin/true'\nmail_from = 'me'", "identity.mail_from: "),
            ("[servers]\nrate_limits = 'maybe'", "servers.rate_limits: "),
            ("[servers]\nfence = ' '", "servers.fence: "),
            ("liste = 'x'", "line 1: unknown field `liste`"),
            ("[connections]\nmax = 0", "connections.max: "),
            ("[connections]\nper_address = 0", "connections.per_address: "),
            ("[connections]\nmemory = 1", "connections.memory: "),
            ("[metrics]\nlisten = 'nowhere'", "metrics.listen: "),
            ("[files.limits]\nmax_meta_count = 'x'", "line 2: "),
            ("[files.limits]\ncontainer_listing_limit = 0", "files.limits.container_listing_limit: "),
            ("[files]\nupload_memory = 1", "files.upload_memory: "),
            ("[files]\nexpired_stay = -1", "line 2: "),
            ("[files]\nread_only = 'yes'", "line 2: "),
            ("[files]\naccess_log_interval = 0", "files.access_log_interval: "),
            ("[files]\nstorage_domains = ['a b']", "files.storage_domains: "),
            ("[files]\ncname_resolver = '127.0.0.1'", "files.cname_resolver: needs"),
            ("[files]\nstorage_domains = ['x.org']\ncname_resolver = 'nowhere'", "files.cname_resolver: "),
            ("[files]\ncname_lookup_depth = 0", "files.cname_lookup_depth: "),
            ("[[files.policies]]\nname = ''", "files.policies: "),
            ("[[files.policies]]\nname = 'a'\naliases = ['A']", "files.policies: \"A\" is used twice"),
            ("[[files.policies]]\nname = 'a'\ndeprecated = true", "files.policies: "),
            ("[[files.policies]]\nname = 'a'\nblobs = 's3:'", "files.policies: "),
            ("[[files.policies]]\nname = 'a'\ncolour = 'red'", "unknown field `colour`"),
            (
                "[files.ratelimit]\ncontainer_ratelimits = [[2, 1.0], [1, 1.0]]",
                "files.ratelimit.container_ratelimits: ",
            ),
            ("[files.container_sync.realms.us]\nkey2 = 'x'", "files.container_sync.realms.us.key: missing"),
            (
                "[files.container_sync.realms.us]\nkey = 'x'\nclusters = {dfw = 'dfw'}",
                "files.container_sync.realms.us.clusters.dfw: ",
            ),
            ("[files.container_sync]\ncurrent = '//us/dfw'", "files.container_sync.current: "),
        ];
        for (toml, expected) in cases {
            let error = load(toml, Common::default()).unwrap_err().to_string();
            assert!(error.contains(expected) && !error.contains('\n'), "{toml}: {error}");
        }
    }
}
