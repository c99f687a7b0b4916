//! v3's view of a token.

use serde_json::{Map, Value, json};
use work::Time;

use crate::model::{Catalog, Method, Names, Scope, Session};

/// Returns the names of the methods by which a token was issued. v3 has no name for API keys.
fn methods(session: &Session) -> Vec<&'static str> {
    let mut names: Vec<&'static str> = Vec::new();
    for method in &session.token.methods {
        let name = match method {
            Method::ApiKey => Method::Password.name(),
            other => other.name(),
        };
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}

/// `{"token": …}` (Keystone v3).
pub(crate) fn body(session: &Session, catalog: Option<&Catalog>) -> Value {
    let domain = &session.user_domain;
    let mut token = Map::new();
    let mut put = |name: &str, value: Value| token.insert(name.to_owned(), value);
    put("methods", json!(methods(session)));
    put(
        "user",
        json!({
            "id": session.user.id,
            "name": session.user.name,
            "domain": {"id": domain.id, "name": domain.name},
            "password_expires_at": session.user.password_expires.map(Time::iso_micros),
        }),
    );
    put("audit_ids", json!(session.token.audit_ids));
    put("issued_at", json!(session.token.issued.iso_micros()));
    put("expires_at", json!(session.caller.expires.iso_micros()));
    let roles: Vec<Value> =
        session.caller.roles.iter().map(|role| json!({"id": role.id, "name": role.name})).collect();
    match &session.token.scope {
        Scope::Unscoped => {}
        Scope::Tenant(_) => {
            if let Some((tenant, domain)) = &session.tenant {
                let domain = json!({"id": domain.id, "name": domain.name});
                put("project", json!({"id": tenant.id, "name": tenant.name, "domain": domain}));
            }
            put("is_domain", json!(false));
        }
        Scope::Domain(_) => {
            if let Some(domain) = &session.domain {
                put("domain", json!({"id": domain.id, "name": domain.name}));
            }
        }
        Scope::Cloud => {
            put("system", json!({"all": true}));
        }
    }
    if session.token.scope != Scope::Unscoped {
        put("roles", Value::Array(roles));
        if let Some(catalog) = catalog {
            put("catalog", Value::Array(catalog_of(catalog, session.token.scope.tenant())));
        }
    }
    if let Some(id) = &session.token.credential_id {
        put("application_credential", json!({"id": id, "restricted": session.restricted}));
    }
    json!({"token": token})
}

/// Renders the catalog for a tenant, with only those endpoints that are enabled and whose URL can be resolved. As in
/// Keystone, a service that an operator added is listed even without endpoints.
pub(crate) fn catalog_of(catalog: &Catalog, tenant_id: Option<&str>) -> Vec<Value> {
    let mut entries = Vec::new();
    for entry in catalog.shown(Names::OpenStack, false) {
        let endpoints: Vec<Value> = entry
            .endpoints
            .iter()
            .filter(|endpoint| endpoint.enabled)
            .filter_map(|endpoint| {
                let url = endpoint.url_for(tenant_id)?;
                Some(json!({
                    "id": endpoint.id,
                    "interface": endpoint.interface.name(),
                    "region": endpoint.region,
                    "region_id": endpoint.region,
                    "url": url,
                }))
            })
            .collect();
        if !endpoints.is_empty() || !entry.builtin {
            let service = &entry.service;
            entries.push(json!({
                "id": service.id, "type": service.kind, "name": service.name, "endpoints": endpoints,
            }));
        }
    }
    entries
}
