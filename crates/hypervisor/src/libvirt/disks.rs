//! A machine's disk: a layer over its image; and, while a resize is undecided, a second layer over that.

use std::time::Duration;

use uuid::Uuid;

use super::images::{self, backing_path, qcow2_bytes};
use super::link::{Session, pause};
use super::machines::{self, Alive};
use super::names;
use super::store::Layer;
use super::trouble::{Outcome, Trouble};
use super::{domain_xml, domain_xml::DISK_TARGET};
use crate::MachineSpec;

const LOOK_EVERY: Duration = Duration::from_millis(50);

pub fn ensure(session: &Session, machine: &MachineSpec) -> Outcome<()> {
    let store = session.store()?;
    let name = names::disk(machine.id);
    if let Some(disk) = store.find(&name)? {
        if backing_path(&disk).is_ok_and(|below| below.is_some()) {
            return Ok(());
        }
        tracing::warn!(disk = name, "left unfinished, made anew");
    }
    make(session, machine)
}

pub fn replace(session: &Session, machine: &MachineSpec) -> Outcome<()> {
    refuse_alive(session, machine.id)?;
    images::base_disk(session, &machine.image)?;
    session.store()?.remove(&names::resized_disk(machine.id))?;
    session.store()?.remove(&names::decided(machine.id))?;
    make(session, machine)?;
    // What came from another host is below nothing any more.
    session.store()?.remove(&names::received(machine.id))?;
    session.store()?.remove(&names::received_base(machine.id))
}

fn make(session: &Session, machine: &MachineSpec) -> Outcome<()> {
    let store = session.store()?;
    let base = images::base_disk(session, &machine.image)?;
    let name = names::disk(machine.id);
    store.remove(&name)?;
    let bytes = machine.disk_bytes.max(base.virtual_bytes);
    store.make_layer(&Layer { name: &name, bytes, below: Some((&base.path, base.format)) })?;
    Ok(())
}

pub fn refuse_alive(session: &Session, machine: Uuid) -> Outcome<()> {
    match machines::alive(session, machine)? {
        Some(Alive::Off) | None => Ok(()),
        Some(_) => Trouble::refused("the machine is not shut off"),
    }
}

/// Puts a layer over the disk, so that the disk itself stays as it is.
pub fn begin_resize(session: &Session, resized: &MachineSpec) -> Outcome<()> {
    let store = session.store()?;
    let domain = machines::find(session, resized.id)?;
    refuse_alive(session, resized.id)?;
    let (disk, upper) = (names::disk(resized.id), names::resized_disk(resized.id));
    if !in_use(&domain.definition()?, &store.path(&upper))? {
        store.remove(&upper)?;
        let lower = store.find(&disk)?.ok_or_else(|| Trouble::NotFound(format!("disk {disk}")))?;
        let bytes = resized.disk_bytes.max(qcow2_bytes(session, &lower)?);
        store.make_layer(&Layer { name: &upper, bytes, below: Some((&store.path(&disk), "qcow2")) })?;
    }
    machines::define_with_disk(session, resized, &upper)
}

/// Whether a definition has this file as its disk.
fn in_use(definition: &str, path: &str) -> Outcome<bool> {
    Ok(domain_xml::disk_path(definition)?.as_deref() == Some(path))
}

pub fn revert_resize(session: &Session, original: &MachineSpec) -> Outcome<()> {
    machines::find(session, original.id)?;
    refuse_alive(session, original.id)?;
    if session.store()?.has(&names::decided(original.id))? {
        // Half of the one and half of the other is no disk.
        return Trouble::refused("the resize is being confirmed: its disks are partly merged");
    }
    machines::define_with_disk(session, original, &names::disk(original.id))?;
    session.store()?.remove(&names::resized_disk(original.id))
}

/// Merges the upper layer into the disk. A machine that is off is held in memory meanwhile, without running, since
/// only QEMU merges; a mark on the host tells a later try that it was us who started it.
pub fn confirm_resize(session: &Session, machine: Uuid) -> Outcome<()> {
    let store = session.store()?;
    let domain = machines::find(session, machine)?;
    let (upper, mark) = (names::resized_disk(machine), names::merging(machine));
    if store.has(&mark)? && machines::alive(session, machine)? == Some(Alive::Paused) {
        domain.destroy()?;
    }
    if in_use(&domain.definition()?, &store.path(&upper))? {
        store.ensure_raw(&names::decided(machine), 0)?;
        if machines::alive(session, machine)? == Some(Alive::Off) {
            store.ensure_raw(&mark, 0)?;
            domain.start_paused()?;
        }
        merge(&domain)?;
        if store.has(&mark)? {
            domain.destroy()?;
        }
    }
    store.remove(&mark)?;
    store.remove(&upper)?;
    store.remove(&names::decided(machine))
}

fn merge(domain: &super::sys::Domain) -> Outcome<()> {
    if domain.block_job(DISK_TARGET)?.is_none() {
        domain.begin_commit_of_top_layer(DISK_TARGET)?;
    }
    loop {
        match domain.block_job(DISK_TARGET)? {
            Some((done, end)) if end > 0 && done == end && domain.pivot(DISK_TARGET).is_ok() => break,
            Some(_) => pause(LOOK_EVERY),
            None => {
                return Err(Trouble::Failed("the merge of the disk's layers ended early".to_owned()));
            }
        }
    }
    while domain.block_job(DISK_TARGET)?.is_some() {
        pause(LOOK_EVERY);
    }
    Ok(())
}
