//! Reconcilers: what hosts show and what is written here are brought together, at the start, when a host comes back,
//! when it says that something happened, and every minute. They take no input and may run at any time.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hypervisor::{EvacuatedHost, Event, Hypervisor, MachineState, Power};
use tokio::sync::broadcast::error::RecvError;
use uuid::Uuid;
use work::Time;

use super::orders::{Order, Orderer};
use super::{Halt, Inner, Transfer};
use crate::model::{Fault, Id, Server, State, Vm};
use crate::store;

/// How often a host is looked at as a whole, and ports and images are swept.
const EVERY: Duration = Duration::from_secs(60);
/// Ports of a server that does not exist after so long were left by a create that died.
const PORT_GRACE: Duration = Duration::from_secs(300);
/// Servers compared in one go.
const PAGE: i64 = 200;
/// The host's word for a machine that it found shut off when it came up: it lost power itself.
const HOST_WAS_DOWN: &str = "unknown";

/// Watches one host until the service ends.
pub(super) async fn watch(inner: Arc<Inner>, host: Arc<dyn Hypervisor>) {
    let mut halt = inner.halt.subscribe();
    tokio::select! {
        () = follow(&inner, &host) => {}
        _ = halt.wait_for(|halt| *halt != Halt::No) => {}
    }
}

async fn follow(inner: &Arc<Inner>, host: &Arc<dyn Hypervisor>) {
    let mut events = host.events();
    let mut known = false;
    loop {
        look_at_all(inner, host.host()).await;
        if !std::mem::replace(&mut known, true) {
            inner.unsurveyed.send_modify(|left| *left = left.saturating_sub(1));
        }
        let next_look = tokio::time::sleep(EVERY);
        tokio::pin!(next_look);
        loop {
            tokio::select! {
                () = &mut next_look => break,
                event = events.recv() => match event {
                    Ok(Event::HostLost) => inner.set_reachable(host.host(), false).await,
                    Ok(Event::Machine(_)) if inner.is_given_up(host.host()) => {}
                    Ok(Event::Machine(state)) => look_at_one(inner, host.as_ref(), state.id).await,
                    Ok(Event::HostBack) | Err(RecvError::Lagged(_)) => break,
                    // It says nothing any more: the regular look is left.
                    Err(RecvError::Closed) => { next_look.as_mut().await; break }
                },
            }
        }
    }
}

/// Looks at a host without waiting for the next time.
pub(super) fn look_now(inner: &Arc<Inner>, host: &str) {
    let (inner, host) = (Arc::clone(inner), host.to_owned());
    tokio::spawn(async move { look_at_all(&inner, &host).await });
}

async fn look_at_all(inner: &Arc<Inner>, host: &str) {
    if inner.is_given_up(host) {
        // It may have been taken back, here or by another process.
        if let Err(error) = inner.learn_given_up().await {
            return tracing::warn!(%error, "cannot learn which hosts are given up");
        }
    }
    if inner.is_given_up(host) {
        return compare(inner, &EvacuatedHost::new(host), Vec::new()).await;
    }
    let Some(host) = inner.hosts.get(host).map(AsRef::as_ref) else { return };
    let machines = match host.machines().await {
        Ok(machines) => machines,
        Err(error) => {
            tracing::debug!(%error, host = host.host(), "cannot look at a host");
            return inner.set_reachable(host.host(), false).await;
        }
    };
    if let Err(error) = inner.survey(host).await {
        tracing::debug!(%error, host = host.host(), "cannot survey a host");
        return inner.set_reachable(host.host(), false).await;
    }
    inner.set_reachable(host.host(), true).await;
    compare(inner, host, machines).await;
    drop_old_snapshots(inner, host).await;
    drop_old_images(inner, host).await;
}

/// Brings together what a host has and what is written here.
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
            let seen = machines.remove(&server.id).map_or(Power::Absent, |machine| machine.power);
            if server.state.task.is_none() && (seen != server.power || expects_other(&server, seen)) {
                look_at_one(inner, host, server.id).await;
            }
        }
    }
    for (id, machine) in machines {
        if is_on(machine.power) {
            look_at_one(inner, host, id).await;
        }
        remove_leftover(inner, host, id).await;
    }
}

