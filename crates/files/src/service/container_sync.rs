//! Synchronises containers with others, mostly on other clouds (Swift, Container to container synchronisation).
//!
//! A change of an object in such a container enqueues the object's name in the same transaction. Sending transfers the
//! name's state at that time, the object or its absence, with the time of the change, by which the other cloud decides what
//! is newer. When synchronisation is configured, all existing objects are enqueued once. Failed names are retried with
//! exponential backoff.

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
use crate::store::carried::QueuedName;

/// The setting with the container that changes are sent to.
pub(super) const TO: &str = "x-container-sync-to";
/// The setting with the key that both containers have in common.
pub(super) const KEY: &str = "x-container-sync-key";

/// Number of names sent at the same time.
const AT_ONCE: usize = 8;
/// Number of existing names enqueued per step.
const SCANNED_AT_ONCE: usize = 256;
/// A name that was claimed for this long without being completed may be claimed by another process.
const CLAIM: Duration = Duration::from_secs(600);
const RETRY_FIRST: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3600);
/// Sorts after all names, since names are UTF-8.
const AFTER_ALL_NAMES: [u8; 1] = [0xff];

/// A name to send, and where to.
#[derive(Clone, Debug)]
pub struct SyncItem {
    /// The other container.
    pub destination: Destination,
    /// The key that both containers have in common.
    pub key: String,
    /// The object's name.
    pub name: String,
}

/// A client for other clouds.
#[async_trait]
pub trait Remote: Send + Sync + 'static {
    /// Returns when the other cloud's object was changed; `None` if it does not exist.
    async fn changed(&self, sync_item: &SyncItem) -> std::result::Result<Option<Time>, String>;

    /// Stores the object there.
    async fn put(
        &self,
        sync_item: &SyncItem,
        object: &Object,
        content: Content,
    ) -> std::result::Result<(), String>;

    /// Deletes the object there if it is older than `since`.
    async fn delete(&self, sync_item: &SyncItem, since: Time) -> std::result::Result<(), String>;
}

/// Returns whether a container's changes are synchronised.
pub(super) fn is_synchronised(metadata: &Metadata) -> bool {
    metadata.get(TO).is_some() && metadata.get(KEY).is_some() && !is_versioned(metadata)
}

/// Enqueues a changed name if its container is synchronised.
pub(super) async fn note(
    tx: &mut database::Tx,
    container: &Container,
    name: &str,
    changed: Time,
) -> Result<()> {
    if is_synchronised(&container.metadata) {
        store::carried::want(tx, container.id, name, changed).await?;
    }
    Ok(())
}

