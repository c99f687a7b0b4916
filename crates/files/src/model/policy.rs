//! Storage policies: named kinds of storage that a container is made in (Swift, Storage policies).

use serde::{Deserialize, Serialize};

/// A policy; its index is its place in the configuration and is never reused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// What it is called.
    pub name: String,
    /// Other names for it.
    #[serde(default)]
    pub aliases: Vec<String>,
    /// No new containers are made in it.
    #[serde(default)]
    pub deprecated: bool,
    /// Whether its objects' bytes are encrypted, where that is another word than for all.
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
    /// The index and policy of a name or alias, whatever its case.
    #[must_use]
    pub fn named(&self, name: &str) -> Option<(i64, &Policy)> {
        let is = |known: &str| known.eq_ignore_ascii_case(name);
        let index =
            self.0.iter().position(|policy| is(&policy.name) || policy.aliases.iter().any(|a| is(a)))?;
        Some((i64::try_from(index).ok()?, &self.0[index]))
    }

    /// What the policy of an index says about encryption, if anything.
    #[must_use]
    pub fn encrypts(&self, index: i64) -> Option<bool> {
        usize::try_from(index).ok().and_then(|index| self.0.get(index)).and_then(|policy| policy.encryption)
    }

    /// The name of an index; of one that the configuration has lost, the default's.
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
    fn names_are_found_whatever_their_case() {
        let policies = Policies::default();
        assert_eq!(policies.named("DEFAULT").unwrap().0, 0);
        assert_eq!(policies.named("archive").unwrap().0, 1);
        assert!(policies.named("").is_none());
        assert_eq!((policies.name(1), policies.name(9)), ("archive", "default"));
    }
}
