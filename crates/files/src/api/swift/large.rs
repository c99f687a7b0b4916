//! Stores manifests of static large objects and deletes them with their segments (Swift, Static large objects).

use http::request::Parts;
use http::{HeaderMap, StatusCode};
use web::Response;
use web::conditional::http_date;

use super::answer::{self, set};
use super::fault::Fault;
use super::put::created;
use super::report::{Form, Report, line};
use super::unread::Incoming;
use super::{Call, heartbeat, listing};
use crate::model::time;
use crate::model::version::VersionId;
use crate::service::{Expected, ManifestPut, Problem, PutRequest};
use crate::{Context, Error, Files};

/// Maximum number of segments and nested manifests that one deletion handles.
const NAMED_MAX: usize = 10_000;

impl Call<'_> {
    /// Handles PUT with `?multipart-manifest=put`.
    pub(super) async fn put_manifest(
        &self,
        (account, container, name): (&str, &str, &str),
        request: &Parts,
        mut put: PutRequest,
        mut incoming: Incoming,
    ) -> Result<Response, Fault> {
        let max = self.files.limits().max_manifest_size;
        if put.length.is_some_and(|length| length > max as u64) {
            return Err(Error::TooMany(format!("Manifest File > {max} bytes")).into());
        }
        put.length = None;
        if heartbeat::asked(self.query) {
            let place = (account.to_owned(), container.to_owned(), name.to_owned());
            return Ok(with_heartbeat(
                self.files.clone(),
                self.context.clone(),
                place,
                put,
                incoming,
                &request.headers,
            ));
        }
        let place = (account, container, name);
        match self.files.put_manifest(self.context, place, put, &mut incoming).await? {
            ManifestPut::Refused(problems) => Err(refused(&request.headers, &problems)),
            ManifestPut::Stored(stored, etag) => {
                let mut response = created(&stored.object, false);
                set(response.headers_mut(), "etag", format!("\"{etag}\""));
                Ok(response)
            }
        }
    }

    /// Handles DELETE with `?multipart-manifest=delete`: deletes the segments and then the manifest, and reports the outcome.
    pub(super) async fn delete_manifest(
        &self,
        place: (&str, &str, &str),
        request: &Parts,
    ) -> Result<Response, Fault> {
        if self.query.text("async").is_some_and(|value| listing::is_true(&value)) {
            return self.delete_manifest_later(place).await;
        }
        let Some(form) = Form::accepted(&request.headers) else {
            return Err(Fault::status(StatusCode::NOT_ACCEPTABLE));
        };
        let mut report = Deletions::default();
        let (account, container, name) = place;
        match self.names_of(place).await {
            Ok(names) => {
                let last = names.len().saturating_sub(1);
                let version = self.version_id()?;
                for (index, (container, name)) in names.into_iter().enumerate() {
                    let version = version.filter(|_| index == last);
                    let sent = format!("/{container}/{name}");
                    self.delete_one((account, &container, Some(&name)), version, &sent, &mut report).await;
                }
            }
            Err(fault) if fault.code() == StatusCode::NOT_FOUND => {
                report.not_found += 1;
            }
            Err(fault) => {
                let shown = web::query::encode(format!("/{container}/{name}").as_bytes(), true);
                let text = match fault.code() {
                    StatusCode::BAD_REQUEST if self.version_id().is_ok() => "Not an SLO manifest".to_owned(),
                    StatusCode::UNAUTHORIZED => line(fault.code()),
                    _ => "Unable to load SLO manifest or segment.".to_owned(),
                };
                report.errors.push((shown, text));
            }
        }
        Ok(report.answer(form))
    }

    /// Lists everything that a manifest refers to, recursively; each nested manifest follows its segments.
    async fn names_of(
        &self,
        (account, container, name): (&str, &str, &str),
    ) -> Result<Vec<(String, String)>, Fault> {
        let mut names = Vec::new();
        let mut manifests = vec![(container.to_owned(), name.to_owned())];
        let mut ahead = manifests.clone();
        let mut first = true;
        let version = self.version_id()?;
        while let Some((container, name)) = ahead.pop() {
            let id = version.filter(|_| first);
            let segments = match self.files.segment_names(self.context, account, &container, &name, id).await
            {
                Ok(segments) => segments,
                Err(error) if first => return Err(error.into()),
                Err(_) => continue,
            };
            first = false;
            for segment in segments {
                let (container, name) =
                    segment.name.trim_start_matches('/').split_once('/').unwrap_or_default();
                let place = (container.to_owned(), name.to_owned());
                if segment.sub_slo {
                    manifests.push(place.clone());
                    ahead.push(place);
                } else {
                    names.push(place);
                }
            }
            if names.len() + manifests.len() > NAMED_MAX {
                return Err(Fault::html(
                    StatusCode::BAD_REQUEST,
                    "Too many buffered slo segments to delete.",
                ));
            }
        }
        names.extend(manifests.into_iter().rev());
        Ok(names)
    }

    /// Handles `async=on`: deletes the segments after the response. They must be plain objects in one container.
    async fn delete_manifest_later(
        &self,
        (account, container, name): (&str, &str, &str),
    ) -> Result<Response, Fault> {
        let segments = self.files.segment_names(self.context, account, container, name, None).await.map_err(
            |e| match e {
                Error::NotFound => Fault::html(StatusCode::NOT_FOUND, "SLO manifest not found"),
                other => other.into(),
            },
        )?;
        let mut containers = std::collections::BTreeSet::new();
        let mut names = Vec::new();
        for segment in &segments {
            let (container, name) = segment.name.trim_start_matches('/').split_once('/').unwrap_or_default();
            containers.insert(container.to_owned());
            names.push(name.to_owned());
        }
        if containers.len() > 1 {
            let shown: Vec<_> = containers
                .iter()
                .map(|name| format!("\"{}\"", web::query::encode(name.as_bytes(), true)))
                .collect();
            let text =
                format!("All segments must be in one container. Found segments in {}", shown.join(", "));
            return Err(Fault::html(StatusCode::BAD_REQUEST, text));
        }
        if segments.iter().any(|segment| segment.sub_slo) {
            return Err(Fault::html(StatusCode::BAD_REQUEST, "No segments may be large objects."));
        }
        if let Some(segments_in) = containers.into_iter().next() {
            self.files.expire_now(self.context, account, &segments_in, names).await?;
        }
        self.files.delete_object(self.context, account, container, name, Expected::default()).await?;
        Ok(answer::html(StatusCode::NO_CONTENT, String::new()))
    }

    /// Deletes an object, or a container if there is no object name, and records the outcome under `sent`, the name in the
    /// request.
    pub(super) async fn delete_one(
        &self,
        place: (&str, &str, Option<&str>),
        version: Option<VersionId>,
        sent: &str,
        report: &mut Deletions,
    ) {
        let (account, container, name) = place;
        let outcome = match (name, version) {
            (Some(name), Some(version)) => {
                self.files.delete_version(self.context, account, container, name, version).await.map(|_| ())
            }
            (Some(name), None) => {
                let expected = Expected::default();
                self.files.delete_object(self.context, account, container, name, expected).await.map(|_| ())
            }
            (None, _) => self.files.delete_container(self.context, account, container).await,
        };
        match outcome {
            Ok(()) => report.deleted += 1,
            Err(error) => {
                let status = Fault::from(error).code();
                if status == StatusCode::NOT_FOUND {
                    report.not_found += 1;
                    return;
                }
                report.server_fault |= status.is_server_error();
                report.errors.push((web::query::encode(sent.as_bytes(), true), line(status)));
            }
        }
    }
}

