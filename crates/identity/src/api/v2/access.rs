//! `access`: v2.0's view of a token with its catalog.

use serde_json::{Map, Value, json};
use web::xml::Element;

use crate::api::v2::{RAX_AUTH, XMLNS};
use crate::model::{BuiltinRole, Catalog, CatalogService, Interface, Method, Names, Session};

/// One endpoint with the fields of its service that v2.0 shows next to it.
pub(crate) struct Shown<'c> {
    pub(crate) entry: &'c CatalogService,
    pub(crate) id: &'c str,
    pub(crate) region: Option<&'c str>,
    pub(crate) tenant_id: Option<&'c str>,
    pub(crate) public: String,
    pub(crate) internal: Option<String>,
    pub(crate) admin: Option<String>,
}

/// Returns the endpoints that a session sees: Rackspace's names if it signed in by API key, else OpenStack's.
pub(crate) fn endpoints<'c>(catalog: &'c Catalog, session: &'c Session) -> Vec<Shown<'c>> {
    let tenant_id = session.token.scope.tenant();
    if tenant_id.is_none() {
        return Vec::new();
    }
    let by_api_key = session.token.methods.contains(&Method::ApiKey);
    let names = if by_api_key { Names::Rackspace } else { Names::OpenStack };
    let mut shown = Vec::new();
    for entry in catalog.shown(names, true) {
        let url = |interface: Interface, region: Option<&str>| {
            let found = entry.endpoints.iter().find(|endpoint| {
                endpoint.enabled && endpoint.interface == interface && endpoint.region.as_deref() == region
            })?;
            found.url_for(tenant_id)
        };
        for endpoint in entry.endpoints.iter().filter(|e| e.interface == Interface::Public && e.enabled) {
            let region = endpoint.region.as_deref();
            let Some(public) = endpoint.url_for(tenant_id) else { continue };
            // v2.0's clients append paths to identity's own endpoint.
            let public = if entry.builtin && entry.service.kind == "identity" {
                public.replace("/identity/v3", "/identity/v2.0")
            } else {
                public
            };
            let own = |found: Option<String>| {
                found.map(|url| if url.ends_with("/identity/v3") { public.clone() } else { url })
            };
            shown.push(Shown {
                entry,
                id: &endpoint.id,
                region: region.filter(|_| !entry.regionless),
                tenant_id,
                internal: own(url(Interface::Internal, region)),
                admin: own(url(Interface::Admin, region)),
                public,
            });
        }
    }
    shown
}

impl Shown<'_> {
    fn version_urls(&self) -> Option<(&'static str, String, String)> {
        let version = self.entry.version?;
        let tenant = self.tenant_id.unwrap_or_default();
        let info = self.public.trim_end_matches(tenant).trim_end_matches("AUTH_").trim_end_matches('/');
        let list = info.rsplit_once('/').map_or(info, |(list, _)| list);
        Some((version, info.to_owned(), format!("{list}/")))
    }

    pub(crate) fn json(&self) -> Value {
        let mut map = Map::new();
        if let Some(region) = self.region {
            map.insert("region".to_owned(), json!(region));
        }
        map.insert("id".to_owned(), json!(self.id));
        map.insert("tenantId".to_owned(), json!(self.tenant_id));
        map.insert("publicURL".to_owned(), json!(self.public));
        if let Some(url) = &self.internal {
            map.insert("internalURL".to_owned(), json!(url));
        }
        if let Some(url) = &self.admin {
            map.insert("adminURL".to_owned(), json!(url));
        }
        if let Some((version, info, list)) = self.version_urls() {
            map.insert("versionId".to_owned(), json!(version));
            map.insert("versionInfo".to_owned(), json!(info));
            map.insert("versionList".to_owned(), json!(list));
        }
        Value::Object(map)
    }

    pub(crate) fn xml(&self) -> Element {
        let element = Element::new("endpoint")
            .attr_if("region", self.region)
            .attr_if("tenantId", self.tenant_id)
            .attr("publicURL", &self.public)
            .attr_if("internalURL", self.internal.as_ref())
            .attr_if("adminURL", self.admin.as_ref());
        match self.version_urls() {
            Some((version, info, list)) => element
                .child(Element::new("version").attr("id", version).attr("info", info).attr("list", list)),
            None => element,
        }
    }
}

/// Returns a role's description, or the name of a role that an operator created.
fn described(name: &str) -> &str {
    BuiltinRole::named(name).map_or(name, |role| role.description)
}

