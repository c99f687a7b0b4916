//! The WADL description (guide, API Version), generated from the table of routes with their parameters and representations.

use std::collections::BTreeMap;

use axum::extract::State;
use http::Method;
use web::Response;
use web::xml::Element;

use super::documents::{FAULTS, document};
use super::{Api, NAMESPACE, routes};

const WADL: &str = "http://wadl.dev.java.net/2009/02";
const XML_SCHEMA: &str = "http://www.w3.org/2001/XMLSchema";

/// Faults that every operation may return (guide's table); the others depend on whether the operation has an id, has
/// a body or changes a server.
const EXPECTED: [&str; 5] =
    ["cloudServersFault", "serviceUnavailable", "unauthorized", "badRequest", "overLimit"];
const CHANGING: [&str; 4] =
    ["buildInProgress", "backupOrResizeInProgress", "resizeNotAllowed", "serverCapacityUnavailable"];

/// Query parameters of lists with their types.
const PAGE: [(&str, &str); 2] = [("limit", "xsd:int"), ("offset", "xsd:int")];

/// Request and response of an operation.
#[derive(Clone, Copy)]
struct Operation {
    method: &'static str,
    /// Path after the account; the whole path if it has none.
    path: &'static str,
    /// The possible root elements of the request body.
    takes: &'static [&'static str],
    status: u16,
    /// The root element of the response.
    gives: Option<&'static str>,
}

const fn op(
    method: &'static str,
    path: &'static str,
    takes: &'static [&'static str],
    status: u16,
    gives: Option<&'static str>,
) -> Operation {
    Operation { method, path, takes, status, gives }
}

const ACTIONS: &[&str] = &["reboot", "rebuild", "resize", "confirmResize", "revertResize"];

const OPERATIONS: &[Operation] = &[
    op("GET", "/", &[], 200, Some("versions")),
    op("GET", "/v1.0", &[], 200, Some("version")),
    op("GET", "/limits", &[], 200, Some("limits")),
    op("GET", "/flavors", &[], 200, Some("flavors")),
    op("GET", "/flavors/detail", &[], 200, Some("flavors")),
    op("GET", "/flavors/{id}", &[], 200, Some("flavor")),
    op("GET", "/images", &[], 200, Some("images")),
    op("GET", "/images/detail", &[], 200, Some("images")),
    op("GET", "/images/{id}", &[], 200, Some("image")),
    op("POST", "/images", &["image"], 202, Some("image")),
    op("DELETE", "/images/{id}", &[], 204, None),
    op("PUT", "/images/{id}", &["image"], 204, None),
    op("GET", "/images/{id}/access", &[], 200, Some("access")),
    op("PUT", "/images/{id}/access/{member}", &[], 204, None),
    op("DELETE", "/images/{id}/access/{member}", &[], 204, None),
    op("GET", "/servers", &[], 200, Some("servers")),
    op("GET", "/servers/detail", &[], 200, Some("servers")),
    op("POST", "/servers", &["server"], 202, Some("server")),
    op("GET", "/servers/{id}", &[], 200, Some("server")),
    op("PUT", "/servers/{id}", &["server"], 202, None),
    op("DELETE", "/servers/{id}", &[], 202, None),
    op("POST", "/servers/{id}/action", ACTIONS, 202, None),
    op("GET", "/servers/{id}/ips", &[], 200, Some("addresses")),
    op("GET", "/servers/{id}/ips/public", &[], 200, Some("public")),
    op("GET", "/servers/{id}/ips/private", &[], 200, Some("private")),
    op("PUT", "/servers/{id}/ips/public/{address}", &["shareIp"], 202, None),
    op("DELETE", "/servers/{id}/ips/public/{address}", &[], 202, None),
    op("GET", "/servers/{id}/backup_schedule", &[], 200, Some("backupSchedule")),
    op("POST", "/servers/{id}/backup_schedule", &["backupSchedule"], 204, None),
    op("DELETE", "/servers/{id}/backup_schedule", &[], 204, None),
    op("GET", "/shared_ip_groups", &[], 200, Some("sharedIpGroups")),
    op("GET", "/shared_ip_groups/detail", &[], 200, Some("sharedIpGroups")),
    op("POST", "/shared_ip_groups", &["sharedIpGroup"], 201, Some("sharedIpGroup")),
    op("GET", "/shared_ip_groups/{id}", &[], 200, Some("sharedIpGroup")),
    op("DELETE", "/shared_ip_groups/{id}", &[], 204, None),
];

impl Operation {
    /// Returns its path relative to the API's root.
    fn whole(&self) -> String {
        if self.is_open() { self.path.to_owned() } else { format!("/v1.0/{{tenant}}{}", self.path) }
    }

    /// Returns whether it needs no token.
    fn is_open(&self) -> bool {
        matches!(self.path, "/" | "/v1.0")
    }

    fn is_list(&self) -> bool {
        self.method == "GET"
            && self.gives.is_some_and(|gives| gives.ends_with('s'))
            && !self.path.contains('{')
    }

