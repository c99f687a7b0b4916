//! What networks can do: give a server its ports, share addresses, take everything back.

use std::collections::HashSet;
use std::net::Ipv4Addr;
use std::time::Duration;

use async_trait::async_trait;
use database::{Database, Location, Tx};
use hypervisor::{Mac, NetworkSpec};
use tokio::sync::Mutex;
use uuid::Uuid;
use work::{Clock, Time};

use crate::model::{Config, Held, Label, Port, PublicAddress};
use crate::store;

/// Servers looked at in one step of a sweep.
const SWEEP_PAGE: i64 = 500;

/// Why networks refused.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// Every address of the pool is held.
    #[error("the {} network has no free address", .0.as_str())]
    Exhausted(Label),
    /// Nobody holds the address that was to be shared.
    #[error("{0} is not in use as a public address")]
    NotHeld(Ipv4Addr),
    /// The server has no port in that network.
    #[error("server {0} has no such port")]
    NoPort(Uuid),
    /// The database's own.
    #[error(transparent)]
    Database(#[from] database::Error),
}

/// Who knows which servers still exist.
#[async_trait]
pub trait Servers: Send + Sync {
    /// Those of `ids` that exist or are still being deleted.
    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, database::Error>;
}

/// The networks of this cloud.
pub struct Networks {
    db: Database,
    clock: Clock,
    config: Config,
    /// On a shared database this process's allocations take turns: they would only undo each other at the pools'
    /// cursors. In process they are serial anyhow, and share a commit.
    turn: Option<Mutex<()>>,
}

impl Networks {
    /// Opens the database of networks.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(location: &Location, clock: Clock, config: Config) -> Result<Self, Error> {
        let db = Database::open(location, "networks", store::MIGRATIONS).await?;
        Ok(Self { db, clock, config, turn: location.is_shared().then(Mutex::default) })
    }

    /// What every host must have before a machine is defined on it.
    #[must_use]
    pub fn specs(&self) -> Vec<NetworkSpec> {
        self.config.specs()
    }

    /// The pools.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// A server's ports, public first.
    ///
    /// # Errors
    /// The database's.
    pub async fn ports(&self, server: Uuid) -> Result<Vec<Port>, Error> {
        self.db
            .read(server, |server, tx| Box::pin(async move { Ok(store::ports_of(tx, *server).await?) }))
            .await
    }

    /// Gives a new server its two ports with an address each; those that it has, if it has them.
    ///
    /// # Errors
    /// [`Error::Exhausted`], and [`Error::NotHeld`] for a shared address that nobody holds.
    pub async fn allocate(&self, server: Uuid, public: PublicAddress) -> Result<Vec<Port>, Error> {
        let _turn = match &self.turn {
            Some(turn) => Some(turn.lock().await),
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
                            _ => Held { address: take(tx, config, label).await?, shared: false },
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

    /// Lets a server use another's public address beside its own; well if it does. Answers its ports.
    ///
    /// # Errors
    /// [`Error::NotHeld`], [`Error::NoPort`].
    pub async fn share(&self, server: Uuid, address: Ipv4Addr) -> Result<Vec<Port>, Error> {
        self.db
            .write((server, address), |(server, address), tx| {
                Box::pin(async move {
                    let port = public_port(tx, *server).await?;
                    if !port.addresses.iter().any(|held| held.address == *address) {
                        let held = shared(tx, *address).await?;
                        store::hold(tx, &port, held).await?;
                    }
                    Ok(store::ports_of(tx, *server).await?)
                })
            })
            .await
    }

    /// Takes a shared address from a server again; well if it has it no more. Its own stay. Answers its ports.
    ///
    /// # Errors
    /// [`Error::NoPort`].
    pub async fn unshare(&self, server: Uuid, address: Ipv4Addr) -> Result<Vec<Port>, Error> {
        let now = self.clock.now();
        self.db
            .write((server, address, now), |(server, address, now), tx| {
                Box::pin(async move {
                    let port = public_port(tx, *server).await?;
                    if port.addresses.iter().any(|held| held.address == *address && held.shared) {
                        store::let_go(tx, &port, *address, *now).await?;
                    }
                    Ok(store::ports_of(tx, *server).await?)
                })
            })
            .await
    }

    /// Frees everything that a server held; well if it holds nothing.
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
                            store::let_go(tx, &port, held.address, *now).await?;
                        }
                        store::delete_port(tx, port.id).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Frees the ports of servers that do not exist and were given theirs longer than `grace` ago: a create that
    /// died between the two services left them. Answers how many servers it freed from.
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
            for gone in page.iter().filter(|id| !existing.contains(id)) {
                self.release(*gone).await?;
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

async fn shared(tx: &mut Tx, address: Ipv4Addr) -> Result<Held, Error> {
    if store::is_held(tx, Label::Public, u32::from(address)).await? {
        Ok(Held { address, shared: true })
    } else {
        Err(Error::NotHeld(address))
    }
}

/// Takes an address out of a pool: one never used as long as there are such, then the one free for longest, so that
/// an address that was just given back is not met again soon.
async fn take(tx: &mut Tx, config: &Config, label: Label) -> Result<Ipv4Addr, Error> {
    let pool = config.pool(label);
    let (first, last) = pool.range().ok_or(Error::Exhausted(label))?;
    let found = store::cursor(tx, label.as_str()).await?.and_then(|next| u32::try_from(next).ok());
    // A pool that was moved begins anew.
    let mut candidate = found.filter(|next| (first..=last + 1).contains(next)).unwrap_or(first);
    while candidate <= last {
        if pool.may_give(candidate) && !store::is_held(tx, label, candidate).await? {
            store::set_cursor(tx, label.as_str(), i64::from(candidate) + 1).await?;
            store::unfree(tx, label, candidate).await?;
            return Ok(Ipv4Addr::from(candidate));
        }
        candidate += 1;
    }
    while let Some(freed) = store::take_freed(tx, label, (first, last)).await? {
        if pool.may_give(freed) && !store::is_held(tx, label, freed).await? {
            return Ok(Ipv4Addr::from(freed));
        }
    }
    Err(Error::Exhausted(label))
}

/// A locally administered address of a port's own: never given twice. Sequences begin at 1: hosts use 0 for a reservation
/// that their networks keep.
fn mac(sequence: i64) -> Mac {
    let [.., a, b, c, d] = sequence.to_be_bytes();
    Mac([0x02, 0x4e, a, b, c, d])
}
