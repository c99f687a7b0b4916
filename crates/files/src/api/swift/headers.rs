//! Reads metadata from headers and writes it to headers.

use http::HeaderMap;
use work::Time;

use super::answer::set;
use super::fault::Fault;
use crate::Error;
use crate::model::account_acl::{self, AccountAcl};
use crate::model::acl::Acl;
use crate::model::limits::Limits;
use crate::model::metadata::{Changes, Metadata, bytes_of, text_of, titled};
use crate::model::{etag, quota, version};
use crate::service::OWNERS;

/// The latest second that ten digits can express.
const EXPIRY_MAX: i64 = 9_999_999_999;

/// Headers that are stored with an object in addition to its metadata items.
pub(super) const OBJECT_HEADERS: [&str; 9] = [
    "content-encoding",
    "content-disposition",
    "content-language",
    "cache-control",
    "expires",
    "x-robots-tag",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
];

/// Rejects a header whose value is too long.
fn check_length(name: &http::HeaderName, value: &http::HeaderValue, limits: &Limits) -> Result<(), Fault> {
    if value.len() > limits.max_header_size {
        let shown: String = titled(name.as_str()).chars().take(limits.max_meta_name_length).collect();
        return Err(Error::Invalid(format!("Header value too long: {shown}")).into());
    }
    Ok(())
}

/// Returns a header's value as text; it must be UTF-8.
fn text(value: &http::HeaderValue) -> Result<&str, Fault> {
    let text = std::str::from_utf8(value.as_bytes());
    text.map_err(|_| Error::Invalid("Metadata must be valid UTF-8".into()).into())
}

/// Returns a header's value; `None` if it is missing or not text.
pub(super) fn get<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name).and_then(|value| std::str::from_utf8(value.as_bytes()).ok())
}

/// Returns whether a header has one of Swift's values for true.
pub(super) fn is_true_header(headers: &HeaderMap, name: &str) -> bool {
    get(headers, name).is_some_and(super::listing::is_true)
}

/// Returns the changes to an account's or container's items: `X-{kind}-Meta-…` sets an item, or removes it if the value is
/// empty; `X-Remove-{kind}-Meta-…` removes it.
pub(super) fn changes(kind: &str, headers: &HeaderMap, limits: &Limits) -> Result<Changes, Fault> {
    let (prefix, remove) = (format!("x-{kind}-meta-"), format!("x-remove-{kind}-meta-"));
    let mut changes = Changes::default();
    if kind == "container" {
        // Swift validates ACLs before other headers.
        of_container(headers, &mut changes)?;
    }
    for (name, value) in headers {
        check_length(name, value, limits)?;
        if let Some(item) = name.as_str().strip_prefix(&prefix) {
            let value = if item.is_empty() { "" } else { text(value)? };
            changes.set_item(&prefix, item, value, limits)?;
        } else if let Some(item) = name.as_str().strip_prefix(&remove) {
            changes.0.entry(format!("{prefix}{item}")).or_insert(None);
        }
    }
    if kind == "account" {
        of_account(headers, &mut changes)?;
    }
    Ok(changes)
}

/// Reads an account's ACL and quotas.
fn of_account(headers: &HeaderMap, changes: &mut Changes) -> Result<(), Fault> {
    if let Some(given) = get(headers, account_acl::HEADER) {
        let kept = if given.is_empty() {
            None
        } else {
            Some(AccountAcl::parse(given)?).filter(|acl| !acl.is_empty())
        };
        changes.0.insert(account_acl::HEADER.into(), kept.map(|acl| acl.to_text()));
    } else if headers.contains_key("x-remove-account-access-control") {
        changes.0.insert(account_acl::HEADER.into(), None);
    }
    quoting(headers, etag::ACCOUNT, changes)?;
    for (name, value) in headers {
        let name = name.as_str();
        if let Some(kept) = name.strip_prefix("x-remove-").map(|name| format!("x-{name}"))
            && quota::is_of_account(&kept)
        {
            changes.0.insert(kept, None);
        } else if quota::is_of_account(name) && !headers.contains_key(name.replacen("x-", "x-remove-", 1)) {
            let value = text(value)?;
            if !value.is_empty() && !quota::is_number(value) {
                return Err(Fault::status(http::StatusCode::BAD_REQUEST));
            }
            changes.0.insert(name.to_owned(), (!value.is_empty()).then(|| value.to_owned()));
        }
    }
    Ok(())
}

