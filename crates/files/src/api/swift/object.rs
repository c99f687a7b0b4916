//! Objects (seeds 000 and 002; Swift, object services).

use async_trait::async_trait;
use axum::body::Body;
use blobs::Reader;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderMap, Method, StatusCode};
use percent_encoding::percent_decode_str;
use web::Response;
use web::conditional::{Validators, Verdict, evaluate, http_date, range_applies};
use web::range::{Selection, select};

use super::answer::{self, set};
use super::fault::Fault;
use super::{Call, headers, listing};
use crate::Error;
use crate::model::entry::Object;
use crate::model::name::Target;
use crate::model::time;
use crate::service::{self, Content, CopyRequest, PutRequest};

/// Times a read begins anew when the object was replaced under it.
const ATTEMPTS: u32 = 4;

impl Call<'_> {
    pub(super) async fn show_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        for _ in 0..ATTEMPTS {
            let found = self.files.object(self.context, account, container, name).await?;
            if let Some(mut response) = self.represent(&found.object, request).await? {
                self.dispose(&found.object, name, response.headers_mut());
                return Ok(response);
            }
        }
        Err(Fault::status(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// The answer to a GET or HEAD of an object; `None` when it was replaced meanwhile.
    async fn represent(&self, object: &Object, request: &Parts) -> Result<Option<Response>, Fault> {
        let found =
            Validators { etag: Some(&object.etag), modified: Some(time::last_modified(object.changed)) };
        let mut response = match evaluate(&request.headers, found) {
            Verdict::Failed => return Err(Fault::status(StatusCode::PRECONDITION_FAILED)),
            Verdict::NotModified => {
                let mut response = answer::html(StatusCode::NOT_MODIFIED, String::new());
                describe(object, response.headers_mut());
                return Ok(Some(response));
            }
            Verdict::Proceed => Response::new(Body::empty()),
        };
        describe(object, response.headers_mut());
        let header = request.headers.get(http::header::RANGE).and_then(|value| value.to_str().ok());
        let header = header.filter(|_| range_applies(&request.headers, found));
        let is_head = request.method == Method::HEAD;
        match select(header, object.size) {
            Selection::Whole => {
                response.headers_mut().insert(CONTENT_LENGTH, object.size.into());
                if !is_head {
                    let Some(content) = self.files.open_object(object, 0..object.size).await? else {
                        return Ok(None);
                    };
                    *response.body_mut() = body(content);
                }
            }
            Selection::Unsatisfiable => return Err(Fault::range(object.size)),
            Selection::Pieces(pieces) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                if let [piece] = pieces.as_slice() {
                    let text = format!("bytes {}-{}/{}", piece.start, piece.end - 1, object.size);
                    set(response.headers_mut(), "content-range", text);
                    response.headers_mut().insert(CONTENT_LENGTH, (piece.end - piece.start).into());
                    if !is_head {
                        let Some(content) = self.files.open_object(object, piece.clone()).await? else {
                            return Ok(None);
                        };
                        *response.body_mut() = body(content);
                    }
                } else {
                    let several = Several::new(object, pieces);
                    response.headers_mut().insert(CONTENT_LENGTH, several.length.into());
                    set(response.headers_mut(), "content-type", several.content_type());
                    if !is_head {
                        *response.body_mut() = several.body(self.files.clone(), object.clone());
                    }
                }
            }
        }
        Ok(Some(response))
    }

    /// `?filename=` and `?inline` say how a browser keeps the download (seed 002, file server).
    fn dispose(&self, object: &Object, name: &str, headers: &mut HeaderMap) {
        let filename = self.query.text("filename").filter(|name| !name.is_empty());
        let inline = self.query.has("inline");
        if filename.is_none() && !inline {
            return;
        }
        let kept = object.metadata.get("content-disposition");
        let last = name.rsplit('/').next().unwrap_or(name);
        let shown = filename.as_deref().unwrap_or(last);
        let text = match (inline, &filename, kept) {
            (true, None, _) => "inline".to_owned(),
            (_, _, _) => {
                let kind = if inline { "inline" } else { "attachment" };
                let plain: String = shown
                    .chars()
                    .map(|c| if c == '"' || c == '\\' || c.is_control() { '_' } else { c })
                    .collect();
                let encoded = web::query::encode(shown.as_bytes(), false);
                format!("{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}")
            }
        };
        set(headers, "content-disposition", text);
    }

    pub(super) async fn put_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
        body: Body,
    ) -> Result<Response, Fault> {
        let only_new = only_new(&request.headers)?;
        if let Some(source) = request.headers.get("x-copy-from") {
            let source = source.to_str().map_err(|_| Error::BadName("X-Copy-From is not UTF-8".into()))?;
            if length(&request.headers)?.unwrap_or(0) != 0 {
                return Err(Error::Invalid("Copy requests require a zero byte body".into()).into());
            }
            let (source_container, source_name) = path_pair("X-Copy-From", source)?;
            let source_account = account_header(&request.headers, "x-copy-from-account")?;
            let source_account = source_account.unwrap_or_else(|| account.to_owned());
            let target = Target::Object(account.to_owned(), container.to_owned(), name.to_owned());
            let source = (source_account.as_str(), source_container.as_str(), source_name.as_str());
            return self.copy(source, target, request).await;
        }
        let length = length(&request.headers)?;
        if length.is_none() && !request.headers.contains_key(http::header::TRANSFER_ENCODING) {
            let is_http2 = request.version >= http::Version::HTTP_2;
            if !is_http2 {
                return Err(Fault::text(StatusCode::LENGTH_REQUIRED, "Missing Content-Length header."));
            }
        }
        let put = PutRequest {
            length,
            etag: etag(&request.headers),
            content_type: content_type(&request.headers, name)?,
            metadata: headers::of_object(&request.headers, self.files.limits())?,
            only_new,
        };
        let mut incoming = Incoming(body);
        let stored =
            self.files.put_object(self.context, account, container, name, put, &mut incoming).await?;
        Ok(created(&stored.object))
    }

    pub(super) async fn post_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let metadata = headers::of_object(&request.headers, self.files.limits())?;
        let content_type = request.headers.get(CONTENT_TYPE).map(|value| value.to_str().unwrap_or_default());
        let content_type = content_type.filter(|value| !value.is_empty()).map(str::to_owned);
        let object =
            self.files.post_object(self.context, account, container, name, metadata, content_type).await?;
        let mut response = answer::html(StatusCode::ACCEPTED, super::fault::page(StatusCode::ACCEPTED));
        set(response.headers_mut(), "x-timestamp", time::x_timestamp(object.changed));
        Ok(response)
    }

    pub(super) async fn delete_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
    ) -> Result<Response, Fault> {
        self.files.delete_object(self.context, account, container, name).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }

    pub(super) async fn copy_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let destination = request.headers.get("destination").and_then(|value| value.to_str().ok());
        let Some(destination) = destination else {
            return Err(Fault::text(StatusCode::PRECONDITION_FAILED, "Destination header required"));
        };
        let (to_container, to_name) = path_pair("Destination", destination)?;
        let to_account = account_header(&request.headers, "destination-account")?;
        let target = Target::Object(to_account.unwrap_or_else(|| account.to_owned()), to_container, to_name);
        self.copy((account, container, name), target, request).await
    }

    async fn copy(
        &self,
        source: (&str, &str, &str),
        target: Target,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let Target::Object(account, container, name) = target else { return Err(Error::NotFound.into()) };
        let given = &request.headers;
        let content_type = given.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let fresh = given.get("x-fresh-metadata").and_then(|v| v.to_str().ok()).is_some_and(listing::is_true);
        let copy = CopyRequest {
            account,
            container,
            name,
            metadata: headers::of_object(given, self.files.limits())?,
            content_type: content_type.filter(|value| !value.is_empty()),
            fresh,
            etag: etag(given),
            only_new: only_new(given)?,
        };
        let (found, stored) = self.files.copy_object(self.context, source, &copy).await?;
        let mut response = created(&stored.object);
        let from = format!("{}/{}", source.1, source.2);
        let headers = response.headers_mut();
        set(headers, "x-copied-from", web::query::encode(from.as_bytes(), true));
        set(headers, "x-copied-from-account", web::query::encode(source.0.as_bytes(), false));
        set(headers, "x-copied-from-last-modified", http_date(time::last_modified(found.object.changed)));
        headers::show(&stored.object.metadata, true, headers);
        Ok(response)
    }
}

