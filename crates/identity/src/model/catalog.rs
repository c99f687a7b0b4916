//! The service catalog. Every dialect's catalog is built from one table of all services that a cloud can publish.

use serde::Serialize;

use super::extra::Extra;
use crate::settings::{Service, Settings};

/// The audience of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Interface {
    /// Everyone.
    Public,
    /// Clients inside the cloud.
    Internal,
    /// Operators.
    Admin,
}

impl Interface {
    /// All of them, in the order of catalogs.
    pub const ALL: [Self; 3] = [Self::Admin, Self::Internal, Self::Public];

    /// The name in v3.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Public => "public",
            Self::Internal => "internal",
            Self::Admin => "admin",
        }
    }

    /// Parses the name in v3, or in v2.0, which appends `URL`.
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
    /// The id of its service.
    pub service_id: String,
    /// Its audience.
    pub interface: Interface,
    /// Its region's id.
    pub region: Option<String>,
    /// The URL, in which `$(tenant_id)s` stands for the token's tenant.
    pub url: String,
    /// Whether it is published.
    pub enabled: bool,
    /// Further attributes that v3's clients gave it.
    pub extra: Extra,
}

/// A service as v3 manages it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceRecord {
    /// Its id.
    pub id: String,
    /// Its type, by which some clients find it.
    pub kind: String,
    /// Its name, by which other clients find it.
    pub name: String,
    /// Free text.
    pub description: String,
    /// Whether it is published.
    pub enabled: bool,
    /// Further attributes that v3's clients gave it.
    pub extra: Extra,
}

/// A region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Its id, which is its name.
    pub id: String,
    /// The region that contains it.
    pub parent_id: Option<String>,
    /// Free text.
    pub description: String,
    /// Further attributes that v3's clients gave it.
    pub extra: Extra,
}

/// A service of a catalog with its endpoints, before the tenant is inserted into URLs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogService {
    /// The service.
    pub service: ServiceRecord,
    /// Its endpoints.
    pub endpoints: Vec<Endpoint>,
    /// v2.0's `versionId`.
    pub version: Option<&'static str>,
    /// Whether the name is Rackspace's instead of OpenStack's.
    pub rackspace: bool,
    /// Whether v2.0 shows no region for it: first-generation servers had none.
    pub regionless: bool,
    /// Whether it is built in and cannot be changed by request.
    pub builtin: bool,
}

/// The naming scheme by which a client finds services.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Names {
    /// `swift`, `nova`.
    OpenStack,
    /// `cloudFiles`, `cloudServersOpenStack`.
    Rackspace,
}

/// A complete catalog.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalog {
    /// Its services. Of several with the same type, the one that clients should find comes first.
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

/// The table. Of two entries with the same type, clients that take the first one must get the first: first-generation
/// servers have the type `compute` too, and come last.
const PUBLISHED: &[Published] = &[
    openstack("keystone", "identity", None, "/identity/v3"),
    openstack("swift", "object-store", Some(Service::Files), FILES),
    // Current clients speak 2.1. Those of 2014 look for `versionId` 2 and refuse to choose between two entries with it.
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
    /// Returns the deployed part of the table.
    #[must_use]
    pub fn deployed(settings: &Settings) -> Self {
        let published =
            PUBLISHED.iter().filter(|p| p.deployed.is_none_or(|s| settings.services.contains(&s)));
        Self { services: published.map(|p| p.service(settings)).collect() }
    }

    /// Returns the services for clients of this naming scheme: one per type and region, since clients refuse to choose
    /// between two, and all services that operators added. Unless `regions_hidden`, services without a region in v2.0 count
    /// as being in the cloud's region.
    pub fn shown(&self, names: Names, regions_hidden: bool) -> impl Iterator<Item = &CatalogService> {
        let enabled = || self.services.iter().enumerate().filter(|(_, entry)| entry.service.enabled);
        // Services with the wanted kind of name come first, and among equals the first in the table.
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

    /// Returns a tenant's URL of the first public endpoint of the service with that name.
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
    /// Returns the URL for a tenant; `None` if the URL needs a tenant and there is none.
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
    fn only_deployed_services_are_published() {
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
        // Test every combination of deployed services.
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
                assert_eq!(kinds, all, "every type is listed");
            }
        }
    }

    #[test]
    fn clients_see_the_names_of_their_scheme() {
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
