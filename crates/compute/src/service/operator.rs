//! Operations of the operator: suspends and resumes servers, drains, evacuates and reinstates hosts.

use super::host_registry::Host;
use super::orders::{Order, Requester};
use super::{Compute, Error, reconcile};
use crate::model::{Id, Server};
use crate::store;

impl Compute {
    async fn operate(&self, id: Id, order: Order) -> Result<Server, Error> {
        self.0.accept(id, order, Requester { operator: true, ..Requester::default() }).await
    }

    /// Suspends a server of any tenant: it shows SUSPENDED until it is resumed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`].
    pub async fn suspend(&self, id: Id) -> Result<Server, Error> {
        self.operate(id, Order::Suspend).await
    }

    /// Resumes a suspended server.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`].
    pub async fn resume(&self, id: Id) -> Result<Server, Error> {
        self.operate(id, Order::Resume).await
    }

    /// Deletes a server of any tenant in any state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove(&self, id: Id) -> Result<(), Error> {
        self.operate(id, Order::Delete { during_build: true }).await.map(|_| ())
    }

    /// Returns every host with its capacity and reservations.
    ///
    /// # Errors
    /// The database's.
    pub async fn hosts(&self) -> Result<Vec<Host>, Error> {
        Ok(self.0.db.scan((), |(), tx| Box::pin(async move { store::hosts::all(tx).await })).await?)
    }

    /// Sets whether a host is drained: it gets no new servers.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn drain(&self, host: &str, drained: bool) -> Result<(), Error> {
        let known = self.0.db.write((host.to_owned(), drained), |(host, drained), tx| {
            Box::pin(async move { Ok::<_, Error>(store::hosts::set_drained(tx, host, *drained).await?) })
        });
        if known.await? { Ok(()) } else { Err(Error::NotFound("host")) }
    }

    /// Declares an unreachable host lost. Everything on it counts as deleted: pending deletions complete, its servers
    /// show ERROR and can be rebuilt on another host. Its machines must therefore not run: either the operator
    /// asserts that it is `powered_off`, or the configured fence powers it off first.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] if the host is reachable, or was not powered off for certain.
    pub async fn evacuate(&self, host: &str, powered_off: bool) -> Result<(), Error> {
        let reachable = || Error::Conflict(format!("host {host} is reachable: drain it, or stop it first"));
        let is_up = self.0.db.read(host.to_owned(), |host, tx| {
            Box::pin(async move { Ok::<_, Error>(store::hosts::is_up(tx, host).await?) })
        });
        match is_up.await? {
            None => return Err(Error::NotFound("host")),
            Some(true) => return Err(reachable()),
            Some(false) => {}
        }
        if !powered_off {
            let fence = self.0.settings.fence.as_ref().ok_or_else(|| {
                Error::Conflict(format!(
                    "machines on host {host} may still run: power it off and pass --powered-off, or configure servers.fence"
                ))
            })?;
            let not_fenced =
                |reason| Error::Conflict(format!("host {host} could not be powered off: {reason}"));
            fence.power_off(host).await.map_err(not_fenced)?;
        }
        self.set_evacuated(host, true).await
    }

    /// Reinstates an evacuated host. Machines on it whose servers were deleted or rebuilt elsewhere are removed.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn reinstate(&self, host: &str) -> Result<(), Error> {
        self.set_evacuated(host, false).await
    }

    async fn set_evacuated(&self, host: &str, evacuated: bool) -> Result<(), Error> {
        let known = self.0.db.write((host.to_owned(), evacuated), |(host, evacuated), tx| {
            Box::pin(async move {
                if *evacuated && store::hosts::is_up(tx, host).await? == Some(true) {
                    return Err(Error::Conflict(format!(
                        "host {host} is reachable: drain it, or stop it first"
                    )));
                }
                Ok::<_, Error>(store::hosts::set_evacuated(tx, host, *evacuated).await?)
            })
        });
        if !known.await? {
            return Err(Error::NotFound("host"));
        }
        self.0.reload_evacuated().await?;
        reconcile::check_host_now(&self.0, host);
        self.0.wake();
        Ok(())
    }
}
