//! `openrc`: a file for shells to source, to use this cloud as its first user.

use std::path::Path;

use crate::data_dir::write_private;

/// The first user's credentials.
pub struct Credentials<'a> {
    /// The user's name.
    pub user: &'a str,
    /// Its tenant's name.
    pub tenant: &'a str,
    /// Its password.
    pub password: &'a str,
    /// Its API key.
    pub api_key: &'a str,
}

/// Writes the file, readable only by its owner. `authority` is the certificate that clients are to trust.
///
/// # Errors
/// The operating system's error.
pub fn write(
    path: &Path,
    url: &str,
    region: &str,
    authority: Option<&Path>,
    first: &Credentials<'_>,
) -> std::io::Result<()> {
    let Credentials { user, tenant, password, api_key } = first;
    let mut text = format!(
        "# Source this for swift, rclone (remote nephos:) and openstack.
export OS_AUTH_URL={url}/identity/v3
export OS_IDENTITY_API_VERSION=3
export OS_USERNAME={user}
export OS_PASSWORD={password}
export OS_PROJECT_NAME={tenant}
export OS_USER_DOMAIN_NAME=Default
export OS_PROJECT_DOMAIN_NAME=Default
export OS_REGION_NAME={region}
export RCLONE_CONFIG_NEPHOS_TYPE=swift
export RCLONE_CONFIG_NEPHOS_ENV_AUTH=true
# For curl and clients of version 1: GET $NEPHOS_URL/v1.0 with X-Auth-User and X-Auth-Key.
export NEPHOS_URL={url}
export NEPHOS_USER={user}
export NEPHOS_API_KEY={api_key}
# For administration on this machine: nephos usage.
export NEPHOS_DATA_DIR={data_dir}
",
        data_dir = quoted(&path.parent().unwrap_or(Path::new(".")).display().to_string()),
        password = quoted(password),
        api_key = quoted(api_key),
    );
    if let Some(authority) = authority {
        text.push_str(&format!("export OS_CACERT={}\n", quoted(&authority.display().to_string())));
    }
    if let Some(program) = std::env::current_exe().ok().as_deref().and_then(Path::parent) {
        let program = quoted(&program.display().to_string());
        text.push_str(&format!("command -v nephos >/dev/null || export PATH=\"$PATH\":{program}\n"));
    }
    write_private(path, &text)
}

/// Quotes text for a shell in single quotes, which the text may contain too.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}
