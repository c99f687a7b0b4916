//! Browser uploads: several files in one `multipart/form-data` POST, authorised by token (seed 002, Upload) or by a
//! signature in the form's fields (Swift, FormPost).

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context as TaskContext, Poll, ready};

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use futures_util::Stream;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, CONTENT_TYPE, LOCATION};
use http::request::Parts;
use http_body::Body as _;
use serde::Serialize;
use web::Response;
use web::body::{PAUSE_MAX, Pace};
use work::Time;

use super::answer::{self, set};
use super::fault::Fault;
use super::report::line;
use super::unread::UnreadBody;
use super::{Call, put};
use crate::model::metadata::Metadata;
use crate::model::name::NOT_TEXT;
use crate::model::signature;
use crate::service::{self, PutRequest, Signed};
use crate::{Context, Error};

/// Maximum number of files in a form.
const FILES_MAX: usize = 1000;
/// Maximum number of text fields in a form.
const FIELDS_MAX: usize = 100;
/// Maximum length of a field's name, in bytes.
const NAME_BYTES_MAX: usize = 64;
/// Maximum length of a text field, in bytes.
const FIELD_BYTES_MAX: usize = 4096;
/// Maximum bytes of fields and part headers before each file. Until the first file, the sender is not authenticated, since
/// the signature is one of the fields.
const BEFORE_FILE_BYTES_MAX: u64 = 64 << 10;

#[derive(Serialize)]
struct Uploaded {
    name: String,
    bytes: u64,
    hash: String,
    content_type: String,
}

/// The fields of a form that precede its files.
struct Fields(BTreeMap<String, String>);

impl Fields {
    fn text(&self, name: &str) -> &str {
        self.0.get(name).map_or("", String::as_str)
    }

    fn is_signed(&self) -> bool {
        self.0.contains_key("signature")
    }

    /// Returns a field as a number; an empty field is 0.
    fn number(&self, name: &str) -> Result<u64, Fault> {
        let text = self.text(name);
        let text = if text.is_empty() { "0" } else { text };
        text.parse().map_err(|_| malformed(&format!("{name} not an integer")))
    }

    fn time(&self, name: &str, meaning: &str) -> Result<Option<i64>, Fault> {
        let Some(text) = self.0.get(name) else { return Ok(None) };
        text.parse().map(Some).map_err(|_| malformed(&format!("{name} not an integer: {meaning} required.")))
    }
}

