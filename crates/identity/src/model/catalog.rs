//! The service catalog: one table of what a cloud can publish, from which every dialect's catalog is made.

use serde::Serialize;

use super::extra::Extra;
use crate::settings::{Service, Settings};

/// Who an endpoint is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// Everybody.
    Public,
    /// Clients inside the cloud.
    Internal,
    /// Operators.
    Admin,
}

impl Interface {
    /// All of them, in the order in which catalogs show them.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Internal, Self::Public];

    /// As v3 spells it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }

    /// From v3's spelling, or v2.0's with `URL` behind it.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        let name = name.strip_suffix("URL").unwrap_or(name);
        Self::ALL.into_iter().find(|interface| interface.name() == name)
    }
}

/// An endpoint as v3 manages it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// The service it leads to.
    pub service_id: String,
    /// Who it is for.
    pub interface: Interface,
    /// Its region's id.
    pub region: Option<String>,
    /// Where; `$(tenant_id)s` stands for the token's tenant.
    pub url: String,
    /// Published or not.
    pub enabled: bool,
    /// What v3's clients gave it beside that.
    pub extra: Extra,
}

/// A service as v3 manages it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Its id.
    pub id: String,
    /// Its type, by which clients look for it.
    pub kind: String,
    /// Its name, by which others do.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Published or not.
    pub enabled: bool,
    /// What v3's clients gave it beside that.
    pub extra: Extra,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its id, which is its name.
    pub id: String,
    /// The region that it is part of.
    pub parent_id: Option<String>,
    /// Free text.
    pub description: String,
    /// What v3's clients gave it beside that.
    pub extra: Extra,
}

/// One service of a catalog with its endpoints, before the tenant is filled in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogService {
    /// The service.
    pub service: ServiceRecord,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// v2.0's `versionId`.
    pub version: Option<&'static str>,
    /// The name that Rackspace's clients look for, rather than OpenStack's.
    pub rackspace: bool,
    /// v2.0 shows no region for it: first-generation servers had none.
    pub regionless: bool,
    /// The catalog's own: cannot be changed by request.
    pub builtin: bool,
}

/// Whose names a client looks for services by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `swift`, `nova`.
    OpenStack,
    /// `cloudFiles`, `cloudServersOpenStack`.
    Rackspace,
}

/// A whole catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Its services, those that clients should find first before others of the same type.
    pub services: Vec<CatalogService>,
}

struct Published {
    name: &'static str,
    kind: &'static str,
    deployed: Option<Service>,
    path: &'static str,
    version: Option<&'static str>,
    rackspace: bool,
}

const fn openstack(
    name: &'static str,
    kind: &'static str,
    deployed: Option<Service>,
    path: &'static str,
) -> Published {
    Published { name, kind, deployed, path, version: None, rackspace: false }
}

const fn rackspace(
    name: &'static str,
    kind: &'static str,
    deployed: Service,
    path: &'static str,
    version: Option<&'static str>,
) -> Published {
    Published { name, kind, deployed: Some(deployed), path, version, rackspace: true }
}

const FILES: &str = "/v1/AUTH_$(tenant_id)s";
const VOLUMES: &str = "/volumes/v3/$(tenant_id)s";

/// The table. Where two entries share a type, the one that must win for a client that takes the first stands first:
/// first-generation servers are of type `compute` too, and come last.
const PUBLISHED: &[Published] = &[
    openstack("keystone", "identity", None, "/identity/v3"),
    openstack("swift", "object-store", Some(Service::Files), FILES),
    // Today's clients speak 2.1; those of 2014 take `versionId` 2 and refuse to choose between two of it.
    Published {
        version: Some("2.1"),
        ..openstack("nova", "compute", Some(Service::ServersV2), "/servers/v2.1/$(tenant_id)s")
    },
    openstack("glance", "image", Some(Service::Images), "/images"),
    openstack("neutron", "network", Some(Service::Networks), "/networks"),
    openstack("cinderv3", "volumev3", Some(Service::Volumes), VOLUMES),
    openstack("cinder", "block-storage", Some(Service::Volumes), VOLUMES),
    rackspace("cloudFiles", "object-store", Service::Files, FILES, Some("1")),
    rackspace("cloudFilesCDN", "rax:object-cdn", Service::Cdn, "/cdn/v1/AUTH_$(tenant_id)s", Some("1")),
    rackspace("cloudServersOpenStack", "compute", Service::ServersV2, "/servers/v2/$(tenant_id)s", Some("2")),
    rackspace("cloudFeeds", "rax:feeds", Service::Feeds, "/feeds/$(tenant_id)s", None),
    rackspace("cloudImages", "image", Service::Images, "/images", Some("2")),
    rackspace("cloudBlockStorage", "volume", Service::Volumes, VOLUMES, Some("3")),
    rackspace("cloudNetworks", "network", Service::Networks, "/networks", Some("2.0")),
    rackspace("cloudServers", "compute", Service::ServersV1, "/servers/v1.0/$(tenant_id)s", Some("1.0")),
];

