//! `COPY`, and `PUT` with `X-Copy-From` (Swift, copy objects).

use http::StatusCode;
use http::request::Parts;
use http::{HeaderMap, HeaderValue};
use web::Response;
use web::conditional::{Validators, Verdict, evaluate, http_date};
use web::range::Selection;

use super::answer::set;
use super::fault::Fault;
use super::heartbeat;
use super::object::wants_any;
use super::put::{account_header, check_type, created, etag, length, only_new, path_pair};
use super::report::{Form, Report, line};
use super::{Call, headers, object, ranges};
use crate::Error;
use crate::model::entry::Object;
use crate::model::metadata::titled;
use crate::model::shape::Shape;
use crate::model::{manifest, time};
use crate::service::{CopyRequest, Found, Incoming, ManifestPut, PutRequest, ReadOptions, Stored};

/// Attempts to copy before giving up, if the source is replaced during each.
const ATTEMPTS: u32 = 4;
/// Limit on the error body of a failed copy; no error page is longer.
const ANSWER_BYTES_MAX: usize = 1 << 20;

impl Call<'_> {
    pub(super) async fn copy_object(
        &self,
        account: &str,
        container: &str,
        name: &str,
        request: &Parts,
    ) -> Result<Response, Fault> {
        let Some(destination) =
            headers::get(&request.headers, "destination").filter(|value| !value.is_empty())
        else {
            return Err(Fault::html(StatusCode::PRECONDITION_FAILED, "Destination header required"));
        };
        let to_account = account_header(&request.headers, "destination-account")?;
        let (to_container, to_name) = path_pair("Destination", destination)?;
        let to_account = to_account.unwrap_or_else(|| account.to_owned());
        self.copy((account, container, name), (&to_account, &to_container, &to_name), request).await
    }

    /// Handles a PUT whose content comes from another object.
    pub(super) async fn copy_here(
        &self,
        target: (&str, &str, &str),
        source: &HeaderValue,
        request: &Parts,
    ) -> Result<Response, Fault> {
        if length(&request.headers)?.unwrap_or(0) != 0 {
            return Err(Error::Invalid("Copy requests require a zero byte body".into()).into());
        }
        let source = String::from_utf8_lossy(source.as_bytes());
        let source_account = account_header(&request.headers, "x-copy-from-account")?;
        let (container, name) = path_pair("X-Copy-From", &source)?;
        let source_account = source_account.unwrap_or_else(|| target.0.to_owned());
        self.copy((&source_account, &container, &name), target, request).await
    }

    async fn copy(
        &self,
        source: (&str, &str, &str),
        target: (&str, &str, &str),
        request: &Parts,
    ) -> Result<Response, Fault> {
        if !heartbeat::asked(self.query) {
            return self.copy_now(source, target, request).await;
        }
        // Report a missing source at once.
        self.source(source, self.look()?, &request.headers).await?;
        let form = Form::accepted_of(&request.headers, &[Form::Text, Form::Json]).unwrap_or(Form::Text);
        let (files, context, query) = (self.files.clone(), self.context.clone(), self.query.clone());
        let owned = |place: (&str, &str, &str)| (place.0.to_owned(), place.1.to_owned(), place.2.to_owned());
        let (source, target, request) = (owned(source), owned(target), request.clone());
        Ok(heartbeat::answer(form.content_type(), async move {
            let call = Call { files: &files, context: &context, query: &query };
            let (from, to) = (&source, &target);
            let outcome = call.copy_now((&from.0, &from.1, &from.2), (&to.0, &to.1, &to.2), &request).await;
            outcome_of(outcome, &format!("{}/{}", from.1, from.2)).await.write(form, "copy")
        }))
    }

    async fn copy_now(
        &self,
        source: (&str, &str, &str),
        (account, container, name): (&str, &str, &str),
        request: &Parts,
    ) -> Result<Response, Fault> {
        let given = &request.headers;
        let look = self.look()?;
        let copy = match self.copy_request((account, container, name), request) {
            Ok(copy) => copy,
            Err(fault) => {
                self.source(source, look, given).await?;
                let stored = self.files.check_store(self.context, account, container, name, 0).await;
                stored.map_err(|error| Fault::from(error).of_account(account))?;
                return Err(fault);
            }
        };
        let part = self.part_number(request)?;
        for _ in 0..ATTEMPTS {
            let found = self.source(source, look, given).await?;
            let modified = Some(time::last_modified(found.changed()));
            let validators = Validators { etag: Some(found.etag()), modified };
            // Conditions apply to the source, except If-None-Match, which is evaluated when the target is stored.
            let mut conditions = given.clone();
            conditions.remove(http::header::IF_NONE_MATCH);
            match evaluate(&conditions, validators) {
                Verdict::Proceed => {}
                Verdict::NotModified => return Err(Fault::status(StatusCode::NOT_MODIFIED)),
                Verdict::Failed => return Err(Fault::status(StatusCode::PRECONDITION_FAILED)),
            }
            let part = part
                .zip(found.segments.as_ref())
                .map(|(number, segments)| segments.part(number).ok_or_else(|| Fault::range(found.size())));
            let range = match ranges::asked(given, validators, found.size()) {
                Selection::Whole => None,
                Selection::Pieces(pieces) if pieces.len() == 1 => pieces.into_iter().next(),
                Selection::Pieces(_) => None,
                Selection::Unsatisfiable => return Ok(self.beyond(&found, look)),
            };
            let range = part.transpose()?.or(range);
            let is_manifest = look.manifest && matches!(found.object.shape, Some(Shape::Manifest { .. }));
            let stored = if is_manifest {
                Some(self.copy_manifest(&found, &copy, request).await?)
            } else {
                let stored = self.files.copy_object(self.context, &found, range, &copy).await;
                stored.map_err(|error| Fault::from(error).of_account(account))?
            };
            if let Some(stored) = stored {
                return Ok(copied(source, &found, &stored, look));
            }
        }
        Err(Fault::status(StatusCode::SERVICE_UNAVAILABLE))
    }

    /// Finds the source of a copy; a rejection names its account.
    async fn source(
        &self,
        source: (&str, &str, &str),
        look: ReadOptions,
        given: &HeaderMap,
    ) -> Result<Found, Fault> {
        match self.files.find_copy_source(self.context, source, look).await {
            Ok(found) => Ok(found),
            Err(Error::NotFound) if wants_any(given) => Err(Fault::html(StatusCode::PRECONDITION_FAILED, "")),
            Err(error) => {
                let fault = Fault::from(error).of_account(source.0);
                Err(self.with_null_version(fault, source.0, source.1).await)
            }
        }
    }

    fn copy_request(
        &self,
        (account, container, name): (&str, &str, &str),
        request: &Parts,
    ) -> Result<CopyRequest, Fault> {
        let given = &request.headers;
        let content_type = headers::get(given, "content-type").filter(|value| !value.is_empty());
        headers::check_object(given)?;
        let copy = CopyRequest {
            account: account.to_owned(),
            container: container.to_owned(),
            name: name.to_owned(),
            only_new: only_new(given)?,
            expires: headers::expiry(given, self.files.now())?,
            metadata: headers::of_object(given, self.files.limits())?,
            content_type: content_type.map(str::to_owned),
            fresh: headers::is_true_header(given, "x-fresh-metadata"),
            etag: etag(given),
            link_account: account_header(given, "x-symlink-target-account")?,
        };
        check_type(given)?;
        Ok(copy)
    }

    /// Copies a manifest by storing it as a new one, since the caller must be able to read its segments.
    async fn copy_manifest(
        &self,
        found: &Found,
        copy: &CopyRequest,
        request: &Parts,
    ) -> Result<Stored, Fault> {
        let json = manifest::raw(&self.files.manifest(found).await?);
        let mut metadata = if copy.fresh { Default::default() } else { found.object.metadata.clone() };
        metadata.0.extend(copy.metadata.0.clone());
        let put = PutRequest {
            length: Some(json.len() as u64),
            etag: None,
            content_type: copy.content_type.clone().unwrap_or_else(|| found.object.content_type.clone()),
            metadata,
            only_new: copy.only_new,
            shape: None,
            expires: copy.expires,
        };
        let place = (copy.account.as_str(), copy.container.as_str(), copy.name.as_str());
        let body = &mut Incoming::of(json.into());
        match self.files.put_manifest(self.context, place, put, body).await? {
            ManifestPut::Stored(stored, etag) => {
                let object = Object { etag, ..stored.object };
                Ok(Stored { object, quoted: true })
            }
            ManifestPut::Refused(problems) => Err(super::large::refused(&request.headers, &problems)),
        }
    }
}