impl Call<'_> {
    /// Handles a form sent to a container.
    pub(super) async fn receive_form(
        &self,
        account: &str,
        container: &str,
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        self.receive((account, container, ""), request, body).await
    }

    /// Handles a form sent to a prefix of object names.
    pub(super) async fn receive_post(
        &self,
        account: &str,
        container: &str,
        prefix: &str,
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        self.receive((account, container, prefix), request, body).await
    }

    /// Stores each file under its own name with the path's prefix. A file that fails ends the request; files before it remain
    /// stored.
    async fn receive(
        &self,
        (account, container, prefix): (&str, &str, &str),
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        let header =
            request.headers.get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let boundary = multer::parse_boundary(header).map_err(|e| refused(&e))?;
        // Do not read the body if neither the caller nor any signature in the fields could grant access to the container.
        if let Err(closed) = self.files.may_store(self.context, account, Some(container)).await
            && !self.files.has_key(account, container).await?
        {
            return Err(match closed {
                Error::Unauthenticated => unsigned("invalid signature"),
                other => other.into(),
            });
        }
        let allowance = Allowance::default();
        let stream = Measured { body: body.into_form(), allowance: allowance.clone(), is_given: false };
        let mut form = multer::Multipart::new(stream, boundary);
        let (mut fields, mut without_file) = (Fields(BTreeMap::new()), 0);
        let mut pace = Pace::default();
        let mut uploaded: Vec<Uploaded> = Vec::new();
        // The limit covers everything before a file together, since nobody is authorised yet.
        allowance.set(BEFORE_FILE_BYTES_MAX);
        loop {
            let Some(field) = in_time(&mut pace, form.next_field()).await? else { break };
            if field.name().is_some_and(|name| name.len() > NAME_BYTES_MAX) {
                let text = format!("a form's field has a name of more than {NAME_BYTES_MAX} bytes");
                return Err(Error::Invalid(text).into());
            }
            // The parser would not recognise the name, and the file would be taken for a field and lost.
            let disposition = field.headers().get(CONTENT_DISPOSITION);
            if disposition.is_some_and(|value| std::str::from_utf8(value.as_bytes()).is_err()) {
                return Err(Error::BadName(NOT_TEXT.into()).into());
            }
            let Some(file_name) = field.file_name().filter(|name| !name.is_empty()).map(str::to_owned) else {
                // Browsers send an empty part for a file input without a chosen file.
                without_file += 1;
                if without_file > FIELDS_MAX {
                    return Err(Error::Invalid(format!("a form holds at most {FIELDS_MAX} fields")).into());
                }
                let is_file = field.file_name().is_some();
                let name = field.name().unwrap_or_default().to_ascii_lowercase();
                let value = text_of(&mut pace, field).await?;
                if !is_file {
                    fields.0.insert(name, value);
                }
                continue;
            };
            let count = uploaded.len() + 1;
            let signed = fields.is_signed();
            if signed && count as u64 > fields.number("max_file_count")? {
                return Ok(concluded(&fields, StatusCode::BAD_REQUEST, "max file count exceeded"));
            }
            // A signed URL grants access to one object, not to the names in a form.
            if !signed && self.context.pass.is_some() {
                return Err(unsigned("invalid signature"));
            }
            if count > FILES_MAX {
                return Err(Error::Invalid(format!("a form holds at most {FILES_MAX} files")).into());
            }
            let context = if signed {
                let context = self.signed_form((account, container), request, &fields).await?;
                web::mark_authenticated();
                context
            } else {
                self.context.clone()
            };
            let name = if signed {
                format!("{prefix}{file_name}")
            } else {
                format!("{prefix}{}{file_name}", fields.text("prefix"))
            };
            let part = Part { field, left: u64::MAX, allowance: allowance.clone() };
            match self.store_field(&context, (account, container, &name), &fields, part).await {
                Ok(stored) => {
                    uploaded.push(stored);
                    allowance.set(BEFORE_FILE_BYTES_MAX);
                    pace = Pace::default();
                }
                Err(Error::TooLarge) if signed => return Err(malformed("max_file_size exceeded")),
                Err(error) if signed => {
                    let fault = Fault::from(error);
                    return if fields.text("redirect").is_empty() {
                        Err(fault)
                    } else {
                        Ok(concluded(&fields, fault.code(), ""))
                    };
                }
                Err(error) => return Err(error.into()),
            }
        }
        if fields.is_signed() {
            return Ok(match uploaded.is_empty() {
                true => concluded(&fields, StatusCode::BAD_REQUEST, "no files to process"),
                false => concluded(&fields, StatusCode::CREATED, ""),
            });
        }
        if self.context.caller.is_none() {
            return Err(unsigned("invalid signature"));
        }
        if uploaded.is_empty() {
            return Err(Error::Invalid("the form holds no file".into()).into());
        }
        if !fields.text("redirect").is_empty() {
            let mut response = answer::html(StatusCode::SEE_OTHER, String::new());
            set(response.headers_mut(), LOCATION.as_str(), fields.text("redirect"));
            return Ok(response);
        }
        let body = serde_json::to_string(&uploaded).unwrap_or_default();
        Ok(answer::with(StatusCode::CREATED, "application/json; charset=utf-8", Body::from(body)))
    }

    async fn store_field(
        &self,
        context: &Context,
        (account, container, name): (&str, &str, &str),
        fields: &Fields,
        mut part: Part<'_>,
    ) -> crate::Result<Uploaded> {
        let field = &part.field;
        let own_type = field.content_type().map(|mime| mime.essence_str().to_owned());
        let given = Some(fields.text("content-type")).filter(|value| !value.is_empty()).map(str::to_owned);
        let mut metadata = Metadata::default();
        let own_encoding = field.headers().get("content-encoding").and_then(|value| value.to_str().ok());
        let encoding =
            Some(fields.text("content-encoding")).filter(|value| !value.is_empty()).or(own_encoding);
        if let Some(encoding) = encoding {
            metadata.0.insert("content-encoding".into(), encoding.to_owned());
        }
        let signed = fields.is_signed();
        let expires = if signed {
            self.expiry_of(fields).map_err(|_| Error::Invalid("bad time".into()))?
        } else {
            None
        };
        let put = PutRequest {
            length: None,
            etag: None,
            content_type: given.or(own_type).unwrap_or_else(|| put::guessed_type(name)),
            metadata,
            only_new: false,
            shape: None,
            expires,
        };
        if signed {
            part.left = fields.text("max_file_size").parse().unwrap_or(0);
        }
        let stored = self.files.put_object(context, account, container, name, put, &mut part).await?;
        let object = stored.object;
        Ok(Uploaded {
            name: name.to_owned(),
            bytes: object.size,
            hash: object.etag,
            content_type: object.content_type,
        })
    }

    fn expiry_of(&self, fields: &Fields) -> Result<Option<Time>, Fault> {
        let at = fields.time("x_delete_at", "Unix timestamp")?;
        let after = fields.time("x_delete_after", "Number of seconds")?;
        let now = self.files.now().seconds();
        let at = after.map(|after| now.saturating_add(after)).or(at);
        match at {
            Some(at) if at <= now => Err(Error::Invalid("X-Delete-At in past".into()).into()),
            at => Ok(at.map(Time::from_seconds)),
        }
    }

    /// Returns the access that a form's signature grants.
    async fn signed_form(
        &self,
        (account, container): (&str, &str),
        request: &Parts,
        fields: &Fields,
    ) -> Result<Context, Fault> {
        fields.number("max_file_size")?;
        self.expiry_of(fields)?;
        let text = fields.text("expires");
        let expires: i64 = if text.is_empty() {
            0
        } else {
            text.parse().map_err(|_| malformed("expired not an integer"))?
        };
        if expires < self.files.now().seconds() {
            return Err(unsigned("form expired"));
        }
        let (digest, bytes) =
            signature::parse(fields.text("signature")).ok_or_else(|| unsigned("invalid signature"))?;
        let or_zero =
            |name: &str| Some(fields.text(name)).filter(|text| !text.is_empty()).unwrap_or("0").to_owned();
        let path = percent_encoding::percent_decode_str(request.uri.path()).decode_utf8_lossy().into_owned();
        let text = format!(
            "{path}\n{}\n{}\n{}\n{}",
            fields.text("redirect"),
            or_zero("max_file_size"),
            or_zero("max_file_count"),
            or_zero("expires")
        );
        let signed = Signed { digest, signature: bytes, texts: vec![text] };
        let pass = self.files.grant_for(account, container, &signed).await;
        let pass = pass.map_err(|_| unsigned("invalid signature"))?;
        Ok(Context { pass: Some(pass), ..Context::default() })
    }
}

