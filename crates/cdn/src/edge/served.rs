//! Requests for objects: GET, HEAD and OPTIONS.

use std::sync::Arc;

use axum::body::Body;
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW,
    CACHE_CONTROL, CONTENT_LENGTH, ORIGIN, RANGE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode};

use super::negative::{Lasting, METHODS, Page, refusal, unavailable};
use super::{Edge, respond};
use crate::model::Site;

/// Maximum length in bytes of `Access-Control-Request-Headers`.
const ASKED_HEADERS_MAX: usize = 1024;

impl Edge {
    pub(super) async fn serve_object<B>(
        self: &Arc<Self>,
        site: Arc<Site>,
        path: Arc<str>,
        request: &Request<B>,
    ) -> Result<Response<Body>, Page> {
        if request.method() == Method::OPTIONS {
            return self.options(&site, &path, request.headers()).await;
        }
        let first_byte = first_byte(request.headers());
        let filled = self.head_of(&site, &path, first_byte).await.map_err(|error| unavailable(&error))?;
        let is_head = request.method() == Method::HEAD;
        let asked = respond::Asked { headers: request.headers(), is_head, now: self.clock.now().seconds() };
        Ok(respond::respond(self, site, path, filled, &asked))
    }

    /// Responds to OPTIONS, including CORS preflights. Only the object's own CORS headers count; the container's apply to the
    /// storage.
    async fn options(
        self: &Arc<Self>,
        site: &Arc<Site>,
        path: &Arc<str>,
        asked: &HeaderMap,
    ) -> Result<Response<Body>, Page> {
        let allow = HeaderValue::from_static(METHODS);
        let wanted = asked.get(ACCESS_CONTROL_REQUEST_METHOD);
        if wanted
            .is_some_and(|wanted| !METHODS.split(", ").any(|method| method.as_bytes() == wanted.as_bytes()))
        {
            let mut refused =
                refusal(StatusCode::UNAUTHORIZED, "The method is not allowed", Lasting::Briefly);
            refused.headers_mut().insert(ALLOW, allow);
            return Err(refused);
        }
        let mut response = Response::new(Body::empty());
        let headers = response.headers_mut();
        headers.insert(ALLOW, allow.clone());
        headers.insert(CONTENT_LENGTH, 0.into());
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if !asked.contains_key(ORIGIN) {
            return Ok(response);
        }
        let filled = self.head_of(site, path, 0).await.map_err(|error| unavailable(&error))?;
        let Some(origin) = filled.head.headers.get(ACCESS_CONTROL_ALLOW_ORIGIN) else { return Ok(response) };
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        headers.insert(ACCESS_CONTROL_ALLOW_METHODS, allow);
        if let Some(age) = filled.head.headers.get(ACCESS_CONTROL_MAX_AGE) {
            headers.insert(ACCESS_CONTROL_MAX_AGE, age.clone());
        }
        let list = asked.get(ACCESS_CONTROL_REQUEST_HEADERS);
        if let Some(list) = list.filter(|list| list.len() <= ASKED_HEADERS_MAX && is_list(list)) {
            headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, list.clone());
        }
        headers.insert(VARY, HeaderValue::from_static("Origin, Access-Control-Request-Headers"));
        Ok(response)
    }
}

/// Returns whether a text is a list of header names.
fn is_list(value: &HeaderValue) -> bool {
    value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"-_, ".contains(byte))
}

/// Returns where the first requested range begins, since that piece of a large object is fetched with its head. It may be wrong.
fn first_byte(headers: &HeaderMap) -> u64 {
    let range = headers.get(RANGE).and_then(|value| value.to_str().ok()?.strip_prefix("bytes="));
    let first = range.and_then(|range| range.split(['-', ',']).next()?.trim().parse().ok());
    first.filter(|first| *first < super::head::OBJECT_MAX).unwrap_or(0)
}
