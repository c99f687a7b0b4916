//! What the operator does: suspend and resume servers, drain hosts, give them up.

use super::host_book::Host;
use super::orders::{Order, Orderer};
use super::{Compute, Error, reconcile};
use crate::model::{Id, Server};
use crate::store;

impl Compute {
    async fn operate(&self, id: Id, order: Order) -> Result<Server, Error> {
        self.0.accept(id, order, Orderer { operator: true, ..Orderer::default() }).await
    }

    /// Holds a server of any tenant: it shows SUSPENDED until it is resumed.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`].
    pub async fn suspend(&self, id: Id) -> Result<Server, Error> {
        self.operate(id, Order::Suspend).await
    }

    /// Lets a suspended server go on.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Refused`].
    pub async fn resume(&self, id: Id) -> Result<Server, Error> {
        self.operate(id, Order::Resume).await
    }

    /// Deletes a server of any tenant in whatever state.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn remove(&self, id: Id) -> Result<(), Error> {
        self.operate(id, Order::Delete { during_build: true }).await.map(|_| ())
    }

    /// Every host with its room.
    ///
    /// # Errors
    /// The database's.
    pub async fn hosts(&self) -> Result<Vec<Host>, Error> {
        Ok(self.0.db.scan((), |(), tx| Box::pin(async move { store::hosts::all(tx).await })).await?)
    }

    /// Gives a host no new servers, or again some.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn drain(&self, host: &str, drained: bool) -> Result<(), Error> {
        let known = self.0.db.write((host.to_owned(), drained), |(host, drained), tx| {
            Box::pin(async move { Ok::<_, Error>(store::hosts::set_drained(tx, host, *drained).await?) })
        });
        if known.await? { Ok(()) } else { Err(Error::NotFound("host")) }
    }

    /// Declares a host lost that does not answer. Nothing that was on it counts any more: deletions end, its servers are in
    /// ERROR and may be rebuilt, which happens on another host. So its machines must not run: either the operator says that
    /// it is `powered_off`, or the configured fence powers it off first.
    ///
    /// # Errors
    /// [`Error::NotFound`]; [`Error::Conflict`] if the host answers, or if it is not sure that it is off.
    pub async fn give_up(&self, host: &str, powered_off: bool) -> Result<(), Error> {
        let answers = || Error::Conflict(format!("host {host} answers: drain it, or stop it first"));
        let is_up = self.0.db.read(host.to_owned(), |host, tx| {
            Box::pin(async move { Ok::<_, Error>(store::hosts::is_up(tx, host).await?) })
        });
        match is_up.await? {
            None => return Err(Error::NotFound("host")),
            Some(true) => return Err(answers()),
            Some(false) => {}
        }
        if !powered_off {
            let fence = self.0.settings.fence.as_ref().ok_or_else(|| {
                Error::Conflict(format!(
                    "machines on host {host} may still run: power it off and say --powered-off, or configure servers.fence"
                ))
            })?;
            let unsure = |reason| Error::Conflict(format!("host {host} could not be powered off: {reason}"));
            fence.power_off(host).await.map_err(unsure)?;
        }
        self.set_given_up(host, true).await
    }

    /// Uses a host again that was given up. What it still has is removed, as far as it belongs elsewhere by then.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn reinstate(&self, host: &str) -> Result<(), Error> {
        self.set_given_up(host, false).await
    }

    async fn set_given_up(&self, host: &str, given_up: bool) -> Result<(), Error> {
        let known = self.0.db.write((host.to_owned(), given_up), |(host, given_up), tx| {
            Box::pin(async move {
                if *given_up && store::hosts::is_up(tx, host).await? == Some(true) {
                    return Err(Error::Conflict(format!("host {host} answers: drain it, or stop it first")));
                }
                Ok::<_, Error>(store::hosts::set_given_up(tx, host, *given_up).await?)
            })
        });
        if !known.await? {
            return Err(Error::NotFound("host"));
        }
        self.0.learn_given_up().await?;
        reconcile::look_now(&self.0, host);
        self.0.wake();
        Ok(())
    }
}