/// Converts the outcome of a copy whose response has already begun into a report.
async fn outcome_of(outcome: Result<Response, Fault>, source: &str) -> Report {
    let response = outcome.unwrap_or_else(|fault| fault.into_response("unknown", false));
    let (head, body) = response.into_parts();
    let body = web::body::read(body, ANSWER_BYTES_MAX).await.unwrap_or_default();
    let status = line(head.status);
    let errors = if head.status.is_success() {
        Vec::new()
    } else {
        vec![(web::query::encode(source.as_bytes(), true), status.clone())]
    };
    let text = String::from_utf8_lossy(&body).into_owned();
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (titled(name.as_str()), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    Report {
        fields: [("Response Status", status.into()), ("Response Body", text.into())].into(),
        headers: headers.collect(),
        errors,
    }
}

fn copied(source: (&str, &str, &str), found: &Found, stored: &Stored, look: ReadOptions) -> Response {
    let mut response = created(&stored.object, stored.quoted);
    let stored = &stored.object;
    let from = format!("{}/{}", source.1, source.2);
    let headers = response.headers_mut();
    set(headers, "x-copied-from", web::query::encode(from.as_bytes(), true));
    set(headers, "x-copied-from-account", web::query::encode(source.0.as_bytes(), false));
    set(headers, "x-copied-from-last-modified", http_date(time::last_modified(found.changed())));
    if let Some(version) = found.version.or(look.version) {
        set(headers, "x-copied-from-version-id", object::id(version));
    }
    for (name, value) in &stored.metadata.0 {
        if name.starts_with("x-object-meta-") {
            set(headers, name, crate::model::metadata::bytes_of(value));
        }
    }
    if let Some(expires) = stored.expires {
        set(headers, "x-delete-at", expires.seconds().to_string());
    }
    response
}