/// Builds the response to a signed form: a redirection with status and message, or a line of text.
fn concluded(fields: &Fields, status: StatusCode, message: &str) -> Response {
    let redirect = fields.text("redirect");
    if redirect.is_empty() {
        let text = if message.is_empty() {
            line(status)
        } else {
            format!("{}\r\nFormPost: {}", line(status), title(message))
        };
        return answer::with(status, "text/plain", text);
    }
    let separator = if redirect.contains('?') { '&' } else { '?' };
    let message = web::query::encode(message.as_bytes(), true);
    let place = format!("{redirect}{separator}status={}&message={message}", status.as_u16());
    let mut shown = String::new();
    web::xml::escape_into(&place, &mut shown);
    let page = format!("<html><body><p><a href=\"{shown}\">Click to continue...</a></p></body></html>");
    let mut response = answer::html(StatusCode::SEE_OTHER, page);
    set(response.headers_mut(), LOCATION.as_str(), place);
    response
}

fn title(text: &str) -> String {
    let mut start = true;
    text.chars()
        .map(|c| {
            let shown = if start { c.to_ascii_uppercase() } else { c.to_ascii_lowercase() };
            start = !c.is_ascii_alphabetic();
            shown
        })
        .collect()
}

fn malformed(text: &str) -> Fault {
    Fault::text(StatusCode::BAD_REQUEST, format!("FormPost: {text}"))
}