/// Images that were deleted and that no disk on the host is based on. One of which nothing is known here may be
/// another cloud's.
async fn drop_old_images(inner: &Arc<Inner>, host: &dyn Hypervisor) {
    let Ok(digests) = host.images().await else { return };
    for digest in digests {
        if !matches!(inner.images.has_content(&digest).await, Ok(Some(false))) {
            continue;
        }
        let transfer = Transfer::Image { host: host.host().to_owned(), digest: digest.clone() };
        let _turn = inner.transfers.of(transfer).take().await;
        match host.drop_image(&digest).await {
            Ok(()) => tracing::info!(host = host.host(), %digest, "dropped a deleted image"),
            // A disk is based on it.
            Err(hypervisor::Error::Refused { .. }) => {}
            Err(error) => tracing::warn!(%error, host = host.host(), %digest, "cannot drop a deleted image"),
        }
    }
}

/// Snapshots of images that nobody makes any more. One of which nothing is known here may be another cloud's.
async fn drop_old_snapshots(inner: &Arc<Inner>, host: &dyn Hypervisor) {
    let Ok(snapshots) = host.snapshots().await else { return };
    for id in snapshots {
        let Ok(image) = inner.images.by_id_or_tombstone(id).await else { continue };
        if image.deleted.is_none() && image.status.in_flight() {
            continue;
        }
        if let Err(error) = host.drop_snapshot(id).await {
            tracing::warn!(%error, host = host.host(), snapshot = %id, "cannot drop an old snapshot");
        }
    }
}

/// A machine of a server that is gone. One of which nothing is known here may be another cloud's; one of a server that is
/// elsewhere is removed by the job that was written when it left, and by nobody else: a host may have got another name.
async fn remove_leftover(inner: &Arc<Inner>, host: &dyn Hypervisor, id: Uuid) {
    let gone = inner.db.read(id, |id, tx| Box::pin(async move { store::servers::is_gone(tx, *id).await }));
    match gone.await {
        Ok(true) => {
            let _turn = inner.turn(id).take().await;
            tracing::warn!(host = host.host(), machine = %id, "removing the machine of a deleted server");
            if let Err(error) = host.delete(id).await {
                tracing::warn!(%error, machine = %id, "cannot remove it");
            }
        }
        Ok(false) => tracing::debug!(host = host.host(), machine = %id, "a machine that is not ours"),
        Err(error) => tracing::warn!(%error, "cannot look up a machine"),
    }
}

fn expects_other(server: &Server, seen: Power) -> bool {
    match server.state.vm {
        Vm::Active => seen != Power::Running,
        // Also where a job has noted that already.
        Vm::Stopped | Vm::Resized => seen == Power::Absent,
        _ => false,
    }
}

fn is_on(power: Power) -> bool {
    matches!(power, Power::Running | Power::Paused)
}

/// What a look at a machine asks for.
enum Noted {
    /// Nothing more.
    Enough,
    /// Its host lost power and is back: it is started.
    WasCutOff,
    /// A resize keeps it, off, for its owner to go back to: somebody started it.
    RunsTwice,
}

/// Compares one server with its machine, in the machine's turn, asking the host anew: an event may be old.
async fn look_at_one(inner: &Arc<Inner>, host: &dyn Hypervisor, id: Uuid) {
    let Ok(_turn) = tokio::time::timeout(EVERY, inner.turn(id).take()).await else { return };
    let Ok(state) = host.state(id).await else { return };
    let input = (id, host.host().to_owned(), state.clone(), inner.given_up_names(), inner.clock.now());
    let noted = inner.db.write(input, |(id, host, state, given_up, now), tx| {
        Box::pin(async move {
            let Some(mut server) = store::servers::by_id(tx, *id).await? else { return Ok(Noted::Enough) };
            if server.state.task.is_some() {
                return Ok(Noted::Enough);
            }
            if server.host != *host {
                let kept = server.other.is_some_and(|other| other.host == *host);
                return Ok(if kept && is_on(state.power) { Noted::RunsTwice } else { Noted::Enough });
            }
            let before = (server.state, server.power);
            note(&mut server, state, given_up, *now);
            if (server.state, server.power) != before {
                server.updated = *now;
                store::servers::update(tx, &server).await?;
            }
            let was_cut_off = server.state.vm == Vm::Stopped && state.reason == HOST_WAS_DOWN;
            Ok::<_, database::Error>(if was_cut_off { Noted::WasCutOff } else { Noted::Enough })
        })
    });
    match noted.await {
        Ok(Noted::WasCutOff) => {
            tracing::info!(server = %id, "starting a server whose host was down");
            if let Err(error) = inner.accept(Id::Uuid(id), Order::Start, Orderer::default()).await {
                tracing::warn!(%error, server = %id, "cannot start it");
            }
        }
        Ok(Noted::RunsTwice) => {
            tracing::warn!(host = host.host(), server = %id, "stopping the machine that a resize keeps");
            if let Err(error) = host.stop(id).await {
                tracing::warn!(%error, server = %id, "cannot stop it");
            }
        }
        Ok(Noted::Enough) => {}
        Err(error) => tracing::warn!(%error, server = %id, "cannot note a machine's state"),
    }
}

