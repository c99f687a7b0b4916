//! `/v3/services`, `/v3/endpoints`, `/v3/regions`: the catalog and what operators add to it.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::asked::Asked;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::{Resource, listing, one};
use crate::api::{Answered, Need, Shared, Table, empty};
use crate::model::{Endpoint, Interface, Region, ServiceRecord};
use crate::service::error::Error;
use crate::service::secrets::new_id;

pub(crate) fn add(table: Table) -> Table {
    table
        .add(Method::GET, "/services", Need::Token, list_services)
        .add(Method::POST, "/services", Need::Operator, create_service)
        .add(Method::GET, "/services/{service_id}", Need::Token, show_service)
        .add(Method::PATCH, "/services/{service_id}", Need::Operator, update_service)
        .add(Method::DELETE, "/services/{service_id}", Need::Operator, delete_service)
        .add(Method::GET, "/endpoints", Need::Token, list_endpoints)
        .add(Method::POST, "/endpoints", Need::Operator, create_endpoint)
        .add(Method::GET, "/endpoints/{endpoint_id}", Need::Token, show_endpoint)
        .add(Method::PATCH, "/endpoints/{endpoint_id}", Need::Operator, update_endpoint)
        .add(Method::DELETE, "/endpoints/{endpoint_id}", Need::Operator, delete_endpoint)
        .add(Method::GET, "/regions", Need::Token, list_regions)
        .add(Method::POST, "/regions", Need::Operator, create_region)
        .add(Method::GET, "/regions/{region_id}", Need::Token, show_region)
        .add(Method::PATCH, "/regions/{region_id}", Need::Operator, update_region)
        .add(Method::PUT, "/regions/{region_id}", Need::Operator, create_region_named)
        .add(Method::DELETE, "/regions/{region_id}", Need::Operator, delete_region)
}

impl Resource for ServiceRecord {
    const ONE: &'static str = "service";
    const MANY: &'static str = "services";

    fn id(&self) -> &str {
        &self.id
    }

    fn fields(&self) -> Value {
        json!({
            "id": self.id,
            "type": self.kind,
            "name": self.name,
            "description": self.description,
            "enabled": self.enabled,
        })
    }
}

impl Resource for Endpoint {
    const ONE: &'static str = "endpoint";
    const MANY: &'static str = "endpoints";

    fn id(&self) -> &str {
        &self.id
    }

    fn fields(&self) -> Value {
        json!({
            "id": self.id,
            "service_id": self.service_id,
            "interface": self.interface.name(),
            "region": self.region,
            "region_id": self.region,
            "url": self.url,
            "enabled": self.enabled,
        })
    }
}

impl Resource for Region {
    const ONE: &'static str = "region";
    const MANY: &'static str = "regions";

    fn id(&self) -> &str {
        &self.id
    }

    fn fields(&self) -> Value {
        json!({
            "id": self.id,
            "parent_region_id": self.parent_id,
            "description": self.description,
        })
    }
}

async fn list_services(State(identity): State<Shared>, _: Access, asked: Asked) -> Answered {
    let (name, kind) = (asked.text("name"), asked.text("type"));
    let catalog = identity.catalog().await?;
    let items = catalog
        .services
        .iter()
        .map(|entry| &entry.service)
        .filter(|service| name.as_ref().is_none_or(|name| *name == service.name))
        .filter(|service| kind.as_ref().is_none_or(|kind| *kind == service.kind))
        .map(|service| service.view(&identity))
        .collect();
    Ok(listing(&identity, &asked, "services", items, None))
}

