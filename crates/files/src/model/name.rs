//! Names: UTF-8 without NUL, limited in length.

use crate::error::{Error, Result};
use crate::model::limits::Limits;

/// Swift's message for a name that is not text.
pub const NOT_TEXT: &str = "Invalid UTF8 or contains NULL";

/// Checks a decoded path segment.
fn checked(bytes: Vec<u8>) -> Result<String> {
    match String::from_utf8(bytes) {
        Ok(name) if !name.contains('\0') => Ok(name),
        _ => Err(Error::BadName(NOT_TEXT.into())),
    }
}

/// What a path refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `/v1/{account}`
    Account(String),
    /// `/v1/{account}/{container}`
    Container(String, String),
    /// `/v1/{account}/{container}/{object}`
    Object(String, String, String),
}

impl Target {
    /// Builds a target from decoded segments; the object's name includes all further slashes. `None` without an account.
    ///
    /// # Errors
    /// [`Error::BadName`].
    pub fn from_path(account: Vec<u8>, container: Option<Vec<u8>>, object: Option<Vec<u8>>) -> Result<Self> {
        let account = checked(account)?;
        Ok(match (container.filter(|c| !c.is_empty()), object.filter(|o| !o.is_empty())) {
            (Some(container), Some(object)) => Self::Object(account, checked(container)?, checked(object)?),
            (Some(container), None) => Self::Container(account, checked(container)?),
            (None, Some(_)) => return Err(Error::BadName("the container's name is missing".into())),
            (None, None) => Self::Account(account),
        })
    }

    /// Returns the account's name.
    #[must_use]
    pub fn account(&self) -> &str {
        match self {
            Self::Account(account) | Self::Container(account, _) | Self::Object(account, _, _) => account,
        }
    }

    /// Returns the container's name, unless the target is an account.
    #[must_use]
    pub fn container(&self) -> Option<&str> {
        match self {
            Self::Account(_) => None,
            Self::Container(_, container) | Self::Object(_, container, _) => Some(container),
        }
    }
}

/// Returns the tenant of an account named `AUTH_{tenant}` or `SERVICE_{tenant}`.
#[must_use]
pub fn tenant_of(account: &str) -> Option<&str> {
    account
        .strip_prefix("AUTH_")
        .or_else(|| account.strip_prefix("SERVICE_"))
        .filter(|tenant| !tenant.is_empty())
}

/// Checks the name of an account to create or change.
///
/// # Errors
/// [`Error::Invalid`], naming the limit.
pub fn check_account(name: &str, limits: &Limits) -> Result<()> {
    let max = limits.max_account_name_length;
    if name.len() > max {
        return Err(Error::Page(format!("Account name length of {} longer than {max}", name.len())));
    }
    Ok(())
}

/// Checks the name of a container to create.
///
/// # Errors
/// [`Error::Invalid`], naming the limit.
pub fn check_container(name: &str, limits: &Limits) -> Result<()> {
    let max = limits.max_container_name_length;
    if name.len() > max {
        return Err(Error::Page(format!("Container name length of {} longer than {max}", name.len())));
    }
    Ok(())
}

/// Checks the name of an object to create.
///
/// # Errors
/// [`Error::Invalid`], naming the limit.
pub fn check_object(name: &str, limits: &Limits) -> Result<()> {
    let max = limits.max_object_name_length;
    if name.len() > max {
        return Err(Error::Invalid(format!("Object name length of {} longer than {max}", name.len())));
    }
    Ok(())
}