/// Reads a container's ACLs, versioning, quotas and synchronisation.
fn of_container(headers: &HeaderMap, changes: &mut Changes) -> Result<(), Fault> {
    for name in ["x-container-read", "x-container-write", "x-container-sync-to", "x-container-sync-key"] {
        if let Some(value) = get(headers, name) {
            let is_acl = matches!(name, "x-container-read" | "x-container-write");
            let clean = if is_acl { Acl::clean(name, value)? } else { value.to_owned() };
            changes.0.insert(name.to_owned(), (!clean.is_empty()).then_some(clean));
        } else if headers.contains_key(name.replacen("x-", "x-remove-", 1)) {
            changes.0.insert(name.to_owned(), None);
        }
    }
    quoting(headers, etag::CONTAINER, changes)?;
    if let Some(enabled) = get(headers, version::ENABLED) {
        let enabled = super::listing::is_true(enabled);
        changes.0.insert(version::ENABLED.into(), Some(enabled.to_string()));
    }
    archives(headers, changes)
}

/// Makes the checks of a container's PUT or POST that Swift makes before it authenticates the sender.
pub(super) fn check_container(headers: &HeaderMap) -> Result<(), Fault> {
    for name in [quota::CONTAINER_BYTES, quota::CONTAINER_COUNT] {
        if let Some(value) = get(headers, name) {
            quota::check(name, value)?;
        }
    }
    archives(headers, &mut Changes::default())
}

/// Makes the checks of an object's PUT that Swift makes before it authenticates the sender.
pub(super) fn check_object(headers: &HeaderMap) -> Result<(), Fault> {
    match get(headers, "x-object-manifest") {
        Some(pointer) => check_pointer(pointer),
        None => Ok(()),
    }
}

/// Normalises headers as Swift's server does: drops names with an underscore, which could be confused with others, and
/// joins the values of one name into a list.
pub(super) fn as_received(headers: &mut HeaderMap) {
    let odd = |name: &http::HeaderName| name.as_str().contains('_');
    if headers.len() == headers.keys_len() && !headers.keys().any(odd) {
        return;
    }
    let mut kept = HeaderMap::with_capacity(headers.len());
    for name in headers.keys().filter(|name| !odd(name)) {
        let values: Vec<_> = headers.get_all(name).iter().map(http::HeaderValue::as_bytes).collect();
        let joined = http::HeaderValue::from_bytes(&values.join(&b","[..]));
        // Swift accepts only one of these.
        let single = matches!(name.as_str(), "content-type" | "content-length");
        if let (false, Ok(joined)) = (single, joined) {
            kept.insert(name.clone(), joined);
        } else if let Some(first) = headers.get(name) {
            kept.insert(name.clone(), first.clone());
        }
    }
    *headers = kept;
}

/// Reads whether ETags are to be quoted.
fn quoting(headers: &HeaderMap, name: &str, changes: &mut Changes) -> Result<(), Fault> {
    if headers.contains_key(name.replacen("x-", "x-remove-", 1)) {
        changes.0.insert(name.to_owned(), None);
    } else if let Some(value) = headers.get(name) {
        let value = text(value)?;
        let wish = (!value.is_empty()).then(|| super::listing::is_true(value).to_string());
        changes.0.insert(name.to_owned(), wish);
    }
    Ok(())
}

/// Reads `X-Versions-Location` and `X-History-Location`, of which only one may be set (Swift, Versioned writes).
fn archives(headers: &HeaderMap, changes: &mut Changes) -> Result<(), Fault> {
    let given = |name: &str| get(headers, name).filter(|value| !value.is_empty());
    let (stack, history) = (given(version::STACK), given(version::HISTORY));
    if stack.is_some() && history.is_some() {
        let text = format!("Only one of {} or {} may be specified", version::STACK, version::HISTORY);
        return Err(Error::Invalid(text).into());
    }
    for (name, value) in [(version::STACK, stack), (version::HISTORY, history)] {
        if let Some(value) = value {
            if value.contains('/') {
                let text = "Container name cannot contain slashes";
                return Err(Fault::html(http::StatusCode::PRECONDITION_FAILED, text));
            }
            // Stored as it was sent, since it is shown that way; it is decoded when it is used.
            changes.0.insert(name.into(), Some(value.to_owned()));
        }
    }
    let removes =
        ["x-remove-versions-location", "x-remove-history-location", version::STACK, version::HISTORY];
    if stack.is_none() && history.is_none() && removes.iter().any(|name| headers.contains_key(*name)) {
        changes.0.insert(version::STACK.into(), None);
        changes.0.insert(version::HISTORY.into(), None);
    }
    Ok(())
}

