//! Actions of a tenant on its servers.

use std::net::Ipv4Addr;

use identity::Right;
use images::{Image, Origin};
use uuid::Uuid;

use super::orders::{Order, Requester};
use super::{Compute, Context, Error};
use crate::model::{Flavor, Id, NewImage, Reboot, Server, launch};
use crate::store;

pub use crate::store::actions::Entry;

/// Maximum number of returned entries of an action log.
const LOG_PAGE: i64 = 1000;

impl Compute {
    async fn order(&self, context: &Context, id: Id, right: Right, order: Order) -> Result<Server, Error> {
        context.need(right)?;
        let by = Requester {
            tenant: Some(context.tenant().to_owned()),
            user: context.user().to_owned(),
            request: context.request().to_owned(),
            operator: context.is_operator(),
        };
        self.0.accept(id, order, by).await
    }

    /// Changes a server's name, its administrative password, or both (guide, Update Server). The guest's host name stays.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Refused`].
    pub async fn update(
        &self,
        context: &Context,
        id: Id,
        name: Option<&str>,
        password: Option<&str>,
    ) -> Result<Server, Error> {
        let name = name.map(launch::name).transpose()?;
        let Some(password) = password else {
            let name = name.ok_or_else(|| Error::invalid("server", "has neither name nor adminPass"))?;
            return self.order(context, id, Right::Create, Order::Rename(name)).await;
        };
        launch::password(password)?;
        let server = self.get(context, id).await?;
        let sealed = self.0.seal.seal(&server.id.to_string(), password.as_bytes())?;
        self.order(context, id, Right::Create, Order::Password { sealed, name }).await
    }

    /// Reboots a server.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn reboot(&self, context: &Context, id: Id, kind: Reboot) -> Result<Server, Error> {
        self.order(context, id, Right::Create, Order::Reboot(kind)).await
    }

    /// Replaces a server's disk by a new one from its own or another image. Ids and addresses stay.
    ///
    /// # Errors
    /// [`Error::Invalid`] for the image, [`Error::Refused`].
    pub async fn rebuild(
        &self,
        context: &Context,
        id: Id,
        image: Option<images::Id>,
    ) -> Result<Server, Error> {
        context.need(Right::Create)?;
        let server = self.get(context, id).await?;
        let image = match image {
            Some(image) => self.0.usable_image(context.tenant(), image, server.flavor).await?,
            None => self.0.own_image(context.tenant(), &server).await?,
        };
        let order = Order::Rebuild { image: image.id, number: image.number };
        self.order(context, id, Right::Create, order).await
    }

    /// Changes a server's flavor. The old size is kept until the resize is confirmed or reverted.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::ResizeNotAllowed`], [`Error::OverLimit`], [`Error::NoCapacity`],
    /// [`Error::Refused`].
    pub async fn resize(&self, context: &Context, id: Id, flavor: i64) -> Result<Server, Error> {
        let flavor =
            Flavor::by_number(flavor).ok_or_else(|| Error::invalid("flavorId", "names no flavor"))?;
        self.order(context, id, Right::Create, Order::Resize(flavor)).await
    }

    /// Confirms a resize.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn confirm_resize(&self, context: &Context, id: Id) -> Result<Server, Error> {
        self.order(context, id, Right::Create, Order::Confirm).await
    }

    /// Reverts a resize.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn revert_resize(&self, context: &Context, id: Id) -> Result<Server, Error> {
        self.order(context, id, Right::Create, Order::Revert).await
    }

    /// Creates an image of a server's disk. It is QUEUED when this returns; a job does the rest.
    ///
    /// # Errors
    /// [`Error::NotFound`] for the server, [`Error::Refused`], [`Error::Invalid`] for the name.
    pub async fn create_image(&self, context: &Context, server: Id, name: &str) -> Result<Image, Error> {
        let name = launch::name(name)?;
        let new = NewImage { id: Uuid::new_v4(), name, cadence: None, window_end: None };
        let server = self.order(context, server, Right::Create, Order::Image(new.clone())).await?;
        // If this process crashes before this call, the job inserts the image.
        let begun = images::NewImage {
            id: new.id,
            owner: server.tenant.clone(),
            name: new.name,
            server: (server.id, server.number),
            origin: Origin::Snapshot,
        };
        Ok(self.0.images.begin(begun).await?)
    }

    /// Allows a server to use an address of another server of its group.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Refused`].
    pub async fn share_ip(
        &self,
        context: &Context,
        id: Id,
        address: Ipv4Addr,
        group: i64,
        configure: bool,
    ) -> Result<Server, Error> {
        self.order(context, id, Right::Create, Order::Share { address, group, configure }).await
    }

    /// Removes a shared address from a server.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] for its own, [`Error::Refused`].
    pub async fn unshare_ip(&self, context: &Context, id: Id, address: Ipv4Addr) -> Result<Server, Error> {
        self.order(context, id, Right::Administer, Order::Unshare(address)).await
    }

    /// Deletes a server; during a build only with `during_build`.
    ///
    /// # Errors
    /// [`Error::Refused`].
    pub async fn delete(&self, context: &Context, id: Id, during_build: bool) -> Result<(), Error> {
        self.order(context, id, Right::Administer, Order::Delete { during_build }).await.map(|_| ())
    }

    /// Returns a server's action log, newest first.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn actions(&self, context: &Context, id: Id) -> Result<Vec<Entry>, Error> {
        let server = self.get(context, id).await?;
        let list = self.0.db.read(server.id, |server, tx| {
            Box::pin(async move { store::actions::of_server(tx, *server, LOG_PAGE).await })
        });
        Ok(list.await?)
    }
}
