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

    /// Gives up a host that does not answer, or takes it back. Nothing that was on it counts any more: deletions end,
    /// its servers are in ERROR and may be rebuilt, which happens on another host. What it still has when it is taken
    /// back is removed, as far as it belongs elsewhere by then.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Conflict`] if it answers.
    pub async fn give_up(&self, host: &str, given_up: bool) -> Result<(), Error> {
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
