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
    /// Answer in JSON, lists with one object a line
    #[arg(long, global = true)]
    pub json: bool,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

impl Cli {
    /// Reads the command line and the variables; ends the program with what is wrong where it cannot.
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
    /// Make and show tenants
    #[command(subcommand)]
    Tenant(Tenant),
    /// Make and show users
    #[command(subcommand)]
    User(User),
    /// Show, give and take roles
    #[command(subcommand)]
    Role(Role),
    /// Show changes of tenants, users and roles, newest first
    Audit {
        /// Only those to this tenant or user, by id
        #[arg(long, value_name = "ID")]
        subject: Option<String>,
        /// At most so many
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
    /// Show the time of a running cloud; in a rehearsal, move it
    #[command(hide = true)]
    Clock {
        /// Move it forward by so many seconds
        #[arg(long, value_name = "SECONDS")]
        advance: Option<u64>,
    },
    /// Check what this machine can do
    Doctor {
        /// Also read and check everything that is stored, and correct counters
        #[arg(long)]
        deep: bool,
    },
    /// Print a shell's completions of this program
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual's pages
    Man {
        /// Into this directory, which is made
        dir: PathBuf,
    },
}

/// Where the cloud is and how it is set up: flags beat variables beat the file.
#[derive(Clone, Debug, Default, Args)]
pub struct Common {
    /// Configuration file [default: nephos.toml, if it is there]
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
    /// What clients are told to reach this cloud by [default: http:// or https:// and the address of the API]
    #[arg(long, global = true, value_name = "URL", env = "NEPHOS_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// Host name that containers are published under, with the edge's port [default: cdn.localhost:8081]
    #[arg(long, global = true, value_name = "NAME", env = "NEPHOS_CDN_HOST")]
    pub cdn_host: Option<String>,
    /// Serve HTTPS with this certificate chain, PEM; read again at SIGHUP
    #[arg(long, global = true, value_name = "FILE", env = "NEPHOS_TLS_CERT")]
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key, PEM
    #[arg(long, global = true, value_name = "FILE", env = "NEPHOS_TLS_KEY")]
    pub tls_key: Option<PathBuf>,
    /// Serve HTTPS with a certificate of the cloud's own, made once: self-signed
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
    /// A flag for one kind of certificate beats a variable for the other kind, too.
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
    /// Make a tenant
    Create {
        /// Its name
        name: String,
        /// What it is for
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
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
    },
    /// Let a tenant's users sign in again
    Enable {
        /// Its name or id
        tenant: String,
    },
    /// Shut a tenant out; its data stays
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
        /// NAME=VALUE sets a limit, NAME= takes it back to the default; may be given several times
        #[arg(long, value_name = "NAME=VALUE")]
        set: Vec<String>,
    },
}

/// Users.
#[derive(Debug, Subcommand)]
pub enum User {
    /// Make a user; the password and API key are shown once
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
        /// A role on its tenant, may be given several times; none for a user without [default: admin]
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
    /// Change a user; a new password or key ends its tokens
    Set {
        /// Its name or id
        user: String,
        /// Another name
        #[arg(long)]
        name: Option<String>,
        /// Another password
        #[arg(long, value_name = "P")]
        password: Option<String>,
        /// Another API key
        #[arg(long, value_name = "K")]
        api_key: Option<String>,
        /// Another mail address
        #[arg(long)]
        email: Option<String>,
    },
    /// Let a user sign in again
    Enable {
        /// Its name or id
        user: String,
    },
    /// Shut a user out at once
    Disable {
        /// Its name or id
        user: String,
    },
    /// Delete a user; its name stays reserved for its tenant
    Delete {
        /// Its name or id
        user: String,
    },
    /// Let users of any tenant take the name of a deleted or renamed user, whom ACLs may still mean by it
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
    /// Give a user a role
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
    /// Take a role from a user
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
        /// What the file is: it is never guessed
        #[arg(long, value_parser = ["qcow2", "raw"])]
        format: String,
        /// Its name [default: the file's]
        #[arg(long)]
        name: Option<String>,
        /// A kernel that is started directly
        #[arg(long, value_name = "FILE")]
        kernel: Option<PathBuf>,
        /// The kernel's initial RAM disk
        #[arg(long, value_name = "FILE")]
        initrd: Option<PathBuf>,
        /// The kernel's command line
        #[arg(long, value_name = "TEXT")]
        cmdline: Option<String>,
    },
    /// Register an object in a tenant's Cloud Files account as an image of that tenant's
    Register {
        /// The disk image, as CONTAINER/OBJECT
        object: String,
        /// Whose account it is in, by id
        #[arg(long, value_name = "T")]
        tenant: String,
        /// What the object is: it is never guessed
        #[arg(long, value_parser = ["qcow2", "raw"])]
        format: String,
        /// Its name [default: the object's]
        #[arg(long)]
        name: Option<String>,
    },
    /// Show the images that all tenants may use, and the operator's own
    List {
        /// Those that this tenant may use instead, by its name or id
        #[arg(long, value_name = "T")]
        tenant: Option<String>,
    },
    /// Let a tenant use an image, or everyone
    Share(Sharing),
    /// Take an image from a tenant again, or from everyone; what was made of it stays
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
    /// Hold a server, out of its tenant's reach
    Suspend {
        /// Its UUID or number
        id: String,
    },
    /// Let a held server go on
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
    /// Give a host no new servers
    Drain {
        /// Its name, as listed
        host: String,
        /// Give it new servers again
        #[arg(long)]
        end: bool,
    },
    /// Declare that a host is lost with all that was on it, so that its servers may be rebuilt elsewhere
    GiveUp {
        /// Its name, as listed
        host: String,
        /// It is switched off, so that its machines surely do not run; else the configured servers.fence does it
        #[arg(long, conflicts_with = "end")]
        powered_off: bool,
        /// It is back: use it again, without what belongs elsewhere by now
        #[arg(long)]
        end: bool,
    },
}

/// Usage.
#[derive(Debug, Args)]
pub struct Usage {
    /// Only this tenant's
    #[arg(long, value_name = "ID")]
    pub tenant: Option<String>,
    /// From this many days ago
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(i64).range(0..36_500))]
    pub days: i64,
    /// By server instead: seconds, seconds times MiB of memory, bytes of the public network
    #[arg(long)]
    pub servers: bool,
}
