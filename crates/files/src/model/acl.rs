//! Container ACLs: `X-Container-Read` and `X-Container-Write` (Cloud Files guide, Access control lists; Swift, ACLs).

use identity::Caller;

use crate::error::{Error, Result};

/// A parsed list.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Acl {
    /// Referrer rules in order: the last that matches decides.
    referrers: Vec<(bool, String)>,
    /// `.rlistings`: who may read by referrer may list, too.
    listings: bool,
    /// Accounts and users.
    groups: Vec<String>,
}

impl Acl {
    /// Reads a list that was cleaned when it was stored.
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

    /// A list of accounts and users alone.
    #[must_use]
    pub fn of_groups(groups: Vec<String>) -> Self {
        Self { groups, ..Self::default() }
    }

    /// Checks and normalises a list as a user sent it.
    ///
    /// # Errors
    /// [`Error::Invalid`] naming the item.
    pub fn clean(header: &str, text: &str) -> Result<String> {
        let mut items = Vec::new();
        for item in text.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            let Some(designator) = item.strip_prefix('.') else {
                items.push(item.to_owned());
                continue;
            };
            let (kind, value) = designator.split_once(':').unwrap_or((designator, ""));
            match kind.trim() {
                "r" | "ref" | "referer" | "referrer" => {
                    if header.contains("write") {
                        return Err(Error::Invalid(format!("Referrers not allowed in write ACL: {item:?}")));
                    }
                    let value = value.trim();
                    let (sign, host) = value.strip_prefix('-').map_or(("", value), |host| ("-", host.trim()));
                    let host = if host == "*" { host } else { host.strip_prefix('*').unwrap_or(host) };
                    if host.is_empty() || host == "." {
                        return Err(Error::Invalid(format!(
                            "No host/domain value after referrer designation in ACL: {item:?}"
                        )));
                    }
                    items.push(format!(".r:{sign}{host}"));
                }
                "rlistings" if value.is_empty() => items.push(".rlistings".into()),
                _ => return Err(Error::Invalid(format!("Unknown designator {kind:?} in ACL: {item:?}"))),
            }
        }
        Ok(items.join(","))
    }

    /// Whether it names the caller: an account (`100001`, `AUTH_100001`), a user in it (`100001:jdoe`), or `*`.
    #[must_use]
    pub fn names(&self, caller: &Caller) -> bool {
        let tenant = caller.tenant.as_ref();
        let is_tenant = |text: &str| {
            tenant
                .is_some_and(|t| text == t.id || text == t.name || text.strip_prefix("AUTH_") == Some(&t.id))
        };
        let is_user = |text: &str| text == caller.user_name || text == caller.user_id;
        self.groups.iter().any(|group| match group.split_once(':') {
            Some((account, user)) => (account == "*" || is_tenant(account)) && (user == "*" || is_user(user)),
            None => is_tenant(group) || is_user(group),
        })
    }

    /// Whether anyone with this `Referer` may read.
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

    /// Whether whoever may read by referrer may also list.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn referrers_are_decided_by_the_last_rule_that_matches() {
        let acl = Acl::parse(".r:*,.r:-.example.com,.r:good.example.com,.rlistings");
        assert!(acl.allows_referrer(None));
        assert!(acl.allows_referrer(Some("http://elsewhere.org/x")));
        assert!(!acl.allows_referrer(Some("http://bad.example.com:80/x")));
        assert!(acl.allows_referrer(Some("https://good.example.com")));
        assert!(acl.opens_listings());
        assert!(!Acl::parse("jdoe").allows_referrer(None));
    }

    #[test]
    fn lists_are_cleaned_as_swift_does() {
        assert_eq!(
            Acl::clean("x-container-read", " .ref : * , jdoe ,.r:-*.x.com").unwrap(),
            ".r:*,jdoe,.r:-.x.com"
        );
        for bad in [".r:", ".r:-", ".unknown", ".rlistings:x"] {
            assert!(Acl::clean("x-container-read", bad).is_err(), "{bad}");
        }
        assert!(Acl::clean("x-container-write", ".r:*").is_err());
    }
}
