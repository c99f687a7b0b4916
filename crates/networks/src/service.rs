//! Allocates and releases a server's ports and addresses, and shares addresses between servers.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use database::{Database, Location, Tx};
use hypervisor::{Mac, NetworkSpec};
use tokio::sync::Mutex;
use uuid::Uuid;
use work::{Clock, Time};

use crate::model::{Config, Label, Port, PortAddress, PublicAddress};
use crate::store;

/// Servers checked in one step of a sweep.
const SWEEP_PAGE: i64 = 500;

/// Why an operation failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Every address of the pool is held.
    #[error("the {} network has no free address", .0.as_str())]
    Exhausted(Label),
    /// No port holds the address that was to be shared.
    #[error("{0} is not in use as a public address")]
    NotHeld(Ipv4Addr),
    /// The server has no port in the public network.
    #[error("server {0} has no port in the public network")]
    NoPort(Uuid),
    /// The database failed.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Lookup of the servers that still exist.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Returns those of `ids` that exist or are being deleted.
    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, database::Error>;
}

/// The networks of this cloud.
pub struct Networks {
    db: Database,
    clock: Clock,
    config: Config,
    /// Serialises this process's allocations on a shared database, where they would conflict on the pools' cursors and be
    /// retried. The embedded database runs writes one after another anyway, and commits them in groups.
    allocation_lock: Option<Mutex<()>>,
}

