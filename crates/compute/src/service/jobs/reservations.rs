//! Reservations of a server on its hosts, and the cleanup jobs that changes of them need.

use database::Tx;
use uuid::Uuid;
use work::{NewJob, Time, jobs};

use crate::model::{JobPayload, Server, WorkItem};
use crate::store;
use crate::store::hosts::Size;

/// A cleanup job has no deadline: it waits until its host is reachable.
const NEVER: Time = Time(i64::MAX);

/// After a resize was confirmed or reverted: reserves only the current size and enqueues the cleanup of the other host.
pub(super) async fn release_reservations(
    tx: &mut Tx,
    server: &mut Server,
    now: Time,
) -> Result<(), database::Error> {
    let size = Size::of(server.flavor);
    let reserved = store::servers::reserved_memory(tx, server.id).await?;
    store::servers::reserve(tx, server.id, &server.host, size).await?;
    if let Some(other) = server.other.take() {
        enqueue_cleanup(tx, server.id, &other.host, other.snapshot, now).await?;
        store::migration::end(tx, server).await?;
    }
    store::servers::add_ram(tx, &server.tenant, size.memory_mib - reserved).await
}

/// Records that a server is its original machine again, on the host that it came from. The copied disk must not be used again,
/// because the original's disk changes once it runs; therefore the snapshot is deleted.
pub(super) async fn rollback(
    tx: &mut Tx,
    server: &mut Server,
    left: &str,
    now: Time,
) -> Result<(), database::Error> {
    let Some(other) = &mut server.other else { return Ok(()) };
    if server.host == left {
        store::migration::switch_host(tx, server.id, now).await?;
        std::mem::swap(&mut server.host, &mut other.host);
    }
    if let Some(snapshot) = other.snapshot.take() {
        store::migration::clear_snapshot(tx, server.id).await?;
        enqueue_cleanup(tx, server.id, &server.host, Some(snapshot), now).await?;
    }
    if let Some(resize) = server.resize.take() {
        server.flavor = resize.from;
    }
    server.updated = now;
    Ok(())
}

/// Enqueues the job that removes what a server left on a host once the host is reachable.
pub(super) async fn enqueue_cleanup(
    tx: &mut Tx,
    server: Uuid,
    host: &str,
    snapshot: Option<Uuid>,
    now: Time,
) -> Result<(), database::Error> {
    let work = WorkItem::Cleanup { host: host.to_owned(), snapshot, check_machine: false };
    // One subject per host, so that an unreachable host does not delay the cleanup of another.
    enqueue_cleanup_job(tx, format!("vacate:{server}:{host}"), server, work, now).await
}

/// Enqueues the job that checks, once the host is reachable, whether the machine of a failed resize runs there.
pub(super) async fn enqueue_check(
    tx: &mut Tx,
    server: Uuid,
    host: &str,
    now: Time,
) -> Result<(), database::Error> {
    let work = WorkItem::Cleanup { host: host.to_owned(), snapshot: None, check_machine: true };
    let subject = format!("look:{server}");
    // One check is enough, however many actions are requested meanwhile.
    jobs::cancel_all(tx, &subject).await?;
    enqueue_cleanup_job(tx, subject, server, work, now).await
}

async fn enqueue_cleanup_job(
    tx: &mut Tx,
    subject: String,
    server: Uuid,
    work: WorkItem,
    now: Time,
) -> Result<(), database::Error> {
    let payload = JobPayload { server, work, action: None }.to_json();
    let job = NewJob { kind: "vacate", subject: &subject, payload, due: now, deadline: NEVER };
    jobs::enqueue_once(tx, now, &job).await
}