fn authenticated_by(session: &Session) -> Vec<&'static str> {
    let name = |method: &Method| match method {
        Method::Password => Some("PASSWORD"),
        Method::ApiKey => Some("APIKEY"),
        Method::ApplicationCredential => Some("APPLICATION_CREDENTIAL"),
        Method::Ec2 | Method::Token => None,
    };
    session.token.methods.iter().filter_map(name).collect()
}

/// Renders `access` in JSON.
pub(crate) fn json_of(token: &str, session: &Session, catalog: Option<&Catalog>, region: &str) -> Value {
    let mut shown = Map::new();
    shown.insert("id".to_owned(), json!(token));
    shown.insert("expires".to_owned(), json!(session.caller.expires.iso_millis()));
    if let Some((tenant, _)) = &session.tenant {
        shown.insert(
            "tenant".to_owned(),
            json!({"id": tenant.id, "name": tenant.name, "enabled": tenant.enabled, "description": tenant.description}),
        );
    }
    shown.insert("RAX-AUTH:authenticatedBy".to_owned(), json!(authenticated_by(session)));
    let tenant_id = session.token.scope.tenant();
    let roles: Vec<Value> = session
        .caller
        .roles
        .iter()
        .map(|role| {
            let mut shown = json!({"id": role.id, "name": role.name, "description": described(&role.name)});
            if let Some(tenant_id) = tenant_id {
                shown["tenantId"] = json!(tenant_id);
            }
            shown
        })
        .collect();
    let mut access = json!({
        "token": shown,
        "user": {
            "id": session.user.id,
            "name": session.user.name,
            "username": session.user.name,
            "roles": roles,
            "roles_links": [],
            "RAX-AUTH:defaultRegion": session.user.region.as_deref().unwrap_or(region),
            "RAX-AUTH:domainId": session.user.tenant_id,
        },
    });
    if let Some(catalog) = catalog {
        let mut services: Vec<Value> = Vec::new();
        let endpoints = endpoints(catalog, session);
        for (index, endpoint) in endpoints.iter().enumerate() {
            let service = &endpoint.entry.service;
            if index > 0 && endpoints[index - 1].entry.service.id == service.id {
                continue;
            }
            let own = endpoints.iter().filter(|e| e.entry.service.id == service.id).map(Shown::json);
            services.push(json!({
                "name": service.name, "type": service.kind, "endpoints_links": [],
                "endpoints": own.collect::<Vec<_>>(),
            }));
        }
        access["serviceCatalog"] = Value::Array(services);
    }
    json!({"access": access})
}

/// Renders `access` in XML.
pub(crate) fn xml_of(token: &str, session: &Session, catalog: Option<&Catalog>, region: &str) -> Element {
    let mut shown =
        Element::new("token").attr("id", token).attr("expires", session.caller.expires.iso_millis());
    if let Some((tenant, _)) = &session.tenant {
        shown = shown.child(Element::new("tenant").attr("id", &tenant.id).attr("name", &tenant.name));
    }
    let by = authenticated_by(session).into_iter().map(|name| Element::new("rax-auth:credential").text(name));
    shown = shown.child(Element::new("rax-auth:authenticatedBy").children(by));
    let tenant_id = session.token.scope.tenant();
    let roles = session.caller.roles.iter().map(|role| {
        Element::new("role")
            .attr("id", &role.id)
            .attr("name", &role.name)
            .attr("description", described(&role.name))
            .attr_if("tenantId", tenant_id)
    });
    let user = Element::new("user")
        .attr("id", &session.user.id)
        .attr("name", &session.user.name)
        .attr("rax-auth:defaultRegion", session.user.region.as_deref().unwrap_or(region))
        .attr_if("rax-auth:domainId", session.user.tenant_id.as_ref())
        .child(Element::new("roles").children(roles));
    let mut access =
        Element::new("access").attr("xmlns", XMLNS).attr("xmlns:rax-auth", RAX_AUTH).child(shown).child(user);
    if let Some(catalog) = catalog {
        let mut services = Element::new("serviceCatalog");
        let mut last: Option<(String, Element)> = None;
        for endpoint in endpoints(catalog, session) {
            let service = &endpoint.entry.service;
            match &mut last {
                Some((id, element)) if *id == service.id => element.children.push(endpoint.xml()),
                _ => {
                    services.children.extend(last.take().map(|(_, element)| element));
                    let element =
                        Element::new("service").attr("name", &service.name).attr("type", &service.kind);
                    last = Some((service.id.clone(), element.child(endpoint.xml())));
                }
            }
        }
        services.children.extend(last.map(|(_, element)| element));
        access = access.child(services);
    }
    access
}
