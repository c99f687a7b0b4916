//! The command line.

mod storage;

use std::path::PathBuf;

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, CommandFactory, FromArgMatches, Parser, Subcommand};

pub use storage::FilesFlags;

/// A whole cloud in one program.
#[derive(Debug, Parser)]
#[command(name = "nephos", version, about, max_term_width = 100)]
pub struct Cli {
    /// Where the cloud is.
    #[command(flatten)]
    pub common: Common,
    /// Print JSON; lists with one object per line
    #[arg(long, global = true)]
    pub json: bool,
    /// The command.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Parses the command line and the environment variables. Exits with an error message if they are invalid.
    pub fn read() -> Self {
        let matches = Self::command().get_matches();
        let mut cli = Self::from_arg_matches(&matches)
            .unwrap_or_else(|error| error.format(&mut Self::command()).exit());
        cli.common.prefer_flags(&matches);
        cli
    }
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve the cloud
    Serve,
    /// Create and show tenants
    #[command(subcommand)]
    Tenant(Tenant),
    /// Create and show users
    #[command(subcommand)]
    User(User),
    /// Show, grant and revoke roles
    #[command(subcommand)]
    Role(Role),
    /// Show changes of tenants, users and roles, newest first
    Audit {
        /// Only changes to this tenant or user, by id
        #[arg(long, value_name = "ID")]
        subject: Option<String>,
        /// Maximum number of changes
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(i64).range(1..100_000))]
        limit: i64,
    },
    /// Import, register, share and show images
    #[command(subcommand)]
    Image(Image),
    /// Suspend and resume servers
    #[command(subcommand)]
    Server(Server),
    /// Show the hosts that run machines
    #[command(subcommand)]
    Host(Host),
    /// Show what tenants used
    Usage(Usage),
    /// Show the time of a running cloud, or move it in a rehearsal
    #[command(hide = true)]
    Clock {
        /// Move it forward by this many seconds
        #[arg(long, value_name = "SECONDS")]
        advance: Option<u64>,
    },
    /// Check what this machine can do
    Doctor {
        /// Also read and check everything that is stored, and correct counters
        #[arg(long)]
        deep: bool,
    },
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages
    Man {
        /// Directory to write to; created if missing
        dir: PathBuf,
    },
}

/// Where the cloud is and how it is configured. Flags override variables, which override the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Configuration file [default: nephos.toml, if it exists]
    #[arg(long, global = true, value_name = "FILE", env = "NEPHOS_CONFIG")]
    pub config: Option<PathBuf>,
    /// Data directory [default: ./nephos-data]
    #[arg(long, global = true, value_name = "DIR", env = "NEPHOS_DATA_DIR")]
    pub data_dir: Option<PathBuf>,
    /// Address of the API [default: 127.0.0.1:8080]
    #[arg(long, global = true, value_name = "ADDR", env = "NEPHOS_LISTEN")]
    pub listen: Option<String>,
    /// Metadata: sqlite:, sqlite:DIR or postgres://… [default: sqlite:]
    #[arg(long, global = true, value_name = "URL", env = "NEPHOS_DATABASE")]
    pub database: Option<String>,
    /// Connections of this process to PostgreSQL [default: 30]
    #[arg(long, global = true, value_name = "N", env = "NEPHOS_DATABASE_CONNECTIONS")]
    pub database_connections: Option<usize>,
    /// Object bytes: file: or file:DIR [default: file:]
    #[arg(long, global = true, value_name = "URL", env = "NEPHOS_BLOBS")]
    pub blobs: Option<String>,
    /// Hosts for servers: a libvirt URI or `simulated:`; may be given several times [default: qemu:///system]
    #[arg(long, global = true, value_name = "URI", env = "NEPHOS_HYPERVISOR", value_delimiter = ' ')]
    pub hypervisor: Vec<String>,
    /// URL of this cloud as clients see it [default: http:// or https:// and the address of the API]
    #[arg(long, global = true, value_name = "URL", env = "NEPHOS_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Address of the edge, which serves published containers, or `off` [default: 127.0.0.1:8081]
    #[arg(long, global = true, value_name = "ADDR", env = "NEPHOS_EDGE_LISTEN")]
    pub edge_listen: Option<String>,
    /// Host name that containers are published under, perhaps with a port [default: cdn.localhost and the edge's port]
    #[arg(long, global = true, value_name = "NAME", env = "NEPHOS_CDN_HOST")]
    pub cdn_host: Option<String>,
    /// Serve HTTPS with this certificate chain, PEM; reread at SIGHUP
    #[arg(long, global = true, value_name = "FILE", env = "NEPHOS_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, global = true, value_name = "FILE", env = "NEPHOS_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Serve HTTPS with the cloud's own certificate, created once: self-signed
    #[arg(long, global = true, value_name = "self-signed", env = "NEPHOS_TLS")]
    pub tls: Option<String>,
    /// The guide's rate limits: on or off [default: on]
    #[arg(long, global = true, value_name = "on|off", env = "NEPHOS_SERVERS_RATE_LIMITS", hide = true)]
    pub servers_rate_limits: Option<String>,
    /// Cloud Files
    #[command(flatten)]
    pub files: FilesFlags,
}

