//! Headers of requests and responses.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};

use super::fault::Fault;
use crate::model::{Change, Publication, Ttl};
use crate::service::Cdn;

/// Maximum number of mail addresses in a request.
const EMAILS_MAX: usize = 20;

/// What a request changes.
pub(super) fn change(headers: &HeaderMap) -> Result<Change, Fault> {
    let pattern =
        |name: &str| {
            headers.get(name).map(|value| value.to_str().map(str::to_owned)).transpose().map_err(|_| {
                Fault::page(StatusCode::BAD_REQUEST, &format!("{name}: expected printable ASCII"))
            })
        };
    Ok(Change {
        enabled: flag(headers, "x-cdn-enabled"),
        ttl: ttl(headers)?,
        log_retention: flag(headers, "x-log-retention"),
        user_agents: pattern("x-user-agent-acl")?,
        referrers: pattern("x-referrer-acl")?,
    })
}

/// Returns whether a header is present and true.
pub(super) fn says_yes(headers: &HeaderMap, name: &str) -> bool {
    flag(headers, name) == Some(true)
}

/// Returns a header's value as a boolean: six words mean true, anything else false.
fn flag(headers: &HeaderMap, name: &str) -> Option<bool> {
    let value = headers.get(name)?;
    Some(value.to_str().is_ok_and(is_yes))
}

/// Returns whether a word means true.
pub(super) fn is_yes(word: &str) -> bool {
    matches!(word.trim().to_ascii_lowercase().as_str(), "true" | "1" | "yes" | "on" | "t" | "y")
}

fn ttl(headers: &HeaderMap) -> Result<Option<Ttl>, Fault> {
    let Some(value) = headers.get("x-ttl") else { return Ok(None) };
    let text = value.to_str().map(str::trim).unwrap_or_default();
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(Fault::page(StatusCode::BAD_REQUEST, "Invalid X-TTL, must be integer"));
    }
    // Beyond 128 bits the sign alone matters: the value is adjusted to a limit either way.
    let beyond = if text.starts_with('-') { i128::MIN } else { i128::MAX };
    Ok(Some(Ttl::clamped(text.parse().unwrap_or(beyond))))
}

/// Checks `X-Purge-Email`, a list of mail addresses. No mail is sent: a purge is in force when it is answered.
pub(super) fn check_emails(headers: &HeaderMap) -> Result<(), Fault> {
    let Some(value) = headers.get("x-purge-email") else { return Ok(()) };
    let text = value.to_str().unwrap_or_default();
    let is_address = |address: &str| {
        let plain = address.bytes().all(|byte| byte.is_ascii_graphic());
        let parts = address.split_once('@');
        plain && parts.is_some_and(|(user, host)| !user.is_empty() && !host.is_empty() && !host.contains('@'))
    };
    let all: Vec<_> = text.split(',').map(str::trim).collect();
    if all.len() <= EMAILS_MAX && all.iter().copied().all(is_address) {
        return Ok(());
    }
    Err(Fault::purge_failed("Invalid X-Purge-Email, must be a list of mail addresses"))
}

/// Adds the headers that describe a publication.
pub(super) fn describe(cdn: &Cdn, publication: &Publication, headers: &mut HeaderMap) {
    let uris = cdn.uris(publication);
    let ttl = publication.ttl.seconds().to_string();
    let told = [
        ("x-cdn-enabled", capitalised(publication.enabled)),
        ("x-ttl", &ttl),
        ("x-log-retention", capitalised(publication.log_retention)),
        ("x-cdn-uri", &uris.plain),
        ("x-cdn-ssl-uri", &uris.ssl),
        ("x-cdn-streaming-uri", &uris.streaming),
        ("x-cdn-ios-uri", &uris.ios),
    ];
    let patterns =
        [("x-user-agent-acl", &*publication.user_agents), ("x-referrer-acl", &*publication.referrers)];
    let patterns = patterns.into_iter().filter(|(_, pattern)| !pattern.is_empty());
    for (name, value) in told.into_iter().chain(patterns) {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(HeaderName::from_static(name), value);
        }
    }
}

/// Writes a boolean as Rackspace's service did.
pub(super) fn capitalised(flag: bool) -> &'static str {
    if flag { "True" } else { "False" }
}
