//! Responses with objects and pages: conditions, ranges and caching headers.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use axum::body::Body;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use http::header::{
    ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, EXPIRES, LOCATION, RANGE,
};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use web::conditional::{Validators, Verdict, evaluate, http_date, range_applies};
use web::range::{Selection, select};

use super::fill::Filled;
use super::head::Head;
use super::negative::NEGATIVE_TTL;
use super::{Edge, body};
use crate::model::Site;

/// The parts of a request that determine the response.
pub(super) struct Asked<'r> {
    pub(super) headers: &'r HeaderMap,
    pub(super) is_head: bool,
    /// In seconds since 1970.
    pub(super) now: i64,
}

/// The source of a response's body.
struct Source {
    edge: Arc<Edge>,
    site: Arc<Site>,
    path: Arc<str>,
    filled: Filled,
}

impl Source {
    fn stream(&self, range: Range<u64>) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let (edge, site) = (Arc::clone(&self.edge), Arc::clone(&self.site));
        body::of_range(edge, site, Arc::clone(&self.path), self.filled.clone(), range)
    }

    fn body(&self, range: Range<u64>) -> Body {
        match &self.filled.head.body {
            Some(whole) => {
                let index = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX);
                Body::from(whole.slice(index(range.start)..index(range.end)))
            }
            None => Body::from_stream(self.stream(range)),
        }
    }
}

/// The response to GET or HEAD.
pub(super) fn respond(
    edge: &Arc<Edge>,
    site: Arc<Site>,
    path: Arc<str>,
    filled: Filled,
    asked: &Asked<'_>,
) -> Response<Body> {
    let head = Arc::clone(&filled.head);
    let mut response = Response::new(Body::empty());
    *response.status_mut() = head.status;
    *response.headers_mut() = head.headers.clone();
    lasting(&head, site.ttl.seconds(), asked.now, response.headers_mut());
    let source = Source { edge: Arc::clone(edge), site, path, filled };
    let pieces = if head.status == StatusCode::OK {
        response.headers_mut().insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        match select_part(&head, asked) {
            Part::Whole => None,
            Part::Pieces(pieces) => Some(pieces),
            Part::Status(status) => return bare(response, status, head.length),
        }
    } else {
        None
    };
    match pieces {
        None => {
            response.headers_mut().insert(CONTENT_LENGTH, head.length.into());
            if !asked.is_head && head.length > 0 {
                *response.body_mut() = source.body(0..head.length);
            }
        }
        Some(pieces) => {
            *response.status_mut() = StatusCode::PARTIAL_CONTENT;
            match pieces.as_slice() {
                [piece] => one_piece(&mut response, &source, piece.clone(), head.length),
                _ => several_pieces(&mut response, source, pieces, &head),
            }
        }
    }
    response
}

enum Part {
    Whole,
    Pieces(Vec<Range<u64>>),
    Status(StatusCode),
}

fn select_part(head: &Head, asked: &Asked<'_>) -> Part {
    let etag = head.etag().map(|tag| tag.trim_start_matches("W/").trim_matches('"'));
    let validators = Validators { etag, modified: head.modified() };
    match evaluate(asked.headers, validators) {
        Verdict::NotModified => return Part::Status(StatusCode::NOT_MODIFIED),
        Verdict::Failed => return Part::Status(StatusCode::PRECONDITION_FAILED),
        Verdict::Proceed => {}
    }
    let Some(range) = asked.headers.get(RANGE).filter(|_| !asked.is_head) else { return Part::Whole };
    if !range_applies(asked.headers, validators) {
        return Part::Whole;
    }
    match select(range.to_str().ok(), head.length) {
        Selection::Whole => Part::Whole,
        Selection::Unsatisfiable => Part::Status(StatusCode::RANGE_NOT_SATISFIABLE),
        // Ranges that add up to more than the object are an attack (RFC 9110, 14.2).
        Selection::Pieces(pieces)
            if pieces.iter().map(|piece| piece.end - piece.start).sum::<u64>() > head.length =>
        {
            Part::Whole
        }
        Selection::Pieces(pieces) => Part::Pieces(pieces),
    }
}

