//! Reading objects (seeds 000 and 002; Swift, object services).

use std::borrow::Cow;

use axum::body::Body;
use http::header::{
    ACCEPT_RANGES, CONTENT_LENGTH, CONTENT_LOCATION, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH,
    IF_UNMODIFIED_SINCE,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use web::Response;
use web::conditional::{Validators, Verdict, evaluate, http_date};
use web::range::Selection;

use super::answer::{self, set};
use super::fault::{Fault, VERSION_ID};
use super::ranges::{self, MultiRange, body};
use super::{Call, headers};
use crate::Error;
use crate::model::entry::Object;
use crate::model::etag::is_quoted;
use crate::model::shape::Shape;
use crate::model::version::{VersionId, is_versioned};
use crate::model::{manifest, time};
use crate::service::{Found, ReadOptions};

/// Attempts to read before giving up, if the object is replaced during each.
const ATTEMPTS: u32 = 4;

impl Call<'_> {
    pub(super) async fn show_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        match self.show_found(account, container, name, request).await {
            Err(fault) => Err(self.with_null_version(fault, account, container).await),
            shown => shown,
        }
    }

    /// Adds `X-Object-Version-Id: null` to a fault that refers to no version, if the container has versions (Swift, Object
    /// versioning). Unauthorised callers do not get it.
    pub(super) async fn with_null_version(&self, fault: Fault, account: &str, container: &str) -> Fault {
        let is_plain = !fault.is_refusal() && !fault.is_withheld() && fault.code() != StatusCode::BAD_REQUEST;
        if !is_plain || fault.names(&VERSION_ID) {
            return fault;
        }
        match self.version_id() {
            Ok(None) => {}
            Ok(Some(VersionId::At(_))) if fault.code() == StatusCode::NOT_FOUND => {
                return self.for_missing_container(fault, account, container).await;
            }
            _ => return fault,
        }
        let seen = self.context.watch.as_ref().and_then(|watch| watch.has_versions(account, container));
        let has_versions = match seen {
            Some(has_versions) => has_versions,
            None => {
                let settings = self.files.container_settings(account, container).await;
                settings.is_ok_and(|settings| settings.as_ref().is_some_and(is_versioned))
            }
        };
        if has_versions { fault.with(VERSION_ID, "null") } else { fault }
    }

    /// Rejects a version of an object in a missing container (Swift, Object versioning).
    pub(super) async fn for_missing_container(&self, fault: Fault, account: &str, container: &str) -> Fault {
        match self.files.container_settings(account, container).await {
            Ok(None) => Fault::unversioned(),
            _ => fault,
        }
    }

    /// Builds the 416 response: all headers of the object and its length. For a dynamic large object only the length (Swift,
    /// DLO).
    pub(super) fn beyond(&self, found: &Found, look: ReadOptions) -> Response {
        let status = StatusCode::RANGE_NOT_SATISFIABLE;
        let page = super::fault::page(status);
        let length = page.len();
        let mut response = answer::html(status, page);
        let headers = response.headers_mut();
        if found.is_dynamic() {
            headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
        } else {
            self.describe(found, look, headers);
        }
        set(headers, "content-range", format!("bytes */{}", found.size()));
        headers.insert(CONTENT_LENGTH, length.into());
        response
    }

    async fn show_found(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let segments = request.method == Method::GET || self.query.has("part-number");
        let look = ReadOptions { segments, ..self.look()? };
        for _ in 0..ATTEMPTS {
            let found = self.files.look(self.context, account, container, name, look).await;
            let found = match found {
                Err(Error::NotFound) if wants_any(&request.headers) => {
                    return Err(Fault::html(StatusCode::PRECONDITION_FAILED, ""));
                }
                Err(Error::Beyond(error, place))
                    if *error == Error::NotFound && wants_any(&request.headers) =>
                {
                    let fault = Fault::html(StatusCode::PRECONDITION_FAILED, "");
                    return Err(fault.with(CONTENT_LOCATION, answer::path(&place)));
                }
                found => found?,
            };
            // `part-number` is ignored unless the object is a manifest (Swift, SLO).
            let has_parts = matches!(found.object.shape, Some(Shape::Manifest { .. })) && !look.manifest;
            let part = if has_parts { self.part_number(request)? } else { None };
            if let Some(mut response) = self.represent(&found, look, part, request).await? {
                self.dispose(&found.object, name, response.headers_mut());
                return Ok(response);
            }
        }
        Err(Fault::status(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// Returns the read options that the query selects.
    pub(super) fn look(&self) -> Result<ReadOptions, Fault> {
        let is = |name: &str, value: &str| self.query.text(name).is_some_and(|text| text == value);
        Ok(ReadOptions {
            link: is("symlink", "get"),
            manifest: is("multipart-manifest", "get"),
            version: self.version_id()?,
            ..ReadOptions::default()
        })
    }

    /// Parses `?version-id=` (Swift, Object versioning).
    pub(super) fn version_id(&self) -> Result<Option<VersionId>, Fault> {
        let Some(text) = self.query.text("version-id").filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        let refused = || Fault::html(StatusCode::BAD_REQUEST, "Invalid version parameter");
        VersionId::parse(&text).ok_or_else(refused).map(Some)
    }

    /// Parses `?part-number=` (Swift, Static large objects).
    pub(super) fn part_number(&self, request: &Parts) -> Result<Option<usize>, Fault> {
        let Some(text) = self.query.text("part-number") else { return Ok(None) };
        let refused = |text: &str| Fault::html(StatusCode::BAD_REQUEST, text);
        let number = text.parse().ok().filter(|number| *number > 0);
        let number = number.ok_or_else(|| refused("Part number must be an integer greater than 0"))?;
        if ranges::any(&request.headers) {
            return Err(refused("Range requests are not supported with part number queries"));
        }
        Ok(Some(number))
    }

    /// Builds the response to a GET or HEAD of an object; returns `None` if it was replaced meanwhile.
    async fn represent(
        &self,
        found: &Found,
        look: ReadOptions,
        part: Option<usize>,
        request: &Parts,
    ) -> Result<Option<Response>, Fault> {
        if look.manifest && matches!(found.object.shape, Some(Shape::Manifest { .. })) {
            return self.show_manifest(found, request).await;
        }
        let validators =
            Validators { etag: Some(found.etag()), modified: Some(time::last_modified(found.changed())) };
        let mut response = answer::html(StatusCode::OK, String::new());
        self.describe(found, look, response.headers_mut());
        if let Some(status) = condition(request, validators) {
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_LENGTH, 0.into());
            if status == StatusCode::PRECONDITION_FAILED {
                // Swift sends the error page's media type although it omits the page (Swift, test/cors).
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
                headers.remove(ACCEPT_RANGES);
            }
            return Ok(Some(response));
        }
        let is_head = request.method == Method::HEAD;
        let selection = match (part, &found.segments) {
            (Some(number), Some(segments)) if matches!(found.object.shape, Some(Shape::Manifest { .. })) => {
                set(response.headers_mut(), "x-parts-count", segments.count().to_string());
                match segments.part(number) {
                    Some(range) => Selection::Pieces(vec![range]),
                    None => return Ok(Some(beyond_parts(response, found.size(), is_head))),
                }
            }
            _ if is_head => Selection::Whole,
            _ => ranges::asked(&request.headers, validators, found.size()),
        };
        let headers = response.headers_mut();
        match selection {
            Selection::Whole => {
                headers.insert(CONTENT_LENGTH, found.size().into());
                if !is_head {
                    let Some(content) = self.files.content(self.context, found, 0..found.size()).await?
                    else {
                        return Ok(None);
                    };
                    *response.body_mut() = body(content);
                }
            }
            Selection::Unsatisfiable => return Ok(Some(self.beyond(found, look))),
            // A dynamic large object supports only one range per request (Swift, DLO).
            Selection::Pieces(pieces) if pieces.len() > 1 && found.is_dynamic() => {
                headers.insert(CONTENT_LENGTH, found.size().into());
                let Some(content) = self.files.content(self.context, found, 0..found.size()).await? else {
                    return Ok(None);
                };
                *response.body_mut() = body(content);
            }
            Selection::Pieces(pieces) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                return self.represent_pieces(found, pieces, response, is_head).await;
            }
        }
        Ok(Some(response))
    }

    async fn represent_pieces(
        &self,
        found: &Found,
        pieces: Vec<std::ops::Range<u64>>,
        mut response: Response,
        is_head: bool,
    ) -> Result<Option<Response>, Fault> {
        let headers = response.headers_mut();
        if let [piece] = pieces.as_slice() {
            set(
                headers,
                "content-range",
                format!("bytes {}-{}/{}", piece.start, piece.end - 1, found.size()),
            );
            headers.insert(CONTENT_LENGTH, (piece.end - piece.start).into());
            if !is_head {
                let Some(content) = self.files.content(self.context, found, piece.clone()).await? else {
                    return Ok(None);
                };
                *response.body_mut() = body(content);
            }
        } else {
            let several = MultiRange::new(&found.object.content_type, found.size(), pieces);
            headers.insert(CONTENT_LENGTH, several.length.into());
            set(headers, "content-type", several.content_type());
            if !is_head {
                *response.body_mut() = several.body(self.files.clone(), self.context.clone(), found.clone());
            }
        }
        Ok(Some(response))
    }

    /// Shows a static large object's manifest: as stored, or with `format=raw` in the form in which clients send it.
    async fn show_manifest(&self, found: &Found, request: &Parts) -> Result<Option<Response>, Fault> {
        let raw = self.query.text("format").is_some_and(|format| format == "raw");
        let json =
            if raw { manifest::raw(&self.files.manifest(found).await?).into_bytes() } else { Vec::new() };
        let (etag, size) = if raw {
            (hex::encode(fast_md5::digest(&json)), json.len() as u64)
        } else {
            (found.object.etag.clone(), found.object.size)
        };
        let validators =
            Validators { etag: Some(&etag), modified: Some(time::last_modified(found.changed())) };
        let mut response = answer::html(StatusCode::OK, String::new());
        let look = ReadOptions { manifest: true, ..ReadOptions::default() };
        self.describe(found, look, response.headers_mut());
        set(response.headers_mut(), "etag", &etag);
        if !raw {
            set(response.headers_mut(), "content-type", "application/json; charset=utf-8");
        }
        if let Some(status) = condition(request, validators) {
            *response.status_mut() = status;
            let headers = response.headers_mut();
            headers.insert(CONTENT_LENGTH, 0.into());
            if status == StatusCode::PRECONDITION_FAILED {
                headers.remove(ACCEPT_RANGES);
                if raw {
                    // Swift sends the error page's media type although it omits the page (Swift, test/cors).
                    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=UTF-8"));
                } else {
                    headers.remove(ETAG);
                }
            }
            return Ok(Some(response));
        }
        response.headers_mut().insert(CONTENT_LENGTH, size.into());
        if request.method == Method::HEAD {
            return Ok(Some(response));
        }
        *response.body_mut() = if raw {
            Body::from(json)
        } else {
            match self.files.open_object(&found.object, 0..size).await? {
                Some(content) => body(content),
                None => return Ok(None),
            }
        };
        Ok(Some(response))
    }

    /// Sets `Content-Disposition` as `?filename=` and `?inline` request (seed 002, file server).
    fn dispose(&self, object: &Object, name: &str, headers: &mut HeaderMap) {
        let filename = self.query.text("filename").filter(|name| !name.is_empty());
        let inline = self.query.has("inline");
        let kind = if inline { "inline" } else { "attachment" };
        let kept = object.metadata.get("content-disposition");
        let text = match (inline, &filename) {
            (_, Some(filename)) => disposition(kind, filename),
            (true, None) => kind.to_owned(),
            (false, None) if self.context.is_signed() && kept.is_none() => {
                disposition(kind, name.trim_end_matches('/').rsplit('/').next().unwrap_or(name))
            }
            (false, None) => return,
        };
        set(headers, "content-disposition", text);
    }

    fn describe(&self, found: &Found, look: ReadOptions, headers: &mut HeaderMap) {
        let object = &found.object;
        set(headers, "content-type", &object.content_type);
        if found.is_large() || is_quoted(&found.container) {
            set(headers, "etag", format!("\"{}\"", found.etag()));
        } else {
            set(headers, "etag", found.etag());
        }
        set(headers, "last-modified", http_date(time::last_modified(object.changed)));
        set(headers, "x-timestamp", time::x_timestamp(object.changed));
        set(headers, "accept-ranges", "bytes");
        headers::show(&object.metadata, true, headers);
        if let Some(expires) = object.expires {
            set(headers, "x-delete-at", expires.seconds().to_string());
        }
        match &object.shape {
            None => {}
            Some(Shape::Manifest { .. }) => {
                set(headers, "x-static-large-object", "True");
                if found.is_large() {
                    set(headers, "x-manifest-etag", &object.etag);
                }
            }
            Some(Shape::Link(link)) => {
                let encode = |text: &str, slash| web::query::encode(text.as_bytes(), slash);
                let place = format!("{}/{}", encode(&link.container, false), encode(&link.name, true));
                set(headers, "x-symlink-target", place);
                if let Some(account) = &link.account {
                    set(headers, "x-symlink-target-account", encode(account, false));
                }
                if let Some(etag) = &link.etag {
                    set(headers, "x-symlink-target-etag", etag);
                }
                if let Some(size) = link.size.filter(|_| link.etag.is_some()) {
                    set(headers, "x-symlink-target-bytes", size.to_string());
                }
            }
        }
        if found.linked {
            set(headers, "content-location", answer::path(&found.place));
        }
        if let Some(version) = found.version {
            set(headers, "x-object-version-id", id(version));
            if look.version.is_none() && !found.linked && version != VersionId::Null {
                let place = format!("{}?version-id={}", answer::path(&found.place), id(version));
                set(headers, "content-location", place);
            }
        }
    }
}

