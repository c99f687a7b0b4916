//! `[files]`: the settings of Cloud Files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::Duration;

use files::Settings;
use files::model::limits::Limits;
use files::model::policy::{Policies, Policy};
use files::model::rates::Rates;
use files::model::realms::{Realm, Realms};
use serde::Deserialize;

use super::{SettingError, address, blob_dir};
use crate::cli::FilesFlags;

/// Maximum for any of the settings in seconds: ten years.
const SECONDS_MAX: u64 = 10 * 366 * 86_400;
/// Maximum scrub rate in MiB per second, more than any disk reaches.
const SCRUB_RATE_MAX: u64 = 1 << 20;
/// Maximum number of CNAMEs that one look-up may follow.
const DEPTH_MAX: u64 = 16;
/// Minimum memory for uploads in MiB: room for large uploads of two tenants.
const UPLOAD_MEMORY_MIN: u64 = 8;
/// Maximum number of policies: each volume's number contains its policy's index.
const POLICIES_MAX: usize = 1000;

/// `[files]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Files {
    read_only: Option<bool>,
    encryption: Option<bool>,
    allow_open_expired: Option<bool>,
    expired_stay: Option<u64>,
    storage_domains: Vec<String>,
    cname_resolver: Option<String>,
    cname_lookup_depth: Option<u64>,
    access_log_interval: Option<u64>,
    info_key: Option<String>,
    upload_memory: Option<u64>,
    scrub_rate: Option<u64>,
    scrub_interval: Option<u64>,
    policies: Vec<PolicyKeys>,
    limits: Limits,
    ratelimit: Rates,
    container_sync: SyncKeys,
}

/// `[[files.policies]]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PolicyKeys {
    name: String,
    aliases: Vec<String>,
    deprecated: bool,
    encryption: Option<bool>,
    blobs: Option<String>,
}

/// `[files.container_sync]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct SyncKeys {
    current: Option<String>,
    allow_full_urls: Option<bool>,
    allowed_hosts: Vec<String>,
    interval: Option<u64>,
    realms: BTreeMap<String, RealmKeys>,
}

/// `[files.container_sync.realms.NAME]`
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RealmKeys {
    key: String,
    key2: Option<String>,
    clusters: BTreeMap<String, String>,
}

/// The settings with which Cloud Files is opened.
#[derive(Clone, Debug)]
pub struct FilesConfig {
    /// All settings except the master key.
    pub settings: Settings,
    /// The directory of each policy's bytes.
    pub stores: Vec<PathBuf>,
}

