//! Stores, updates and deletes objects (seeds 000 and 002; Swift, object services).

use http::header::{CONTENT_LENGTH, CONTENT_TYPE, LOCATION, TRANSFER_ENCODING};
use http::request::Parts;
use http::{HeaderMap, StatusCode};
use percent_encoding::percent_decode_str;
use web::Response;
use web::conditional::http_date;

use super::answer::{self, set};
use super::fault::{CURRENT_VERSION_ID, Fault, VERSION_ID};
use super::unread::{Incoming, Purpose, UnreadBody};
use super::{Call, headers, object};
use crate::Error;
use crate::model::entry::Object;
use crate::model::shape::{Link, Shape};
use crate::model::time;
use crate::model::version::{VersionId, is_versioned};
use crate::service::{Deleted, Expected, PostRequest, PutRequest, ReadOptions};

impl Call<'_> {
    pub(super) async fn put_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        let is_manifest = self.query.text("multipart-manifest").is_some_and(|value| value == "put");
        if let Some(source) = request.headers.get("x-copy-from").filter(|source| !source.is_empty()) {
            if is_manifest {
                let text = "Multipart Manifest PUTs cannot be COPY requests";
                return Err(Fault::html(StatusCode::METHOD_NOT_ALLOWED, text));
            }
            return self.copy_here((account, container, name), source, request).await;
        }
        let length = announced(request)?;
        if let Some(version) = self.version_id()? {
            if version == VersionId::Null {
                // The null version cannot be restored.
                return Err(Fault::html(StatusCode::BAD_REQUEST, "Invalid version parameter"));
            }
            return self.restore((account, container, name), version, length, body).await;
        }
        let place = (account, container, name);
        if is_manifest {
            let incoming =
                Incoming::paced(body.open(self, (account, Some(container)), Purpose::Store).await?);
            // Check the quota against the manifest's own size before checking its segments, as Swift does.
            self.files.check_room(self.context, account, container, length.unwrap_or(0)).await?;
            let only_new = only_new(&request.headers)?;
            let put = self.put_request(name, request, length, only_new)?;
            return self.put_manifest(place, request, put, incoming).await;
        }
        let mut incoming = body.into_incoming();
        // Replicated objects keep the source's metadata unchanged.
        let from_elsewhere = self.context.carried.is_some();
        let is_kept = from_elsewhere && headers::is_true_header(&request.headers, "x-static-large-object");
        if let Err(fault) = check_large(request, is_kept) {
            self.files.check_room(self.context, account, container, length.unwrap_or(0)).await?;
            return Err(fault);
        }
        let linked =
            request.headers.contains_key("x-symlink-target").then(|| link(&request.headers)).transpose();
        let (link, only_new) = match linked.and_then(|link| Ok((link, only_new(&request.headers)?))) {
            Ok(before) => before,
            Err(fault) => {
                self.files.check_fit(self.context, account, container, name, length.unwrap_or(0)).await?;
                return Err(fault);
            }
        };
        let put = self.put_request(name, request, length, only_new).and_then(|put| {
            check_type(&request.headers)?;
            Ok(put)
        });
        let mut put = match put {
            Ok(put) => put,
            Err(fault) => {
                self.files.check_store(self.context, account, container, name, length.unwrap_or(0)).await?;
                return Err(fault);
            }
        };
        let stored = if is_kept {
            self.files.put_kept_manifest(self.context, place, put, &mut incoming).await
        } else if let Some(link) = link {
            // Storing the link checks the quota again. Swift checks it before the link's target.
            self.files.check_room(self.context, account, container, length.unwrap_or(0)).await?;
            let typed = headers::get(&request.headers, "content-type").is_some_and(|value| !value.is_empty());
            put.etag = None;
            self.files.put_link(self.context, place, link, put, typed, &mut incoming).await
        } else {
            self.files.put_object(self.context, account, container, name, put, &mut incoming).await
        };
        match stored {
            // Swift's proxy responds so when its object servers have something newer (Swift, container sync).
            Err(Error::Superseded) => {
                Ok(answer::html(StatusCode::ACCEPTED, super::fault::page(StatusCode::ACCEPTED)))
            }
            stored => stored.map(|stored| created(&stored.object, stored.quoted)).map_err(Fault::from),
        }
    }

    /// Builds the request to store an object from a PUT's headers.
    pub(super) fn put_request(
        &self,
        name: &str,
        request: &Parts,
        length: Option<u64>,
        only_new: bool,
    ) -> Result<PutRequest, Fault> {
        Ok(PutRequest {
            length,
            etag: etag(&request.headers),
            content_type: content_type(&request.headers, name)?,
            expires: headers::expiry(&request.headers, self.files.now())?,
            metadata: headers::of_object(&request.headers, self.files.limits())?,
            only_new,
            shape: None,
        })
    }

    /// Handles PUT with `?version-id=`: makes that version the current one.
    async fn restore(
        &self,
        (account, container, name): (&str, &str, &str),
        version: VersionId,
        length: Option<u64>,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        let is_empty = match length {
            Some(length) => length == 0,
            None => {
                let mut body = body.open(self, (account, Some(container)), Purpose::Store).await?;
                web::body::next(&mut body).await.map_err(Error::from)?.is_none()
            }
        };
        if !is_empty {
            return Err(Error::Invalid("PUT version-id requests require a zero byte body".into()).into());
        }
        let restored = self.files.restore_version(self.context, account, container, name, version).await;
        let restored = restored.map_err(|error| match error {
            Error::NoVersion { .. } => {
                Fault::text(StatusCode::NOT_FOUND, "The specified version does not exist")
            }
            other => other.into(),
        });
        match restored {
            Err(fault) if fault.code() == StatusCode::NOT_FOUND => {
                Err(self.for_missing_container(fault, account, container).await)
            }
            restored => Ok(created(&restored?, false)),
        }
    }

    pub(super) async fn post_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        if headers::is_form(&request.headers) {
            return self.receive_post(account, container, name, request, body).await;
        }
        if self.query.text("version-id").is_some_and(|id| !id.is_empty()) {
            let text = "POST to a specific version is not allowed";
            return Err(Fault::html(StatusCode::BAD_REQUEST, text));
        }
        if request.headers.contains_key("x-symlink-target") {
            return Err(Error::Invalid("A PUT request is required to set a symlink target".into()).into());
        }
        let post = match self.post_request(request) {
            Ok(post) => post,
            Err(fault) => {
                self.files.check_update(self.context, account, container).await?;
                return Err(fault);
            }
        };
        let object = self.files.post_object(self.context, account, container, name, post).await?;
        if let Some(Shape::Link(link)) = &object.shape {
            return Err(redirected(link, account));
        }
        Ok(answer::html(StatusCode::ACCEPTED, super::fault::page(StatusCode::ACCEPTED)))
    }

    fn post_request(&self, request: &Parts) -> Result<PostRequest, Fault> {
        let given = headers::get(&request.headers, "content-type").filter(|value| !value.is_empty());
        headers::check_object(&request.headers)?;
        Ok(PostRequest {
            metadata: headers::of_object(&request.headers, self.files.limits())?,
            content_type: given.map(|given| object::own_type(given).to_owned()),
            expires: headers::expiry(&request.headers, self.files.now())?,
        })
    }

    /// Adds to the 404 of a deletion which version was requested and which one is current.
    async fn of_missing_version(
        &self,
        (account, container, name): (&str, &str, &str),
        version: VersionId,
    ) -> Fault {
        let fault = Fault::from(Error::NotFound);
        match self.files.container_settings(account, container).await {
            Ok(None) => return Fault::unversioned(),
            Ok(Some(settings)) if is_versioned(&settings) => {}
            _ => return fault,
        }
        let look = ReadOptions { link: true, manifest: true, ..ReadOptions::default() };
        let current = self.files.look(self.context, account, container, name, look).await;
        let current = current.ok().and_then(|found| found.version).unwrap_or(VersionId::Null);
        fault.with(VERSION_ID, object::id(version)).with(CURRENT_VERSION_ID, object::id(current))
    }

    pub(super) async fn delete_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        if self.query.text("multipart-manifest").is_some_and(|value| value == "delete") {
            return self.delete_manifest((account, container, name), request).await;
        }
        let deleted = match self.version_id()? {
            Some(version) => {
                let place = (account, container, name);
                match self.files.delete_version(self.context, account, container, name, version).await {
                    Err(Error::NotFound) if version != VersionId::Null => {
                        return Err(self.of_missing_version(place, version).await);
                    }
                    deleted => deleted?,
                }
            }
            None => {
                let expected = Expected { expires: expected_expiry(&request.headers)? };
                let deleted =
                    self.files.delete_object(self.context, account, container, name, expected).await;
                deleted.map_err(|error| match error {
                    Error::NoVersion { marker: Some(marker) } => {
                        Fault::status(StatusCode::NOT_FOUND).with(VERSION_ID, time::internal(marker))
                    }
                    other => other.into(),
                })?
            }
        };
        Ok(no_content(deleted))
    }
}