impl Common {
    /// Lets a flag for one kind of certificate also override a variable for the other kind.
    fn prefer_flags(&mut self, matches: &ArgMatches) {
        let flag = |name: &str| matches.value_source(name) == Some(ValueSource::CommandLine);
        let (word, certificate, key) = (flag("tls"), flag("tls_cert"), flag("tls_key"));
        if word {
            self.tls_cert = self.tls_cert.take().filter(|_| certificate);
            self.tls_key = self.tls_key.take().filter(|_| key);
        } else if certificate || key {
            self.tls = None;
        }
    }
}

/// Tenants.
#[derive(Debug, Subcommand)]
pub enum Tenant {
    /// Create a tenant
    Create {
        /// Its name
        name: String,
        /// Its description
        #[arg(long, default_value = "")]
        description: String,
    },
    /// Show all tenants
    List,
    /// Show a tenant
    Show {
        /// Its name or id
        tenant: String,
    },
    /// Change a tenant
    Set {
        /// Its name or id
        tenant: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// New description
        #[arg(long)]
        description: Option<String>,
    },
    /// Let a tenant's users sign in again
    Enable {
        /// Its name or id
        tenant: String,
    },
    /// Lock out a tenant's users; its data stays
    Disable {
        /// Its name or id
        tenant: String,
    },
    /// Delete a tenant with all its data; its users stay, without a tenant
    Delete {
        /// Its name or id
        tenant: String,
    },
    /// Show a tenant's limits of Cloud Servers and the CDN, or set one
    Limits {
        /// Its name or id
        tenant: String,
        /// NAME=VALUE sets a limit, NAME= resets it to the default; may be given several times
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Create a user; the password and API key are shown once
    Create {
        /// Its name, unique in its domain
        name: String,
        /// Its tenant's name or id
        #[arg(long, value_name = "T")]
        tenant: String,
        /// Its password [default: a random one]
        #[arg(long, value_name = "P")]
        password: Option<String>,
        /// Its API key [default: a random one]
        #[arg(long, value_name = "K")]
        api_key: Option<String>,
        /// A role on its tenant; may be given several times, or `none` [default: admin]
        #[arg(long, value_name = "R")]
        role: Vec<String>,
        /// Its mail address
        #[arg(long)]
        email: Option<String>,
    },
    /// Show all users
    List,
    /// Show a user with its roles
    Show {
        /// Its name or id
        user: String,
    },
    /// Change a user; a new password or key revokes its tokens
    Set {
        /// Its name or id
        user: String,
        /// New name
        #[arg(long)]
        name: Option<String>,
        /// New password
        #[arg(long, value_name = "P")]
        password: Option<String>,
        /// New API key
        #[arg(long, value_name = "K")]
        api_key: Option<String>,
        /// New mail address
        #[arg(long)]
        email: Option<String>,
    },
    /// Let a user sign in again
    Enable {
        /// Its name or id
        user: String,
    },
    /// Lock a user out at once
    Disable {
        /// Its name or id
        user: String,
    },
    /// Delete a user; its name stays reserved for its tenant
    Delete {
        /// Its name or id
        user: String,
    },
    /// Let users of any tenant take the name of a deleted or renamed user, even though ACLs may still refer to that user by
    /// it
    ReleaseName {
        /// The name
        name: String,
    },
}

/// Roles.
#[derive(Debug, Subcommand)]
pub enum Role {
    /// Show all roles
    List,
    /// Grant a user a role
    Grant {
        /// The role's name
        role: String,
        /// The user's name or id
        #[arg(long)]
        user: String,
        /// On this tenant [default: on the whole cloud]
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
    },
    /// Revoke a user's role
    Revoke {
        /// The role's name
        role: String,
        /// The user's name or id
        #[arg(long)]
        user: String,
        /// On this tenant [default: on the whole cloud]
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
    },
}

/// Images.
#[derive(Debug, Subcommand)]
pub enum Image {
    /// Import an image for all tenants
    Import {
        /// The disk image
        file: PathBuf,
        /// Format of the file; it is never guessed
        #[arg(long, value_parser = ["qcow2", "raw"])]
        format: String,
        /// Its name [default: the file's]
        #[arg(long)]
        name: Option<String>,
        /// A kernel to boot directly
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
        /// The kernel's initial RAM disk
        #[arg(long, value_name = "FILE")]
        initrd: Option<PathBuf>,
        /// The kernel's command line
        #[arg(long, value_name = "TEXT")]
        cmdline: Option<String>,
    },
    /// Register an object in a tenant's Cloud Files account as one of that tenant's images
    Register {
        /// The disk image, as CONTAINER/OBJECT
        object: String,
        /// The tenant whose account it is in, by id
        #[arg(long, value_name = "T")]
        tenant: String,
        /// Format of the object; it is never guessed
        #[arg(long, value_parser = ["qcow2", "raw"])]
        format: String,
        /// Its name [default: the object's]
        #[arg(long)]
        name: Option<String>,
    },
    /// Show the images that all tenants may use, and the operator's own
    List {
        /// Show those that this tenant may use instead, by its name or id
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
    },
    /// Let a tenant or everyone use an image
    Share(Sharing),
    /// Stop sharing an image with a tenant or with everyone; servers built from it stay
    Unshare(Sharing),
}

/// Which image, and with whom.
#[derive(Debug, Args)]
#[group(skip)]
#[command(group = clap::ArgGroup::new("with").required(true))]
pub struct Sharing {
    /// The image's number or UUID
    pub id: String,
    /// This tenant, by its name or id
    #[arg(long, value_name = "T", group = "with")]
    pub tenant: Option<String>,
    /// Everyone
    #[arg(long, group = "with")]
    pub public: bool,
}

/// Servers.
#[derive(Debug, Subcommand)]
pub enum Server {
    /// Suspend a server; its tenant cannot use it until it is resumed
    Suspend {
        /// Its UUID or number
        id: String,
    },
    /// Resume a suspended server
    Resume {
        /// Its UUID or number
        id: String,
    },
}

/// Hosts.
#[derive(Debug, Subcommand)]
pub enum Host {
    /// Show them
    List,
    /// Place no new servers on a host
    Drain {
        /// Its name, as listed
        host: String,
        /// Place new servers on it again
        #[arg(long)]
        end: bool,
    },
    /// Declare a host lost with everything on it, so that its servers can be rebuilt elsewhere
    GiveUp {
        /// Its name, as listed
        host: String,
        /// Confirm that it is switched off and runs no machines; otherwise the configured servers.fence switches it off
        #[arg(long, conflicts_with = "end")]
        powered_off: bool,
        /// The host is back: use it again, and remove what other hosts run by now
        #[arg(long)]
        end: bool,
    },
}

/// Usage.
#[derive(Debug, Args)]
pub struct Usage {
    /// Only this tenant
    #[arg(long, value_name = "ID")]
    pub tenant: Option<String>,
    /// Number of days to go back
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(0..36_500))]
    pub days: i64,
    /// Per server: seconds, seconds times MiB of memory, bytes on the public network
    #[arg(long)]
    pub servers: bool,
}
