//! The catalog: the deployed services, and operators' additions.

use crate::model::{Caller, Catalog, CatalogService, Endpoint, Extra, Region, ServiceRecord, check_name};
use crate::service::accounts::check_operator;
use crate::service::error::Error;
use crate::service::text::check_text;
use crate::service::{Identity, note};
use crate::store;

/// Maximum number of services, endpoints and regions that operators can add, each. Catalogs are read as a whole.
const ADDED_MAX: usize = 500;
/// Maximum length of an endpoint's URL, in bytes.
const URL_MAX: usize = 2048;

impl Identity {
    /// Returns the complete catalog, before tenants are inserted.
    pub(crate) async fn catalog(&self) -> Result<Catalog, Error> {
        let (services, endpoints) = self
            .db
            .read((), |(), tx| {
                Box::pin(async move {
                    let services = store::catalog::services(tx).await?;
                    let endpoints =
                        if services.is_empty() { Vec::new() } else { store::catalog::endpoints(tx).await? };
                    Ok::<_, Error>((services, endpoints))
                })
            })
            .await?;
        let mut catalog = self.deployed.clone();
        catalog.services.extend(services.into_iter().map(|service| CatalogService {
            endpoints: endpoints.iter().filter(|e| e.service_id == service.id).cloned().collect(),
            service,
            version: None,
            rackspace: false,
            regionless: false,
            builtin: false,
        }));
        Ok(catalog)
    }

    /// Creates or changes a service of the catalog.
    pub(crate) async fn put_service(
        &self,
        caller: &Caller,
        service: ServiceRecord,
    ) -> Result<ServiceRecord, Error> {
        check_operator(caller)?;
        check_name("type", &service.kind, true)?;
        check_text("name", &service.name)?;
        check_text("description", &service.description)?;
        service.extra.check()?;
        let catalog = self.catalog().await?;
        not_builtin(&catalog, &service.id)?;
        room(catalog.services.iter().filter(|s| !s.builtin).count())?;
        let now = self.clock.now();
        self.db
            .write((caller.clone(), service), move |(caller, service), tx| {
                Box::pin(async move {
                    store::catalog::put_service(tx, service).await?;
                    note(tx, now, caller, "service.put", &service.id, &service.name).await?;
                    Ok(service.clone())
                })
            })
            .await
    }

    /// Returns a service of the catalog.
    pub(crate) async fn service(&self, id: &str) -> Result<CatalogService, Error> {
        let catalog = self.catalog().await?;
        let found = catalog.services.into_iter().find(|entry| entry.service.id == id);
        found.ok_or_else(|| Error::not_found("service", id))
    }

