//! What a server holds on its hosts, and the cleanup jobs that follow when that changes.

use database::Tx;
use uuid::Uuid;
use work::{NewJob, Time, jobs};

use crate::model::{JobPayload, Server, WorkItem};
use crate::store;

/// A job that clears up waits for its host as long as it takes.
const NEVER: Time = Time(i64::MAX);

/// A resize is decided: only one size is booked any more, and what is on another host is removed.
pub(super) async fn release(tx: &mut Tx, server: &mut Server, now: Time) -> Result<(), database::Error> {
    let (memory, disk) = (i64::from(server.flavor.memory_mib), i64::from(server.flavor.disk_gib));
    let held = store::servers::held_memory(tx, server.id).await?;
    store::servers::hold_room(tx, server.id, &server.host, memory, disk).await?;
    if let Some(other) = server.other.take() {
        vacate_later(tx, server.id, &other.host, other.snapshot, now).await?;
        store::crossing::end(tx, server).await?;
    }
    store::servers::add_ram(tx, &server.tenant, memory - held).await
}

/// Books that a server is its original again, on the host that it came from. What went over is not to be used again,
/// since the original changes once it runs.
pub(super) async fn retreat(
    tx: &mut Tx,
    server: &mut Server,
    away: &str,
    now: Time,
) -> Result<(), database::Error> {
    let Some(other) = &mut server.other else { return Ok(()) };
    if server.host == away {
        store::crossing::change_sides(tx, server.id, now).await?;
        std::mem::swap(&mut server.host, &mut other.host);
    }
    if let Some(snapshot) = other.snapshot.take() {
        store::crossing::forget_snapshot(tx, server.id).await?;
        vacate_later(tx, server.id, &server.host, Some(snapshot), now).await?;
    }
    if let Some(resize) = server.resize.take() {
        server.flavor = resize.from;
    }
    server.updated = now;
    Ok(())
}

/// Writes the job that removes what a server left on a host, as soon as that answers.
pub(super) async fn vacate_later(
    tx: &mut Tx,
    server: Uuid,
    host: &str,
    snapshot: Option<Uuid>,
    now: Time,
) -> Result<(), database::Error> {
    let work = WorkItem::Vacate { host: host.to_owned(), snapshot, unseen: false };
    // One that is away keeps no other waiting.
    clear_later(tx, format!("vacate:{server}:{host}"), server, work, now).await
}

/// Writes the job that sees, as soon as a host answers, what became of a resize there.
pub(super) async fn look_later(
    tx: &mut Tx,
    server: Uuid,
    host: &str,
    now: Time,
) -> Result<(), database::Error> {
    let work = WorkItem::Vacate { host: host.to_owned(), snapshot: None, unseen: true };
    let subject = format!("look:{server}");
    // One look is enough, however often its owner orders meanwhile.
    jobs::cancel_all(tx, &subject).await?;
    clear_later(tx, subject, server, work, now).await
}

async fn clear_later(
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
