//! Where a role or a token holds.

/// What a token or a grant is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Nothing: a token that can only be exchanged for another.
    Unscoped,
    /// One tenant.
    Tenant(String),
    /// One domain.
    Domain(String),
    /// The whole cloud (Keystone's system scope).
    Cloud,
}

impl Scope {
    /// As rows hold it.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Unscoped => String::new(),
            Self::Tenant(id) => format!("t:{id}"),
            Self::Domain(id) => format!("d:{id}"),
            Self::Cloud => "c".to_owned(),
        }
    }

    /// From what a row holds.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        match (text, text.split_once(':')) {
            ("c", _) => Self::Cloud,
            (_, Some(("t", id))) => Self::Tenant(id.to_owned()),
            (_, Some(("d", id))) => Self::Domain(id.to_owned()),
            _ => Self::Unscoped,
        }
    }

    /// The tenant's id, if it is one.
    #[must_use]
    pub fn tenant(&self) -> Option<&str> {
        if let Self::Tenant(id) = self { Some(id) } else { None }
    }

    /// The domain's id, if it is one.
    #[must_use]
    pub fn domain(&self) -> Option<&str> {
        if let Self::Domain(id) = self { Some(id) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_read_as_it_was_written() {
        let all = [Scope::Unscoped, Scope::Cloud, Scope::Tenant("1".into()), Scope::Domain("c".into())];
        for scope in all {
            assert_eq!(Scope::from_text(&scope.to_text()), scope);
        }
    }
}
