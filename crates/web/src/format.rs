//! JSON or XML: by the path's extension, which wins, or by `Accept` (guide, Request/Response Types).

use http::header::ACCEPT;
use http::{HeaderMap, Uri};

/// How an answer is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Format {
    /// `application/json`, the default.
    #[default]
    Json,
    /// `application/xml`.
    Xml,
}

impl Format {
    /// The answer's media type.
    #[must_use]
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Xml => "application/xml",
        }
    }

    /// The format that `Accept` asks for, or JSON: the acceptable one of highest quality, the first of equals.
    #[must_use]
    pub fn accepted(headers: &HeaderMap) -> Self {
        let accept = headers.get(ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        preferred(accept, &["application/json", "application/xml", "text/xml"])
            .map_or(Self::Json, |index| if index == 0 { Self::Json } else { Self::Xml })
    }

    /// What a request's `Content-Type` says its body is; `None` for another or none.
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

/// The index of the offered media type that `accept` prefers: by quality, then by the order in `accept`, then by
/// the order offered. `None` when none is acceptable; an empty `accept` takes the first.
#[must_use]
pub fn preferred(accept: &str, offered: &[&str]) -> Option<usize> {
    if accept.trim().is_empty() {
        return (!offered.is_empty()).then_some(0);
    }
    let mut best: Option<(u16, usize)> = None;
    for range in accept.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let media = parts.next().unwrap_or_default().to_ascii_lowercase();
        let quality = parts.find_map(|p| p.strip_prefix("q=")).map_or(Some(1000), quality);
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

/// A quality in thousandths.
fn quality(text: &str) -> Option<u16> {
    let value: f32 = text.parse().ok()?;
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    (0.0..=1.0).contains(&value).then_some((value * 1000.0) as u16)
}

/// Takes `.json` or `.xml` off the end of a path: the URI without it, and the format if there was one.
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

/// Prepares a request for a dialect of both formats: the extension leaves the path, and the [`Format`] of the answer
/// goes into the request's extensions.
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
    fn accept_is_weighed() {
        let offered = ["application/json", "application/xml"];
        assert_eq!(preferred("", &offered), Some(0));
        assert_eq!(preferred("application/xml", &offered), Some(1));
        assert_eq!(preferred("application/xml;q=0.5, application/json;q=0.9", &offered), Some(0));
        assert_eq!(preferred("text/html, */*;q=0.1", &offered), Some(0));
        assert_eq!(preferred("text/html", &offered), None);
        assert_eq!(preferred("application/json;q=0", &offered), None);
    }

    #[test]
    fn the_extension_leaves_the_path_and_keeps_the_query() {
        let (uri, format) = split_extension(&"/v1.0/1/servers.xml?limit=1".parse().unwrap());
        assert_eq!((uri.to_string().as_str(), format), ("/v1.0/1/servers?limit=1", Some(Format::Xml)));
        let (uri, format) = split_extension(&"/v1.0/1/servers".parse().unwrap());
        assert_eq!((uri.to_string().as_str(), format), ("/v1.0/1/servers", None));
    }
}
