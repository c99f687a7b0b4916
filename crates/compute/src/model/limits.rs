//! Rate limits and absolute limits (guide, Limits).

use std::time::Duration;

use work::Time;

/// The time that a rate limit's window lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// 60 seconds.
    Minute,
    /// 86,400 seconds.
    Day,
}

impl Unit {
    /// As the dialect writes it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "MINUTE",
            Self::Day => "DAY",
        }
    }

    /// How long it is.
    #[must_use]
    pub fn duration(self) -> Duration {
        Duration::from_secs(match self {
            Self::Minute => 60,
            Self::Day => 86_400,
        })
    }
}

/// A rate limit: its place in the table, the requests it is for and its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Its name in the books.
    pub name: &'static str,
    /// The method.
    pub verb: &'static str,
    /// For human readers.
    pub uri: &'static str,
    /// For machines: searched in path and query behind the account.
    pub regex: &'static str,
    /// Requests in a window.
    pub value: i64,
    /// The window.
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
    /// Whether a request counts; `tail` is its path and query behind the account.
    #[must_use]
    pub fn matches(&self, verb: &str, tail: &str) -> bool {
        // The three expressions of the table need no engine.
        self.verb == verb
            && match self.regex {
                ".*" => true,
                regex => regex
                    .strip_prefix('^')
                    .map_or_else(|| tail.contains(regex), |start| tail.starts_with(start)),
            }
    }
}

/// A rate limit as it stands for a tenant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Which.
    pub rule: &'static Rule,
    /// Requests in a window, for this tenant.
    pub value: i64,
    /// How many are left in this one.
    pub remaining: i64,
    /// When the next one begins.
    pub reset: Time,
}

/// What a tenant may have and do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Rate limits, in order; none while they are lifted.
    pub rates: Vec<Rate>,
    /// Memory of all servers together, in MiB.
    pub ram_mib_max: i64,
    /// Shared IP groups.
    pub groups_max: i64,
    /// Servers in one of them.
    pub members_max: i64,
    /// Registered images.
    pub images_max: i64,
}

/// Absolute limits by their name in the books, with their defaults (errata: 25 groups, 25 members). Bytes of registered
/// images count in no quota once their objects are gone, so that there is a limit to their number.
pub const ABSOLUTE: [(&str, i64); 4] =
    [("ram-mib", 51_200), ("ip-groups", 25), ("ip-group-members", 25), ("registered-images", 100)];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_are_searched_behind_the_account() {
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
