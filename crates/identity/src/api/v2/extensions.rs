//! `/v2.0/extensions`: this dialect's additions to the core.

use axum::extract::Path;
use http::Method;
use serde_json::{Value, json};
use web::xml::Element;

use crate::api::access::Origin;
use crate::api::v2::Answer;
use crate::api::{HandlerResult, Need, Table};
use crate::service::error::Error;

const XMLNS: &str = "http://docs.openstack.org/common/api/v1.0";

struct Extension {
    alias: &'static str,
    name: &'static str,
    namespace: &'static str,
    updated: &'static str,
    description: &'static str,
}

const EXTENSIONS: [Extension; 3] = [
    Extension {
        alias: "RAX-KSKEY",
        name: "Rackspace API Key Authentication",
        namespace: "http://docs.rackspace.com/identity/api/ext/RAX-KSKEY/v1.0",
        updated: "2011-08-14T13:25:27-06:00",
        description: "Signing in with an API key.",
    },
    Extension {
        alias: "OS-KSADM",
        name: "OpenStack Keystone Admin",
        namespace: "http://docs.openstack.org/identity/api/ext/OS-KSADM/v1.0",
        updated: "2011-08-14T13:25:27-06:00",
        description: "Managing users, roles and credentials.",
    },
    Extension {
        alias: "RAX-AUTH",
        name: "Rackspace Identity Extensions",
        namespace: "http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0",
        updated: "2013-01-01T00:00:00-06:00",
        description: "Accounts, default regions, and passwords.",
    },
];

pub(crate) fn add(table: Table) -> Table {
    table.add(Method::GET, "/extensions", Need::Open, list).add(
        Method::GET,
        "/extensions/{alias}",
        Need::Open,
        show,
    )
}

impl Extension {
    fn json(&self) -> Value {
        json!({
            "alias": self.alias, "name": self.name, "namespace": self.namespace,
            "updated": self.updated, "description": self.description, "links": [],
        })
    }

    fn xml(&self) -> Element {
        Element::new("extension")
            .attr("alias", self.alias)
            .attr("name", self.name)
            .attr("namespace", self.namespace)
            .attr("updated", self.updated)
            .child(Element::new("description").text(self.description))
    }
}

async fn list(origin: Origin) -> HandlerResult {
    let json: Vec<Value> = EXTENSIONS.iter().map(Extension::json).collect();
    let xml = Element::new("extensions").attr("xmlns", XMLNS).children(EXTENSIONS.iter().map(Extension::xml));
    Ok(Answer::ok(json!({"extensions": {"values": json}, "extensions_links": []}), xml)
        .in_format(origin.format))
}

async fn show(origin: Origin, Path(alias): Path<String>) -> HandlerResult {
    let found = EXTENSIONS.iter().find(|extension| extension.alias == alias);
    let found = found.ok_or_else(|| Error::not_found("extension", &alias))?;
    let xml = found.xml().attr("xmlns", XMLNS);
    Ok(Answer::ok(json!({"extension": found.json()}), xml).in_format(origin.format))
}