/// Rejects a replicated change that is older than what is stored.
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
    /// Wakes the sending task if the change was enqueued.
    pub(super) fn after_change(&self, carried: bool) {
        if carried {
            self.0.container_sync.notify_one();
        }
    }

    /// Validates a container's `X-Container-Sync-To`.
    ///
    /// # Errors
    /// [`Error::Page`] with Swift's message.
    pub(super) fn check_destination(&self, value: &str) -> Result<()> {
        self.settings().realms.destination(value).map(|_| ()).map_err(Error::Page)
    }

    /// Returns the access granted by another cloud's signature with the realm's and the container's key: the container's objects.
    ///
    /// # Errors
    /// [`Error::Unauthenticated`].
    pub async fn grant_for_realm(
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

    /// Returns the access granted by a container's own key, sent in the clear: its objects. `None` if the key is wrong.
    ///
    /// # Errors
    /// The database's.
    pub async fn grant_for_key(&self, (account, container): (&str, &str), key: &str) -> Result<Option<Pass>> {
        let settings = self.container_settings(account, container).await?;
        let known = settings.as_ref().and_then(|metadata| metadata.get(KEY));
        let same = known.is_some_and(|known| {
            aws_lc_rs::constant_time::verify_slices_are_equal(known.as_bytes(), key.as_bytes()).is_ok()
        });
        Ok(same.then(|| Pass { account: account.to_owned(), container: Some(container.to_owned()) }))
    }

    /// Starts sending changes to other clouds.
    pub fn carry(&self, remote: Arc<dyn Remote>) {
        tokio::spawn(self.clone().carry_on(remote));
    }

    async fn carry_on(self, remote: Arc<dyn Remote>) {
        let mut stop = self.0.stop.subscribe();
        let mut carried = JoinSet::new();
        loop {
            match self.send_next(&remote, &mut carried).await {
                Ok(true) => continue,
                Ok(false) => {}
                Err(error) => tracing::warn!(%error, "container sync: cannot read the queue; retrying"),
            }
            tokio::select! {
                Some(_) = carried.join_next(), if !carried.is_empty() => {}
                () = self.0.container_sync.notified() => {}
                () = tokio::time::sleep(self.settings().realms.interval) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Performs one step; returns false if there is nothing to do now.
    async fn send_next(&self, remote: &Arc<dyn Remote>, carried: &mut JoinSet<()>) -> Result<bool> {
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
                    tracing::warn!(%error, "container sync: cannot update the queue; the name is retried when its claim expires");
                }
            });
        }
        Ok(walked || any)
    }

    /// Enqueues the next existing names of a newly configured container.
    async fn walk_on(&self) -> Result<bool> {
        let Some((container, after)) = store::carried::walking(&self.0.db).await? else { return Ok(false) };
        self.0
            .db
            .write((container, after), |(id, after), tx| {
                Box::pin(async move {
                    let found = store::containers::find_by_id(tx, *id).await?;
                    if !found.is_some_and(|container| is_synchronised(&container.metadata)) {
                        return Ok::<_, Error>(store::carried::walked(tx, *id, None).await?);
                    }
                    // The least name after a name is that name followed by NUL.
                    let lower =
                        if after.is_empty() { Vec::new() } else { [after.as_slice(), b"\0"].concat() };
                    let page =
                        store::objects::range(tx, *id, &lower, &AFTER_ALL_NAMES, SCANNED_AT_ONCE, false)
                            .await?;
                    for entry in &page {
                        store::carried::want(tx, *id, &entry.name, entry.changed).await?;
                    }
                    let last = page.last().filter(|_| page.len() == SCANNED_AT_ONCE);
                    Ok(store::carried::walked(tx, *id, last.map(|entry| entry.name.as_bytes())).await?)
                })
            })
            .await?;
        Ok(true)
    }

    async fn carry_one(&self, remote: &dyn Remote, due: QueuedName) -> Result<()> {
        let outcome = self.send_state(remote, &due).await;
        match outcome {
            Ok(()) => {
                store::carried::done(&self.0.db, due).await?;
                self.0.container_sync.notify_one();
            }
            Err(error) => {
                let doublings = u32::try_from(due.attempts.min(20)).unwrap_or(20) - 1;
                let wait = RETRY_FIRST.saturating_mul(1 << doublings).min(RETRY_MAX);
                tracing::warn!(
                    error,
                    name = due.name,
                    attempts = due.attempts,
                    "container sync: cannot send a change; retrying later"
                );
                store::carried::retry(&self.0.db, due, self.now().after(wait)).await?;
            }
        }
        Ok(())
    }

    /// Sends a name's current state, or finds that there is nothing to send.
    async fn send_state(&self, remote: &dyn Remote, due: &QueuedName) -> std::result::Result<(), String> {
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
        let sync_item = SyncItem { destination, key: key.to_owned(), name: due.name.clone() };
        let Some(object) = object else { return remote.delete(&sync_item, due.changed).await };
        if object.is_expired(self.now()) {
            // The other cloud knows when the object expires.
            return Ok(());
        }
        if remote.changed(&sync_item).await?.is_some_and(|there| there >= object.changed) {
            return Ok(());
        }
        let content = self.open_object(&object, 0..object.size).await.map_err(|e| e.to_string())?;
        let content = content.ok_or("it was replaced meanwhile")?;
        remote.put(&sync_item, &object, content).await
    }
}

impl Context {
    /// Returns the time of a replicated change at its source, or `now` for other changes.
    pub(super) fn replicated_at_or(&self, now: Time) -> Time {
        self.carried.unwrap_or(now)
    }
}
