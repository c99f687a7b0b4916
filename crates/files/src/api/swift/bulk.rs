//! Deletes many objects and containers in one request (Swift, Bulk delete).

use axum::body::Body;
use http::StatusCode;
use http::request::Parts;
use percent_encoding::percent_decode;
use web::Response;

use super::fault::Fault;
use super::large::Deletions;
use super::report::{Form, line};
use super::unpack::{Coding, Unpacked};
use super::unread::{Purpose, UnreadBody};
use super::{Call, answer, headers, put};
use crate::model::limits::Limits;
use crate::model::name::Target;

impl Call<'_> {
    /// Deletes the objects and then the containers listed in a body, one percent-encoded name per line.
    pub(super) async fn bulk_delete(
        &self,
        target: &Target,
        request: &Parts,
        body: UnreadBody,
    ) -> Result<Response, Fault> {
        let account = target.account();
        let body = body.open(self, (account, target.container()), Purpose::Delete).await?;
        let _share = self.files.bulk_share(self.context, account).await?;
        let mut report = Deletions::default();
        let Some(form) = Form::accepted(&request.headers) else {
            report.stopped = Some((StatusCode::NOT_ACCEPTABLE, String::new()));
            return Ok(answer::html(StatusCode::OK, report.report().write(Form::Text, "delete")));
        };
        match self.names(request, body).await {
            Ok(names) => self.delete_named(account, names, &mut report).await,
            Err(stopped) => report.stopped = Some(stopped),
        }
        Ok(report.answer(form))
    }

    async fn delete_named(&self, account: &str, names: Vec<Vec<u8>>, report: &mut Deletions) {
        // Delete containers last, once their objects are gone. Invalid names are reported first.
        let waits = |name: &[u8]| !trimmed(name).contains(&b'/') && legible(name).is_some();
        let (containers, others): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| waits(name));
        for name in others.into_iter().chain(containers) {
            if report.errors.len() >= self.files.limits().max_failed {
                report.stopped = Some((StatusCode::BAD_REQUEST, "Max delete failures exceeded".into()));
                return;
            }
            let Some(text) = legible(&name) else {
                let status = line(StatusCode::PRECONDITION_FAILED);
                report.errors.push((web::query::encode(&name, true), status));
                continue;
            };
            let place = text.trim_start_matches('/');
            let (container, object) = match place.split_once('/') {
                Some((container, object)) if !object.is_empty() => (container, Some(object)),
                Some((container, _)) => (container, None),
                None => (place, None),
            };
            self.delete_one((account, container, object), None, text, report).await;
        }
    }

    /// Reads the names from a body.
    async fn names(&self, request: &Parts, body: Body) -> Result<Vec<Vec<u8>>, (StatusCode, String)> {
        let typed = headers::get(&request.headers, "content-type").filter(|value| !value.is_empty());
        if typed.is_some_and(|value| !value.starts_with("text/plain")) {
            return Err((StatusCode::NOT_ACCEPTABLE, String::new()));
        }
        let announced = put::length(&request.headers).ok().flatten().is_some()
            || request.headers.contains_key("transfer-encoding")
            || request.version >= http::Version::HTTP_2;
        if !announced {
            return Err((StatusCode::LENGTH_REQUIRED, String::new()));
        }
        let coding = if says_gzip(request) { Coding::Gzip } else { Coding::Plain };
        let mut body = Unpacked::new(body, coding);
        let broken = |error: &dyn std::fmt::Display| (StatusCode::BAD_REQUEST, error.to_string());
        let mut names = Names::of(self.files.limits());
        while let Some(piece) = body.next().await.map_err(|error| broken(&error))? {
            names.take(&piece)?;
        }
        names.finish()
    }
}

/// Returns whether the request's body is compressed with gzip.
fn says_gzip(request: &Parts) -> bool {
    let coding = headers::get(&request.headers, "content-encoding");
    coding.is_some_and(|coding| coding.trim().eq_ignore_ascii_case("gzip"))
}

/// Collects names, one per line, as the body arrives.
struct Names<'l> {
    limits: &'l Limits,
    line_max: usize,
    names: Vec<Vec<u8>>,
    /// Total length of `names`, in bytes.
    bytes: usize,
    rest: Vec<u8>,
}

/// Maximum total length of the names in one request, in bytes.
const NAMES_BYTES_MAX: usize = 8 << 20;

impl<'l> Names<'l> {
    fn of(limits: &'l Limits) -> Self {
        let line_max = 2 * 3 * (limits.max_container_name_length + limits.max_object_name_length + 2);
        Self { limits, line_max, names: Vec::new(), bytes: 0, rest: Vec::new() }
    }

    fn take(&mut self, piece: &[u8]) -> Result<(), (StatusCode, String)> {
        let mut lines = piece.split(|byte| *byte == b'\n').peekable();
        while let Some(part) = lines.next() {
            self.rest.extend_from_slice(part);
            if lines.peek().is_some() {
                self.add()?;
            }
            if self.rest.len() > self.line_max {
                return Err((StatusCode::BAD_REQUEST, "Invalid File Name".into()));
            }
        }
        Ok(())
    }

    /// Adds the line that has just ended.
    fn add(&mut self) -> Result<(), (StatusCode, String)> {
        let name = name_of(&self.rest);
        self.rest.clear();
        self.bytes += name.as_ref().map_or(0, Vec::len);
        self.names.extend(name);
        let max = self.limits.max_deletes_per_request;
        let too_many = |text| Err((StatusCode::PAYLOAD_TOO_LARGE, text));
        if self.names.len() > max {
            return too_many(format!("Maximum Bulk Deletes: {max} per request"));
        }
        if self.bytes > NAMES_BYTES_MAX {
            return too_many(format!("Maximum Bulk Deletes: {NAMES_BYTES_MAX} bytes of names per request"));
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Vec<Vec<u8>>, (StatusCode, String)> {
        self.add()?;
        Ok(self.names)
    }
}

fn name_of(line: &[u8]) -> Option<Vec<u8>> {
    let name: Vec<u8> = percent_decode(line.trim_ascii()).collect();
    (!trimmed(&name).is_empty()).then_some(name)
}

fn legible(name: &[u8]) -> Option<&str> {
    std::str::from_utf8(name).ok().filter(|text| !text.contains('\0'))
}

fn trimmed(name: &[u8]) -> &[u8] {
    let start = name.iter().position(|byte| *byte != b'/').unwrap_or(name.len());
    let end = name.iter().rposition(|byte| *byte != b'/').map_or(start, |end| end + 1);
    &name[start..end.max(start)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_trimmed_and_decoded() {
        assert_eq!(name_of(b"  /c/a%20b \r\n").unwrap(), b"/c/a b");
        assert_eq!(name_of(b" // \n"), None);
        assert_eq!(trimmed(b"/c/o/"), b"c/o");
        assert_eq!(trimmed(b"//"), b"");
    }
}