fn describe(object: &Object, headers: &mut HeaderMap) {
    set(headers, "content-type", &object.content_type);
    set(headers, "etag", &object.etag);
    set(headers, "last-modified", http_date(time::last_modified(object.changed)));
    set(headers, "x-timestamp", time::x_timestamp(object.changed));
    set(headers, "accept-ranges", "bytes");
    headers::show(&object.metadata, true, headers);
}

fn created(object: &Object) -> Response {
    let mut response = answer::html(StatusCode::CREATED, String::new());
    set(response.headers_mut(), "etag", &object.etag);
    set(response.headers_mut(), "last-modified", http_date(time::last_modified(object.changed)));
    response
}

fn length(headers: &HeaderMap) -> Result<Option<u64>, Fault> {
    let Some(value) = headers.get(CONTENT_LENGTH) else { return Ok(None) };
    let length = value.to_str().ok().and_then(|text| text.parse().ok());
    length.map(Some).ok_or_else(|| Error::Invalid("Invalid Content-Length header value".into()).into())
}

/// The sender's own MD5: whatever it is, it must be equal in the end (errata: a malformed one is 422, too).
fn etag(headers: &HeaderMap) -> Option<String> {
    let value = headers.get(http::header::ETAG)?;
    let text = String::from_utf8_lossy(value.as_bytes());
    let text = text.trim().trim_matches('"').to_ascii_lowercase();
    (!text.is_empty()).then_some(text)
}