    /// Deletes a service that an operator added, with its endpoints.
    pub(crate) async fn delete_service(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        check_operator(caller)?;
        not_builtin(&self.deployed, id)?;
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned()), move |(caller, id), tx| {
                Box::pin(async move {
                    if !store::catalog::delete_service(tx, id).await? {
                        return Err(Error::not_found("service", id));
                    }
                    note(tx, now, caller, "service.delete", id, "").await
                })
            })
            .await
    }

    /// Creates or changes an endpoint of a service that an operator added.
    pub(crate) async fn put_endpoint(&self, caller: &Caller, endpoint: Endpoint) -> Result<Endpoint, Error> {
        check_operator(caller)?;
        let good = endpoint.url.len() <= URL_MAX
            && (endpoint.url.starts_with("http://") || endpoint.url.starts_with("https://"))
            && !endpoint.url.chars().any(|c| c.is_control() || c.is_whitespace());
        if !good {
            return Err(Error::invalid("url must be an http or https URL"));
        }
        endpoint.extra.check()?;
        let catalog = self.catalog().await?;
        not_builtin(&catalog, &endpoint.service_id)?;
        not_builtin_endpoint(&catalog, &endpoint.id)?;
        if !catalog.services.iter().any(|entry| entry.service.id == endpoint.service_id) {
            return Err(Error::not_found("service", &endpoint.service_id));
        }
        room(catalog.services.iter().filter(|s| !s.builtin).map(|s| s.endpoints.len()).sum())?;
        // An endpoint creates its region if that does not exist (Keystone).
        let regions = self.regions().await?;
        let missing = endpoint.region.clone().filter(|id| !regions.iter().any(|found| found.id == *id));
        if let Some(id) = &missing {
            check_name("region_id", id, true)?;
            room(regions.len())?;
        }
        let now = self.clock.now();
        self.db
            .write((caller.clone(), endpoint, missing), move |(caller, endpoint, missing), tx| {
                Box::pin(async move {
                    if let Some(id) = missing {
                        let region = Region {
                            id: id.clone(),
                            parent_id: None,
                            description: String::new(),
                            extra: Extra::default(),
                        };
                        store::catalog::put_region(tx, &region).await?;
                        note(tx, now, caller, "region.put", id, "").await?;
                    }
                    store::catalog::put_endpoint(tx, endpoint).await?;
                    note(tx, now, caller, "endpoint.put", &endpoint.id, &endpoint.url).await?;
                    Ok(endpoint.clone())
                })
            })
            .await
    }

    /// Returns an endpoint, built in or added.
    pub(crate) async fn endpoint(&self, id: &str) -> Result<Endpoint, Error> {
        let catalog = self.catalog().await?;
        let found = catalog.services.into_iter().flat_map(|entry| entry.endpoints).find(|e| e.id == id);
        found.ok_or_else(|| Error::not_found("endpoint", id))
    }

    /// Deletes an endpoint of a service that an operator added.
    pub(crate) async fn delete_endpoint(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        check_operator(caller)?;
        not_builtin_endpoint(&self.deployed, id)?;
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned()), move |(caller, id), tx| {
                Box::pin(async move {
                    if !store::catalog::delete_endpoint(tx, id).await? {
                        return Err(Error::not_found("endpoint", id));
                    }
                    note(tx, now, caller, "endpoint.delete", id, "").await
                })
            })
            .await
    }

    /// Returns the cloud's own region and those that operators added.
    pub(crate) async fn regions(&self) -> Result<Vec<Region>, Error> {
        let added = self
            .db
            .read((), |(), tx| Box::pin(async move { Ok::<_, Error>(store::catalog::regions(tx).await?) }))
            .await?;
        let own = Region {
            id: self.settings.region.clone(),
            parent_id: None,
            description: String::new(),
            extra: Extra::default(),
        };
        let others = added.into_iter().filter(|region| region.id != own.id);
        Ok(std::iter::once(own.clone()).chain(others).collect())
    }

    /// Creates a region, or changes one if `new` is false.
    pub(crate) async fn put_region(
        &self,
        caller: &Caller,
        region: Region,
        new: bool,
    ) -> Result<Region, Error> {
        check_operator(caller)?;
        check_name("id", &region.id, true)?;
        region.extra.check()?;
        check_text("description", &region.description)?;
        let regions = self.regions().await?;
        let there = regions.iter().any(|found| found.id == region.id);
        if new && there {
            return Err(Error::conflict(format!("A region {} already exists.", region.id)));
        }
        if !new && !there {
            return Err(Error::not_found("region", &region.id));
        }
        if region.id == self.settings.region {
            return Err(Error::forbidden("The cloud's own region is changed in its configuration."));
        }
        room(regions.len())?;
        if let Some(parent) = &region.parent_id
            && (*parent == region.id || !regions.iter().any(|found| found.id == *parent))
        {
            return Err(Error::not_found("region", parent));
        }
        if region.parent_id.as_ref() == Some(&self.settings.region) {
            return Err(Error::invalid("the cloud's own region cannot contain other regions"));
        }
        let now = self.clock.now();
        self.db
            .write((caller.clone(), region), move |(caller, region), tx| {
                Box::pin(async move {
                    store::catalog::put_region(tx, region).await?;
                    note(tx, now, caller, "region.put", &region.id, "").await?;
                    Ok(region.clone())
                })
            })
            .await
    }

    /// Deletes a region without endpoints and regions in it.
    pub(crate) async fn delete_region(&self, caller: &Caller, id: &str) -> Result<(), Error> {
        check_operator(caller)?;
        if id == self.settings.region {
            return Err(Error::forbidden("The cloud's own region is changed in its configuration."));
        }
        let now = self.clock.now();
        self.db
            .write((caller.clone(), id.to_owned()), move |(caller, id), tx| {
                Box::pin(async move {
                    let parts = store::catalog::regions(tx).await?;
                    let endpoints = store::catalog::endpoints(tx).await?;
                    let used = parts.iter().any(|region| region.parent_id.as_ref() == Some(id))
                        || endpoints.iter().any(|endpoint| endpoint.region.as_ref() == Some(id));
                    if used {
                        return Err(Error::conflict("The region still has endpoints or regions in it."));
                    }
                    if !store::catalog::delete_region(tx, id).await? {
                        return Err(Error::not_found("region", id));
                    }
                    note(tx, now, caller, "region.delete", id, "").await
                })
            })
            .await
    }
}

fn room(count: usize) -> Result<(), Error> {
    if count < ADDED_MAX {
        return Ok(());
    }
    Err(Error::conflict(format!("The catalog holds at most {ADDED_MAX} of these.")))
}

fn not_builtin(catalog: &Catalog, service_id: &str) -> Result<(), Error> {
    if catalog.services.iter().any(|entry| entry.builtin && entry.service.id == service_id) {
        return Err(Error::forbidden("What the cloud itself deploys is changed in its configuration."));
    }
    Ok(())
}

fn not_builtin_endpoint(catalog: &Catalog, id: &str) -> Result<(), Error> {
    let builtin = catalog.services.iter().filter(|entry| entry.builtin);
    if builtin.flat_map(|entry| &entry.endpoints).any(|endpoint| endpoint.id == id) {
        return Err(Error::forbidden("What the cloud itself deploys is changed in its configuration."));
    }
    Ok(())
}
