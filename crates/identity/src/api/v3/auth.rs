//! `/v3/auth`: tokens, their catalog, and the scopes available to them.

use axum::extract::State;
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode};
use serde_json::json;
use web::Response;

use crate::api::access::{Access, Origin, header};
use crate::api::asked::QueryParameters;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::token::{body, catalog_of};
use crate::api::v3::{Resource, limit, listing, page};
use crate::api::{HandlerResult, Need, Shared, Table, empty, json as answer};
use crate::model::Scope;
use crate::service::error::Error;
use crate::service::signin::{
    CredentialName, DomainName, IdOrName, Proof, RequestedScope, SignIn, TokenKind,
};
use crate::service::tenants::TenantQuery;

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::POST, "/auth/tokens", Need::Open, issue)
        .add(Method::GET, "/auth/tokens", Need::Token, validate)
        .add(Method::DELETE, "/auth/tokens", Need::Token, revoke)
        .add(Method::GET, "/auth/catalog", Need::Token, catalog)
        .add(Method::GET, "/auth/projects", Need::Token, list_projects)
        .add(Method::GET, "/auth/domains", Need::Token, list_domains)
        .add(Method::GET, "/auth/system", Need::Token, list_system)
}

async fn issue(
    State(identity): State<Shared>,
    origin: Origin,
    asked: QueryParameters,
    JsonBody(request): JsonBody,
) -> HandlerResult {
    let auth = Fields::inside(&request, "auth")?;
    let proof = proof(&auth.object("identity")?)?;
    let wanted = wanted(&auth)?;
    let request = SignIn { proof, wanted, address: origin.address, kind: TokenKind::Fresh };
    let signed_in = identity.sign_in(request).await?;
    let catalog = if asked.is_set("nocatalog") { None } else { Some(identity.catalog().await?) };
    let shown = body(&signed_in.session, catalog.as_ref());
    Ok(with_token(answer(StatusCode::CREATED, &shown), &signed_in.token))
}

/// Parses the credentials: of the listed methods, the first that this dialect supports.
fn proof(identity: &Fields<'_>) -> Result<Proof, Error> {
    let methods = identity.texts("methods")?;
    let known = ["password", "token", "application_credential"];
    if let Some(other) = methods.iter().find(|method| !known.contains(&method.as_str())) {
        return Err(Error::invalid(format!("auth.identity.methods: {other} is not supported")));
    }
    match methods.first().map(String::as_str) {
        Some("password") => {
            let user = identity.object("password")?.object("user")?;
            Ok(Proof::Password { user: named(&user)?, password: user.text("password")? })
        }
        Some("token") => Ok(Proof::Token { token: identity.object("token")?.text("id")? }),
        Some("application_credential") => {
            let given = identity.object("application_credential")?;
            let credential = match given.optional_text("id")? {
                Some(id) => CredentialName::Id(id),
                None => {
                    CredentialName::Of { user: named(&given.object("user")?)?, name: given.text("name")? }
                }
            };
            Ok(Proof::Application { credential, secret: given.text("secret")? })
        }
        _ => Err(Error::invalid("auth.identity.methods must name a method")),
    }
}

fn wanted(auth: &Fields<'_>) -> Result<RequestedScope, Error> {
    if auth.is_text("scope", "unscoped") {
        return Ok(RequestedScope::Unscoped);
    }
    let Some(scope) = auth.optional_object("scope")? else { return Ok(RequestedScope::Usual) };
    if let Some(project) = scope.optional_object("project")? {
        return Ok(RequestedScope::Tenant(named(&project)?));
    }
    if let Some(domain) = scope.optional_object("domain")? {
        return Ok(RequestedScope::Domain(domain_name(&domain)?));
    }
    if let Some(system) = scope.optional_object("system")? {
        return match system.optional_flag("all")? {
            Some(true) => Ok(RequestedScope::Cloud),
            _ => Err(Error::invalid("auth.scope.system.all must be true")),
        };
    }
    if scope.has("unscoped") {
        return Ok(RequestedScope::Unscoped);
    }
    Err(Error::invalid("auth.scope must have project, domain, system or unscoped"))
}

fn named(fields: &Fields<'_>) -> Result<IdOrName, Error> {
    if let Some(id) = fields.optional_text("id")? {
        return Ok(IdOrName::Id(id));
    }
    let domain = match fields.optional_object("domain")? {
        Some(domain) => Some(domain_name(&domain)?),
        None => None,
    };
    Ok(IdOrName::Name { name: fields.text("name")?, domain })
}

fn domain_name(fields: &Fields<'_>) -> Result<DomainName, Error> {
    Ok(match fields.optional_text("id")? {
        Some(id) => DomainName::Id(id),
        None => DomainName::Name(fields.text("name")?),
    })
}

async fn validate(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
    headers: HeaderMap,
) -> HandlerResult {
    let subject = subject(&headers)?;
    let session = identity.validate(&access.session, subject).await?;
    let catalog = if asked.is_set("nocatalog") { None } else { Some(identity.catalog().await?) };
    let shown = body(&session, catalog.as_ref());
    Ok(with_token(answer(StatusCode::OK, &shown), subject))
}

async fn revoke(State(identity): State<Shared>, access: Access, headers: HeaderMap) -> HandlerResult {
    identity.revoke(&access.session, subject(&headers)?).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

fn subject(headers: &HeaderMap) -> Result<&str, Error> {
    header(headers, "x-subject-token").ok_or_else(|| Error::invalid("X-Subject-Token is missing"))
}

fn with_token(mut response: Response, token: &str) -> Response {
    if let Ok(value) = HeaderValue::from_str(token) {
        response.headers_mut().insert(HeaderName::from_static("x-subject-token"), value);
    }
    response.headers_mut().insert(http::header::VARY, HeaderValue::from_static("X-Auth-Token"));
    response
}

async fn catalog(State(identity): State<Shared>, access: Access, asked: QueryParameters) -> HandlerResult {
    let catalog = identity.catalog().await?;
    let scope = &access.session.token.scope;
    if *scope == Scope::Unscoped {
        return Err(Error::forbidden("The token is not scoped, so there is no catalog for it.").into());
    }
    Ok(listing(&identity, &asked, "catalog", catalog_of(&catalog, scope.tenant()), None))
}

async fn list_projects(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
) -> HandlerResult {
    let caller = &access.session.caller;
    let query = TenantQuery {
        of_user: Some(caller.user_id.clone()),
        enabled: Some(true),
        marker: asked.text("marker"),
        limit: limit(&asked)?,
        ..TenantQuery::default()
    };
    let listed = identity.tenants(caller, query).await?;
    Ok(page(&identity, &asked, &listed))
}

async fn list_domains(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
) -> HandlerResult {
    let found = identity.domains_to_scope(&access.session.caller).await?;
    let items = found.iter().filter(|domain| domain.enabled).map(|domain| domain.view(&identity)).collect();
    Ok(listing(&identity, &asked, "domains", items, None))
}

async fn list_system(
    State(identity): State<Shared>,
    access: Access,
    asked: QueryParameters,
) -> HandlerResult {
    let caller = &access.session.caller;
    let held = identity.roles_of(caller, &caller.user_id, Some(&Scope::Cloud)).await?;
    let items = if held.is_empty() { Vec::new() } else { vec![json!({"all": true})] };
    Ok(listing(&identity, &asked, "system", items, None))
}
