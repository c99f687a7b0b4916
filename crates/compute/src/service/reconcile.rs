//! Reconciliation: compares the hosts with the database and corrects differences. Runs at the start, when a host
//! becomes reachable, on a host's events, and every minute. It may run at any time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor::{EvacuatedHost, Event, Hypervisor, MachineState, Power};
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;
use work::Time;

use super::orders::{Order, Requester};
use super::{Inner, Shutdown, Transfer};
use crate::model::{Fault, Id, Server, State, Vm};
use crate::store;

/// Interval of complete checks of each host, and of the sweep.
const CHECK_INTERVAL: Duration = Duration::from_secs(60);
/// Ports older than this whose server does not exist were left by a create that crashed.
const PORT_GRACE: Duration = Duration::from_secs(300);
/// Number of servers read per query.
const PAGE: i64 = 200;
/// The reason that a host gives for a machine that was shut off because the host itself lost power.
const HOST_WAS_DOWN: &str = "unknown";

/// Follows one host until the service stops.
pub(super) async fn watch(inner: Arc<Inner>, host: Arc<dyn Hypervisor>) {
    let mut shutdown = inner.shutdown.subscribe();
    tokio::select! {
        () = follow_host(&inner, &host) => {}
        _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::No) => {}
    }
}

async fn follow_host(inner: &Arc<Inner>, host: &Arc<dyn Hypervisor>) {
    let mut events = host.events();
    let mut checked_before = false;
    loop {
        check_host(inner, host.host()).await;
        if !std::mem::replace(&mut checked_before, true) {
            inner.unknown_capacities.send_modify(|left| *left = left.saturating_sub(1));
        }
        let next_check = tokio::time::sleep(CHECK_INTERVAL);
        tokio::pin!(next_check);
        loop {
            tokio::select! {
                () = &mut next_check => break,
                event = events.recv() => match event {
                    Ok(Event::HostLost) => inner.set_reachable(host.host(), false).await,
                    Ok(Event::Machine(_)) if inner.is_evacuated(host.host()) => {}
                    Ok(Event::Machine(state)) => check_machine(inner, host.as_ref(), state.id).await,
                    Ok(Event::HostBack) | Err(RecvError::Lagged(_)) => break,
                    // No more events: only the periodic checks are left.
                    Err(RecvError::Closed) => { next_check.as_mut().await; break }
                },
            }
        }
    }
}

/// Starts a check of a host now.
pub(super) fn check_host_now(inner: &Arc<Inner>, host: &str) {
    let (inner, host) = (Arc::clone(inner), host.to_owned());
    tokio::spawn(async move { check_host(&inner, &host).await });
}

async fn check_host(inner: &Arc<Inner>, host: &str) {
    if inner.is_evacuated(host) {
        // It may have been reinstated, possibly by another process.
        if let Err(error) = inner.reload_evacuated().await {
            return tracing::warn!(%error, "cannot read which hosts are evacuated; the next check retries");
        }
    }
    if inner.is_evacuated(host) {
        return compare(inner, &EvacuatedHost::new(host), Vec::new()).await;
    }
    let Some(host) = inner.hosts.get(host).map(AsRef::as_ref) else { return };
    let machines = match host.machines().await {
        Ok(machines) => machines,
        Err(error) => {
            tracing::debug!(%error, host = host.host(), "cannot list the machines of a host");
            return inner.set_reachable(host.host(), false).await;
        }
    };
    if let Err(error) = inner.read_capacity(host).await {
        tracing::debug!(%error, host = host.host(), "cannot read the capacity of a host");
        return inner.set_reachable(host.host(), false).await;
    }
    inner.set_reachable(host.host(), true).await;
    compare(inner, host, machines).await;
    drop_old_snapshots(inner, host).await;
    drop_old_images(inner, host).await;
}

/// Compares a host's machines with the database and corrects differences.
async fn compare(inner: &Arc<Inner>, host: &dyn Hypervisor, machines: Vec<MachineState>) {
    let mut machines: HashMap<Uuid, MachineState> = machines.into_iter().map(|m| (m.id, m)).collect();
    let mut after = String::new();
    loop {
        let page = inner.db.scan((host.host().to_owned(), after.clone()), |(host, after), tx| {
            Box::pin(async move { store::servers::on_host(tx, host, after, PAGE).await })
        });
        let Ok(page) = page.await else { return };
        let Some(last) = page.last() else { break };
        after = last.id.to_string();
        for server in page {
            let power = machines.remove(&server.id).map_or(Power::Absent, |machine| machine.power);
            if server.state.task.is_none() && (power != server.power || is_unexpected(&server, power)) {
                check_machine(inner, host, server.id).await;
            }
        }
    }
    for (id, machine) in machines {
        if is_on(machine.power) {
            check_machine(inner, host, id).await;
        }
        remove_orphan(inner, host, id).await;
    }
}