/// The outcome of several deletions.
#[derive(Default)]
pub(super) struct Deletions {
    pub(super) deleted: u64,
    pub(super) not_found: u64,
    pub(super) server_fault: bool,
    pub(super) errors: Vec<(String, String)>,
    /// Why processing stopped early, if it did.
    pub(super) stopped: Option<(StatusCode, String)>,
}

impl Deletions {
    pub(super) fn answer(self, form: Form) -> Response {
        answer::with(StatusCode::OK, form.content_type(), self.report().write(form, "delete"))
    }

    pub(super) fn report(self) -> Report {
        let (status, text) = match self.stopped {
            Some(stopped) => stopped,
            None if self.server_fault => (StatusCode::BAD_GATEWAY, String::new()),
            None if !self.errors.is_empty() => (StatusCode::BAD_REQUEST, String::new()),
            None if self.deleted + self.not_found == 0 => {
                (StatusCode::BAD_REQUEST, "Invalid bulk delete.".into())
            }
            None => (StatusCode::OK, String::new()),
        };
        Report {
            fields: [
                ("Number Deleted", self.deleted.into()),
                ("Number Not Found", self.not_found.into()),
                ("Response Body", text.into()),
                ("Response Status", line(status).into()),
            ]
            .into(),
            errors: self.errors,
            ..Report::default()
        }
    }
}

/// Returns the fault for a manifest with invalid segments.
pub(super) fn refused(headers: &HeaderMap, problems: &[Problem]) -> Fault {
    let form = Form::accepted(headers).unwrap_or(Form::Text);
    let report = Report { errors: shown(problems), ..Report::default() };
    let fault = Fault::text(StatusCode::BAD_REQUEST, report.write(form, "upload"));
    fault.with(http::header::CONTENT_TYPE, form.content_type())
}

fn shown(problems: &[Problem]) -> Vec<(String, String)> {
    problems.iter().map(|(path, why)| (web::query::encode(path.as_bytes(), true), why.clone())).collect()
}

/// Responds at once and reports the outcome in the body.
fn with_heartbeat(
    files: Files,
    context: Context,
    place: (String, String, String),
    put: PutRequest,
    mut incoming: Incoming,
    headers: &HeaderMap,
) -> Response {
    let form = Form::accepted(headers).unwrap_or(Form::Text);
    heartbeat::answer(form.content_type(), async move {
        let target = (place.0.as_str(), place.1.as_str(), place.2.as_str());
        let outcome = files.put_manifest(&context, target, put, &mut incoming).await;
        format!("\r\n\r\n{}", outcome_of(outcome).write(form, "upload"))
    })
}

fn outcome_of(outcome: crate::Result<ManifestPut>) -> Report {
    let failed = |status: StatusCode, text: String, errors| Report {
        fields: [("Response Status", line(status).into()), ("Response Body", text.into())].into(),
        errors,
        ..Report::default()
    };
    match outcome {
        Ok(ManifestPut::Stored(stored, etag)) => Report {
            fields: [
                ("Response Status", line(StatusCode::CREATED).into()),
                ("Response Body", "".into()),
                ("Etag", format!("\"{etag}\"").into()),
                ("Last Modified", http_date(time::last_modified(stored.object.changed)).into()),
            ]
            .into(),
            ..Report::default()
        },
        Ok(ManifestPut::Refused(problems)) => {
            let text = "Bad Request\nThe server could not comply with the request since it is either malformed or \
                        otherwise incorrect.";
            failed(StatusCode::BAD_REQUEST, text.into(), shown(&problems))
        }
        Err(error) => {
            let text = error.to_string();
            let fault = Fault::from(error);
            let text = if fault.code() == StatusCode::UNPROCESSABLE_ENTITY {
                "Unprocessable Entity\nUnable to process the contained instructions".into()
            } else {
                text
            };
            failed(fault.code(), text, Vec::new())
        }
    }
}
