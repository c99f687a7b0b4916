//! Orders: what the command line asks of the cloud, as it travels over the socket.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::{Command, Common, Host, Image, Server, Tenant, User};
use crate::config::Bad;

/// An order.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// `tenant create`
    CreateTenant { name: String },
    /// `tenant list`
    ListTenants {},
    /// `user create`
    CreateUser {
        name: String,
        tenant: String,
        password: Option<String>,
        api_key: Option<String>,
        roles: Vec<String>,
    },
    /// `user list`
    ListUsers {},
    /// `image import`
    ImportImage {
        file: PathBuf,
        format: String,
        name: String,
        kernel: Option<PathBuf>,
        initrd: Option<PathBuf>,
        cmdline: Option<String>,
    },
    /// `image list`
    ListImages {},
    /// `server suspend`
    SuspendServer { id: String },
    /// `server resume`
    ResumeServer { id: String },
    /// `host list`
    ListHosts {},
    /// `usage`
    ShowUsage { tenant: Option<String>, days: i64 },
}

impl Order {
    /// The order of a command, and where the cloud is.
    ///
    /// # Errors
    /// [`Bad`] for a file that has no path from elsewhere.
    pub fn of(command: Command) -> Result<(Common, Self), Bad> {
        // The server that carries the order out may have another working directory.
        let absolute = |path: PathBuf| std::path::absolute(&path).map_err(|e| Bad::new("file", e));
        Ok(match command {
            Command::Tenant(Tenant::Create { name, common }) => (common, Self::CreateTenant { name }),
            Command::Tenant(Tenant::List { common }) => (common, Self::ListTenants {}),
            Command::User(User::Create { name, tenant, password, api_key, role, common }) => {
                (common, Self::CreateUser { name, tenant, password, api_key, roles: role })
            }
            Command::User(User::List { common }) => (common, Self::ListUsers {}),
            Command::Image(Image::Import { file, format, name, kernel, initrd, cmdline, common }) => {
                let name = name.unwrap_or_else(|| stem(&file));
                let (file, kernel) = (absolute(file)?, kernel.map(absolute).transpose()?);
                let initrd = initrd.map(absolute).transpose()?;
                (common, Self::ImportImage { file, format, name, kernel, initrd, cmdline })
            }
            Command::Image(Image::List { common }) => (common, Self::ListImages {}),
            Command::Server(Server::Suspend { id, common }) => (common, Self::SuspendServer { id }),
            Command::Server(Server::Resume { id, common }) => (common, Self::ResumeServer { id }),
            Command::Host(Host::List { common }) => (common, Self::ListHosts {}),
            Command::Usage(usage) => {
                (usage.common, Self::ShowUsage { tenant: usage.tenant, days: usage.days })
            }
            Command::Serve(_) | Command::Doctor(_) => unreachable!("carried out by themselves"),
        })
    }
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(|| "image".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
