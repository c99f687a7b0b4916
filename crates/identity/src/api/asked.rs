//! A request's query and path: the parameters of lists, and the links of their pages.

use axum::extract::FromRequestParts;
use http::request::Parts;
use web::query::{Query, encode};

use crate::api::Shared;

/// A request's query, and its path for links.
pub(crate) struct QueryParameters {
    query: Query,
    path: String,
}

impl<S: Sync> FromRequestParts<S> for QueryParameters {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(Self { query: Query::parse(parts.uri.query()), path: parts.uri.path().to_owned() })
    }
}

impl QueryParameters {
    /// Returns a parameter's text, unless it is absent or empty.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        self.query.text(name).filter(|text| !text.is_empty()).map(std::borrow::Cow::into_owned)
    }

    /// Returns all parameters, decoded. Parameters that are not UTF-8 are omitted.
    pub(crate) fn pairs(&self) -> impl Iterator<Item = (String, String)> {
        self.query
            .pairs()
            .filter_map(|(key, value)| Some((key.to_owned(), std::str::from_utf8(value).ok()?.to_owned())))
    }

    /// Whether a parameter is present and not false (Keystone: `?include_names`, `?include_names=True`).
    pub(crate) fn is_set(&self, name: &str) -> bool {
        self.query.text(name).is_some_and(|text| text != "0" && !text.eq_ignore_ascii_case("false"))
    }

    /// Returns a boolean parameter.
    pub(crate) fn flag(&self, name: &str) -> Option<bool> {
        self.text(name).map(|_| self.is_set(name))
    }

    /// Returns the URL of another page of the same list in `dialect`. An empty marker means the first page.
    pub(crate) fn link(&self, shared: &Shared, dialect: &str, marker: &str) -> String {
        let base = format!("{}/identity/{dialect}{}", shared.settings().public_url, self.path);
        let kept = self
            .query
            .pairs()
            .filter(|(key, _)| *key != "marker")
            .map(|(key, value)| format!("{}={}", encode(key.as_bytes(), false), encode(value, false)));
        let marker = (!marker.is_empty()).then(|| format!("marker={}", encode(marker.as_bytes(), false)));
        let query: Vec<String> = kept.chain(marker).collect();
        if query.is_empty() { base } else { format!("{base}?{}", query.join("&")) }
    }
}