/// Deletes cached images from the host that were deleted from the cloud and that no disk is based on. An unknown
/// image may belong to another cloud and is kept.
async fn drop_old_images(inner: &Arc<Inner>, host: &dyn Hypervisor) {
    let Ok(digests) = host.images().await else { return };
    for digest in digests {
        if !matches!(inner.images.has_content(&digest).await, Ok(Some(false))) {
            continue;
        }
        let transfer = Transfer::Image { host: host.host().to_owned(), digest: digest.clone() };
        let _guard = inner.transfer_locks.get(transfer).acquire().await;
        match host.drop_image(&digest).await {
            Ok(()) => tracing::info!(host = host.host(), %digest, "removed a deleted image from the host"),
            // A disk is based on the image.
            Err(hypervisor::Error::Refused { .. }) => {}
            Err(error) => {
                tracing::warn!(%error, host = host.host(), %digest, "cannot remove a deleted image from the host; the next check retries")
            }
        }
    }
}

/// Deletes snapshots whose images are no longer being created. An unknown snapshot may belong to another cloud and is kept.
async fn drop_old_snapshots(inner: &Arc<Inner>, host: &dyn Hypervisor) {
    let Ok(snapshots) = host.snapshots().await else { return };
    for id in snapshots {
        let Ok(image) = inner.images.by_id_or_tombstone(id).await else { continue };
        if image.deleted.is_none() && image.status.in_flight() {
            continue;
        }
        if let Err(error) = host.drop_snapshot(id).await {
            tracing::warn!(%error, host = host.host(), snapshot = %id, "cannot delete an old snapshot; the next check retries");
        }
    }
}

/// Deletes the machine of a server whose deletion is complete. An unknown machine may belong to another cloud and is
/// kept. The machine of a server that moved to another host is deleted only by that move's cleanup job: the host may
/// have been renamed.
async fn remove_orphan(inner: &Arc<Inner>, host: &dyn Hypervisor, id: Uuid) {
    let archived =
        inner.db.read(id, |id, tx| Box::pin(async move { store::servers::is_archived(tx, *id).await }));
    match archived.await {
        Ok(true) => {
            let _guard = inner.machine_lock(id).acquire().await;
            tracing::warn!(host = host.host(), machine = %id, "removing the machine of a deleted server");
            if let Err(error) = host.delete(id).await {
                tracing::warn!(%error, machine = %id, "cannot remove the machine of a deleted server; the next check retries");
            }
        }
        Ok(false) => tracing::debug!(host = host.host(), machine = %id, "ignoring an unknown machine"),
        Err(error) => {
            tracing::warn!(%error, "cannot look up the server of a machine; the next check retries")
        }
    }
}

/// Returns whether a machine's power state does not fit its server's state.
fn is_unexpected(server: &Server, power: Power) -> bool {
    match server.state.vm {
        Vm::Active => power != Power::Running,
        // Even if a job has already recorded that the machine is absent.
        Vm::Stopped | Vm::Resized => power == Power::Absent,
        _ => false,
    }
}

fn is_on(power: Power) -> bool {
    matches!(power, Power::Running | Power::Paused)
}

/// What to do after a machine's state was recorded.
enum FollowUp {
    /// Nothing.
    None,
    /// Start the machine: it was running when its host lost power.
    Start,
    /// Stop the machine: it is the original of a resize to another host and must be off.
    StopOriginal,
}

/// Compares one server with its machine while holding the machine's lock. Reads the machine's state again, because
/// the state in an event may be outdated.
async fn check_machine(inner: &Arc<Inner>, host: &dyn Hypervisor, id: Uuid) {
    let Ok(_guard) = tokio::time::timeout(CHECK_INTERVAL, inner.machine_lock(id).acquire()).await else {
        return;
    };
    let Ok(state) = host.state(id).await else { return };
    let input = (id, host.host().to_owned(), state.clone(), inner.evacuated_names(), inner.clock.now());
    let follow_up = inner.db.write(input, |(id, host, state, evacuated, now), tx| {
        Box::pin(async move {
            let Some(mut server) = store::servers::by_id(tx, *id).await? else { return Ok(FollowUp::None) };
            if server.state.task.is_some() {
                return Ok(FollowUp::None);
            }
            if server.host != *host {
                let kept = server.other.is_some_and(|other| other.host == *host);
                return Ok(if kept && is_on(state.power) { FollowUp::StopOriginal } else { FollowUp::None });
            }
            let before = (server.state, server.power);
            apply_power(&mut server, state, evacuated, *now);
            if (server.state, server.power) != before {
                server.updated = *now;
                store::servers::update(tx, &server).await?;
            }
            let host_was_down = server.state.vm == Vm::Stopped && state.reason == HOST_WAS_DOWN;
            Ok::<_, database::Error>(if host_was_down { FollowUp::Start } else { FollowUp::None })
        })
    });
    match follow_up.await {
        Ok(FollowUp::Start) => {
            tracing::info!(server = %id, "starting a server whose host was down");
            if let Err(error) = inner.accept(Id::Uuid(id), Order::Start, Requester::default()).await {
                tracing::warn!(%error, server = %id, "cannot start a server whose host was down; the next check retries");
            }
        }
        Ok(FollowUp::StopOriginal) => {
            tracing::warn!(host = host.host(), server = %id, "stopping the original machine of a resize: only the new one may run");
            if let Err(error) = host.stop(id).await {
                tracing::warn!(%error, server = %id, "cannot stop the original machine of a resize; the next check retries");
            }
        }
        Ok(FollowUp::None) => {}
        Err(error) => {
            tracing::warn!(%error, server = %id, "cannot store a machine's state; the next check retries")
        }
    }
}