/// Returns an object's complete items and stored headers.
pub(super) fn of_object(headers: &HeaderMap, limits: &Limits) -> Result<Metadata, Fault> {
    let mut changes = Changes::default();
    for (name, value) in headers {
        check_length(name, value, limits)?;
        let text = text_of(value.as_bytes());
        if let Some(item) = name.as_str().strip_prefix("x-object-meta-") {
            changes.set_item("x-object-meta-", item, &text, limits)?;
            // Empty items of an object are stored (Swift, object server).
            changes.0.insert(name.as_str().to_owned(), Some(text));
        } else if OBJECT_HEADERS.contains(&name.as_str()) {
            changes.0.insert(name.as_str().to_owned(), Some(text));
        }
    }
    if let Some(pointer) = get(headers, "x-object-manifest") {
        changes.0.insert("x-object-manifest".into(), Some(pointer.to_owned()));
    }
    Ok(changes.into_values())
}

/// Checks `X-Object-Manifest: container/prefix` (Swift, Dynamic large objects).
fn check_pointer(pointer: &str) -> Result<(), Fault> {
    let fits = pointer.split_once('/').is_some_and(|(container, prefix)| {
        !container.is_empty()
            && !prefix.is_empty()
            && !prefix.starts_with('/')
            && !pointer.contains(['?', '&'])
    });
    if fits {
        return Ok(());
    }
    Err(Error::Page("X-Object-Manifest must be in the format container/prefix".into()).into())
}

/// Returns when an object expires: by `X-Delete-After`, which takes precedence, or by `X-Delete-At` (Swift, Expiring
/// objects).
pub(super) fn expiry(headers: &HeaderMap, now: Time) -> Result<Option<Time>, Fault> {
    let number = |name: &str| -> Option<Option<i64>> {
        let value = headers.get(name)?;
        Some(value.to_str().ok().and_then(|text| integer(text.trim())))
    };
    let refused = |text: &str| Err(Error::Invalid(text.into()).into());
    if let Some(after) = number("x-delete-after") {
        let Some(after) = after else { return refused("Non-integer X-Delete-After") };
        let at = now.seconds().saturating_add(after).clamp(0, EXPIRY_MAX);
        return if at <= now.seconds() {
            refused("X-Delete-After in past")
        } else {
            Ok(Some(Time::from_seconds(at)))
        };
    }
    match number("x-delete-at") {
        None => Ok(None),
        Some(None) => refused("Non-integer X-Delete-At"),
        Some(Some(at)) if at <= now.seconds() => refused("X-Delete-At in past"),
        Some(Some(at)) => Ok(Some(Time::from_seconds(at.min(EXPIRY_MAX)))),
    }
}

/// Parses an integer of any length.
fn integer(text: &str) -> Option<i64> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if !quota::is_number(digits) {
        return None;
    }
    Some(text.parse().unwrap_or(if text.starts_with('-') { i64::MIN } else { i64::MAX }))
}

/// Writes items to headers; those reserved for owners only if `owner`.
pub(super) fn show(metadata: &Metadata, owner: bool, headers: &mut HeaderMap) {
    for (name, value) in &metadata.0 {
        if name == etag::CONTAINER || name == etag::ACCOUNT {
            // Swift sends Python's spelling.
            set(headers, name, if value == "true" { "True" } else { "False" });
        } else if owner || !is_for_owners(name) {
            set(headers, name, bytes_of(value));
        }
    }
}

/// Returns whether only owners may see an item (Swift, `swift_owner_headers`).
fn is_for_owners(name: &str) -> bool {
    OWNERS.contains(&name)
        || matches!(
            name,
            "x-account-meta-temp-url-key" | "x-account-meta-temp-url-key-2" | "x-account-access-control"
        )
}

/// Returns whether a POST contains a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    get(headers, "content-type")
        .is_some_and(|value| value.trim().to_ascii_lowercase().starts_with("multipart/form-data"))
}
