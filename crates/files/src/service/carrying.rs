//! Containers that are kept alike with others, mostly on other clouds (Swift, Container to container synchronisation).
//!
//! A change of an object in such a container leaves its name in a queue, in the unit that makes the change. What is
//! carried is the name's state of then: the object, or that there is none, with the time of the change, by which the other
//! side tells what is newer. What is there when a container is set up is walked through once. A name that cannot be
//! carried is tried again after a while that doubles.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::task::JoinSet;
use work::Time;

use super::content::Content;
use super::{Context, Files, Pass};
use crate::error::{Error, Result};
use crate::model::entry::{Container, Object};
use crate::model::metadata::Metadata;
use crate::model::realms::Destination;
use crate::model::version::is_versioned;
use crate::store;
use crate::store::carried::Due;

/// The container that changes go to.
pub(super) const TO: &str = "x-container-sync-to";
/// The key that both containers share.
pub(super) const KEY: &str = "x-container-sync-key";

/// Names carried at once.
const AT_ONCE: usize = 8;
/// Names put into the queue by one step of a walk.
const WALKED_AT_ONCE: usize = 256;
/// Whoever took a name and is not done by then is thought to be gone.
const CLAIM: Duration = Duration::from_secs(600);
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// No name holds this byte.
const BEHIND_ALL: [u8; 1] = [0xff];

/// Where a name is to be carried.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// The other container.
    pub destination: Destination,
    /// The key that both containers share.
    pub key: String,
    /// The object's name.
    pub name: String,
}

/// Other clouds, in whatever they speak.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// When the other side's object was changed; `None` when it has none.
    async fn changed(&self, parcel: &Parcel) -> std::result::Result<Option<Time>, String>;

    /// Gives it the object.
    async fn put(
        &self,
        parcel: &Parcel,
        object: &Object,
        content: Content,
    ) -> std::result::Result<(), String>;

    /// Tells it that there is none since then.
    async fn delete(&self, parcel: &Parcel, since: Time) -> std::result::Result<(), String>;
}

/// Whether a container's changes are to be carried.
pub(super) fn is_carried(metadata: &Metadata) -> bool {
    metadata.get(TO).is_some() && metadata.get(KEY).is_some() && !is_versioned(metadata)
}

/// Queues a name that was changed, if its container's changes are to be carried.
pub(super) async fn note(
    tx: &mut database::Tx,
    container: &Container,
    name: &str,
    changed: Time,
) -> Result<()> {
    if is_carried(&container.metadata) {
        store::carried::want(tx, container.id, name, changed).await?;
    }
    Ok(())
}

/// Refuses what another cloud did to a name before what was done here.
pub(super) async fn must_be_newer(
    tx: &mut database::Tx,
    container: &Container,
    name: &str,
    than: Time,
) -> Result<()> {
    match store::objects::find_in(tx, container.id, name).await? {
        Some(here) if here.changed >= than => Err(Error::Superseded),
        _ => Ok(()),
    }
}

impl Files {
    /// Wakes whoever carries changes, if there was one to carry.
    pub(super) fn after_change(&self, carried: bool) {
        if carried {
            self.0.carrying.notify_one();
        }
    }

    /// Whether a container's `X-Container-Sync-To` may be what is asked for.
    ///
    /// # Errors
    /// [`Error::Page`] with Swift's words.
    pub(super) fn check_destination(&self, value: &str) -> Result<()> {
        self.settings().realms.destination(value).map(|_| ()).map_err(Error::Page)
    }