/// Returns the status that a request's conditions lead to, or `None` to proceed.
fn condition(request: &Parts, validators: Validators<'_>) -> Option<StatusCode> {
    let asked = plain_tags(&request.headers);
    // Unlike the RFC, Swift evaluates If-Unmodified-Since even if If-Match is present.
    let both = request.headers.contains_key(IF_MATCH) && request.headers.contains_key(IF_UNMODIFIED_SINCE);
    if both {
        let mut alone = HeaderMap::new();
        alone.extend(
            request.headers.get(IF_UNMODIFIED_SINCE).map(|value| (IF_UNMODIFIED_SINCE, value.clone())),
        );
        if evaluate(&alone, validators) == Verdict::Failed {
            return Some(StatusCode::PRECONDITION_FAILED);
        }
    }
    match evaluate(&asked, validators) {
        Verdict::Failed => Some(StatusCode::PRECONDITION_FAILED),
        Verdict::NotModified => Some(StatusCode::NOT_MODIFIED),
        Verdict::Proceed => None,
    }
}

/// Replaces `"*"` in conditions by `*`; Swift treats them alike.
fn plain_tags(given: &HeaderMap) -> Cow<'_, HeaderMap> {
    let mut plain = Cow::Borrowed(given);
    for name in [IF_MATCH, IF_NONE_MATCH] {
        let tags = given.get(&name).and_then(|tags| tags.to_str().ok()).filter(|tags| tags.contains("\"*\""));
        if let Some(tags) = tags.and_then(|tags| HeaderValue::from_str(&tags.replace("\"*\"", "*")).ok()) {
            plain.to_mut().insert(name, tags);
        }
    }
    plain
}

