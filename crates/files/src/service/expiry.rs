//! Objects that are past their time: answered as absent at once, removed a while later.

use std::time::Duration;

use super::authorise::Action;
use super::write::remove;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::store;
use work::Time;

/// Objects removed per round.
const ROUND: usize = 256;
/// What another process stored is found after this long.
const LOOK_EVERY: Duration = Duration::from_secs(60);

impl Files {
    /// Ends the time of objects, so that they are absent at once and removed a while later; names that are not there are
    /// passed over.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Forbidden`].
    pub async fn delete_soon(
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
                    tracing::warn!(%error, "objects past their time stay until the next round");
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

    /// Removes what is due and answers when more will be.
    async fn remove_expired(&self) -> Result<Option<Time>> {
        loop {
            let due = self.now().before(self.settings().expired_stay);
            let found = store::objects::expired(&self.0.db, due, ROUND).await?;
            let removed = found.len();
            if removed > 0 {
                self.remove_due(found, due).await?;
                self.0.garbage.notify_one();
            }
            if removed < ROUND {
                let next = store::objects::next_expiry(&self.0.db).await?;
                return Ok(next.map(|next| next.after(self.settings().expired_stay)));
            }
        }
    }

    async fn remove_due(&self, found: Vec<(i64, Vec<u8>)>, due: Time) -> Result<()> {
        self.0
            .db
            .write(found, move |found, tx| {
                Box::pin(async move {
                    for (container, name) in found {
                        let name = String::from_utf8_lossy(name);
                        let Some(container) = store::containers::find_by_id(tx, *container).await? else {
                            continue;
                        };
                        let object = store::objects::replaced(tx, container.id, &name).await?;
                        // It may have been given another time since.
                        if object.and_then(|object| object.expires).is_some_and(|expires| expires <= due) {
                            remove(tx, &container, &name, due).await?;
                        }
                    }
                    Ok::<_, Error>(())
                })
            })
            .await
    }
}
