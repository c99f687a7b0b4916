//! A disk that came from another host: its snapshot as it came, and the machine's own layer over it, which is as large as
//! the machine wants it.

use tokio::runtime::Handle;
use uuid::Uuid;

use super::link::Session;
use super::store::Layer;
use super::transfer::{self, Wanted};
use super::trouble::{Outcome, Trouble};
use super::{disks, machines, names};
use crate::{MachineSpec, Progress, Snapshot};

/// A seal is the id of a snapshot.
const SEAL_BYTES: u64 = 16;

pub fn receive(
    session: &Session,
    machine: &MachineSpec,
    snapshot: Uuid,
    mut source: Snapshot,
    (progress, runtime, wanted): (&Progress, &Handle, &Wanted),
) -> Outcome<()> {
    let (store, id, bytes) = (session.store()?, machine.id, source.size_bytes);
    progress.begin(bytes);
    disks::refuse_alive(session, id)?;
    if is_made_from(session, id, snapshot)? {
        progress.set(bytes);
        return Ok(());
    }
    machines::delete(session, id)?;
    let (_, free) = store.space()?;
    if bytes > free {
        return Err(Trouble::NoCapacity(format!("the snapshot has {bytes} bytes, {free} are free")));
    }
    let base = names::received_base(id);
    let stream = store.replace_raw(&base, bytes)?;
    transfer::send(&mut source.reader, "the snapshot", bytes, stream, runtime, progress)?;
    let made = wanted.check().and_then(|()| {
        let bytes = machine.disk_bytes.max(source.virtual_bytes);
        let base = store.path(&base);
        store.make_layer(&Layer { name: &names::disk(id), bytes, below: Some((&base, "qcow2")) })?;
        store.write(&names::received(id), snapshot.as_bytes())?;
        wanted.check()
    });
    if made.is_err() {
        machines::delete(session, id)?;
    }
    made
}

/// Whether the machine has a whole disk that was made from this snapshot.
fn is_made_from(session: &Session, machine: Uuid, snapshot: Uuid) -> Outcome<bool> {
    let store = session.store()?;
    let Some(seal) = store.find(&names::received(machine))? else { return Ok(false) };
    let sealed = transfer::read_some(store.read(&seal, 0, SEAL_BYTES)?, snapshot.as_bytes().len())?;
    Ok(sealed == snapshot.as_bytes() && store.has(&names::disk(machine))?)
}
