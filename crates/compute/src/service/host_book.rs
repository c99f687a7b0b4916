//! What is known of the hosts: their room, whether they answer, and which are given up.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError};

use hypervisor::{EvacuatedHost, Hypervisor};

use super::{Error, Inner};
use crate::store;

pub use crate::store::hosts::Host;

impl Inner {
    /// Hosts of an earlier configuration get no servers.
    pub(super) async fn close_hosts_that_left(&self) -> Result<(), Error> {
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

    /// A host as it is to be asked: one that is given up has nothing, whatever it would say itself.
    pub(super) fn host_named(&self, name: &str) -> Option<Arc<dyn Hypervisor>> {
        let given_up = self.given_up.lock().unwrap_or_else(PoisonError::into_inner);
        given_up.get(name).or_else(|| self.hosts.get(name)).map(Arc::clone)
    }

    pub(super) fn is_given_up(&self, host: &str) -> bool {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).contains_key(host)
    }

    pub(super) fn given_up_names(&self) -> Vec<String> {
        self.given_up.lock().unwrap_or_else(PoisonError::into_inner).keys().cloned().collect()
    }

    /// Learns which hosts are given up, here or by another process of this cloud.
    pub(super) async fn learn_given_up(&self) -> Result<(), Error> {
        // One at a time, so that what was read earlier does not replace what was read later.
        let _learning = self.learning.lock().await;
        let names =
            self.db.scan((), |(), tx| Box::pin(async move { store::hosts::given_up(tx).await })).await?;
        let gone = |name: String| {
            let host: Arc<dyn Hypervisor> = Arc::new(EvacuatedHost::new(&name));
            (name, host)
        };
        let hosts: HashMap<_, _> = names.into_iter().map(gone).collect();
        *self.given_up.lock().unwrap_or_else(PoisonError::into_inner) = hosts;
        Ok(())
    }

    /// Asks a host what it can carry and keeps it.
    pub(super) async fn survey(&self, host: &dyn hypervisor::Hypervisor) -> Result<(), hypervisor::Error> {
        let capacity = host.capacity().await?;
        let memory = i64::try_from(capacity.memory_mib).unwrap_or(i64::MAX);
        let disk = i64::try_from(capacity.disk_bytes >> 30).unwrap_or(i64::MAX);
        let input = (host.host().to_owned(), memory, disk);
        let kept = self.db.write(input, |(name, memory, disk), tx| {
            Box::pin(async move { store::hosts::survey(tx, name, *memory, *disk).await })
        });
        if let Err(error) = kept.await {
            tracing::warn!(%error, host = host.host(), "cannot keep a host's capacity");
        }
        Ok(())
    }

    /// Notes whether a host answers; its servers show it at once.
    pub(super) async fn set_reachable(&self, host: &str, reachable: bool) {
        // One at a time, so that what is written last is what is known here.
        let _noting = self.noting.lock().await;
        if !self.note_reachable(host, reachable) {
            return;
        }
        if reachable {
            tracing::info!(host, "host answers again");
        } else {
            tracing::warn!(host, "host does not answer: its servers show UNKNOWN");
        }
        let input = (host.to_owned(), reachable, self.clock.now());
        let noted = self.db.write(input, |(host, reachable, now), tx| {
            Box::pin(async move {
                store::hosts::set_up(tx, host, *reachable).await?;
                store::servers::touch_host(tx, host, *now).await
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!(%error, host, "cannot note whether a host answers");
            // It stays news for the next look.
            self.note_reachable(host, !reachable);
        }
    }

    /// Whether that is news.
    fn note_reachable(&self, host: &str, reachable: bool) -> bool {
        let mut lost = self.lost.lock().unwrap_or_else(PoisonError::into_inner);
        if reachable { lost.remove(host) } else { lost.insert(host.to_owned()) }
    }
}
