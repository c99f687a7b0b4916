//! What can be done with publications. Every operation authorises its caller first.

mod container_purge;
mod limits;
mod publishing;
mod purging;
mod sites;

use std::sync::Arc;

use database::{BoxFuture, Database, Location, Tx};
use identity::{Caller, MasterKey, Product, Right};
use work::Clock;

pub use limits::Limits;
pub use publishing::{Page, Published};

use crate::error::{Error, Result};
use crate::model::{Hash, Names, Publication, Uris};
use crate::store;

/// How a deployment of the CDN is set up.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host that containers are published under, perhaps with a port: `cdn.localhost:8081`.
    pub host: String,
    /// The key that names of containers are derived from.
    pub master: Arc<MasterKey>,
}

struct Inner {
    db: Database,
    clock: Clock,
    names: Names,
    /// Enters into containers' hashes.
    secret: [u8; 32],
    sites: sites::Sites,
}

/// The service. Clones share their state.
#[derive(Clone)]
pub struct Cdn(Arc<Inner>);

/// Who asks.
#[derive(Clone, Debug)]
pub struct Context {
    /// The caller of a valid token.
    pub caller: Arc<Caller>,
}

impl Context {
    /// A call by the cloud itself.
    #[must_use]
    pub fn internal() -> Self {
        Self { caller: Arc::new(Caller::console()) }
    }

    /// Checks that the caller may do what needs `right` in a tenant's account.
    ///
    /// # Errors
    /// [`Error::Forbidden`].
    pub fn authorise(&self, tenant: &str, right: Right) -> Result<()> {
        let may = self.caller.may(tenant, Product::ObjectStore, right);
        if may { Ok(()) } else { Err(Error::Forbidden) }
    }
}

impl Cdn {
    /// Opens the tables.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(
        location: &Location,
        clock: Clock,
        settings: Settings,
    ) -> std::result::Result<Self, database::Error> {
        let db = Database::open(location, "cdn", store::MIGRATIONS).await?;
        let names = Names::new(&settings.host, &settings.master.derive("cdn host names"));
        let secret = settings.master.derive("cdn containers");
        Ok(Self(Arc::new(Inner { db, clock, names, secret, sites: sites::Sites::default() })))
    }

    /// The URIs that a published container is read by.
    #[must_use]
    pub fn uris(&self, publication: &Publication) -> Uris {
        self.0.names.uris(publication.hash)
    }

    /// The host names that containers are published under.
    #[must_use]
    pub fn names(&self) -> &Names {
        &self.0.names
    }

    /// Runs a unit that changes a container's publication. Whatever comes of it, edges look the container up again.
    async fn change<S, T>(
        &self,
        (tenant, container): (&str, &str),
        input: S,
        unit: impl for<'a> Fn(&'a S, &'a mut Tx) -> BoxFuture<'a, Result<T>> + Send + Sync + 'static,
    ) -> Result<T>
    where
        S: Send + Sync + 'static,
        T: Send + 'static,
    {
        // The unit runs to its end even if the caller goes away, and the container is forgotten after that.
        let (cdn, hash) = (self.clone(), self.hash(tenant, container));
        let changing = tokio::spawn(async move {
            let outcome = cdn.0.db.write(input, unit).await;
            cdn.0.sites.forget(hash);
            outcome
        });
        changing.await.map_err(|error| Error::Internal(error.to_string()))?
    }

    fn hash(&self, tenant: &str, container: &str) -> Hash {
        Hash::of_container(tenant, container, &self.0.secret)
    }
}