impl FilesConfig {
    pub(super) fn load(
        flags: &FilesFlags,
        file: Files,
        blobs: &Path,
        data_dir: &Path,
        public_url: &str,
    ) -> Result<Self, SettingError> {
        let switch =
            |key: &str, flag: &Option<String>, file: Option<bool>, default: bool| match flag.as_deref() {
                None => Ok(file.unwrap_or(default)),
                Some("on" | "true") => Ok(true),
                Some("off" | "false") => Ok(false),
                Some(other) => Err(SettingError::new(key, format!("{other:?}: expected on or off"))),
            };
        let number = |key: &str,
                      flag: &Option<String>,
                      file: Option<u64>,
                      default: u64,
                      range: (u64, u64)| {
            let said = flag.as_ref().map(|text| {
                text.parse::<u64>()
                    .map_err(|_| SettingError::new(key, format!("{text:?}: expected a number")))
            });
            let value = said.transpose()?.or(file).unwrap_or(default);
            if value < range.0 || value > range.1 {
                return Err(SettingError::new(key, format!("{value}: expected {} to {}", range.0, range.1)));
            }
            Ok(value)
        };
        let domains = if flags.files_storage_domains.is_empty() {
            file.storage_domains
        } else {
            flags.files_storage_domains.clone()
        };
        let domains = domains.iter().map(|domain| storage_domain(domain)).collect::<Result<Vec<_>, _>>()?;
        let resolver = flags.files_cname_resolver.clone().or(file.cname_resolver);
        let resolver = resolver.map(|text| {
            let with_port = if text.parse::<std::net::IpAddr>().is_ok() { with_port(&text) } else { text };
            address("files.cname_resolver", &with_port)
        });
        let resolver = resolver.transpose()?;
        if resolver.is_some() && domains.is_empty() {
            return Err(SettingError::new(
                "files.cname_resolver",
                "needs files.storage_domains, which are not set",
            ));
        }
        let depth = number(
            "files.cname_lookup_depth",
            &flags.files_cname_lookup_depth,
            file.cname_lookup_depth,
            1,
            (1, DEPTH_MAX),
        )?;
        let cname = resolver.map(|resolver| files::model::cname::Lookup {
            resolver,
            depth: usize::try_from(depth).unwrap_or(1),
            own: vec![host_of(public_url), "localhost".into()],
        });
        let stay = number(
            "files.expired_stay",
            &flags.files_expired_stay,
            file.expired_stay,
            300,
            (0, SECONDS_MAX),
        )?;
        let log_interval = number(
            "files.access_log_interval",
            &flags.files_access_log_interval,
            file.access_log_interval,
            3600,
            (1, SECONDS_MAX),
        )?;
        let scrub_rate =
            number("files.scrub_rate", &flags.files_scrub_rate, file.scrub_rate, 8, (0, SCRUB_RATE_MAX))?;
        let scrub_interval = number(
            "files.scrub_interval",
            &flags.files_scrub_interval,
            file.scrub_interval,
            7 * 86_400,
            (1, SECONDS_MAX),
        )?;
        let upload_memory = file.upload_memory.unwrap_or(256);
        if !(UPLOAD_MEMORY_MIN..=SCRUB_RATE_MAX).contains(&upload_memory) {
            let reason = format!("{upload_memory}: expected {UPLOAD_MEMORY_MIN} or more MiB");
            return Err(SettingError::new("files.upload_memory", reason));
        }
        check_limits(&file.limits)?;
        file.ratelimit
            .check()
            .map_err(|(key, why)| SettingError::new(&format!("files.ratelimit.{key}"), why))?;
        let (policies, stores) = policies(file.policies, blobs, data_dir)?;
        let settings = Settings {
            limits: file.limits,
            policies,
            allow_open_expired: switch(
                "files.allow_open_expired",
                &flags.files_allow_open_expired,
                file.allow_open_expired,
                true,
            )?,
            read_only: switch("files.read_only", &flags.files_read_only, file.read_only, false)?,
            expired_stay: Duration::from_secs(stay),
            storage_domains: domains,
            encryption: switch("files.encryption", &flags.files_encryption, file.encryption, false)?,
            master: None,
            rates: file.ratelimit,
            cname,
            log_interval: Duration::from_secs(log_interval),
            info_key: flags.files_info_key.clone().or(file.info_key).filter(|key| !key.is_empty()),
            realms: realms(file.container_sync)?,
            scrub: files::service::Scrub {
                bytes_per_second: scrub_rate << 20,
                every: Duration::from_secs(scrub_interval),
            },
            settling: Settings::default().settling,
            database_since: 0,
            upload_memory: upload_memory << 20,
        };
        Ok(Self { settings, stores })
    }
}

fn with_port(ip: &str) -> String {
    if ip.contains(':') { format!("[{ip}]:53") } else { format!("{ip}:53") }
}

fn host_of(url: &str) -> String {
    let authority = url.split_once("://").map_or(url, |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or(authority);
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    };
    host.to_ascii_lowercase()
}

fn storage_domain(text: &str) -> Result<String, SettingError> {
    let domain = text.trim().trim_matches('.').to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty() && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte))
    };
    if domain.split('.').all(label) {
        return Ok(domain);
    }
    Err(SettingError::new(
        "files.storage_domains",
        format!("{text:?}: expected a domain such as files.example.com"),
    ))
}

