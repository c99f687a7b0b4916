//! `/v3/services`, `/v3/endpoints`, `/v3/regions`: the catalog, and operators' additions to it.

use axum::extract::{Path, State};
use http::{Method, StatusCode};
use serde_json::{Value, json};

use crate::api::access::Access;
use crate::api::fields::{Fields, JsonBody};
use crate::api::v3::crud::{self, Collection, ListQuery};
use crate::api::v3::{Resource, one};
use crate::api::{HandlerResult, Need, Shared, Table};
use crate::model::{Caller, Endpoint, Extra, Interface, Region, ServiceRecord};
use crate::service::Listed;
use crate::service::error::Error;
use crate::service::secrets::new_id;

pub(crate) fn add(table: Table) -> Table {
    let table = crud::add::<Endpoint>(crud::add::<ServiceRecord>(table));
    crud::add::<Region>(table).add(Method::PUT, Region::PATH_ONE, Need::Operator, create_region_named)
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

    fn extra(&self) -> Option<&Extra> {
        Some(&self.extra)
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

    fn extra(&self) -> Option<&Extra> {
        Some(&self.extra)
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

    fn extra(&self) -> Option<&Extra> {
        Some(&self.extra)
    }
}

impl Collection for ServiceRecord {
    const PATH: &'static str = "/services";
    const PATH_ONE: &'static str = "/services/{service_id}";
    const NEEDS: [Need; 3] = [Need::Operator; 3];
    const OWN: &'static [&'static str] = &["type", "name", "description", "enabled"];

    async fn list(identity: &Shared, _: &Caller, query: ListQuery<'_>) -> Result<Listed<Self>, Error> {
        let (name, kind) = (query.asked.text("name"), query.asked.text("type"));
        let services = identity.catalog().await?.services.into_iter().map(|entry| entry.service);
        let fits = |service: &Self| {
            name.as_ref().is_none_or(|name| *name == service.name)
                && kind.as_ref().is_none_or(|kind| *kind == service.kind)
        };
        Ok(Listed::whole(services.filter(fits).collect()))
    }

    async fn show(identity: &Shared, _: &Caller, id: &str) -> Result<Self, Error> {
        Ok(identity.service(id).await?.service)
    }

    async fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let service = Self {
            id: new_id(),
            kind: given.text("type")?,
            name: given.optional_text("name")?.unwrap_or_default(),
            description: given.optional_text("description")?.unwrap_or_default(),
            enabled: given.optional_flag("enabled")?.unwrap_or(true),
            extra,
        };
        identity.put_service(caller, service).await
    }

    async fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let mut service = identity.service(id).await?.service;
        service.kind = given.optional_text("type")?.unwrap_or(service.kind);
        service.name = given.optional_text("name")?.unwrap_or(service.name);
        service.description = given.optional_text("description")?.unwrap_or(service.description);
        service.enabled = given.optional_flag("enabled")?.unwrap_or(service.enabled);
        service.extra.merge(&extra);
        identity.put_service(caller, service).await
    }

    async fn delete(identity: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
        identity.delete_service(caller, id).await
    }
}

fn interface(name: &str) -> Result<Interface, Error> {
    Interface::from_name(name)
        .ok_or_else(|| Error::invalid("endpoint.interface must be public, internal or admin"))
}