/// Sets the caching headers. The container's TTL overrides the object's own headers.
fn lasting(head: &Head, ttl: u32, now: i64, headers: &mut HeaderMap) {
    let ttl = head.ttl(ttl);
    let text = |text: &str| HeaderValue::from_str(text).ok();
    if let Some(control) = text(&format!("max-age={ttl}, public")) {
        headers.insert(CACHE_CONTROL, control);
    }
    if let Some(expires) = text(&http_date(head.fetched + i64::from(ttl))) {
        headers.insert(EXPIRES, expires);
    }
    let age = (now - head.fetched).max(0);
    if age > 0 {
        headers.insert(AGE, HeaderValue::from(age));
    }
}

/// Builds a 304, 412 or 416.
fn bare(mut response: Response<Body>, status: StatusCode, length: u64) -> Response<Body> {
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if status == StatusCode::NOT_MODIFIED {
        // Omit the headers that the client's copy already has (RFC 9110, 15.4.5).
        headers.remove(CONTENT_TYPE);
        return response;
    }
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
    headers.insert(CONTENT_LENGTH, 0.into());
    headers.remove(AGE);
    headers.remove(EXPIRES);
    headers.remove(LOCATION);
    if let Ok(control) = HeaderValue::from_str(&format!("max-age={NEGATIVE_TTL}, public")) {
        headers.insert(CACHE_CONTROL, control);
    }
    if status == StatusCode::RANGE_NOT_SATISFIABLE
        && let Ok(range) = HeaderValue::from_str(&format!("bytes */{length}"))
    {
        headers.insert(CONTENT_RANGE, range);
    }
    response
}

fn one_piece(response: &mut Response<Body>, source: &Source, piece: Range<u64>, length: u64) {
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, (piece.end - piece.start).into());
    if let Ok(range) = HeaderValue::from_str(&format!("bytes {}-{}/{length}", piece.start, piece.end - 1)) {
        headers.insert(CONTENT_RANGE, range);
    }
    *response.body_mut() = source.body(piece);
}

/// `multipart/byteranges` (RFC 9110, 14.6).
fn several_pieces(response: &mut Response<Body>, source: Source, pieces: Vec<Range<u64>>, head: &Head) {
    let boundary = format!("{:032x}", u128::from(fastrand::u64(..)) << 64 | u128::from(fastrand::u64(..)));
    let kind = head.headers.get(CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default().to_vec();
    let intros: Vec<Bytes> = pieces
        .iter()
        .map(|piece| {
            let mut intro = format!("--{boundary}\r\nContent-Type: ").into_bytes();
            intro.extend_from_slice(&kind);
            let range =
                format!("\r\nContent-Range: bytes {}-{}/{}\r\n\r\n", piece.start, piece.end - 1, head.length);
            intro.extend_from_slice(range.as_bytes());
            intro.into()
        })
        .collect();
    let end = Bytes::from(format!("--{boundary}--\r\n"));
    let bytes: u64 = pieces.iter().map(|piece| piece.end - piece.start + 2).sum();
    let length = bytes + intros.iter().map(|intro| intro.len() as u64).sum::<u64>() + end.len() as u64;
    let headers = response.headers_mut();
    headers.insert(CONTENT_LENGTH, length.into());
    if let Ok(kind) = HeaderValue::from_str(&format!("multipart/byteranges; boundary={boundary}")) {
        headers.insert(CONTENT_TYPE, kind);
    }
    let parts = stream::iter(intros.into_iter().zip(pieces)).flat_map(move |(intro, piece)| {
        let (before, after) = (stream::iter([Ok(intro)]), stream::iter([Ok(Bytes::from_static(b"\r\n"))]));
        before.chain(source.stream(piece)).chain(after).boxed()
    });
    *response.body_mut() = Body::from_stream(parts.chain(stream::iter([Ok(end)])));
}
