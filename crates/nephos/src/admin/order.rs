//! Orders: administrative commands, in the form in which they are sent over the socket.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::cli::{Command, Host, Image, Role, Server, Sharing, Tenant, User};
use crate::config::SettingError;

/// An administrative command.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Order {
    /// `tenant create`
    CreateTenant { name: String, description: String },
    /// `tenant list`
    ListTenants {},
    /// `tenant show`
    ShowTenant { tenant: String },
    /// `tenant set`, `enable`, `disable`
    SetTenant { tenant: String, name: Option<String>, description: Option<String>, enabled: Option<bool> },
    /// `tenant delete`
    DeleteTenant { tenant: String },
    /// `tenant limits`
    TenantLimits { tenant: String, set: Vec<(String, Option<i64>)> },
    /// `user create`
    CreateUser {
        name: String,
        tenant: String,
        password: Option<String>,
        api_key: Option<String>,
        email: Option<String>,
        roles: Vec<String>,
    },
    /// `user list`
    ListUsers {},
    /// `user show`
    ShowUser { user: String },
    /// `user set`, `enable`, `disable`
    SetUser {
        user: String,
        name: Option<String>,
        password: Option<String>,
        api_key: Option<String>,
        email: Option<String>,
        enabled: Option<bool>,
    },
    /// `user delete`
    DeleteUser { user: String },
    /// `user release-name`
    ReleaseUserName { name: String },
    /// `role list`
    ListRoles {},
    /// `role grant`, `role revoke`
    ChangeRole { role: String, user: String, tenant: Option<String>, grant: bool },
    /// `audit`
    ShowAudit { subject: Option<String>, limit: i64 },
    /// `image import`
    ImportImage {
        file: PathBuf,
        format: String,
        name: String,
        kernel: Option<PathBuf>,
        initrd: Option<PathBuf>,
        cmdline: Option<String>,
    },
    /// `image register`
    RegisterImage { tenant: String, container: String, object: String, format: String, name: String },
    /// `image list`
    ListImages { tenant: Option<String> },
    /// `image share`, `image unshare`; without a tenant, with everyone
    ShareImage { id: String, tenant: Option<String>, shared: bool },
    /// `server suspend`
    SuspendServer { id: String },
    /// `server resume`
    ResumeServer { id: String },
    /// `host list`
    ListHosts {},
    /// `host drain`
    DrainHost { host: String, drained: bool },
    /// `host give-up`
    DeclareHostLost { host: String, powered_off: bool },
    /// `host give-up --end`
    ReinstateHost { host: String },
    /// `doctor`, while a server runs
    ListDamage {},
    /// `doctor --deep`
    CheckStorage {},
    /// `usage`
    ShowUsage { tenant: Option<String>, days: i64, servers: bool },
    /// `clock`
    MoveClock { seconds: u64 },
}

impl Order {
    /// Converts a command into an order.
    ///
    /// # Errors
    /// [`SettingError`] for a file whose path cannot be made absolute, or an invalid limit.
    pub fn of(command: Command) -> Result<Self, SettingError> {
        Ok(match command {
            Command::Tenant(tenant) => Self::of_tenant(tenant)?,
            Command::User(user) => Self::of_user(user),
            Command::Role(Role::List) => Self::ListRoles {},
            Command::Role(Role::Grant { role, user, tenant }) => {
                Self::ChangeRole { role, user, tenant, grant: true }
            }
            Command::Role(Role::Revoke { role, user, tenant }) => {
                Self::ChangeRole { role, user, tenant, grant: false }
            }
            Command::Audit { subject, limit } => Self::ShowAudit { subject, limit },
            Command::Image(Image::Import { file, format, name, kernel, initrd, cmdline }) => {
                let name = name.unwrap_or_else(|| stem(&file));
                let (file, kernel) = (absolute(file)?, kernel.map(absolute).transpose()?);
                let initrd = initrd.map(absolute).transpose()?;
                Self::ImportImage { file, format, name, kernel, initrd, cmdline }
            }
            Command::Image(Image::Register { object, tenant, format, name }) => {
                let (container, object) = object
                    .split_once('/')
                    .filter(|(container, object)| !container.is_empty() && !object.is_empty())
                    .ok_or_else(|| {
                        SettingError::new("object", format!("{object:?}: expected CONTAINER/OBJECT"))
                    })?;
                let name = name.unwrap_or_else(|| stem(Path::new(object)));
                let (container, object) = (container.to_owned(), object.to_owned());
                Self::RegisterImage { tenant, container, object, format, name }
            }
            Command::Image(Image::List { tenant }) => Self::ListImages { tenant },
            Command::Image(Image::Share(with)) => Self::of_sharing(with, true),
            Command::Image(Image::Unshare(with)) => Self::of_sharing(with, false),
            Command::Server(Server::Suspend { id }) => Self::SuspendServer { id },
            Command::Server(Server::Resume { id }) => Self::ResumeServer { id },
            Command::Host(Host::List) => Self::ListHosts {},
            Command::Host(Host::Drain { host, end }) => Self::DrainHost { host, drained: !end },
            Command::Host(Host::GiveUp { host, end: true, .. }) => Self::ReinstateHost { host },
            Command::Host(Host::GiveUp { host, powered_off, .. }) => {
                Self::DeclareHostLost { host, powered_off }
            }
            Command::Usage(usage) => {
                Self::ShowUsage { tenant: usage.tenant, days: usage.days, servers: usage.servers }
            }
            Command::Clock { advance } => Self::MoveClock { seconds: advance.unwrap_or(0) },
            Command::Doctor { .. } => Self::CheckStorage {},
            Command::Serve | Command::Completions { .. } | Command::Man { .. } => {
                unreachable!("these commands run without an order")
            }
        })
    }

