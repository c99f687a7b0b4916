//! Browser-style upload: several files in one `multipart/form-data` POST to a container, by token (seed 002, Upload).

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Serialize;
use web::Response;

use super::answer;
use super::fault::Fault;
use super::{Call, object};
use crate::Error;
use crate::model::metadata::Metadata;
use crate::service::{self, PutRequest};

/// Files in one form at most.
const FILES_MAX: usize = 1000;
/// A text field's length at most, in bytes.
const FIELD_BYTES_MAX: usize = 4096;

/// Whether a POST carries a form.
pub(super) fn is_form(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|value| value.trim().to_ascii_lowercase().starts_with("multipart/form-data"))
}

#[derive(Serialize)]
struct Uploaded {
    name: String,
    bytes: u64,
    hash: String,
    content_type: String,
}

impl Call<'_> {
    /// Stores each file under its own name; a `prefix` field in front of them goes before the names, a `redirect` field
    /// is where the browser is sent in the end. A file that fails ends the request; those before it are stored.
    pub(super) async fn receive_form(
        &self,
        account: &str,
        container: &str,
        request: &Parts,
        body: Body,
    ) -> Result<Response, Fault> {
        let header =
            request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(header).map_err(|e| refused(&e))?;
        let stream = http_body_util::BodyDataStream::new(body);
        let mut form = multer::Multipart::new(stream, boundary);
        let (mut prefix, mut redirect) = (String::new(), None);
        let mut uploaded = Vec::new();
        while let Some(field) = form.next_field().await.map_err(|e| refused(&e))? {
            let Some(file_name) = field.file_name().map(str::to_owned) else {
                let name = field.name().unwrap_or_default().to_owned();
                let value = text_of(field).await?;
                match name.as_str() {
                    "prefix" => prefix = value,
                    "redirect" => redirect = Some(value),
                    _ => {}
                }
                continue;
            };
            // A browser sends an empty part for a file input that nothing was chosen in.
            if file_name.is_empty() {
                continue;
            }
            if uploaded.len() == FILES_MAX {
                return Err(Error::Invalid(format!("a form holds at most {FILES_MAX} files")).into());
            }
            let name = format!("{prefix}{file_name}");
            let content_type = field.content_type().map(|mime| mime.essence_str().to_owned());
            let put = PutRequest {
                length: None,
                etag: None,
                content_type: content_type.unwrap_or_else(|| object::guessed_type(&name)),
                metadata: Metadata::default(),
                only_new: false,
            };
            let mut part = Part(field);
            let stored =
                self.files.put_object(self.context, account, container, &name, put, &mut part).await?;
            let object = stored.object;
            uploaded.push(Uploaded {
                name,
                bytes: object.size,
                hash: object.etag,
                content_type: object.content_type,
            });
        }
        if uploaded.is_empty() {
            return Err(Error::Invalid("the form holds no file".into()).into());
        }
        if let Some(place) = redirect.and_then(|place| HeaderValue::from_str(&place).ok()) {
            let mut response = answer::html(StatusCode::SEE_OTHER, String::new());
            response.headers_mut().insert(LOCATION, place);
            return Ok(response);
        }
        let body = serde_json::to_string(&uploaded).unwrap_or_default();
        Ok(answer::with(StatusCode::CREATED, "application/json; charset=utf-8", Body::from(body)))
    }
}

async fn text_of(mut field: multer::Field<'_>) -> Result<String, Fault> {
    let mut value = Vec::new();
    while let Some(piece) = field.chunk().await.map_err(|e| refused(&e))? {
        value.extend_from_slice(&piece);
        if value.len() > FIELD_BYTES_MAX {
            return Err(
                Error::Invalid(format!("a form's field is longer than {FIELD_BYTES_MAX} bytes")).into()
            );
        }
    }
    String::from_utf8(value).map_err(|_| Error::Invalid("a form's field is not UTF-8".into()).into())
}

fn refused(error: &multer::Error) -> Fault {
    Error::Invalid(format!("the form cannot be read: {error}")).into()
}

struct Part<'f>(multer::Field<'f>);

#[async_trait]
impl service::Body for Part<'_> {
    async fn next(&mut self) -> crate::Result<Option<Bytes>> {
        self.0.chunk().await.map_err(|_| Error::BrokeOff)
    }
}