fn no_content(deleted: Deleted) -> Response {
    let mut response = answer::html(StatusCode::NO_CONTENT, String::new());
    if let Some(version) = deleted.version {
        set(response.headers_mut(), "x-object-version-id", object::id(version));
    }
    if let Some(current) = deleted.current {
        set(response.headers_mut(), CURRENT_VERSION_ID.as_str(), object::id(current));
    }
    response
}

/// Redirects a POST to a link: the metadata belongs on the target (Swift, Symlinks).
fn redirected(link: &Link, account: &str) -> Fault {
    let place = (
        link.account.clone().unwrap_or_else(|| account.to_owned()),
        link.container.clone(),
        link.name.clone(),
    );
    let text = "The requested POST was applied to a symlink. POST directly to the target to apply requested metadata.";
    let fault = Fault::html(StatusCode::TEMPORARY_REDIRECT, text).with(LOCATION, answer::path(&place));
    match &link.etag {
        Some(etag) => fault.with(http::HeaderName::from_static("x-symlink-target-etag"), etag.clone()),
        None => fault,
    }
}

fn expected_expiry(headers: &HeaderMap) -> Result<Option<work::Time>, Fault> {
    let Some(value) = headers.get("x-if-delete-at") else { return Ok(None) };
    let at = value.to_str().ok().and_then(|text| text.trim().parse().ok());
    let refused = || Error::Invalid("Bad X-If-Delete-At header value".into()).into();
    at.map(work::Time::from_seconds).map(Some).ok_or_else(refused)
}

