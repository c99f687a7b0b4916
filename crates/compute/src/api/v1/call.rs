//! The extractor of every handler: caller, account, format and parameters of a request. It authenticates, authorises
//! and counts the request, so that no handler can skip that.

use std::collections::HashMap;

use axum::extract::{FromRequestParts, RawPathParams};
use http::header::LAST_MODIFIED;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
use identity::Right;
use serde::Serialize;
use web::query::{Query, decoded};
use web::xml::Element;
use web::{Format, Response, TransactionId, conditional};
use work::Time;

use super::fault::Fault;
use super::respond::{empty, respond};
use super::{Api, NAMESPACE};
use crate::api::Denied;
use crate::model::{Id, Page, Server};
use crate::{Context, Error};

/// Maximum number of items in a list (guide, Paginated Collections).
pub(super) const PAGE_MAX: i64 = 1000;

/// An authorised request.
pub(super) struct Call {
    pub(super) context: Context,
    pub(super) format: Format,
    pub(super) headers: HeaderMap,
    pub(super) now: Time,
    /// The parameter `changes-since` of a GET.
    since: Option<Time>,
    query: Query,
    params: HashMap<String, String>,
}

impl FromRequestParts<Api> for Call {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, api: &Api) -> Result<Self, Response> {
        let format = parts.extensions.get().copied().unwrap_or_default();
        let now = api.compute.clock().now();
        extract(parts, api, format, now).await.map_err(|fault| fault.render(format))
    }
}

async fn extract(parts: &mut Parts, api: &Api, format: Format, now: Time) -> Result<Call, Fault> {
    let right = parts.extensions.get::<Right>().copied().unwrap_or(Right::Administer);
    let raw = RawPathParams::from_request_parts(parts, &()).await;
    let raw = raw.map_err(|error| Fault::bad_request(error.to_string()))?;
    let params: HashMap<String, String> =
        raw.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let tenant = params.get("tenant").cloned().unwrap_or_default();
    let unauthorized = |message: &str| Fault::new("unauthorized", 401, message);
    let token = parts.headers.get("x-auth-token").and_then(|value| value.to_str().ok());
    let token = token.ok_or_else(|| unauthorized("X-Auth-Token is missing"))?;
    let caller = match api.tokens.authenticate(token).await {
        Ok(caller) => caller,
        Err(Denied::Invalid) => return Err(unauthorized("the token is not valid or has expired")),
        Err(Denied::Unavailable(reason)) => return Err(Fault::of(&Error::Unavailable(reason), now)),
    };
    let request = parts.extensions.get::<TransactionId>().map_or("", TransactionId::as_str);
    let of = |error: Error| Fault::of(&error, now);
    let context = Context::new(caller, &tenant, request).map_err(of)?;
    context.need(right).map_err(of)?;
    api.compute.count_request(&tenant);
    // A HEAD counts as a GET.
    let verb = if parts.method == Method::HEAD { Method::GET } else { parts.method.clone() };
    api.compute.count(&tenant, verb.as_str(), &tail(&parts.uri)).await.map_err(of)?;
    let query = Query::parse(parts.uri.query());
    let since = if verb == Method::GET { changes_since(&query)? } else { None };
    Ok(Call { context, format, headers: parts.headers.clone(), now, since, query, params })
}

/// Returns path and query after the account, percent-decoded as routes and handlers see them, so that an encoded
/// request counts the same.
fn tail(uri: &Uri) -> String {
    let behind = uri.path().splitn(4, '/').nth(3).unwrap_or_default();
    let query = uri.query().unwrap_or_default();
    format!("/{}?{}", decoded(behind), decoded(query))
}

/// Parses `changes-since`: seconds since 1970 as in the guide, or a timestamp as later clients send it.
fn changes_since(query: &Query) -> Result<Option<Time>, Fault> {
    let Some(text) = query.text("changes-since") else { return Ok(None) };
    if let Ok(seconds) = text.parse::<i64>() {
        return Ok(Some(Time::from_seconds(seconds)));
    }
    let bad = |_| Fault::bad_request("changes-since must be a number of seconds since 1970-01-01T00:00:00Z");
    text.parse::<jiff::Timestamp>().map(|at| Some(Time(at.as_microsecond()))).map_err(bad)
}

impl Call {
    /// Returns the id in the path. An id that is not a number is an unknown one.
    pub(super) fn id(&self, what: &'static str) -> Result<i64, Fault> {
        let text = self.param("id");
        text.parse().map_err(|_| Fault::of(&Error::NotFound(what), self.now))
    }

    /// Returns a parameter of the path.
    pub(super) fn param(&self, name: &str) -> &str {
        self.params.get(name).map_or("", String::as_str)
    }

    /// Returns `limit`, `offset` and `changes-since`. A missing limit, or one above the maximum, means the maximum.
    pub(super) fn page(&self) -> Result<Page, Fault> {
        let limit = self.count("limit")?.filter(|limit| (1..=PAGE_MAX).contains(limit)).unwrap_or(PAGE_MAX);
        Ok(Page { offset: self.count("offset")?.unwrap_or(0), limit, since: self.since })
    }

    fn count(&self, name: &str) -> Result<Option<i64>, Fault> {
        let Some(text) = self.query.text(name) else { return Ok(None) };
        match text.parse::<i64>() {
            Ok(number) if number >= 0 => Ok(Some(number)),
            _ => Err(Fault::bad_request(format!("{name} must be a number that is not negative"))),
        }
    }

    pub(super) fn fault(&self, error: &Error) -> Response {
        Fault::of(error, self.now).render(self.format)
    }

    /// Returns a response in the requested format.
    pub(super) fn answer<J: Serialize>(
        &self,
        status: StatusCode,
        json: impl FnOnce() -> J,
        xml: impl FnOnce() -> Element,
    ) -> Response {
        let body = match self.format {
            Format::Json => serde_json::to_string(&json()).unwrap_or_default(),
            Format::Xml => {
                let mut root = xml();
                root.attributes.insert(0, ("xmlns".into(), NAMESPACE.into()));
                root.to_document()
            }
        };
        respond(status, self.format, body)
    }

    /// Returns the server in the path.
    pub(super) async fn server(&self, api: &Api) -> Result<Server, Fault> {
        let id = Id::Number(self.id("server")?);
        api.compute.get(&self.context, id).await.map_err(|error| Fault::of(&error, self.now))
    }

    /// Returns 304 if nothing changed since `changes-since` or `If-Modified-Since`, else the response with
    /// `Last-Modified`. Two changes within the same second are not missed: a second is returned as `Last-Modified`
    /// only once it has passed.
    pub(super) fn cached(&self, changed: Option<Time>, respond: impl FnOnce() -> Response) -> Response {
        if self.since.is_some_and(|since| changed.is_none_or(|changed| changed < since)) {
            return empty(StatusCode::NOT_MODIFIED);
        }
        let Some(changed) = changed else { return respond() };
        let over = changed.seconds() + 1;
        let mut response = match conditional::modified_since(&self.headers, self.now.seconds()) {
            Some(since) if since >= over => empty(StatusCode::NOT_MODIFIED),
            _ => respond(),
        };
        let stamp = conditional::http_date(over.min(self.now.seconds()));
        if let Ok(value) = HeaderValue::from_str(&stamp) {
            response.headers_mut().insert(LAST_MODIFIED, value);
        }
        response
    }
}