fn unsigned(text: &str) -> Fault {
    Fault::html(StatusCode::UNAUTHORIZED, format!("FormPost: {}", title(text)))
}

async fn text_of(pace: &mut Pace, mut field: multer::Field<'_>) -> Result<String, Fault> {
    let mut value = Vec::new();
    while let Some(piece) = in_time(pace, field.chunk()).await? {
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

/// Waits for the form's parser. Everything before a file must arrive within the limits of a [`Pace`].
async fn in_time<T>(pace: &mut Pace, read: impl Future<Output = multer::Result<T>>) -> Result<T, Fault> {
    match pace.wait(read).await {
        Ok(read) => read.map_err(|e| refused(&e)),
        Err(_) => Err(Error::TooSlow.into()),
    }
}

/// A file in a form, limited in length. It is read only once its sender was authorised to store it.
struct Part<'f> {
    field: multer::Field<'f>,
    left: u64,
    allowance: Allowance,
}

#[async_trait]
impl service::Body for Part<'_> {
    async fn next(&mut self) -> crate::Result<Option<Bytes>> {
        self.allowance.set(u64::MAX);
        let piece = tokio::time::timeout(PAUSE_MAX, self.field.chunk()).await.map_err(|_| Error::TooSlow)?;
        let piece = piece.map_err(|_| Error::BrokeOff)?;
        let length = piece.as_ref().map_or(0, |piece| piece.len() as u64);
        self.left = self.left.checked_sub(length).ok_or(Error::TooLarge)?;
        Ok(piece)
    }
}

/// Bytes of the form's body that the parser may still read.
#[derive(Clone, Default)]
struct Allowance(Arc<AtomicU64>);

impl Allowance {
    fn set(&self, bytes: u64) {
        self.0.store(bytes, Relaxed);
    }
}

/// A form's body. The parser buffers everything available before it parses any of it, so this returns one piece at a time,
/// and an error once the allowance is used up.
struct Measured {
    body: Body,
    allowance: Allowance,
    /// Whether a piece was returned and the parser must now parse what it has.
    is_given: bool,
}

impl Stream for Measured {
    type Item = Result<Bytes, axum::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut TaskContext<'_>) -> Poll<Option<Self::Item>> {
        let left = self.allowance.0.load(Relaxed);
        if std::mem::take(&mut self.is_given) {
            // Have the parser parse what it has; it polls again if that is not enough.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if left == 0 {
            let text = format!("more than {BEFORE_FILE_BYTES_MAX} bytes before a file");
            return Poll::Ready(Some(Err(axum::Error::new(text))));
        }
        loop {
            let Some(frame) = ready!(Pin::new(&mut self.body).poll_frame(context)) else {
                return Poll::Ready(None);
            };
            let Ok(data) = frame?.into_data() else { continue };
            self.is_given = true;
            self.allowance.set(left.saturating_sub(data.len() as u64));
            return Poll::Ready(Some(Ok(data)));
        }
    }
}