/// Reads a new link's target: `X-Symlink-Target`, `-Account`, `-Etag`.
fn link(given: &HeaderMap) -> Result<Link, Fault> {
    let value = headers::get(given, "x-symlink-target").unwrap_or_default();
    if percent_decode_str(value).next() == Some(b'/') {
        // Swift sends this fault as text and the next one as a page.
        return Err(Fault::text(StatusCode::PRECONDITION_FAILED, form_of("X-Symlink-Target")));
    }
    let (container, name) = path_pair("X-Symlink-Target", value)?;
    let etag = headers::get(given, "x-symlink-target-etag").map(|etag| etag.trim_matches('"').to_owned());
    let etag = etag.filter(|etag| !etag.is_empty());
    if etag.as_ref().is_some_and(|etag| etag.contains([';', '"', '\\'])) {
        return Err(Error::Invalid("Bad X-Symlink-Target-Etag format".into()).into());
    }
    let account = account_header(given, "x-symlink-target-account")?;
    let size = headers::get(given, "x-symlink-target-bytes").and_then(|size| size.parse().ok());
    Ok(Link { account, container, name, size: size.filter(|_| etag.is_some()), etag, manifest_etag: None })
}

/// Builds the response to a stored object.
pub(super) fn created(object: &Object, quoted: bool) -> Response {
    let mut response = answer::html(StatusCode::CREATED, String::new());
    let headers = response.headers_mut();
    let etag = if quoted { format!("\"{}\"", object.etag) } else { object.etag.clone() };
    set(headers, "etag", etag);
    set(headers, "last-modified", http_date(time::last_modified(object.changed)));
    if let Some(version) = object.version {
        set(headers, "x-object-version-id", time::internal(version));
    }
    response
}

/// Returns the length of the body; it is required unless the body is chunked.
fn announced(request: &Parts) -> Result<Option<u64>, Fault> {
    let length = length(&request.headers)?;
    let encoding = headers::get(&request.headers, TRANSFER_ENCODING.as_str());
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("chunked")) {
        let text = "Unsupported Transfer-Coding header value specified in Transfer-Encoding header";
        return Err(Fault::text(StatusCode::NOT_IMPLEMENTED, text));
    }
    if length.is_none() && encoding.is_none() && request.version < http::Version::HTTP_2 {
        return Err(Fault::text(StatusCode::LENGTH_REQUIRED, "Missing Content-Length header."));
    }
    Ok(length)
}

