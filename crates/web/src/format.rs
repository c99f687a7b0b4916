//! Selects JSON or XML: by the path's extension, which takes precedence, or by `Accept` (guide, Request/Response Types).

use std::borrow::Cow;

use http::header::{ACCEPT, VARY};
use http::{HeaderMap, HeaderValue, StatusCode, Uri};

/// The format of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json`, the default.
    #[default]
    Json,
    /// `application/xml`.
    Xml,
}

impl Format {
    /// Returns the media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
        }
    }

    /// Returns the format that `Accept` prefers: the highest quality, the first among equals; JSON by default.
    #[must_use]
    pub fn accepted(headers: &HeaderMap) -> Self {
        preferred(&accept(headers), &["application/json", "application/xml", "text/xml"])
            .map_or(Self::Json, |index| if index == 0 { Self::Json } else { Self::Xml })
    }

    /// Returns the format that `Content-Type` names; `None` if it names another or is missing.
    #[must_use]
    pub fn of_body(headers: &HeaderMap) -> Option<Self> {
        let value = headers.get(http::header::CONTENT_TYPE)?.to_str().ok()?;
        match value.split(';').next()?.trim().to_ascii_lowercase().as_str() {
            "application/json" => Some(Self::Json),
            "application/xml" | "text/xml" => Some(Self::Xml),
            _ => None,
        }
    }
}

/// Returns the value of `Accept`. Several headers form one list (RFC 9110, 5.3).
#[must_use]
pub fn accept(headers: &HeaderMap) -> Cow<'_, str> {
    let mut lines = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let first = lines.next().unwrap_or_default();
    lines.fold(Cow::Borrowed(first), |all, line| Cow::Owned(format!("{all}, {line}")))
}

/// Returns the index of the offered media type that `accept` prefers: by quality, then by order in `accept`, then by order
/// in `offered`. Returns `None` if none is acceptable, and the first if `accept` is empty.
#[must_use]
pub fn preferred(accept: &str, offered: &[&str]) -> Option<usize> {
    if accept.trim().is_empty() {
        return (!offered.is_empty()).then_some(0);
    }
    let mut best: Option<(u16, usize)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(weight).map_or(Some(1000), quality);
        let Some(quality) = quality.filter(|q| *q > 0) else { continue };
        let matches = |offer: &&&str| {
            media == **offer
                || media == "*/*"
                || media.strip_suffix("/*").is_some_and(|kind| offer.split('/').next() == Some(kind))
        };
        let Some(offer) = offered.iter().find(matches) else { continue };
        let index = offered.iter().position(|o| o == offer).unwrap_or(0);
        if best.is_none_or(|(found, _)| quality > found) {
            best = Some((quality, index));
        }
    }
    best.map(|(_, index)| index)
}

/// Returns the value of the `q` parameter. Parameter names are case-insensitive.
pub(crate) fn weight(parameter: &str) -> Option<&str> {
    let (name, value) = parameter.split_once('=')?;
    name.eq_ignore_ascii_case("q").then_some(value)
}

/// Parses a quality into thousandths.
fn quality(text: &str) -> Option<u16> {
    let value: f32 = text.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..=1.0).contains(&value).then_some((value * 1000.0) as u16)
}

/// Splits `.json` or `.xml` off a path. Returns the URI without it, and the format if there was one.
#[must_use]
pub fn split_extension(uri: &Uri) -> (Uri, Option<Format>) {
    let (path, format) = match uri.path() {
        path if path.ends_with(".json") => (&path[..path.len() - 5], Format::Json),
        path if path.ends_with(".xml") => (&path[..path.len() - 4], Format::Xml),
        _ => return (uri.clone(), None),
    };
    let text = uri.query().map_or_else(|| path.to_owned(), |query| format!("{path}?{query}"));
    let mut parts = uri.clone().into_parts();
    match text.parse() {
        Ok(path_and_query) => parts.path_and_query = Some(path_and_query),
        Err(_) => return (uri.clone(), None),
    }
    Uri::from_parts(parts).map_or_else(|_| (uri.clone(), None), |uri| (uri, Some(format)))
}

/// Marks a response, in its extensions, whose format depends on its request's [`Format`].
#[derive(Clone, Copy, Debug)]
pub struct Formatted;

/// Middleware around [`negotiate`]: adds `Vary: Accept` to responses whose format `Accept` decided rather than the path.
pub async fn layer(request: crate::Request, next: axum::middleware::Next) -> crate::Response {
    let fixed = split_extension(request.uri()).1.is_some();
    let mut response = next.run(request).await;
    let formed = response.extensions().get::<Formatted>().is_some();
    if !fixed && (formed || response.status() == StatusCode::NOT_MODIFIED) {
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept"));
    }
    response
}

/// Prepares a request for a dialect with both formats: removes the extension from the path and puts the response's
/// [`Format`] into the request's extensions.
#[must_use]
pub fn negotiate(mut request: crate::Request) -> crate::Request {
    let (uri, extension) = split_extension(request.uri());
    let format = extension.unwrap_or_else(|| Format::accepted(request.headers()));
    *request.uri_mut() = uri;
    request.extensions_mut().insert(format);
    request
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_is_evaluated_by_quality() {
        let offered = ["application/json", "application/xml"];
        assert_eq!(preferred("", &offered), Some(0));
        assert_eq!(preferred("application/xml", &offered), Some(1));
        assert_eq!(preferred("application/xml;q=0.5, application/json;q=0.9", &offered), Some(0));
        assert_eq!(preferred("text/html, */*;q=0.1", &offered), Some(0));
        assert_eq!(preferred("text/html", &offered), None);
        assert_eq!(preferred("application/json;q=0", &offered), None);
        assert_eq!(preferred("application/json;Q=0.1, application/xml;q=0.2", &offered), Some(1));
    }

    #[test]
    fn several_accept_headers_form_one_list() {
        let mut headers = HeaderMap::new();
        assert_eq!(accept(&headers), "");
        for line in ["text/html", "application/json;q=0.1", "application/xml"] {
            headers.append(ACCEPT, line.parse().unwrap());
        }
        assert_eq!(accept(&headers), "text/html, application/json;q=0.1, application/xml");
        assert_eq!(Format::accepted(&headers), Format::Xml);
    }

    #[test]
    fn the_extension_is_removed_and_the_query_kept() {
        let (uri, format) = split_extension(&"/v1.0/1/servers.xml?limit=1".parse().unwrap());
        assert_eq!((uri.to_string().as_str(), format), ("/v1.0/1/servers?limit=1", Some(Format::Xml)));
        let (uri, format) = split_extension(&"/v1.0/1/servers".parse().unwrap());
        assert_eq!((uri.to_string().as_str(), format), ("/v1.0/1/servers", None));
    }
}
