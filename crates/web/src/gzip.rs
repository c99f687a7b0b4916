//! Gzip for requests and responses of dialects whose bodies are small and held in memory (guide, Content Compression).

use std::io::{Read, Write};

use axum::extract::Request;
use axum::middleware::Next;
use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, StatusCode};

use crate::Response;
use crate::body;
use crate::format::weight;

/// Longest response that is compressed, in bytes.
const ANSWER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Returns whether a request accepts gzip.
#[must_use]
pub fn accepted(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    lines.flat_map(|line| line.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let refused = parts.any(|part| weight(part).is_some_and(|q| q.parse() == Ok(0.0)));
        named && !refused
    })
}

/// Decompresses a body to at most `limit` bytes.
///
/// # Errors
/// [`body::Error::TooLong`], and [`body::Error::Broken`] for invalid gzip.
pub fn unpacked(packed: &[u8], limit: usize) -> Result<Vec<u8>, body::Error> {
    let mut out = Vec::new();
    let mut reader = MultiGzDecoder::new(packed).take(limit as u64 + 1);
    reader.read_to_end(&mut out).map_err(|error| body::Error::Broken { reason: error.to_string() })?;
    if out.len() > limit { Err(body::Error::TooLong { limit }) } else { Ok(out) }
}

/// Compresses bytes.
#[must_use]
pub fn packed(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(bytes.len() / 2), Compression::fast());
    // Writing to memory cannot fail.
    let _ = encoder.write_all(bytes);
    encoder.finish().unwrap_or_default()
}

/// Middleware that compresses responses to requests that accept gzip, and adds `Vary: Accept-Encoding`.
pub async fn layer(request: Request, next: Next) -> Response {
    let asked = accepted(request.headers());
    let mut response = next.run(request).await;
    if response.headers().contains_key(CONTENT_ENCODING) {
        return response;
    }
    if response.headers().contains_key(CONTENT_TYPE) || response.status() == StatusCode::NOT_MODIFIED {
        response.headers_mut().append(VARY, HeaderValue::from_static("Accept-Encoding"));
    }
    if !asked {
        return response;
    }
    let (mut parts, whole) = response.into_parts();
    let whole = match body::read(whole, ANSWER_BYTES_MAX).await {
        Ok(whole) if !whole.is_empty() => whole,
        Ok(_) => return Response::from_parts(parts, axum::body::Body::empty()),
        Err(error) => {
            tracing::error!(%error, "cannot read a response's body to compress it; responding with 500");
            parts.status = StatusCode::INTERNAL_SERVER_ERROR;
            return Response::from_parts(parts, axum::body::Body::empty());
        }
    };
    parts.headers.remove(CONTENT_LENGTH);
    parts.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Response::from_parts(parts, packed(&whole).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_survive_a_round_trip_and_bombs_are_rejected() {
        let text = b"Just in case".repeat(1000);
        let small = packed(&text);
        assert!(small.len() < 200);
        assert_eq!(unpacked(&small, text.len()).unwrap(), text);
        assert_eq!(unpacked(&small, text.len() - 1), Err(body::Error::TooLong { limit: text.len() - 1 }));
        assert!(matches!(unpacked(b"plain", 100), Err(body::Error::Broken { .. })));
    }

    #[test]
    fn gzip_is_used_only_if_accepted() {
        let asks = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(value));
            accepted(&headers)
        };
        assert!(asks("gzip") && asks("deflate, GZIP;q=0.5"));
        assert!(
            !asks("gzip;q=0") && !asks("gzip;Q=0.0") && !asks("identity") && !accepted(&HeaderMap::new())
        );
    }
}