async fn create_service(
    State(identity): State<Shared>,
    access: Access,
    JsonBody(body): JsonBody,
) -> Answered {
    let given = Fields::inside(&body, "service")?;
    let service = ServiceRecord {
        id: new_id(),
        kind: given.text("type")?,
        name: given.text_if("name")?.unwrap_or_default(),
        description: given.text_if("description")?.unwrap_or_default(),
        enabled: given.flag_if("enabled")?.unwrap_or(true),
    };
    let made = identity.put_service(&access.session.caller, service).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

async fn show_service(State(identity): State<Shared>, _: Access, Path(id): Path<String>) -> Answered {
    let found = identity.service(&id).await?.service;
    Ok(one(&identity, StatusCode::OK, &found))
}

async fn update_service(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let given = Fields::inside(&body, "service")?;
    let old = identity.service(&id).await?.service;
    let service = ServiceRecord {
        kind: given.text_if("type")?.unwrap_or(old.kind),
        name: given.text_if("name")?.unwrap_or(old.name),
        description: given.text_if("description")?.unwrap_or(old.description),
        enabled: given.flag_if("enabled")?.unwrap_or(old.enabled),
        id: old.id,
    };
    let kept = identity.put_service(&access.session.caller, service).await?;
    Ok(one(&identity, StatusCode::OK, &kept))
}

async fn delete_service(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_service(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_endpoints(State(identity): State<Shared>, _: Access, asked: Asked) -> Answered {
    let (service, interface, region) =
        (asked.text("service_id"), asked.text("interface"), asked.text("region_id"));
    let catalog = identity.catalog().await?;
    let items = catalog
        .services
        .iter()
        .flat_map(|entry| &entry.endpoints)
        .filter(|endpoint| service.as_ref().is_none_or(|id| *id == endpoint.service_id))
        .filter(|endpoint| interface.as_ref().is_none_or(|name| name == endpoint.interface.name()))
        .filter(|endpoint| region.as_ref().is_none_or(|id| Some(id) == endpoint.region.as_ref()))
        .map(|endpoint| endpoint.view(&identity))
        .collect();
    Ok(listing(&identity, &asked, "endpoints", items, None))
}

fn interface(name: &str) -> Result<Interface, Error> {
    Interface::from_name(name)
        .ok_or_else(|| Error::invalid("endpoint.interface must be public, internal or admin"))
}

async fn create_endpoint(
    State(identity): State<Shared>,
    access: Access,
    JsonBody(body): JsonBody,
) -> Answered {
    let given = Fields::inside(&body, "endpoint")?;
    let endpoint = Endpoint {
        id: new_id(),
        service_id: given.text("service_id")?,
        interface: interface(&given.text("interface")?)?,
        region: given.text_if("region_id")?.or(given.text_if("region")?),
        url: given.text("url")?,
        enabled: given.flag_if("enabled")?.unwrap_or(true),
    };
    let made = identity.put_endpoint(&access.session.caller, endpoint).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

async fn show_endpoint(State(identity): State<Shared>, _: Access, Path(id): Path<String>) -> Answered {
    let found = identity.endpoint(&id).await?;
    Ok(one(&identity, StatusCode::OK, &found))
}

async fn update_endpoint(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let given = Fields::inside(&body, "endpoint")?;
    let old = identity.endpoint(&id).await?;
    let endpoint = Endpoint {
        service_id: given.text_if("service_id")?.unwrap_or(old.service_id),
        interface: match given.text_if("interface")? {
            Some(name) => interface(&name)?,
            None => old.interface,
        },
        region: given.nullable_text("region_id")?.or(given.nullable_text("region")?).unwrap_or(old.region),
        url: given.text_if("url")?.unwrap_or(old.url),
        enabled: given.flag_if("enabled")?.unwrap_or(old.enabled),
        id: old.id,
    };
    let kept = identity.put_endpoint(&access.session.caller, endpoint).await?;
    Ok(one(&identity, StatusCode::OK, &kept))
}

async fn delete_endpoint(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_endpoint(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}

async fn list_regions(State(identity): State<Shared>, _: Access, asked: Asked) -> Answered {
    let parent = asked.text("parent_region_id");
    let regions = identity.regions().await?;
    let items = regions
        .iter()
        .filter(|region| parent.as_ref().is_none_or(|id| Some(id) == region.parent_id.as_ref()))
        .map(|region| region.view(&identity))
        .collect();
    Ok(listing(&identity, &asked, "regions", items, None))
}

async fn create_region(State(identity): State<Shared>, access: Access, JsonBody(body): JsonBody) -> Answered {
    let given = Fields::inside(&body, "region")?;
    let region = Region {
        id: given.text_if("id")?.unwrap_or_else(new_id),
        parent_id: given.text_if("parent_region_id")?,
        description: given.text_if("description")?.unwrap_or_default(),
    };
    let made = identity.put_region(&access.session.caller, region, true).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

/// `PUT /regions/{id}`: as POST, with the id in the path.
async fn create_region_named(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let given = Fields::inside(&body, "region")?;
    if given.text_if("id")?.is_some_and(|other| other != id) {
        return Err(Error::invalid("region.id is another one than in the path").into());
    }
    let region = Region {
        id,
        parent_id: given.text_if("parent_region_id")?,
        description: given.text_if("description")?.unwrap_or_default(),
    };
    let made = identity.put_region(&access.session.caller, region, true).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}

async fn region(identity: &Shared, id: &str) -> Result<Region, Error> {
    let found = identity.regions().await?.into_iter().find(|region| region.id == id);
    found.ok_or_else(|| Error::not_found("region", id))
}

async fn show_region(State(identity): State<Shared>, _: Access, Path(id): Path<String>) -> Answered {
    let found = region(&identity, &id).await?;
    Ok(one(&identity, StatusCode::OK, &found))
}

async fn update_region(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> Answered {
    let given = Fields::inside(&body, "region")?;
    let old = region(&identity, &id).await?;
    let changed = Region {
        parent_id: given.nullable_text("parent_region_id")?.unwrap_or(old.parent_id),
        description: given.text_if("description")?.unwrap_or(old.description),
        id: old.id,
    };
    let kept = identity.put_region(&access.session.caller, changed, false).await?;
    Ok(one(&identity, StatusCode::OK, &kept))
}

async fn delete_region(State(identity): State<Shared>, access: Access, Path(id): Path<String>) -> Answered {
    identity.delete_region(&access.session.caller, &id).await?;
    Ok(empty(StatusCode::NO_CONTENT))
}
