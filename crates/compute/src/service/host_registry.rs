//! The registry of hosts: their capacity, whether they are reachable, and which are evacuated.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use hypervisor::{EvacuatedHost, Hypervisor};

use super::{Error, Inner};
use crate::store;

pub use crate::store::hosts::Host;

impl Inner {
    /// Marks hosts that are no longer configured as down, so that no server is placed on them.
    pub(super) async fn mark_removed_hosts_down(&self) -> Result<(), Error> {
        let present: Vec<String> = self.hosts.keys().cloned().collect();
        let closed = self.db.write(present, |present, tx| {
            Box::pin(async move {
                for host in store::hosts::all(tx).await? {
                    if !present.contains(&host.name) {
                        store::hosts::set_up(tx, &host.name, false).await?;
                    }
                }
                Ok::<_, Error>(())
            })
        });
        closed.await
    }

    /// Returns a host; for an evacuated one its stand-in, which has no machines whatever the host itself would report.
    pub(super) fn host_named(&self, name: &str) -> Option<Arc<dyn Hypervisor>> {
        let evacuated = self.evacuated.lock().unwrap_or_else(PoisonError::into_inner);
        evacuated.get(name).or_else(|| self.hosts.get(name)).map(Arc::clone)
    }

    pub(super) fn is_evacuated(&self, host: &str) -> bool {
        self.evacuated.lock().unwrap_or_else(PoisonError::into_inner).contains_key(host)
    }

    pub(super) fn evacuated_names(&self) -> Vec<String> {
        self.evacuated.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Reads the evacuated hosts from the database, where other processes change them too.
    pub(super) async fn reload_evacuated(&self) -> Result<(), Error> {
        // One at a time, so that an older result does not replace a newer one.
        let _guard = self.evacuated_lock.lock().await;
        let names =
            self.db.scan((), |(), tx| Box::pin(async move { store::hosts::evacuated(tx).await })).await?;
        let stand_in = |name: String| {
            let host: Arc<dyn Hypervisor> = Arc::new(EvacuatedHost::new(&name));
            (name, host)
        };
        let hosts: HashMap<_, _> = names.into_iter().map(stand_in).collect();
        *self.evacuated.lock().unwrap_or_else(PoisonError::into_inner) = hosts;
        Ok(())
    }

    /// Reads a host's capacity and stores it.
    pub(super) async fn read_capacity(
        &self,
        host: &dyn hypervisor::Hypervisor,
    ) -> Result<(), hypervisor::Error> {
        let capacity = host.capacity().await?;
        let memory = i64::try_from(capacity.memory_mib).unwrap_or(i64::MAX);
        let disk = i64::try_from(capacity.disk_bytes >> 30).unwrap_or(i64::MAX);
        let input = (host.host().to_owned(), memory, disk);
        let stored = self.db.write(input, |(name, memory, disk), tx| {
            Box::pin(async move { store::hosts::set_capacity(tx, name, *memory, *disk).await })
        });
        if let Err(error) = stored.await {
            tracing::warn!(%error, host = host.host(), "cannot store a host's capacity; the next check retries");
        }
        Ok(())
    }

    /// Records whether a host is reachable. Its servers show a change at once.
    pub(super) async fn set_reachable(&self, host: &str, reachable: bool) {
        // One at a time, so that the database ends up with the same state as memory.
        let _guard = self.reachability_lock.lock().await;
        if !self.record_reachable(host, reachable) {
            return;
        }
        if reachable {
            tracing::info!(host, "host is reachable again");
        } else {
            tracing::warn!(host, "host is unreachable: its servers show UNKNOWN");
        }
        let input = (host.to_owned(), reachable, self.clock.now());
        let stored = self.db.write(input, |(host, reachable, now), tx| {
            Box::pin(async move {
                store::hosts::set_up(tx, host, *reachable).await?;
                store::servers::touch_servers_on(tx, host, *now).await
            })
        });
        if let Err(error) = stored.await {
            tracing::warn!(%error, host, "cannot store whether a host is reachable; the next check retries");
            // Undo the change in memory, so that the next check stores it.
            self.record_reachable(host, !reachable);
        }
    }

    /// Records in memory whether a host is reachable. Returns whether that is a change.
    fn record_reachable(&self, host: &str, reachable: bool) -> bool {
        let mut unreachable = self.unreachable.lock().unwrap_or_else(PoisonError::into_inner);
        if reachable { unreachable.remove(host) } else { unreachable.insert(host.to_owned()) }
    }
}
