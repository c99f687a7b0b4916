//! Cross-origin requests of browsers (Swift, CORS).

use std::collections::BTreeSet;

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CONTENT_TYPE, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use web::Response;

use super::answer::{self, set};
use super::headers;
use crate::Files;
use crate::model::metadata::Metadata;
use crate::model::name::Target;

/// Headers that pages of any allowed origin may read, Swift's own among them.
const EXPOSED: [&str; 10] = [
    "cache-control",
    "content-language",
    "content-type",
    "expires",
    "last-modified",
    "pragma",
    "etag",
    "x-timestamp",
    "x-trans-id",
    "x-openstack-request-id",
];

fn allows(container: &Metadata, origin: &str) -> bool {
    let list = container.get("x-container-meta-access-control-allow-origin").unwrap_or_default();
    list.split(' ').map(str::trim).filter(|item| !item.is_empty()).any(|item| item == "*" || item == origin)
}

fn allowed_origin(container: &Metadata, origin: &str, headers: &mut HeaderMap) {
    let list = container.get("x-container-meta-access-control-allow-origin").unwrap_or_default();
    if list.trim() == "*" {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    } else {
        set(headers, ACCESS_CONTROL_ALLOW_ORIGIN.as_str(), origin);
        vary(headers, "Origin");
    }
}

pub(super) fn vary(headers: &mut HeaderMap, name: &str) {
    let text = match headers.get(VARY).and_then(|value| value.to_str().ok()) {
        Some(present) => format!("{present}, {name}"),
        None => name.to_owned(),
    };
    set(headers, VARY.as_str(), text);
}

async fn container_of(files: &Files, target: &Target) -> Option<Metadata> {
    let (Target::Container(account, container) | Target::Object(account, container, _)) = target else {
        return None;
    };
    files.container_settings(account, container).await.ok().map(Option::unwrap_or_default)
}

/// Responds to OPTIONS, including CORS preflight requests.
pub(super) async fn options(files: &Files, target: &Target, head: &Parts, allowed: &'static str) -> Response {
    let mut response = answer::html(StatusCode::OK, String::new());
    response.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
    let Some(origin) = headers::get(&head.headers, ORIGIN.as_str()).filter(|origin| !origin.is_empty())
    else {
        return response;
    };
    let Some(container) = container_of(files, target).await else { return response };
    let method = headers::get(&head.headers, "access-control-request-method").unwrap_or_default();
    if !allows(&container, origin) || !allowed.split(", ").any(|known| known == method) {
        let mut refused =
            answer::html(StatusCode::UNAUTHORIZED, super::fault::page(StatusCode::UNAUTHORIZED));
        // Swift's copy middleware adds COPY to the methods of a successful preflight, but not to those of a rejected one.
        let methods = HeaderValue::from_static(allowed.strip_prefix("COPY, ").unwrap_or(allowed));
        refused.headers_mut().insert(ALLOW, methods);
        return refused;
    }
    let answered = response.headers_mut();
    answered.remove(CONTENT_TYPE);
    allowed_origin(&container, origin, answered);
    if let Some(age) = container.get("x-container-meta-access-control-max-age") {
        set(answered, ACCESS_CONTROL_MAX_AGE.as_str(), age);
    }
    answered.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(allowed));
    let asked = headers::get(&head.headers, "access-control-request-headers").unwrap_or_default();
    let asked: BTreeSet<_> = asked.split(',').map(str::trim).filter(|name| !name.is_empty()).collect();
    if !asked.is_empty() {
        let list = asked.into_iter().collect::<Vec<_>>().join(", ");
        set(answered, ACCESS_CONTROL_ALLOW_HEADERS.as_str(), list);
        vary(answered, "Access-Control-Request-Headers");
    }
    response
}

/// Adds the headers that allow a page of `origin` to read the response; nothing if the container does not allow that
/// origin.
pub(super) async fn finish(files: &Files, target: &Target, origin: &str, response: &mut Response) {
    let Some(container) = container_of(files, target).await else { return };
    if !allows(&container, origin) {
        return;
    }
    let answered = response.headers_mut();
    if !answered.contains_key(ACCESS_CONTROL_EXPOSE_HEADERS) {
        let mut exposed: BTreeSet<String> = EXPOSED.iter().map(|name| (*name).to_owned()).collect();
        let is_item = |name: &&HeaderName| {
            name.as_str().starts_with("x-container-meta") || name.as_str().starts_with("x-object-meta")
        };
        exposed.extend(answered.keys().filter(is_item).map(|name| name.as_str().to_owned()));
        let more = container.get("x-container-meta-access-control-expose-headers").unwrap_or_default();
        exposed.extend(
            more.split(' ').map(|name| name.trim().to_ascii_lowercase()).filter(|name| !name.is_empty()),
        );
        let list = exposed.into_iter().collect::<Vec<_>>().join(", ");
        set(answered, ACCESS_CONTROL_EXPOSE_HEADERS.as_str(), list);
    }
    if !answered.contains_key(ACCESS_CONTROL_ALLOW_ORIGIN) {
        allowed_origin(&container, origin, answered);
    }
}

/// Allows pages of any origin to read a response that is the same for everyone, such as `/info`.
pub(super) fn open(asked: &HeaderMap, response: &mut Response) {
    if let Some(origin) = asked.get(ORIGIN) {
        response.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
        response.headers_mut().insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("x-trans-id"));
        vary(response.headers_mut(), "Origin");
    }
}
