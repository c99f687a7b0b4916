//! Disks received from another host: the snapshot, and over it the machine's own layer with the machine's disk size.

use tokio::runtime::Handle;
use uuid::Uuid;

use super::error::{LibvirtError, Outcome};
use super::link::Session;
use super::store::Layer;
use super::transfer::{self, Cancellation};
use super::{disks, machines, names};
use crate::{MachineSpec, Progress, Snapshot};

/// Length of the marker file: it contains the id of the snapshot.
const MARKER_BYTES: u64 = 16;

pub fn receive(
    session: &Session,
    machine: &MachineSpec,
    snapshot: Uuid,
    mut source: Snapshot,
    progress: &Progress,
    runtime: &Handle,
    cancellation: &Cancellation,
) -> Outcome<()> {
    let (store, id, bytes) = (session.store()?, machine.id, source.size_bytes);
    progress.begin(bytes);
    disks::check_off(session, id)?;
    if is_created_from(session, id, snapshot)? {
        progress.set(bytes);
        return Ok(());
    }
    machines::delete(session, id)?;
    let (_, free) = store.space()?;
    if bytes > free {
        return Err(LibvirtError::NoCapacity(format!(
            "the snapshot has {bytes} bytes, {free} bytes are free"
        )));
    }
    let base = names::received_base(id);
    let stream = store.replace_raw(&base, bytes)?;
    transfer::send(&mut source.reader, "the snapshot", bytes, stream, runtime, progress)?;
    let created = cancellation.check().and_then(|()| {
        let bytes = machine.disk_bytes.max(source.virtual_bytes);
        let base = store.path(&base);
        store.create_layer(&Layer { name: &names::disk(id), bytes, below: Some((&base, "qcow2")) })?;
        store.write(&names::received(id), snapshot.as_bytes())?;
        cancellation.check()
    });
    if created.is_err() {
        machines::delete(session, id)?;
    }
    created
}

/// Returns whether the machine has a complete disk that was created from this snapshot.
fn is_created_from(session: &Session, machine: Uuid, snapshot: Uuid) -> Outcome<bool> {
    let store = session.store()?;
    let Some(marker) = store.find(&names::received(machine))? else { return Ok(false) };
    let origin = transfer::read_some(store.read(&marker, 0, MARKER_BYTES)?, snapshot.as_bytes().len())?;
    Ok(origin == snapshot.as_bytes() && store.has(&names::disk(machine))?)
}
