//! What may be a name of a user, tenant, domain or role.

/// Characters in a name at most.
pub const NAME_MAX: usize = 255;

/// Why a name is none.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// It has no characters.
    #[error("{field} must not be empty")]
    Empty {
        /// The field at fault.
        field: &'static str,
    },
    /// It has too many.
    #[error("{field} is longer than {NAME_MAX} characters")]
    Long {
        /// The field at fault.
        field: &'static str,
    },
    /// It has one that would not survive headers, paths or `tenant:user`.
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
}

/// Checks a name: 1 to 255 characters without control characters, `/`, and (unless `colon`, as in roles' names) `:`.
///
/// # Errors
/// [`NameError`] naming `field`.
pub fn check_name(field: &'static str, name: &str, colon: bool) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Empty { field });
    }
    if name.chars().count() > NAME_MAX {
        return Err(NameError::Long { field });
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