    /// What another cloud's signature opens, made with the realm's key and the container's: the container's objects.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub async fn pass_for_realm(
        &self,
        (account, container): (&str, &str),
        realm: &str,
        signature: &str,
        text: impl FnOnce(&str) -> String + Send,
    ) -> Result<Pass> {
        let settings = self.container_settings(account, container).await?;
        let key = settings.as_ref().and_then(|metadata| metadata.get(KEY)).ok_or(Error::Unauthenticated)?;
        if !self.settings().realms.is_signed(realm, &text(key), signature) {
            return Err(Error::Unauthenticated);
        }
        Ok(Pass { account: account.to_owned(), container: Some(container.to_owned()) })
    }

    /// What a container's own key opens, sent as it is: the container's objects. `None` if it is not the key.
    ///
    /// # Errors
    /// The database's.
    pub async fn pass_for_key(&self, (account, container): (&str, &str), key: &str) -> Result<Option<Pass>> {
        let settings = self.container_settings(account, container).await?;
        let known = settings.as_ref().and_then(|metadata| metadata.get(KEY));
        let same = known.is_some_and(|known| {
            aws_lc_rs::constant_time::verify_slices_are_equal(known.as_bytes(), key.as_bytes()).is_ok()
        });
        Ok(same.then(|| Pass { account: account.to_owned(), container: Some(container.to_owned()) }))
    }

    /// Starts carrying changes to other clouds.
    pub fn carry(&self, remote: Arc<dyn Remote>) {
        tokio::spawn(self.clone().carry_on(remote));
    }

    async fn carry_on(self, remote: Arc<dyn Remote>) {
        let mut stop = self.0.stop.subscribe();
        let mut carried = JoinSet::new();
        loop {
            match self.carry_some(&remote, &mut carried).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "what is to be carried to other clouds waits"),
            }
            tokio::select! {
                Some(_) = carried.join_next(), if !carried.is_empty() => {}
                () = self.0.carrying.notified() => {}
                () = tokio::time::sleep(self.settings().realms.interval) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// One step; `false` when there is nothing to do just now.
    async fn carry_some(&self, remote: &Arc<dyn Remote>, carried: &mut JoinSet<()>) -> Result<bool> {
        let walked = self.walk_on().await?;
        let free = AT_ONCE.saturating_sub(carried.len());
        if free == 0 {
            return Ok(false);
        }
        let now = self.now();
        let claimed = store::carried::claim(&self.0.db, now, now.after(CLAIM), free).await?;
        let any = !claimed.is_empty();
        for due in claimed {
            let (files, remote) = (self.clone(), Arc::clone(remote));
            carried.spawn(async move {
                if let Err(error) = files.carry_one(remote.as_ref(), due).await {
                    tracing::warn!(%error, "a name to be carried waits for its claim to run out");
                }
            });
        }
        Ok(walked || any)
    }

    /// Queues the next names of a container that was set up.
    async fn walk_on(&self) -> Result<bool> {
        let Some((container, after)) = store::carried::walking(&self.0.db).await? else { return Ok(false) };
        self.0
            .db
            .write((container, after), |(id, after), tx| {
                Box::pin(async move {
                    let found = store::containers::find_by_id(tx, *id).await?;
                    if !found.is_some_and(|container| is_carried(&container.metadata)) {
                        return Ok::<_, Error>(store::carried::walked(tx, *id, None).await?);
                    }
                    // Behind a name comes that name with a NUL, which no other name is before.
                    let lower =
                        if after.is_empty() { Vec::new() } else { [after.as_slice(), b"\0"].concat() };
                    let page =
                        store::objects::range(tx, *id, &lower, &BEHIND_ALL, WALKED_AT_ONCE, false).await?;
                    for entry in &page {
                        store::carried::want(tx, *id, &entry.name, entry.changed).await?;
                    }
                    let last = page.last().filter(|_| page.len() == WALKED_AT_ONCE);
                    Ok(store::carried::walked(tx, *id, last.map(|entry| entry.name.as_bytes())).await?)
                })
            })
            .await?;
        Ok(true)
    }

    async fn carry_one(&self, remote: &dyn Remote, due: Due) -> Result<()> {
        let outcome = self.state_carried(remote, &due).await;
        match outcome {
            Ok(()) => {
                store::carried::done(&self.0.db, due).await?;
                self.0.carrying.notify_one();
            }
            Err(error) => {
                let doublings = u32::try_from(due.attempts.min(20)).unwrap_or(20) - 1;
                let wait = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
                tracing::warn!(
                    error,
                    name = due.name,
                    attempts = due.attempts,
                    "not carried to another cloud"
                );
                store::carried::retry(&self.0.db, due, self.now().after(wait)).await?;
            }
        }
        Ok(())
    }

    /// Brings a name's present state to the other side, or finds that there is nothing to bring.
    async fn state_carried(&self, remote: &dyn Remote, due: &Due) -> std::result::Result<(), String> {
        let found = self.0.db.read((due.container, due.name.clone()), |(container, name), tx| {
            Box::pin(async move {
                let Some(found) = store::containers::find_by_id(tx, *container).await? else {
                    return Ok(None);
                };
                let object = store::objects::find_in(tx, *container, name).await?;
                Ok::<_, Error>(Some((found, object)))
            })
        });
        let Some((container, object)) = found.await.map_err(|e| e.to_string())? else { return Ok(()) };
        let metadata = &container.metadata;
        let (Some(to), Some(key)) = (metadata.get(TO), metadata.get(KEY)) else { return Ok(()) };
        if is_versioned(metadata) {
            return Ok(());
        }
        let Some(destination) = self.settings().realms.destination(to)? else { return Ok(()) };
        let parcel = Parcel { destination, key: key.to_owned(), name: due.name.clone() };
        let Some(object) = object else { return remote.delete(&parcel, due.changed).await };
        if object.is_expired(self.now()) {
            // The other side was told when it ends.
            return Ok(());
        }
        if remote.changed(&parcel).await?.is_some_and(|there| there >= object.changed) {
            return Ok(());
        }
        let content = self.open_object(&object, 0..object.size).await.map_err(|e| e.to_string())?;
        let content = content.ok_or("it was replaced meanwhile")?;
        remote.put(&parcel, &object, content).await
    }
}

impl Context {
    /// When what is carried here was changed on the other side.
    pub(super) fn carried_or(&self, now: Time) -> Time {
        self.carried.unwrap_or(now)
    }
}