    fn of_sharing(with: Sharing, shared: bool) -> Self {
        Self::ShareImage { id: with.id, tenant: with.tenant, shared }
    }

    fn of_tenant(tenant: Tenant) -> Result<Self, SettingError> {
        let set = |tenant, enabled| Self::SetTenant {
            tenant,
            name: None,
            description: None,
            enabled: Some(enabled),
        };
        Ok(match tenant {
            Tenant::Create { name, description } => Self::CreateTenant { name, description },
            Tenant::List => Self::ListTenants {},
            Tenant::Show { tenant } => Self::ShowTenant { tenant },
            Tenant::Set { tenant, name, description } => {
                Self::SetTenant { tenant, name, description, enabled: None }
            }
            Tenant::Enable { tenant } => set(tenant, true),
            Tenant::Disable { tenant } => set(tenant, false),
            Tenant::Delete { tenant } => Self::DeleteTenant { tenant },
            Tenant::Limits { tenant, set } => {
                let set = set.iter().map(|text| limit(text)).collect::<Result<_, _>>()?;
                Self::TenantLimits { tenant, set }
            }
        })
    }

    fn of_user(user: User) -> Self {
        let set = |user, enabled| Self::SetUser {
            user,
            name: None,
            password: None,
            api_key: None,
            email: None,
            enabled: Some(enabled),
        };
        match user {
            User::Create { name, tenant, password, api_key, role, email } => {
                Self::CreateUser { name, tenant, password, api_key, email, roles: role }
            }
            User::List => Self::ListUsers {},
            User::Show { user } => Self::ShowUser { user },
            User::Set { user, name, password, api_key, email } => {
                Self::SetUser { user, name, password, api_key, email, enabled: None }
            }
            User::Enable { user } => set(user, true),
            User::Disable { user } => set(user, false),
            User::Delete { user } => Self::DeleteUser { user },
            User::ReleaseName { name } => Self::ReleaseUserName { name },
        }
    }
}

/// Makes a path absolute, because the server that runs the order may have another working directory.
fn absolute(path: PathBuf) -> Result<PathBuf, SettingError> {
    std::path::absolute(&path).map_err(|e| SettingError::new("file", e))
}

/// Parses `NAME=VALUE`, or `NAME=` for the default.
fn limit(text: &str) -> Result<(String, Option<i64>), SettingError> {
    let (name, value) = text
        .split_once('=')
        .ok_or_else(|| SettingError::new("--set", format!("{text:?}: expected NAME=VALUE")))?;
    let value = match value {
        "" => None,
        number => Some(number.parse().map_err(|e| SettingError::new("--set", format!("{text:?}: {e}")))?),
    };
    Ok((name.to_owned(), value))
}

fn stem(file: &Path) -> String {
    file.file_stem().map_or_else(|| "image".to_owned(), |stem| stem.to_string_lossy().into_owned())
}
