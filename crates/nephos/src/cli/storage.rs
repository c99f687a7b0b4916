//! Flags of Cloud Files. Settings with more than one value (policies, limits, realms) can only be set in the file.

use clap::Args;

/// Cloud Files.
#[derive(Clone, Debug, Default, Args)]
pub struct FilesFlags {
    /// Refuse changes except by operators [default: off]
    #[arg(long, global = true, value_name = "on|off", env = "NEPHOS_FILES_READ_ONLY")]
    pub files_read_only: Option<String>,
    /// Encrypt objects' bytes at rest [default: off]
    #[arg(long, global = true, value_name = "on|off", env = "NEPHOS_FILES_ENCRYPTION")]
    pub files_encryption: Option<String>,
    /// Let users look at their expired objects [default: on]
    #[arg(long, global = true, value_name = "on|off", env = "NEPHOS_FILES_ALLOW_OPEN_EXPIRED", hide = true)]
    pub files_allow_open_expired: Option<String>,
    /// Seconds for which an expired object is still counted [default: 300]
    #[arg(long, global = true, value_name = "SECONDS", env = "NEPHOS_FILES_EXPIRED_STAY", hide = true)]
    pub files_expired_stay: Option<String>,
    /// Domains under which accounts and containers have host names; may be given several times
    #[arg(
        long,
        global = true,
        value_name = "DOMAIN",
        env = "NEPHOS_FILES_STORAGE_DOMAINS",
        value_delimiter = ','
    )]
    pub files_storage_domains: Vec<String>,
    /// Name server that resolves customers' host names that are CNAMEs of storage domains
    #[arg(long, global = true, value_name = "ADDR", env = "NEPHOS_FILES_CNAME_RESOLVER", hide = true)]
    pub files_cname_resolver: Option<String>,
    /// Maximum number of CNAMEs followed for one host name [default: 1]
    #[arg(long, global = true, value_name = "N", env = "NEPHOS_FILES_CNAME_LOOKUP_DEPTH", hide = true)]
    pub files_cname_lookup_depth: Option<String>,
    /// Seconds between deliveries of access logs [default: 3600]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "NEPHOS_FILES_ACCESS_LOG_INTERVAL",
        hide = true
    )]
    pub files_access_log_interval: Option<String>,
    /// Key for signed /info requests
    #[arg(
        long,
        global = true,
        value_name = "KEY",
        env = "NEPHOS_FILES_INFO_KEY",
        hide = true,
        hide_env_values = true
    )]
    pub files_info_key: Option<String>,
    /// MiB per second that the scrub reads; 0 switches it off [default: 8]
    #[arg(long, global = true, value_name = "MIB", env = "NEPHOS_FILES_SCRUB_RATE", hide = true)]
    pub files_scrub_rate: Option<String>,
    /// Seconds between the starts of two passes of the scrub [default: 604800]
    #[arg(long, global = true, value_name = "SECONDS", env = "NEPHOS_FILES_SCRUB_INTERVAL", hide = true)]
    pub files_scrub_interval: Option<String>,
}
