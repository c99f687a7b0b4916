//! Expired objects: reported as missing at once, removed later.

use std::time::Duration;

use super::authorise::Action;
use super::write::{release, remove};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::store;
use work::Time;

/// Objects removed per round.
const ROUND: usize = 256;
/// Interval of checks for objects that another process stored.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Files {
    /// Makes objects expire now, so that they are missing at once and removed later. Names that do not exist are ignored.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn expire_now(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        names: Vec<String>,
    ) -> Result<()> {
        let container = self.container_for(context, account, container, Action::DeleteObject).await?;
        self.0
            .db
            .write((container.id, names, self.now()), |(container, names, now), tx| {
                Box::pin(async move {
                    for name in names {
                        let Some(mut object) = store::objects::find_in(tx, *container, name).await? else {
                            continue;
                        };
                        object.expires = Some(*now);
                        store::objects::set_metadata(tx, *container, name, &object).await?;
                    }
                    Ok::<_, Error>(())
                })
            })
            .await?;
        self.0.expiring.notify_one();
        Ok(())
    }

    pub(super) async fn sweep_expired(self) {
        let mut stop = self.0.stop.subscribe();
        loop {
            let next = match self.remove_expired().await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, "cannot remove expired objects; retrying in the next round");
                    None
                }
            };
            let due = async {
                match next {
                    Some(next) => self.0.clock.until(next).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                () = due => {}
                () = self.0.expiring.notified() => {}
                () = tokio::time::sleep(LOOK_EVERY) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Removes what is due and returns when more will be.
    async fn remove_expired(&self) -> Result<Option<Time>> {
        loop {
            let due = self.now().before(self.settings().expired_stay);
            let found = store::objects::expired(&self.0.db, due, ROUND).await?;
            let count = found.len();
            let removed = if count > 0 { self.remove_due(found, due).await? } else { 0 };
            if removed > 0 {
                self.0.garbage.notify_one();
            }
            if count > 0 && removed == 0 {
                // Another process removed them or changed their expiry. Searching again at once might find the same ones.
                return Ok(None);
            }
            if count < ROUND {
                let next = store::objects::next_expiry(&self.0.db).await?;
                return Ok(next.map(|next| next.after(self.settings().expired_stay)));
            }
        }
    }

    /// Removes those of the found objects that are still due; returns how many.
    async fn remove_due(&self, found: Vec<(i64, Vec<u8>)>, due: Time) -> Result<usize> {
        self.0
            .db
            .write(found, move |found, tx| {
                Box::pin(async move {
                    let mut removed = 0;
                    for (id, raw) in found {
                        let container = store::containers::find_by_id(tx, *id).await?;
                        let (Some(container), Ok(name)) = (container, std::str::from_utf8(raw)) else {
                            // The container is missing or the name is not valid, so no counter includes it.
                            let blob = store::objects::delete_stray(tx, *id, raw, due).await?;
                            removed += usize::from(blob.is_some());
                            release(tx, blob.flatten()).await?;
                            continue;
                        };
                        let object = store::objects::replaced(tx, container.id, name).await?;
                        // Its expiry may have been changed since.
                        if object.and_then(|object| object.expires).is_some_and(|expires| expires <= due) {
                            remove(tx, &container, name, due).await?;
                            removed += 1;
                        }
                    }
                    Ok::<_, Error>(removed)
                })
            })
            .await
    }
}
