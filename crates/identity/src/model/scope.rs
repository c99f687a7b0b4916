//! Scopes of roles and tokens.

/// The scope of a token or a grant.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// None: the token can only be exchanged for another one.
    Unscoped,
    /// One tenant.
    Tenant(String),
    /// One domain.
    Domain(String),
    /// The whole cloud (Keystone's system scope).
    Cloud,
}

impl Scope {
    /// Returns the column's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Unscoped => String::new(),
            Self::Tenant(id) => format!("t:{id}"),
            Self::Domain(id) => format!("d:{id}"),
            Self::Cloud => "c".to_owned(),
        }
    }

    /// Parses the column's text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match (text, text.split_once(':')) {
            ("c", _) => Self::Cloud,
            (_, Some(("t", id))) => Self::Tenant(id.to_owned()),
            (_, Some(("d", id))) => Self::Domain(id.to_owned()),
            _ => Self::Unscoped,
        }
    }

    /// Returns the tenant's id if the scope is a tenant.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        if let Self::Tenant(id) = self { Some(id) } else { None }
    }

    /// Returns the domain's id if the scope is a domain.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        if let Self::Domain(id) = self { Some(id) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_round_trips() {
        let all = [Scope::Unscoped, Scope::Cloud, Scope::Tenant("1".into()), Scope::Domain("c".into())];
        for scope in all {
            assert_eq!(Scope::from_text(&scope.to_text()), scope);
        }
    }
}