/// What a machine's state says of a server to which nothing is being done, where these hosts are given up.
fn note(server: &mut Server, machine: &MachineState, given_up: &[String], now: Time) {
    server.power = machine.power;
    let vm = match (server.state.vm, machine.power) {
        (Vm::Active | Vm::Stopped, Power::Running | Power::Paused) => Vm::Active,
        (Vm::Active, Power::ShutOff) => Vm::Stopped,
        (Vm::Active | Vm::Resized, Power::Crashed) => {
            let message = format!("the machine ended without being asked ({})", machine.reason);
            server.fault = Some(Fault { message, at: now.0 });
            if server.state.vm == Vm::Resized { Vm::Resized } else { Vm::Error }
        }
        (Vm::Active | Vm::Stopped, Power::Absent) => lost(server, now),
        // The original of a resize to another host is there for its owner to go back to, unless it is gone, too.
        (Vm::Resized, Power::Absent) if server.other.as_ref().is_none_or(|o| given_up.contains(&o.host)) => {
            lost(server, now)
        }
        (other, _) => other,
    };
    server.state = State { vm, task: None };
}

fn lost(server: &mut Server, now: Time) -> Vm {
    let message = "the machine is not on its host any more".to_owned();
    server.fault = Some(Fault { message, at: now.0 });
    Vm::Error
}

struct Known<'a>(&'a Inner);

#[async_trait]
impl networks::Servers for Known<'_> {
    async fn existing(&self, ids: &[Uuid]) -> Result<HashSet<Uuid>, database::Error> {
        let ids = ids.to_vec();
        self.0.db.scan(ids, |ids, tx| Box::pin(async move { store::servers::existing(tx, ids).await })).await
    }
}

/// Sweeps what no host knows: ports, images that nobody makes any more, bytes to let go of.
pub(super) async fn sweep(inner: Arc<Inner>) {
    let mut halt = inner.halt.subscribe();
    let sweeping = async {
        loop {
            if let Err(error) = inner.learn_given_up().await {
                tracing::warn!(%error, "cannot learn which hosts are given up");
            }
            if let Err(error) = inner.networks.sweep(&Known(&inner), PORT_GRACE).await {
                tracing::warn!(%error, "cannot sweep ports");
            }
            if let Err(error) = fail_orphaned_images(&inner).await {
                tracing::warn!(%error, "cannot sweep images");
            }
            if let Err(error) = inner.images.unpin_discarded().await {
                tracing::warn!(%error, "cannot let go of images' bytes");
            }
            if let Err(error) = inner.images.delete_old_access().await {
                tracing::warn!(%error, "cannot forget whom images were taken from");
            }
            tokio::time::sleep(EVERY).await;
        }
    };
    tokio::select! {
        () = sweeping => {}
        _ = halt.wait_for(|halt| *halt != Halt::No) => {}
    }
}

/// An image in flight whose server is not making one will never be finished.
async fn fail_orphaned_images(inner: &Arc<Inner>) -> Result<(), super::Error> {
    for image in inner.images.in_flight().await? {
        let Some((server, _)) = image.server else { continue };
        let found = inner.db.read(server, |id, tx| {
            Box::pin(async move { Ok::<_, super::Error>(store::servers::by_id(tx, *id).await?) })
        });
        let making = found.await?.is_some_and(|server| server.state.task.is_some());
        if !making {
            inner.images.fail(image.id, "nobody makes it any more").await?;
        }
    }
    Ok(())
}