/// Returns whether a request requires the object to exist (`If-Match: *`).
pub(super) fn wants_any(headers: &HeaderMap) -> bool {
    let tags = headers.get(IF_MATCH).and_then(|value| value.to_str().ok()).unwrap_or_default();
    tags.split(',').any(|tag| matches!(tag.trim(), "*" | "\"*\""))
}

fn beyond_parts(mut response: Response, size: u64, is_head: bool) -> Response {
    const TEXT: &str = "The requested part number is not satisfiable";
    *response.status_mut() = StatusCode::RANGE_NOT_SATISFIABLE;
    let headers = response.headers_mut();
    set(headers, "content-range", format!("bytes */{size}"));
    headers.insert(CONTENT_LENGTH, if is_head { 0 } else { TEXT.len() }.into());
    if !is_head {
        *response.body_mut() = Body::from(TEXT);
    }
    response
}

/// Formats a version's id for headers.
pub(super) fn id(version: VersionId) -> String {
    match version {
        VersionId::Null => "null".into(),
        VersionId::At(at) => time::internal(at),
    }
}

/// Returns a media type without the parameters that Swift uses internally (`swift_…`).
pub(super) fn own_type(content_type: &str) -> &str {
    content_type.find(";swift_").map_or(content_type, |at| &content_type[..at])
}

/// Builds `Content-Disposition` with a file name in both forms (RFC 6266).
fn disposition(kind: &str, name: &str) -> String {
    let encode = |keep: &[u8]| -> String {
        let mut out = String::new();
        for byte in name.bytes() {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || keep.contains(&byte) {
                out.push(char::from(byte));
            } else {
                out.push_str(&format!("%{byte:02X}"));
            }
        }
        out
    };
    format!("{kind}; filename=\"{}\"; filename*=UTF-8''{}", encode(b" /"), encode(b"/"))
}
