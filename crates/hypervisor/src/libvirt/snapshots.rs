//! Snapshots of a machine's disk: each is a volume without a backing file, and a marker file once it is complete.

use std::collections::BTreeSet;
use std::time::Duration;

use uuid::Uuid;

use super::domain_xml::{self, DISK_TARGET};
use super::error::{LibvirtError, Outcome};
use super::images::{backing_path, qcow2_bytes};
use super::link::{Session, pause};
use super::machines::{self, Alive};
use super::names;
use super::store::{Layer, Store};
use super::sys::{Domain, Volume};
use super::transfer::{self, Cancellation};
use super::xml::escape;
use crate::{Progress, Snapshot};

const POLL_INTERVAL: Duration = Duration::from_millis(100);
const AGENT_SECONDS: i32 = 10;

pub fn take(
    session: &Session,
    machine: Uuid,
    snapshot: Uuid,
    progress: &Progress,
    cancellation: &Cancellation,
) -> Outcome<()> {
    let store = session.store()?;
    let domain = machines::find(session, machine)?;
    let source = disk_in_use(store, &domain)?;
    let bytes = qcow2_bytes(session, &source)?;
    progress.begin(bytes);
    if store.has(&names::snapshot_marker(snapshot))? {
        progress.set(bytes);
        return Ok(());
    }
    let name = names::snapshot(snapshot);
    let running = machines::alive(session, machine)? != Some(Alive::Off);
    if running && domain.job()?.is_some() {
        domain.abort_job()?;
    }
    store.remove(&name)?;
    let available = store.space()?.1;
    let (_, written) = source.sizes()?;
    if written > available {
        return Err(LibvirtError::NoCapacity(format!(
            "the disk has {written} bytes, {available} bytes are free"
        )));
    }
    if running {
        store.create_layer(&Layer { name: &name, bytes, below: None })?;
        copy_live(&domain, &store.path(&name), progress)?;
    } else {
        store.flatten(&name, bytes, &source)?;
    }
    let completed = cancellation.check().and_then(|()| {
        store.ensure_raw(&names::snapshot_marker(snapshot), 0)?;
        cancellation.check()
    });
    if completed.is_err() {
        drop_snapshot(session, snapshot)?;
    }
    progress.set(bytes);
    completed
}

/// Returns the size of all layers of the disk together, but at most the virtual size (without qcow2's tables).
pub fn bytes(session: &Session, machine: Uuid) -> Outcome<u64> {
    let store = session.store()?;
    let top = disk_in_use(store, &machines::find(session, machine)?)?;
    let (most, mut sum, mut layer) = (qcow2_bytes(session, &top)?, 0, Some(top));
    while let Some(volume) = layer {
        sum += volume.sizes()?.1;
        let below = backing_path(&volume)?;
        let name = below.as_deref().and_then(|path| path.rsplit('/').next());
        layer = name.map(|name| store.find(name)).transpose()?.flatten();
    }
    Ok(sum.min(most))
}

fn disk_in_use(store: &Store, domain: &Domain) -> Outcome<Volume> {
    let path = domain_xml::disk_path(&domain.definition()?)?.unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    store.find(name)?.ok_or_else(|| LibvirtError::NotFound(format!("disk {path}")))
}

fn copy_live(domain: &Domain, path: &str, progress: &Progress) -> Outcome<()> {
    let _ = domain.limit_agent(AGENT_SECONDS);
    let frozen = domain.freeze_file_systems().is_ok();
    let path = escape(path);
    let begun = domain.begin_backup(&format!(
        "<domainbackup mode='push'><disks><disk name='{DISK_TARGET}' type='file' backup='yes'>\
         <driver type='qcow2'/><target file='{path}'/></disk></disks></domainbackup>"
    ));
    if frozen && let Err(fault) = domain.thaw_file_systems() {
        tracing::warn!(
            domain = domain.name(),
            reason = fault.message,
            "cannot thaw the file systems of a guest"
        );
    }
    begun?;
    while let Some((done, _)) = domain.job()? {
        progress.set(done);
        pause(POLL_INTERVAL);
    }
    if domain.last_job_completed()? {
        Ok(())
    } else {
        Err(LibvirtError::Failed("the copy of the disk ended before it was complete".to_owned()))
    }
}

pub fn open(session: &Session, snapshot: Uuid) -> Outcome<Snapshot> {
    let store = session.store()?;
    let missing = || LibvirtError::NotFound(format!("snapshot {snapshot}"));
    if !store.has(&names::snapshot_marker(snapshot))? {
        return Err(missing());
    }
    let volume = store.find(&names::snapshot(snapshot))?.ok_or_else(missing)?;
    let (_, size_bytes) = volume.sizes()?;
    let virtual_bytes = qcow2_bytes(session, &volume)?;
    session.keep_exclusive();
    let reader = transfer::reader(store.read(&volume, 0, 0)?);
    Ok(Snapshot { size_bytes, virtual_bytes, reader })
}

pub fn drop_snapshot(session: &Session, snapshot: Uuid) -> Outcome<()> {
    let store = session.store()?;
    store.remove(&names::snapshot_marker(snapshot))?;
    store.remove(&names::snapshot(snapshot))
}

pub fn list(session: &Session) -> Outcome<Vec<Uuid>> {
    let names = session.store()?.names()?;
    let found: BTreeSet<_> = names.iter().filter_map(|name| names::snapshot_of_volume(name)).collect();
    Ok(found.into_iter().collect())
}