fn only_new(headers: &HeaderMap) -> Result<bool, Fault> {
    match headers.get(http::header::IF_NONE_MATCH).map(|value| value.as_bytes()) {
        None => Ok(false),
        Some(b"*") => Ok(true),
        Some(_) => Err(Error::Invalid("Value for If-None-Match must be *".into()).into()),
    }
}

fn content_type(headers: &HeaderMap, name: &str) -> Result<String, Fault> {
    let given = headers.get(CONTENT_TYPE).map(|value| value.to_str());
    let detect =
        headers.get("x-detect-content-type").and_then(|v| v.to_str().ok()).is_some_and(listing::is_true);
    match given {
        Some(Err(_)) => Err(Error::Invalid("Content-Type is not text".into()).into()),
        Some(Ok(given)) if !given.is_empty() && !detect => Ok(given.to_owned()),
        _ => Ok(guessed_type(name)),
    }
}

/// The media type that a name suggests.
pub(super) fn guessed_type(name: &str) -> String {
    mime_guess::from_path(name).first_or_octet_stream().essence_str().to_owned()
}

/// `container/object` of a header, percent-encoded, with or without a slash in front.
fn path_pair(header: &str, value: &str) -> Result<(String, String), Fault> {
    let decoded: Vec<u8> = percent_decode_str(value.strip_prefix('/').unwrap_or(value)).collect();
    let text = String::from_utf8(decoded).ok();
    let pair =
        text.as_deref().and_then(|text| text.split_once('/')).filter(|(c, o)| !c.is_empty() && !o.is_empty());
    pair.map(|(container, object)| (container.to_owned(), object.to_owned())).ok_or_else(|| {
        let text = format!("{header} header must be of the form <container name>/<object name>");
        Fault::text(StatusCode::PRECONDITION_FAILED, text)
    })
}

