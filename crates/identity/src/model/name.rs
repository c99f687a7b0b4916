//! Rules for names of users, tenants, domains and roles.

/// Maximum length of a name, in characters.
pub const NAME_MAX: usize = 255;
/// Maximum length of the name of a tenant or domain, in characters, as in Keystone.
pub const SCOPE_NAME_MAX: usize = 64;

/// Why a name is rejected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It is empty.
    #[error("{field} must not be empty")]
    Empty {
        /// The field at fault.
        field: &'static str,
    },
    /// It is too long.
    #[error("{field} is longer than {max} characters")]
    Long {
        /// The field at fault.
        field: &'static str,
        /// The maximum length, in characters.
        max: usize,
    },
    /// It contains a character that does not work in headers, paths or `tenant:user`.
    #[error("{field} must not contain {found:?}")]
    Character {
        /// The field at fault.
        field: &'static str,
        /// The character.
        found: char,
    },
    /// It begins or ends with a blank.
    #[error("{field} must not begin or end with a blank")]
    Blank {
        /// The field at fault.
        field: &'static str,
    },
    /// In an ACL the name would mean something other than this user or tenant.
    #[error(
        "{field} must not look like an id (digits alone, or 32 hexadecimal digits), begin with AUTH_ or a dot, or be *"
    )]
    Reserved {
        /// The field at fault.
        field: &'static str,
    },
}

/// Whether `text` has the form of a tenant's id (digits only) or of a user's id (32 hexadecimal digits).
///
/// Where either an id or a name is allowed, such as in ACLs, text of this form is always an id. No user or tenant can be
/// given such a name, so nobody can impersonate another by name.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    digits || (text.len() == 32 && text.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Checks that the name of a tenant or domain is no longer than [`SCOPE_NAME_MAX`].
///
/// # Errors
/// [`NameError::Long`].
pub fn check_scope_name(field: &'static str, name: &str) -> Result<(), NameError> {
    if name.chars().count() > SCOPE_NAME_MAX {
        return Err(NameError::Long { field, max: SCOPE_NAME_MAX });
    }
    Ok(())
}

/// Checks a user's or tenant's name, which ACLs can contain: the same as [`check_name`], and that it is not
/// [reserved](NameError::Reserved).
///
/// # Errors
/// [`NameError`] naming `field`.
pub fn check_acl_name(field: &'static str, name: &str) -> Result<(), NameError> {
    check_name(field, name, false)?;
    let prefixed = name.get(..5).is_some_and(|start| start.eq_ignore_ascii_case("AUTH_"));
    if is_id(name) || prefixed || name.starts_with('.') || name == "*" {
        return Err(NameError::Reserved { field });
    }
    Ok(())
}

/// Checks a name: 1 to 255 characters, without control characters, `/`, and `:` (allowed if `colon` is set, as in roles'
/// names).
///
/// # Errors
/// [`NameError`] naming `field`.
pub fn check_name(field: &'static str, name: &str, colon: bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { field });
    }
    if name.chars().count() > NAME_MAX {
        return Err(NameError::Long { field, max: NAME_MAX });
    }
    if let Some(found) = name.chars().find(|c| c.is_control() || *c == '/' || (*c == ':' && !colon)) {
        return Err(NameError::Character { field, found });
    }
    if name.trim() != name {
        return Err(NameError::Blank { field });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_ambiguous_in_acls_are_reserved() {
        let hex = "0123456789abcdefABCDEF0123456789";
        for name in ["100002", "1", hex, "AUTH_100002", "auth_x", ".r", ".rlistings", "*"] {
            assert_eq!(check_acl_name("name", name), Err(NameError::Reserved { field: "name" }), "{name}");
        }
        for name in ["jdoe", "100002a", "1-2", &hex[1..], "AUTH", "a.b", "**", "é"] {
            assert_eq!(check_acl_name("name", name), Ok(()), "{name}");
        }
    }

    #[test]
    fn names_survive_headers_paths_and_tenant_colon_user() {
        for good in ["jdoe", "Jané Dœ", "a@b.c", "1", &"x".repeat(255)] {
            assert_eq!(check_name("name", good, false), Ok(()), "{good}");
        }
        for bad in ["", "a:b", "a/b", "a\nb", " a", "a ", "a\0", &"x".repeat(256)] {
            assert!(check_name("name", bad, false).is_err(), "{bad:?}");
        }
        assert_eq!(check_name("name", "nova:admin", true), Ok(()));
    }
}