impl Collection for Endpoint {
    const PATH: &'static str = "/endpoints";
    const PATH_ONE: &'static str = "/endpoints/{endpoint_id}";
    const NEEDS: [Need; 3] = [Need::Operator; 3];
    const OWN: &'static [&'static str] =
        &["service_id", "interface", "region", "region_id", "url", "enabled"];

    async fn list(identity: &Shared, _: &Caller, query: ListQuery<'_>) -> Result<Listed<Self>, Error> {
        let text = |name| query.asked.text(name);
        let (service, interface, region) = (text("service_id"), text("interface"), text("region_id"));
        let endpoints = identity.catalog().await?.services.into_iter().flat_map(|entry| entry.endpoints);
        let fits = |endpoint: &Self| {
            service.as_ref().is_none_or(|id| *id == endpoint.service_id)
                && interface.as_ref().is_none_or(|name| name == endpoint.interface.name())
                && region.as_ref().is_none_or(|id| Some(id) == endpoint.region.as_ref())
        };
        Ok(Listed::whole(endpoints.filter(fits).collect()))
    }

    async fn show(identity: &Shared, _: &Caller, id: &str) -> Result<Self, Error> {
        identity.endpoint(id).await
    }

    async fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let endpoint = Self {
            id: new_id(),
            service_id: given.text("service_id")?,
            interface: interface(&given.text("interface")?)?,
            region: given.optional_text("region_id")?.or(given.optional_text("region")?),
            url: given.text("url")?,
            enabled: given.optional_flag("enabled")?.unwrap_or(true),
            extra,
        };
        identity.put_endpoint(caller, endpoint).await
    }

    async fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let mut endpoint = identity.endpoint(id).await?;
        let region = given.nullable_text("region_id")?.or(given.nullable_text("region")?);
        endpoint.service_id = given.optional_text("service_id")?.unwrap_or(endpoint.service_id);
        if let Some(name) = given.optional_text("interface")? {
            endpoint.interface = interface(&name)?;
        }
        endpoint.region = region.unwrap_or(endpoint.region);
        endpoint.url = given.optional_text("url")?.unwrap_or(endpoint.url);
        endpoint.enabled = given.optional_flag("enabled")?.unwrap_or(endpoint.enabled);
        endpoint.extra.merge(&extra);
        identity.put_endpoint(caller, endpoint).await
    }

    async fn delete(identity: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
        identity.delete_endpoint(caller, id).await
    }
}

impl Collection for Region {
    const PATH: &'static str = "/regions";
    const PATH_ONE: &'static str = "/regions/{region_id}";
    const NEEDS: [Need; 3] = [Need::Operator; 3];
    const OWN: &'static [&'static str] = &["parent_region_id", "description"];

    async fn list(identity: &Shared, _: &Caller, _: ListQuery<'_>) -> Result<Listed<Self>, Error> {
        Ok(Listed::whole(identity.regions().await?))
    }

    async fn show(identity: &Shared, _: &Caller, id: &str) -> Result<Self, Error> {
        let found = identity.regions().await?.into_iter().find(|region| region.id == id);
        found.ok_or_else(|| Error::not_found("region", id))
    }

    async fn create(
        identity: &Shared,
        caller: &Caller,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let region = Self {
            id: given.optional_text("id")?.filter(|id| !id.is_empty()).unwrap_or_else(new_id),
            parent_id: given.optional_text("parent_region_id")?,
            description: given.optional_text("description")?.unwrap_or_default(),
            extra,
        };
        identity.put_region(caller, region, true).await
    }

    async fn update(
        identity: &Shared,
        caller: &Caller,
        id: &str,
        given: &Fields<'_>,
        extra: Extra,
    ) -> Result<Self, Error> {
        let mut region = Self::show(identity, caller, id).await?;
        region.parent_id = given.nullable_text("parent_region_id")?.unwrap_or(region.parent_id);
        region.description = given.optional_text("description")?.unwrap_or(region.description);
        region.extra.merge(&extra);
        identity.put_region(caller, region, false).await
    }

    async fn delete(identity: &Shared, caller: &Caller, id: &str) -> Result<(), Error> {
        identity.delete_region(caller, id).await
    }
}

/// `PUT /regions/{id}`: the same as POST, with the id in the path.
async fn create_region_named(
    State(identity): State<Shared>,
    access: Access,
    Path(id): Path<String>,
    JsonBody(body): JsonBody,
) -> HandlerResult {
    let (given, extra) = crud::given::<Region>(&body)?;
    if given.optional_text("id")?.is_some_and(|other| other != id) {
        return Err(Error::invalid("region.id must match the id in the path").into());
    }
    let region = Region {
        id,
        parent_id: given.optional_text("parent_region_id")?,
        description: given.optional_text("description")?.unwrap_or_default(),
        extra,
    };
    let made = identity.put_region(&access.session.caller, region, true).await?;
    Ok(one(&identity, StatusCode::CREATED, &made))
}