pub(super) fn length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Error::Invalid("Invalid Content-Length header value".into()).into())
}

/// Returns the sender's MD5. Any value must match the object (errata: a malformed one results in 422 too).
pub(super) fn etag(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(http::header::ETAG)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let text = text.trim().trim_matches('"').to_ascii_lowercase();
    (!text.is_empty()).then_some(text)
}

pub(super) fn only_new(headers: &HeaderMap) -> Result<bool, Fault> {
    let tags =
        headers.get(http::header::IF_NONE_MATCH).map(|value| String::from_utf8_lossy(value.as_bytes()));
    let is_any = |tag: &str| matches!(tag.trim(), "*" | "\"*\"");
    match tags {
        None => Ok(false),
        Some(tags) if tags.split(',').any(is_any) => Ok(true),
        Some(_) => Err(Error::Invalid("If-None-Match only supports *".into()).into()),
    }
}

/// Makes the checks of a large object's PUT that Swift makes before it authenticates the sender.
fn check_large(request: &Parts, is_kept: bool) -> Result<(), Fault> {
    let given = &request.headers;
    if given.contains_key("x-static-large-object") && !is_kept {
        let text = "X-Static-Large-Object is a reserved header. To create a static large object add query param \
                    multipart-manifest=put.";
        return Err(Fault::html(StatusCode::BAD_REQUEST, text));
    }
    headers::check_object(given)
}

/// Rejects media type parameters that Swift uses internally (Swift, `check_content_type`).
pub(super) fn check_type(given: &HeaderMap) -> Result<(), Fault> {
    let given = headers::get(given, "content-type").unwrap_or_default();
    if given.split(';').skip(1).any(|parameter| parameter.trim_start().starts_with("swift_")) {
        let text = "Invalid Content-Type, swift_* is not a valid parameter name.";
        return Err(Fault::html(StatusCode::BAD_REQUEST, text));
    }
    Ok(())
}

fn content_type(headers: &HeaderMap, name: &str) -> Result<String, Fault> {
    let given = headers.get(CONTENT_TYPE).map(|value| std::str::from_utf8(value.as_bytes()));
    let detect = headers::is_true_header(headers, "x-detect-content-type");
    match given {
        Some(Err(_)) => Err(Error::Invalid("Invalid Content-Type".into()).into()),
        Some(Ok(given)) if !given.is_empty() && !detect => Ok(object::own_type(given).to_owned()),
        _ => Ok(guessed_type(name)),
    }
}

/// Guesses a media type from a name's extension.
pub(super) fn guessed_type(name: &str) -> String {
    match name.rsplit('.').next().map(str::to_ascii_lowercase).as_deref() {
        // Python's value, which Swift uses.
        Some("wav") => "audio/x-wav".into(),
        Some("rpm") => "application/x-rpm".into(),
        _ => mime_guess::from_path(name).first_or_octet_stream().essence_str().to_owned(),
    }
}

/// Parses a header's percent-encoded `container/object`, with or without a leading slash.
pub(super) fn path_pair(header: &str, value: &str) -> Result<(String, String), Fault> {
    let decoded: Vec<u8> = percent_decode_str(value).collect();
    let decoded = decoded.strip_prefix(b"/").unwrap_or(&decoded);
    let text = std::str::from_utf8(decoded).ok();
    let pair = text.and_then(|text| text.split_once('/')).filter(|(c, o)| !c.is_empty() && !o.is_empty());
    pair.map(|(container, object)| (container.to_owned(), object.to_owned())).ok_or_else(|| malformed(header))
}

fn malformed(header: &str) -> Fault {
    Fault::html(StatusCode::PRECONDITION_FAILED, form_of(header))
}

fn form_of(header: &str) -> String {
    format!("{header} header must be of the form <container name>/<object name>")
}

pub(super) fn account_header(given: &HeaderMap, name: &str) -> Result<Option<String>, Fault> {
    let Some(value) = headers::get(given, name) else { return Ok(None) };
    let decoded: Vec<u8> = percent_decode_str(value).collect();
    let account = String::from_utf8_lossy(&decoded).into_owned();
    let refused = |text| Err(Fault::html(StatusCode::PRECONDITION_FAILED, text));
    if account.is_empty() {
        return refused("Account name cannot be empty");
    }
    if account.contains('/') {
        return refused("Account name cannot contain slashes");
    }
    Ok(Some(account))
}
