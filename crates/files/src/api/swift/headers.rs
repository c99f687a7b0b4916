//! Metadata in headers.

use std::collections::BTreeMap;

use http::HeaderMap;

use super::answer::set;
use super::fault::Fault;
use crate::Error;
use crate::model::acl::Acl;
use crate::model::limits::Limits;
use crate::model::metadata::{Changes, Metadata};

/// Headers that are kept with an object beside its own items.
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

/// The text of a header's value, which must be UTF-8 and of bounded length.
fn text<'h>(
    name: &http::HeaderName,
    value: &'h http::HeaderValue,
    limits: &Limits,
) -> Result<&'h str, Fault> {
    if value.len() > limits.max_header_size {
        let shown: String = name.as_str().chars().take(limits.max_meta_name_length).collect();
        return Err(Error::Invalid(format!("Header value too long: {shown}")).into());
    }
    let text = std::str::from_utf8(value.as_bytes());
    text.map_err(|_| Error::Invalid("Metadata must be valid UTF-8".into()).into())
}

/// Changes of an account's or container's items: `X-{kind}-Meta-…` sets (an empty value removes),
/// `X-Remove-{kind}-Meta-…` removes.
pub(super) fn changes(kind: &str, headers: &HeaderMap, limits: &Limits) -> Result<Changes, Fault> {
    let (prefix, remove) = (format!("x-{kind}-meta-"), format!("x-remove-{kind}-meta-"));
    let mut changes = Changes::default();
    for (name, value) in headers {
        let value = text(name, value, limits)?;
        if let Some(item) = name.as_str().strip_prefix(&prefix) {
            changes.set_item(&prefix, item, value, limits)?;
        } else if let Some(item) = name.as_str().strip_prefix(&remove) {
            changes.0.entry(format!("{prefix}{item}")).or_insert(None);
        }
    }
    if kind == "container" {
        for name in ["x-container-read", "x-container-write"] {
            if let Some(value) = headers.get(name).and_then(|value| value.to_str().ok()) {
                let clean = Acl::clean(name, value)?;
                changes.0.insert(name.to_owned(), (!clean.is_empty()).then_some(clean));
            } else if headers.contains_key(name.replacen("x-", "x-remove-", 1)) {
                changes.0.insert(name.to_owned(), None);
            }
        }
    }
    Ok(changes)
}

/// An object's items and kept headers, as a whole.
pub(super) fn of_object(headers: &HeaderMap, limits: &Limits) -> Result<Metadata, Fault> {
    let mut changes = Changes::default();
    for (name, value) in headers {
        let value = text(name, value, limits)?;
        if let Some(item) = name.as_str().strip_prefix("x-object-meta-") {
            changes.set_item("x-object-meta-", item, value, limits)?;
        } else if OBJECT_HEADERS.contains(&name.as_str()) && !value.is_empty() {
            changes.0.insert(name.as_str().to_owned(), Some(value.to_owned()));
        }
    }
    Ok(changes.into_values())
}

/// Shows items; what only an owner may see is left out for others.
pub(super) fn show(metadata: &Metadata, owner: bool, headers: &mut HeaderMap) {
    let hidden = |name: &str| !owner && matches!(name, "x-container-read" | "x-container-write");
    let shown: BTreeMap<_, _> = metadata.0.iter().filter(|(name, _)| !hidden(name)).collect();
    for (name, value) in shown {
        set(headers, name, value);
    }
}
