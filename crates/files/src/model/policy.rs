//! Storage policies: named classes of storage for containers (Swift, Storage policies).

use serde::{Deserialize, Serialize};

/// A storage policy. Its index is its position in the configuration and is never reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Its name.
    pub name: String,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// Whether new containers must not use it.
    #[serde(default)]
    pub deprecated: bool,
    /// Whether its objects are encrypted, if that differs from the deployment's setting.
    #[serde(default)]
    pub encryption: Option<bool>,
}

/// The policies of a deployment; the first is the default.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policies(pub Vec<Policy>);

impl Default for Policies {
    fn default() -> Self {
        let policy = |name: &str| Policy { name: name.into(), ..Policy::default() };
        Self(vec![policy("default"), policy("archive")])
    }
}

impl Policies {
    /// Returns the index and policy of a name or alias, case-insensitively.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<(i64, &Policy)> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        let index =
            self.0.iter().position(|policy| is(&policy.name) || policy.aliases.iter().any(|a| is(a)))?;
        Some((i64::try_from(index).ok()?, &self.0[index]))
    }

    /// Returns a policy's own encryption setting, if it has one.
    #[must_use]
    pub fn encrypts(&self, index: i64) -> Option<bool> {
        usize::try_from(index).ok().and_then(|index| self.0.get(index)).and_then(|policy| policy.encryption)
    }

    /// Returns the name of an index; the default policy's if the configuration no longer has it.
    #[must_use]
    pub fn name(&self, index: i64) -> &str {
        let policy =
            usize::try_from(index).ok().and_then(|index| self.0.get(index)).or_else(|| self.0.first());
        policy.map_or("default", |policy| policy.name.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_case_insensitive() {
        let policies = Policies::default();
        assert_eq!(policies.named("DEFAULT").unwrap().0, 0);
        assert_eq!(policies.named("archive").unwrap().0, 1);
        assert!(policies.named("").is_none());
        assert_eq!((policies.name(1), policies.name(9)), ("archive", "default"));
    }
}