    fn statuses(&self, live: bool) -> Vec<u16> {
        match (self.method, self.path) {
            ("POST", "/servers/{id}/action") => vec![202, 204],
            ("PUT", "/servers/{id}") if live => vec![204],
            _ => vec![self.status],
        }
    }

    fn faults(&self) -> Vec<&'static str> {
        if self.is_open() {
            return Vec::new();
        }
        let mut faults = EXPECTED.to_vec();
        if self.path.contains('{') || self.path == "/images" {
            faults.push("itemNotFound");
        }
        if !self.takes.is_empty() {
            faults.push("badMediaType");
        }
        let launches = self.method == "POST" && matches!(self.path, "/servers" | "/images");
        if self.method != "GET" && (self.path.starts_with("/servers") || launches) {
            faults.extend(CHANGING);
        }
        if self.takes == ACTIONS {
            faults.push("notImplemented");
        }
        faults
    }

    fn request(&self) -> Element {
        let param = |name: &str, style: &str, kind: &str| {
            Element::new("param").attr("name", name).attr("style", style).attr("type", kind)
        };
        let mut request = Element::new("request");
        if !self.is_open() {
            request = request.child(param("X-Auth-Token", "header", "xsd:string").attr("required", true));
        }
        if self.is_list() && !self.is_open() && self.gives != Some("limits") {
            request = request.children(PAGE.map(|(name, kind)| param(name, "query", kind)));
        }
        if self.method == "GET" && !self.is_open() {
            request = request.child(param("changes-since", "query", "xsd:long")).child(param(
                "If-Modified-Since",
                "header",
                "xsd:string",
            ));
        }
        request.children(representations(self.takes))
    }

    fn responses(&self, live: bool) -> Vec<Element> {
        let mut all: Vec<Element> = self
            .statuses(live)
            .into_iter()
            .map(|status| {
                let response = Element::new("response").attr("status", status);
                response.children(representations(self.gives.as_slice()))
            })
            .collect();
        if self.method == "GET" && !self.is_open() {
            all.push(Element::new("response").attr("status", 304));
        }
        let faults = self.faults();
        let mut by_code: BTreeMap<u16, Vec<&str>> = BTreeMap::new();
        for (name, codes) in FAULTS.iter().filter(|(name, _)| faults.contains(name)) {
            // Read-only operations cannot conflict.
            let codes = codes.split(", ").filter_map(|code| code.parse().ok());
            for code in codes.filter(|code| self.method != "GET" || *code != 409) {
                by_code.entry(code).or_default().push(name);
            }
        }
        all.extend(by_code.into_iter().map(|(code, names)| {
            let response = Element::new("response").attr("status", code);
            response.children(representations(&names))
        }));
        all
    }
}

/// Returns the possible representations: XML elements of the schema, and JSON, which has no schema.
fn representations(elements: &[&str]) -> Vec<Element> {
    let representation = |media| Element::new("representation").attr("mediaType", media);
    let xml = |element| representation("application/xml").attr("element", format!("api:{element}"));
    let json = (!elements.is_empty()).then(|| representation("application/json"));
    elements.iter().map(xml).chain(json).collect()
}

fn resource(path: &str, methods: Vec<Element>) -> Element {
    let parameters = path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let parameters = parameters.map(|name| {
        let param = Element::new("param").attr("name", name).attr("style", "template");
        param.attr("type", if name == "id" { "xsd:long" } else { "xsd:string" }).attr("required", true)
    });
    let resource = Element::new("resource").attr("path", path.trim_start_matches('/'));
    resource.children(parameters).children(methods)
}

/// Returns the description of the API at `base`. With `live` it uses the status codes of Rackspace's live service.
#[must_use]
pub fn description(base: &str, live: bool) -> String {
    let table = routes();
    let served = table.entries().iter().map(|entry| (entry.path.to_owned(), entry.method.clone()));
    let open = ["/", "/v1.0"].map(|path| (path.to_owned(), Method::GET));
    let mut resources: BTreeMap<String, Vec<Element>> = BTreeMap::new();
    for (path, method) in open.into_iter().chain(served) {
        let known = OPERATIONS.iter().find(|known| known.method == method.as_str() && known.whole() == path);
        let element = Element::new("method").attr("name", &method);
        let element = match known {
            Some(known) => element.child(known.request()).children(known.responses(live)),
            None => element,
        };
        resources.entry(path).or_default().push(element);
    }
    let resources = resources.into_iter().map(|(path, methods)| resource(&path, methods));
    let schema = Element::new("include").attr("href", format!("{base}/v1.0/docs/servers.xsd"));
    Element::new("application")
        .attr("xmlns", WADL)
        .attr("xmlns:xsd", XML_SCHEMA)
        .attr("xmlns:api", NAMESPACE)
        .child(Element::new("grammars").child(schema))
        .child(Element::new("resources").attr("base", format!("{base}/")).children(resources))
        .to_document()
}

pub(super) async fn show(State(api): State<Api>) -> Response {
    let settings = api.compute.settings();
    let live = settings.response_style == crate::ResponseStyle::Live;
    document("application/vnd.sun.wadl+xml", description(&settings.public_url, live))
}
