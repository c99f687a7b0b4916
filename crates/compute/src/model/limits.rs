//! Rate limits and absolute limits (guide, Limits).

use std::time::Duration;

use work::Time;

/// Duration of a rate limit's window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 60 seconds.
    Minute,
    /// 86,400 seconds.
    Day,
}

impl Unit {
    /// Its name in the API.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "MINUTE",
            Self::Day => "DAY",
        }
    }

    /// Its duration.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Day => 86_400,
        })
    }
}

/// A rate limit: the requests that it applies to and its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in the database and in the operator's commands.
    pub name: &'static str,
    /// The method.
    pub verb: &'static str,
    /// The URI pattern that is shown to users.
    pub uri: &'static str,
    /// The regular expression that is searched for in path and query after the account.
    pub regex: &'static str,
    /// Default number of requests per window.
    pub value: i64,
    /// Duration of the window.
    pub unit: Unit,
}

/// The guide's table, least specific first for each verb.
pub const RULES: [Rule; 5] = [
    Rule { name: "post", verb: "POST", uri: "*", regex: ".*", value: 10, unit: Unit::Minute },
    Rule {
        name: "post-servers",
        verb: "POST",
        uri: "*/servers",
        regex: "^/servers",
        value: 25,
        unit: Unit::Day,
    },
    Rule { name: "put", verb: "PUT", uri: "*", regex: ".*", value: 10, unit: Unit::Minute },
    Rule {
        name: "changes-since",
        verb: "GET",
        uri: "*changes-since*",
        regex: "changes-since",
        value: 3,
        unit: Unit::Minute,
    },
    Rule { name: "delete", verb: "DELETE", uri: "*", regex: ".*", value: 100, unit: Unit::Minute },
];

impl Rule {
    /// Returns whether the rule applies to a request. `tail` is its path and query after the account.
    #[must_use]
    pub fn matches(&self, verb: &str, tail: &str) -> bool {
        // The three expressions of the table are simple enough to be matched without a regex engine.
        self.verb == verb
            && match self.regex {
                ".*" => true,
                regex => regex
                    .strip_prefix('^')
                    .map_or_else(|| tail.contains(regex), |start| tail.starts_with(start)),
            }
    }
}

/// The current state of a tenant's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// The rule.
    pub rule: &'static Rule,
    /// Number of requests per window for this tenant.
    pub value: i64,
    /// Number of requests left in the current window.
    pub remaining: i64,
    /// When the next window starts.
    pub reset: Time,
}

/// A tenant's limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rate limits in order; empty if they are not enforced.
    pub rates: Vec<Rate>,
    /// Maximum memory of all servers together, in MiB.
    pub ram_mib_max: i64,
    /// Maximum number of shared IP groups.
    pub groups_max: i64,
    /// Maximum number of servers in a shared IP group.
    pub members_max: i64,
    /// Maximum number of registered images.
    pub images_max: i64,
}

/// Absolute limits by name with their defaults (errata: 25 groups, 25 members). The number of registered images is
/// limited because their bytes count in no quota once their objects are deleted.
pub const ABSOLUTE: [(&str, i64); 4] =
    [("ram-mib", 51_200), ("ip-groups", 25), ("ip-group-members", 25), ("registered-images", 100)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_matched_after_the_account() {
        let matching = |verb: &str, tail: &str| -> Vec<&str> {
            RULES.iter().filter(|rule| rule.matches(verb, tail)).map(|rule| rule.name).collect()
        };
        assert_eq!(matching("POST", "/servers"), ["post", "post-servers"]);
        assert_eq!(matching("POST", "/servers/1/action"), ["post", "post-servers"]);
        assert_eq!(matching("POST", "/images"), ["post"]);
        assert_eq!(matching("GET", "/servers"), [""; 0]);
        assert_eq!(matching("GET", "/servers/detail?changes-since=1"), ["changes-since"]);
        assert_eq!(matching("DELETE", "/servers/1"), ["delete"]);
    }
}