impl Catalog {
    /// What is deployed, from the table.
    #[must_use]
    pub fn deployed(settings: &Settings) -> Self {
        let published =
            PUBLISHED.iter().filter(|p| p.deployed.is_none_or(|s| settings.services.contains(&s)));
        Self { services: published.map(|p| p.service(settings)).collect() }
    }

    /// The services that are shown to clients which look for these names: one for each type and region, since clients
    /// refuse to choose between two, and all that operators added. Without `regions_hidden`, services that have no
    /// region in v2.0 count as being in the cloud's.
    pub fn shown(&self, names: Names, regions_hidden: bool) -> impl Iterator<Item = &CatalogService> {
        let enabled = || self.services.iter().enumerate().filter(|(_, entry)| entry.service.enabled);
        // Those with the wanted kind of name come first, and among equals the first of the table.
        let rank = move |(index, entry): (usize, &CatalogService)| {
            (entry.rackspace != (names == Names::Rackspace), index)
        };
        let place = move |entry: &CatalogService| regions_hidden && entry.regionless;
        enabled()
            .filter(move |candidate| {
                let (_, entry) = *candidate;
                let better = |other: (usize, &CatalogService)| {
                    other.1.builtin
                        && other.1.service.kind == entry.service.kind
                        && place(other.1) == place(entry)
                        && rank(other) < rank(*candidate)
                };
                !entry.builtin || !enabled().any(better)
            })
            .map(|(_, entry)| entry)
    }

    /// The URL of the first public endpoint of that service name for a tenant.
    #[must_use]
    pub fn url_of(&self, name: &str, tenant_id: &str) -> Option<String> {
        let found = self.services.iter().find(|entry| entry.service.name == name)?;
        let endpoint = found.endpoints.iter().find(|endpoint| endpoint.interface == Interface::Public)?;
        endpoint.url_for(Some(tenant_id))
    }
}

impl Published {
    fn service(&self, settings: &Settings) -> CatalogService {
        let id = builtin_id("service", self.name);
        let base = self.deployed.map_or(settings.public_url.as_str(), |service| settings.base_of(service));
        let endpoints = Interface::ALL.map(|interface| Endpoint {
            id: builtin_id(interface.name(), self.name),
            service_id: id.clone(),
            interface,
            region: Some(settings.region.clone()),
            url: format!("{base}{}", self.path),
            enabled: true,
            extra: Extra::default(),
        });
        CatalogService {
            service: ServiceRecord {
                id,
                kind: self.kind.to_owned(),
                name: self.name.to_owned(),
                description: String::new(),
                enabled: true,
                extra: Extra::default(),
            },
            endpoints: endpoints.into(),
            version: self.version,
            rackspace: self.rackspace,
            regionless: self.deployed == Some(Service::ServersV1),
            builtin: true,
        }
    }
}

impl Endpoint {
    /// Its URL for a tenant; `None` when it needs one and there is none.
    #[must_use]
    pub fn url_for(&self, tenant_id: Option<&str>) -> Option<String> {
        const NAMES: [&str; 4] = ["$(tenant_id)s", "$(project_id)s", "%(tenant_id)s", "%(project_id)s"];
        let mut url = self.url.clone();
        for name in NAMES {
            if url.contains(name) {
                url = url.replace(name, tenant_id?);
            }
        }
        Some(url)
    }
}