impl Networks {
    /// Opens the networks' database.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(location: &Location, clock: Clock, config: Config) -> Result<Self, Error> {
        let db = Database::open(location, "networks", store::MIGRATIONS).await?;
        Ok(Self { db, clock, config, allocation_lock: location.is_shared().then(Mutex::default) })
    }

    /// The networks that every host must have before a machine is defined on it.
    #[must_use]
    pub fn specs(&self) -> Vec<NetworkSpec> {
        self.config.specs()
    }

    /// The configured pools.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Returns a server's ports, the public one first.
    ///
    /// # Errors
    /// The database's.
    pub async fn ports(&self, server: Uuid) -> Result<Vec<Port>, Error> {
        self.db
            .read(server, |server, tx| Box::pin(async move { Ok(store::ports_of(tx, *server).await?) }))
            .await
    }

    /// Creates a server's two ports with one address each and returns them. Idempotent: returns the existing ports if any.
    ///
    /// # Errors
    /// [`Error::Exhausted`] if a pool has no free address, [`Error::NotHeld`] if no port holds the shared address.
    pub async fn allocate(&self, server: Uuid, public: PublicAddress) -> Result<Vec<Port>, Error> {
        let _guard = match &self.allocation_lock {
            Some(lock) => Some(lock.lock().await),
            None => None,
        };
        let input = (server, public, self.config.clone(), self.clock.now());
        self.db
            .write(input, |(server, public, config, now), tx| {
                Box::pin(async move {
                    let existing = store::ports_of(tx, *server).await?;
                    if !existing.is_empty() {
                        return Ok(existing);
                    }
                    let mut ports = Vec::new();
                    for (position, label) in (0i64..).zip(Label::ALL) {
                        let held = match (label, public) {
                            (Label::Public, PublicAddress::Shared(address)) => shared(tx, *address).await?,
                            _ => PortAddress {
                                address: allocate_address(tx, config, label).await?,
                                shared: false,
                            },
                        };
                        let mac = mac(store::next(tx, "mac", 1).await?);
                        let port = Port { id: Uuid::new_v4(), label, mac, addresses: vec![held] };
                        store::insert_port(tx, *server, &port, position, *now).await?;
                        ports.push(port);
                    }
                    Ok(ports)
                })
            })
            .await
    }

    /// Adds another server's public address to a server's public port and returns all its ports. Idempotent: succeeds if the
    /// server has the address already.
    ///
    /// # Errors
    /// [`Error::NotHeld`] if no port holds the address, [`Error::NoPort`] if the server has no public port.
    pub async fn share(&self, server: Uuid, address: Ipv4Addr) -> Result<Vec<Port>, Error> {
        self.db
            .write((server, address), |(server, address), tx| {
                Box::pin(async move {
                    let port = public_port(tx, *server).await?;
                    if !port.addresses.iter().any(|held| held.address == *address) {
                        let held = shared(tx, *address).await?;
                        store::add_address(tx, &port, held).await?;
                    }
                    Ok(store::ports_of(tx, *server).await?)
                })
            })
            .await
    }

    /// Removes a shared address from a server and returns all its ports. Idempotent: succeeds if absent. A server's own
    /// addresses are not removed.
    ///
    /// # Errors
    /// [`Error::NoPort`] if the server has no public port.
    pub async fn unshare(&self, server: Uuid, address: Ipv4Addr) -> Result<Vec<Port>, Error> {
        let now = self.clock.now();
        self.db
            .write((server, address, now), |(server, address, now), tx| {
                Box::pin(async move {
                    let port = public_port(tx, *server).await?;
                    if port.addresses.iter().any(|held| held.address == *address && held.shared) {
                        store::remove_address(tx, &port, *address, *now).await?;
                    }
                    Ok(store::ports_of(tx, *server).await?)
                })
            })
            .await
    }

    /// Deletes a server's ports and frees their addresses. Idempotent: succeeds if there are none.
    ///
    /// # Errors
    /// The database's.
    pub async fn release(&self, server: Uuid) -> Result<(), Error> {
        let now = self.clock.now();
        self.db
            .write((server, now), |(server, now), tx| {
                Box::pin(async move {
                    for port in store::ports_of(tx, *server).await? {
                        for held in &port.addresses {
                            store::remove_address(tx, &port, held.address, *now).await?;
                        }
                        store::delete_port(tx, port.id).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Releases the ports of servers that do not exist and whose ports are older than `grace`, and returns the number of
    /// these servers. Such ports are left by a create that crashed between the two services.
    ///
    /// # Errors
    /// The database's.
    pub async fn sweep(&self, servers: &dyn Servers, grace: Duration) -> Result<usize, Error> {
        let before = self.clock.now().before(grace);
        let mut after = String::new();
        let mut freed = 0;
        loop {
            let page = self.page(before, after).await?;
            let Some(last) = page.last() else { return Ok(freed) };
            after = last.to_string();
            let existing = servers.existing(&page).await?;
            for orphan in page.iter().filter(|id| !existing.contains(id)) {
                self.release(*orphan).await?;
                freed += 1;
            }
        }
    }

    async fn page(&self, before: Time, after: String) -> Result<Vec<Uuid>, Error> {
        let input = (before, after);
        let page = self.db.scan(input, |(before, after), tx| {
            Box::pin(async move { store::servers(tx, *before, after, SWEEP_PAGE).await })
        });
        Ok(page.await?)
    }
}

async fn public_port(tx: &mut Tx, server: Uuid) -> Result<Port, Error> {
    let ports = store::ports_of(tx, server).await?;
    ports.into_iter().find(|port| port.label == Label::Public).ok_or(Error::NoPort(server))
}

async fn shared(tx: &mut Tx, address: Ipv4Addr) -> Result<PortAddress, Error> {
    if store::is_held(tx, Label::Public, u32::from(address)).await? {
        Ok(PortAddress { address, shared: true })
    } else {
        Err(Error::NotHeld(address))
    }
}

/// Allocates an address from a pool: a never used one if any is left, else the one that has been free for longest, so that a
/// released address is not reused soon.
async fn allocate_address(tx: &mut Tx, config: &Config, label: Label) -> Result<Ipv4Addr, Error> {
    let pool = config.pool(label);
    let (first, last) = pool.range().ok_or(Error::Exhausted(label))?;
    let found = store::cursor(tx, label.as_str()).await?.and_then(|next| u32::try_from(next).ok());
    // If the configured range has changed, start at its first address.
    let mut candidate = found.filter(|next| (first..=last + 1).contains(next)).unwrap_or(first);
    while candidate <= last {
        if pool.is_allocatable(candidate) && !store::is_held(tx, label, candidate).await? {
            store::set_cursor(tx, label.as_str(), i64::from(candidate) + 1).await?;
            store::remove_freed(tx, label, candidate).await?;
            return Ok(Ipv4Addr::from(candidate));
        }
        candidate += 1;
    }
    while let Some(freed) = store::take_freed(tx, label, (first, last)).await? {
        if pool.is_allocatable(freed) && !store::is_held(tx, label, freed).await? {
            return Ok(Ipv4Addr::from(freed));
        }
    }
    Err(Error::Exhausted(label))
}

/// Returns a port's locally administered hardware address. Sequence numbers are never reused. They start at 1, because the
/// hosts' networks reserve the address of number 0.
fn mac(sequence: i64) -> Mac {
    let [.., a, b, c, d] = sequence.to_be_bytes();
    Mac([0x02, 0x4e, a, b, c, d])
}