fn policies(
    given: Vec<PolicyKeys>,
    blobs: &Path,
    data_dir: &Path,
) -> Result<(Policies, Vec<PathBuf>), SettingError> {
    let key = "files.policies";
    let own_dir = |index: usize| match index {
        0 => blobs.to_owned(),
        index => blobs.join(format!("policy-{index}")),
    };
    if given.is_empty() {
        let policies = Policies::default();
        let stores = (0..policies.0.len()).map(own_dir).collect();
        return Ok((policies, stores));
    }
    if given.len() > POLICIES_MAX {
        return Err(SettingError::new(key, format!("more than {POLICIES_MAX}")));
    }
    let (mut seen, mut dirs) = (BTreeSet::new(), BTreeSet::new());
    let (mut policies, mut stores) = (Vec::new(), Vec::new());
    for (index, policy) in given.into_iter().enumerate() {
        for name in std::iter::once(&policy.name).chain(&policy.aliases) {
            let fits = !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
            if !fits {
                return Err(SettingError::new(key, format!("{name:?}: expected letters, digits, - and _")));
            }
            if !seen.insert(name.to_ascii_lowercase()) {
                return Err(SettingError::new(key, format!("{name:?} is used twice")));
            }
        }
        if index == 0 && policy.deprecated {
            return Err(SettingError::new(
                key,
                format!("{:?}: the first policy is the default and cannot be deprecated", policy.name),
            ));
        }
        let dir = match &policy.blobs {
            None => own_dir(index),
            Some(url) => blob_dir(key, url, &own_dir(index), data_dir)?,
        };
        if !dirs.insert(dir.clone()) {
            return Err(SettingError::new(key, format!("{}: used by two policies", dir.display())));
        }
        stores.push(dir);
        policies.push(Policy {
            name: policy.name,
            aliases: policy.aliases,
            deprecated: policy.deprecated,
            encryption: policy.encryption,
        });
    }
    Ok((Policies(policies), stores))
}

fn check_limits(limits: &Limits) -> Result<(), SettingError> {
    let positive = [
        ("max_file_size", limits.max_file_size),
        ("max_header_size", limits.max_header_size as u64),
        ("max_object_name_length", limits.max_object_name_length as u64),
        ("max_container_name_length", limits.max_container_name_length as u64),
        ("max_account_name_length", limits.max_account_name_length as u64),
        ("account_listing_limit", limits.account_listing_limit as u64),
        ("container_listing_limit", limits.container_listing_limit as u64),
    ];
    match positive.into_iter().find(|(_, value)| *value == 0) {
        Some((name, _)) => Err(SettingError::new(&format!("files.limits.{name}"), "0: expected at least 1")),
        None => Ok(()),
    }
}

fn realms(given: SyncKeys) -> Result<Realms, SettingError> {
    let mut realms = BTreeMap::new();
    for (name, keys) in given.realms {
        let key = format!("files.container_sync.realms.{name}");
        if keys.key.is_empty() {
            return Err(SettingError::new(&format!("{key}.key"), "missing"));
        }
        let mut clusters = BTreeMap::new();
        for (cluster, url) in keys.clusters {
            let endpoint = files::model::realms::Endpoint::parse(&url);
            let endpoint =
                endpoint.map_err(|why| SettingError::new(&format!("{key}.clusters.{cluster}"), why))?;
            clusters.insert(cluster.to_uppercase(), endpoint);
        }
        realms.insert(name.to_uppercase(), Realm { key: keys.key, key2: keys.key2, clusters });
    }
    let current = match given.current {
        None => None,
        Some(text) => {
            let known =
                text.trim_matches('/').split_once('/').map(|(r, c)| (r.to_uppercase(), c.to_uppercase()));
            let known = known.filter(|(realm, cluster)| {
                realms.get(realm).is_some_and(|realm| realm.clusters.contains_key(cluster))
            });
            let unknown = || {
                let why = format!("{text:?}: expected //REALM/CLUSTER, both listed in realms");
                SettingError::new("files.container_sync.current", why)
            };
            Some(known.ok_or_else(unknown)?)
        }
    };
    let interval = given.interval.unwrap_or(5);
    if interval == 0 || interval > SECONDS_MAX {
        return Err(SettingError::new(
            "files.container_sync.interval",
            format!("{interval}: expected 1 or more seconds"),
        ));
    }
    Ok(Realms {
        realms,
        current,
        allow_full_urls: given.allow_full_urls.unwrap_or(true),
        allowed_hosts: given.allowed_hosts.iter().map(|host| host.to_ascii_lowercase()).collect(),
        interval: Duration::from_secs(interval),
    })
}
