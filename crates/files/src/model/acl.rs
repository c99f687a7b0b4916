//! Container ACLs: `X-Container-Read` and `X-Container-Write` (Cloud Files guide, Access control lists; Swift, ACLs).

use identity::Caller;

use crate::error::{Error, Result};

/// A parsed container ACL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Referrer rules in order; the last matching one decides.
    referrers: Vec<(bool, String)>,
    /// `.rlistings`: callers who may read by referrer may also list.
    listings: bool,
    /// Accounts and users.
    groups: Vec<String>,
}

impl Acl {
    /// Parses a list that was normalised when it was stored.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        let mut acl = Self::default();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if let Some(host) = item.strip_prefix(".r:") {
                let (allow, host) = host.strip_prefix('-').map_or((true, host), |host| (false, host));
                acl.referrers.push((allow, host.to_owned()));
            } else if item == ".rlistings" {
                acl.listings = true;
            } else {
                acl.groups.push(item.to_owned());
            }
        }
        acl
    }

    /// Creates a list of accounts and users only.
    #[must_use]
    pub fn of_groups(groups: Vec<String>) -> Self {
        Self { groups, ..Self::default() }
    }

    /// Checks and normalises a list that a user sent.
    ///
    /// # Errors
    /// [`Error::Page`], naming the item.
    pub fn clean(header: &str, text: &str) -> Result<String> {
        let mut items = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let Some((kind, value)) = item.split_once(':').filter(|(kind, _)| kind.starts_with('.')) else {
                items.push(item.to_owned());
                continue;
            };
            let (kind, value) = (kind.trim(), value.trim());
            if !matches!(kind, ".r" | ".ref" | ".referer" | ".referrer") {
                return Err(refused(&format!("Unknown designator {} in", quoted(kind)), item));
            }
            if header.contains("write") {
                return Err(refused("Referrers not allowed in write", item));
            }
            let (sign, host) = value.strip_prefix('-').map_or(("", value), |host| ("-", host.trim()));
            let host = if host == "*" { host } else { host.strip_prefix('*').map_or(host, str::trim) };
            if host.is_empty() || host == "." {
                return Err(refused("No host/domain value after referrer designation in", item));
            }
            items.push(format!(".r:{sign}{host}"));
        }
        Ok(items.join(","))
    }

    /// Returns whether the list names the caller. An item is an account (`100001`, `AUTH_100001` or its name), which means all
    /// of its users, or `account:user`, where either may be `*`. A user without an account cannot be named: `jdoe` is the
    /// account of that name. [`Caller::is_tenant`] describes how ids and names are distinguished.
    #[must_use]
    pub fn names(&self, caller: &Caller) -> bool {
        self.groups.iter().any(|group| match group.split_once(':') {
            Some((account, user)) => {
                (account == "*" || caller.is_tenant(account)) && (user == "*" || caller.is_user(user))
            }
            None => caller.is_tenant(group),
        })
    }

    /// Returns whether a caller with this `Referer` may read.
    #[must_use]
    pub fn allows_referrer(&self, referrer: Option<&str>) -> bool {
        let host = referrer.and_then(host_of).unwrap_or("unknown");
        let mut allowed = false;
        for (allow, pattern) in &self.referrers {
            let applies = pattern == "*"
                || pattern == host
                || (pattern.starts_with('.') && host.ends_with(pattern.as_str()));
            if applies {
                allowed = *allow;
            }
        }
        allowed
    }

    /// Returns whether callers who may read by referrer may also list.
    #[must_use]
    pub fn opens_listings(&self) -> bool {
        self.listings
    }
}

fn host_of(referrer: &str) -> Option<&str> {
    let authority = referrer.split_once("://")?.1.split(['/', '?', '#']).next()?;
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    Some(host.split(':').next().unwrap_or(host)).filter(|host| !host.is_empty())
}

fn refused(what: &str, item: &str) -> Error {
    Error::Page(format!("{what} ACL: {}", quoted(item)))
}

/// Quotes a text as Python does, as in Swift's messages.
fn quoted(text: &str) -> String {
    if text.contains('\'') && !text.contains('"') { format!("\"{text}\"") } else { format!("'{text}'") }
}

#[cfg(test)]
mod tests {
    use identity::TenantRef;
    use work::Time;

    use super::*;

    const USER: &str = "0123456789abcdef0123456789abcdef";
    const OTHER: &str = "fedcba9876543210fedcba9876543210";