/// Updates a server without a task from its machine's power state. `evacuated` names the evacuated hosts.
fn apply_power(server: &mut Server, machine: &MachineState, evacuated: &[String], now: Time) {
    server.power = machine.power;
    let vm = match (server.state.vm, machine.power) {
        (Vm::Active | Vm::Stopped, Power::Running | Power::Paused) => Vm::Active,
        (Vm::Active, Power::ShutOff) => Vm::Stopped,
        (Vm::Active | Vm::Resized, Power::Crashed) => {
            let message = format!("the machine stopped unexpectedly ({})", machine.reason);
            server.fault = Some(Fault { message, at: now.0 });
            if server.state.vm == Vm::Resized { Vm::Resized } else { Vm::Error }
        }
        (Vm::Active | Vm::Stopped, Power::Absent) => fail_without_machine(server, now),
        // After a resize to another host the owner can still revert to the original, unless that is lost too.
        (Vm::Resized, Power::Absent) if server.other.as_ref().is_none_or(|o| evacuated.contains(&o.host)) => {
            fail_without_machine(server, now)
        }
        (other, _) => other,
    };
    server.state = State { vm, task: None };
}

fn fail_without_machine(server: &mut Server, now: Time) -> Vm {
    let message = "the machine no longer exists on its host".to_owned();
    server.fault = Some(Fault { message, at: now.0 });
    Vm::Error
}

struct ExistingServers<'a>(&'a Inner);

#[async_trait]
impl networks::Servers for ExistingServers<'_> {
    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, database::Error> {
        let ids = ids.to_vec();
        self.0.db.scan(ids, |ids, tx| Box::pin(async move { store::servers::existing(tx, ids).await })).await
    }
}

/// Removes what no host knows of: ports without servers, unfinished images without jobs, and the bytes of deleted images.
pub(super) async fn sweep(inner: Arc<Inner>) {
    let mut shutdown = inner.shutdown.subscribe();
    let sweeping = async {
        loop {
            if let Err(error) = inner.reload_evacuated().await {
                tracing::warn!(%error, "cannot read which hosts are evacuated; the next sweep retries");
            }
            if let Err(error) = inner.networks.sweep(&ExistingServers(&inner), PORT_GRACE).await {
                tracing::warn!(%error, "cannot release the ports of deleted servers; the next sweep retries");
            }
            if let Err(error) = fail_orphaned_images(&inner).await {
                tracing::warn!(%error, "cannot check unfinished images; the next sweep retries");
            }
            if let Err(error) = inner.images.unpin_discarded().await {
                tracing::warn!(%error, "cannot unpin the bytes of deleted images; the next sweep retries");
            }
            if let Err(error) = inner.images.delete_old_access().await {
                tracing::warn!(%error, "cannot delete old rows of revoked access to images; the next sweep retries");
            }
            tokio::time::sleep(CHECK_INTERVAL).await;
        }
    };
    tokio::select! {
        () = sweeping => {}
        _ = shutdown.wait_for(|shutdown| *shutdown != Shutdown::No) => {}
    }
}

/// Sets images to FAILED whose servers have no task: they will never be finished.
async fn fail_orphaned_images(inner: &Arc<Inner>) -> Result<(), super::Error> {
    for image in inner.images.in_flight().await? {
        let Some((server, _)) = image.server else { continue };
        let found = inner.db.read(server, |id, tx| {
            Box::pin(async move { Ok::<_, super::Error>(store::servers::by_id(tx, *id).await?) })
        });
        let in_progress = found.await?.is_some_and(|server| server.state.task.is_some());
        if !in_progress {
            inner.images.fail(image.id, "its server is no longer creating it").await?;
        }
    }
    Ok(())
}