fn builtin_id(kind: &str, name: &str) -> String {
    let namespace = uuid::Uuid::from_bytes(*b"nephos:a-catalog");
    uuid::Uuid::new_v5(&namespace, format!("{kind}/{name}").as_bytes()).simple().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_deployed_is_published() {
        let mut settings = Settings::new("http://cloud:8080/");
        settings.services = [Service::Files, Service::ServersV1].into();
        settings.hosts.insert(Service::Files, "https://storage.example".to_owned());
        let catalog = Catalog::deployed(&settings);
        let names: Vec<_> = catalog.services.iter().map(|s| s.service.name.as_str()).collect();
        assert_eq!(names, ["keystone", "swift", "cloudFiles", "cloudServers"]);
        assert_eq!(catalog.url_of("swift", "100001").unwrap(), "https://storage.example/v1/AUTH_100001");
        let servers = catalog.url_of("cloudServers", "100001").unwrap();
        assert_eq!(servers, "http://cloud:8080/servers/v1.0/100001");
        assert_eq!(catalog.url_of("nova", "100001"), None);
    }

    #[test]
    fn the_first_compute_service_is_the_next_generation() {
        let catalog = Catalog::deployed(&Settings::new("http://cloud"));
        let compute: Vec<_> = catalog
            .services
            .iter()
            .filter(|s| s.service.kind == "compute")
            .map(|s| &*s.service.name)
            .collect();
        assert_eq!(compute, ["nova", "cloudServersOpenStack", "cloudServers"]);
    }

    #[test]
    fn no_client_sees_two_services_of_one_type_and_region() {
        // Every combination of services that can be deployed.
        for chosen in 0u32..1 << Service::ALL.len() {
            let mut settings = Settings::new("http://cloud");
            let bits = Service::ALL.into_iter().enumerate();
            settings.services =
                bits.filter(|(bit, _)| chosen >> bit & 1 == 1).map(|(_, service)| service).collect();
            let catalog = Catalog::deployed(&settings);
            let all: std::collections::BTreeSet<_> =
                catalog.services.iter().map(|s| s.service.kind.clone()).collect();
            for (names, hidden) in
                [(Names::OpenStack, false), (Names::OpenStack, true), (Names::Rackspace, true)]
            {
                let shown: Vec<_> = catalog.shown(names, hidden).collect();
                let mut places: Vec<_> =
                    shown.iter().map(|s| (&s.service.kind, hidden && s.regionless)).collect();
                places.sort();
                let count = places.len();
                places.dedup();
                assert_eq!(places.len(), count, "{names:?} {:?}", settings.services);
                let kinds: std::collections::BTreeSet<_> =
                    shown.iter().map(|s| s.service.kind.clone()).collect();
                assert_eq!(kinds, all, "no type is left out");
            }
        }
    }

    #[test]
    fn clients_see_the_names_that_they_look_for() {
        let catalog = Catalog::deployed(&Settings::new("http://cloud"));
        let names = |names, hidden| -> Vec<&str> {
            catalog.shown(names, hidden).map(|entry| &*entry.service.name).collect()
        };
        let v3 = names(Names::OpenStack, false);
        assert!(v3.contains(&"swift") && v3.contains(&"nova") && v3.contains(&"cloudFeeds"));
        assert!(!v3.contains(&"cloudFiles") && !v3.contains(&"cloudServers"), "{v3:?}");
        let by_key = names(Names::Rackspace, true);
        for name in ["cloudFiles", "cloudServersOpenStack", "cloudServers", "keystone", "cinderv3"] {
            assert!(by_key.contains(&name), "{name}");
        }
        assert!(!by_key.contains(&"swift") && !by_key.contains(&"nova"));
    }

    #[test]
    fn an_endpoint_that_needs_a_tenant_is_left_out_without_one() {
        let catalog = Catalog::deployed(&Settings::new("http://cloud"));
        let without: Vec<_> = catalog
            .services
            .iter()
            .filter(|s| s.endpoints[0].url_for(None).is_some())
            .map(|s| &*s.service.name)
            .collect();
        assert_eq!(without, ["keystone", "glance", "neutron", "cloudImages", "cloudNetworks"]);
    }
}