fn account_header(headers: &HeaderMap, name: &str) -> Result<Option<String>, Fault> {
    let Some(value) = headers.get(name) else { return Ok(None) };
    let decoded: Vec<u8> = percent_decode_str(value.to_str().unwrap_or_default()).collect();
    let account =
        String::from_utf8(decoded).ok().filter(|account| !account.is_empty() && !account.contains('/'));
    let refused = || Fault::text(StatusCode::PRECONDITION_FAILED, "Account name cannot contain slashes");
    account.map(Some).ok_or_else(refused)
}

/// A request's body as the service takes it.
pub(super) struct Incoming(pub(super) Body);

#[async_trait]
impl service::Body for Incoming {
    async fn next(&mut self) -> crate::Result<Option<Bytes>> {
        Ok(web::body::next(&mut self.0).await?)
    }
}

fn body(content: Content) -> Body {
    match content {
        Content::Whole(bytes) => Body::from(bytes),
        Content::Stream(reader) => stream(reader),
    }
}

/// Sends pieces as they are read; a bad one ends the connection, so that nobody takes what came for the whole.
fn stream(reader: Box<dyn Reader>) -> Body {
    Body::from_stream(futures_util::stream::unfold(Some(reader), |state| async move {
        let mut reader = state?;
        match reader.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "an answer is cut off");
                Some((Err(std::io::Error::other(error)), None))
            }
        }
    }))
}

/// Several ranges of an object in one answer (RFC 9110, 14.6).
struct Several {
    boundary: String,
    length: u64,
    parts: Vec<(String, std::ops::Range<u64>)>,
}

impl Several {
    fn new(object: &Object, pieces: Vec<std::ops::Range<u64>>) -> Self {
        let mut random = [0u8; 16];
        // A fixed boundary would do as well: content that holds it is read by length all the same.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let boundary = hex::encode(random);
        let parts: Vec<_> = pieces
            .into_iter()
            .map(|piece| {
                let head = format!(
                    "--{boundary}\r\nContent-Type: {}\r\nContent-Range: bytes {}-{}/{}\r\n\r\n",
                    object.content_type,
                    piece.start,
                    piece.end - 1,
                    object.size
                );
                (head, piece)
            })
            .collect();
        let framed: u64 =
            parts.iter().map(|(head, piece)| head.len() as u64 + (piece.end - piece.start) + 2).sum();
        Self { length: framed + boundary.len() as u64 + 4, boundary, parts }
    }

    fn content_type(&self) -> String {
        format!("multipart/byteranges;boundary={}", self.boundary)
    }

    fn body(self, files: crate::Files, object: Object) -> Body {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
        tokio::spawn(async move {
            let sent = self.send(&files, &object, &sender).await;
            if let Err(error) = sent {
                let _ = sender.send(Err(std::io::Error::other(error))).await;
            }
        });
        Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        }))
    }

    async fn send(
        self,
        files: &crate::Files,
        object: &Object,
        sender: &tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>,
    ) -> crate::Result<()> {
        for (head, piece) in self.parts {
            // A closed channel means that the reader has gone.
            if sender.send(Ok(head.into())).await.is_err() {
                return Ok(());
            }
            let content = files.open_object(object, piece).await?;
            match content.ok_or_else(|| Error::Unavailable("the object was replaced".into()))? {
                Content::Whole(bytes) => drop(sender.send(Ok(bytes)).await),
                Content::Stream(mut reader) => {
                    while let Some(bytes) = reader.next().await? {
                        if sender.send(Ok(bytes)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
            drop(sender.send(Ok(Bytes::from_static(b"\r\n"))).await);
        }
        drop(sender.send(Ok(format!("--{}--", self.boundary).into())).await);
        Ok(())
    }
}
