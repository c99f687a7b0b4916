//! `/v2.0/tokens`: sign in, validate, revoke, and list a token's endpoints.

use axum::extract::{Path, State};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::{Value, json};
use web::Response;
use web::query::Query;
use web::xml::Element;

use crate::api::access::{Access, Origin, header};
use crate::api::fields::{AnyBody, Fields};
use crate::api::v2::access::{Shown, endpoints, json_of, xml_of};
use crate::api::v2::{Answer, XMLNS};
use crate::api::{Failure, HandlerResult, Need, Shared, Table, empty};
use crate::service::error::Error;
use crate::service::signin::{IdOrName, Proof, RequestedScope, SignIn, TokenKind};

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::POST, "/tokens", Need::Open, sign_in)
        .add(Method::DELETE, "/tokens", Need::Token, revoke_own)
        .add(Method::GET, "/tokens/{token_id}", Need::Token, validate)
        .add(Method::DELETE, "/tokens/{token_id}", Need::Token, revoke)
        .add(Method::GET, "/tokens/{token_id}/endpoints", Need::Token, list_endpoints)
}

/// Parses the credentials and the requested scope: `tenantId` or `tenantName`, not both.
pub(crate) fn request(auth: &Fields<'_>) -> Result<(Proof, RequestedScope), Error> {
    let proof = if let Some(given) = auth.optional_object("apiKeyCredentials")? {
        Proof::ApiKey { user: IdOrName::name(&given.text("username")?), key: given.text("apiKey")? }
    } else if let Some(given) = auth.optional_object("passwordCredentials")? {
        let user = match given.optional_text("username")? {
            Some(name) => IdOrName::name(&name),
            None => IdOrName::Id(given.text("userId")?),
        };
        Proof::Password { user, password: given.text("password")? }
    } else if let Some(given) = auth.optional_object("token")? {
        Proof::Token { token: given.text("id")? }
    } else {
        return Err(Error::invalid(
            "auth must have passwordCredentials, RAX-KSKEY:apiKeyCredentials or token",
        ));
    };
    // Clients send an empty name if the user configured none.
    let given = |name: &str| Ok::<_, Error>(auth.optional_text(name)?.filter(|text| !text.is_empty()));
    let wanted = match (given("tenantId")?, given("tenantName")?) {
        (Some(_), Some(_)) => return Err(Error::invalid("auth must have tenantId or tenantName, not both")),
        (Some(id), None) => RequestedScope::Tenant(IdOrName::Id(id)),
        (None, Some(name)) => RequestedScope::Tenant(IdOrName::name(&name)),
        (None, None) => RequestedScope::Usual,
    };
    Ok((proof, wanted))
}

async fn sign_in(
    State(identity): State<Shared>,
    origin: Origin,
    headers: HeaderMap,
    uri: http::Uri,
    AnyBody(body): AnyBody,
) -> HandlerResult {
    let auth = Fields::inside(&body, "auth")?;
    if auth.has("passcodeCredentials") || header(&headers, "x-sessionid").is_some() {
        return Err(Error::invalid("multi-factor sessions are not supported").into());
    }
    let (proof, wanted) = request(&auth)?;
    let kind = TokenKind::Reissued;
    let signed_in = identity.sign_in(SignIn { proof, wanted, address: origin.address, kind }).await?;
    let query = Query::parse(uri.query());
    let catalog = match query.text("include_endpoints").as_deref() {
        Some("false") => None,
        _ => Some(identity.catalog().await?),
    };
    let region = &identity.settings().region;
    let answer = Answer::ok(
        json_of(&signed_in.token, &signed_in.session, catalog.as_ref(), region),
        xml_of(&signed_in.token, &signed_in.session, catalog.as_ref(), region),
    );
    Ok(varying(answer.in_format(origin.format)))
}

async fn validate(
    State(identity): State<Shared>,
    access: Access,
    uri: http::Uri,
    Path(token): Path<String>,
) -> HandlerResult {
    let session = identity.validate(&access.session, &token).await?;
    if let Some(tenant) = Query::parse(uri.query()).text("belongsTo")
        && session.token.scope.tenant() != Some(&*tenant)
    {
        return Err(Error::not_found("token", "the one given").into());
    }
    let region = &identity.settings().region;
    let answer = Answer::ok(json_of(&token, &session, None, region), xml_of(&token, &session, None, region));
    Ok(varying(answer.in_format(access.format)))
}

async fn revoke(State(identity): State<Shared>, access: Access, Path(token): Path<String>) -> HandlerResult {
    identity.revoke(&access.session, &token).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn revoke_own(State(identity): State<Shared>, access: Access, headers: HeaderMap) -> HandlerResult {
    let token = header(&headers, "x-auth-token").ok_or(Failure::from(Error::Token))?;
    identity.revoke(&access.session, token).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_endpoints(
    State(identity): State<Shared>,
    access: Access,
    Path(token): Path<String>,
) -> HandlerResult {
    let session = identity.validate(&access.session, &token).await?;
    let catalog = identity.catalog().await?;
    let shown = endpoints(&catalog, &session);
    let named = |endpoint: &Shown<'_>| -> Value {
        let mut json = endpoint.json();
        json["name"] = json!(endpoint.entry.service.name);
        json["type"] = json!(endpoint.entry.service.kind);
        json
    };
    let xml = shown.iter().map(|endpoint| {
        let service = &endpoint.entry.service;
        endpoint.xml().attr("name", &service.name).attr("type", &service.kind)
    });
    let answer = Answer::ok(
        json!({"endpoints": shown.iter().map(named).collect::<Vec<_>>(), "endpoints_links": []}),
        Element::new("endpoints").attr("xmlns", XMLNS).children(xml),
    );
    Ok(answer.in_format(access.format))
}

fn varying(mut response: Response) -> Response {
    response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("X-Auth-Token"));
    response
        .headers_mut()
        .insert(HeaderName::from_static("cache-control"), HeaderValue::from_static("no-store"));
    response
}