    struct Who {
        tenant: (&'static str, &'static str, &'static str),
        user: (&'static str, &'static str, &'static str),
    }

    impl Who {
        fn caller(&self) -> Caller {
            let (id, name, domain) = self.tenant;
            let (user_id, user_name, user_domain) = self.user;
            Caller {
                user_id: user_id.into(),
                user_name: user_name.into(),
                domain_id: user_domain.into(),
                tenant: Some(TenantRef { id: id.into(), name: name.into(), domain_id: domain.into() }),
                roles: Vec::new(),
                grants: Vec::new(),
                operator: false,
                service: false,
                expires: Time(0),
                delegation: None,
            }
        }
    }

    /// Tests every form of item that names user `jdoe` of account `shop`, with that user and with everyone who could be
    /// confused with it: users and accounts whose names are the ids, or with the same names in other domains or accounts.
    #[test]
    fn every_form_names_its_own_account_or_user_and_no_other() {
        let me = Who { tenant: ("100002", "shop", "default"), user: (USER, "jdoe", "default") };
        let forms = [
            "100002",
            "AUTH_100002",
            "shop",
            "100002:jdoe",
            "shop:jdoe",
            "AUTH_100002:jdoe",
            &format!("100002:{USER}"),
            &format!("shop:{USER}"),
            "100002:*",
            "shop:*",
            "*:jdoe",
            &format!("*:{USER}"),
            "*:*",
        ];
        for form in forms {
            assert!(Acl::parse(form).names(&me.caller()), "{form}");
        }
        let beta = ("100003", "beta", "default");
        let impostors = [
            ("a user named like the account's id", Who { tenant: beta, user: (OTHER, "100002", "default") }),
            ("a user named like the account", Who { tenant: beta, user: (OTHER, "shop", "default") }),
            ("a user named like the user's id", Who { tenant: beta, user: (OTHER, USER, "default") }),
            ("a user named AUTH_100002", Who { tenant: beta, user: (OTHER, "AUTH_100002", "default") }),
            ("a user named *", Who { tenant: beta, user: (OTHER, "*", "default") }),
            ("a user named as an item", Who { tenant: beta, user: (OTHER, "100002:jdoe", "default") }),
            (
                "an account named like the id",
                Who { tenant: ("100003", "100002", "default"), user: (OTHER, "jdoe2", "default") },
            ),
            (
                "an account named AUTH_100002",
                Who { tenant: ("100003", "AUTH_100002", "default"), user: (OTHER, "jdoe2", "default") },
            ),
            (
                "the names in another domain",
                Who { tenant: ("100003", "shop", "other"), user: (OTHER, "jdoe", "other") },
            ),
            ("a user whose id is the account's", Who { tenant: beta, user: ("100002", "jdoe2", "default") }),
        ];
        for (what, who) in &impostors {
            for form in forms.iter().filter(|form| **form != "*:*") {
                assert!(!Acl::parse(form).names(&who.caller()), "{what}: {form}");
            }
        }
        // Only `*:jdoe` names a user of that name elsewhere; only the account alone names another user of the account.
        let namesake = Who { tenant: beta, user: (OTHER, "jdoe", "default") };
        let colleague = Who { tenant: me.tenant, user: (OTHER, "asmith", "default") };
        for form in forms {
            let (by_name, by_account) =
                (["*:jdoe", "*:*"], ["100002", "AUTH_100002", "shop", "100002:*", "shop:*", "*:*"]);
            assert_eq!(Acl::parse(form).names(&namesake.caller()), by_name.contains(&form), "{form}");
            assert_eq!(Acl::parse(form).names(&colleague.caller()), by_account.contains(&form), "{form}");
        }
        // A user alone is not an item: it would match any user who takes that name.
        for item in ["jdoe", USER, "*", ""] {
            assert!(!Acl::parse(item).names(&me.caller()), "{item}");
        }
    }

    #[test]
    fn the_last_matching_referrer_rule_decides() {
        let acl = Acl::parse(".r:*,.r:-.example.com,.r:good.example.com,.rlistings");
        assert!(acl.allows_referrer(None));
        assert!(acl.allows_referrer(Some("http://elsewhere.org/x")));
        assert!(!acl.allows_referrer(Some("http://bad.example.com:80/x")));
        assert!(acl.allows_referrer(Some("https://good.example.com")));
        assert!(acl.opens_listings());
        assert!(!Acl::parse("jdoe").allows_referrer(None));
    }

    #[test]
    fn lists_are_normalised_as_swift_does() {
        assert_eq!(
            Acl::clean("x-container-read", " .ref : * , jdoe ,.r:-*.x.com").unwrap(),
            ".r:*,jdoe,.r:-.x.com"
        );
        // An item without a colon is an account's name, whatever it begins with.
        assert_eq!(Acl::clean("x-container-read", ".unknown,.rlistings").unwrap(), ".unknown,.rlistings");
        for (header, bad, text) in [
            ("x-container-read", ".r:", "No host/domain value after referrer designation in ACL: '.r:'"),
            ("x-container-read", ".r:-", "No host/domain value after referrer designation in ACL: '.r:-'"),
            ("x-container-read", ".rlist:x", "Unknown designator '.rlist' in ACL: '.rlist:x'"),
            ("x-container-read", ".x:it's", "Unknown designator '.x' in ACL: \".x:it's\""),
            ("x-container-write", ".r:*", "Referrers not allowed in write ACL: '.r:*'"),
        ] {
            assert_eq!(Acl::clean(header, bad), Err(Error::Page(text.into())), "{bad}");
        }
    }
}
