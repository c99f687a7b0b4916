//! A machine's disk: a layer over its image, and a second layer over that while a resize is unconfirmed.

use std::time::Duration;

use uuid::Uuid;

use super::error::{LibvirtError, Outcome};
use super::images::{self, backing_path, qcow2_bytes};
use super::link::{Session, pause};
use super::machines::{self, Alive};
use super::names;
use super::store::Layer;
use super::{domain_xml, domain_xml::DISK_TARGET};
use crate::MachineSpec;

const POLL_INTERVAL: Duration = Duration::from_millis(50);

pub fn ensure(session: &Session, machine: &MachineSpec) -> Outcome<()> {
    let store = session.store()?;
    let name = names::disk(machine.id);
    if let Some(disk) = store.find(&name)? {
        if backing_path(&disk).is_ok_and(|below| below.is_some()) {
            return Ok(());
        }
        tracing::warn!(disk = name, "replacing an incomplete disk");
    }
    create(session, machine)
}

pub fn replace(session: &Session, machine: &MachineSpec) -> Outcome<()> {
    check_off(session, machine.id)?;
    images::base_disk(session, &machine.image)?;
    session.store()?.remove(&names::resized_disk(machine.id))?;
    session.store()?.remove(&names::confirming(machine.id))?;
    create(session, machine)?;
    // The new disk does not need the snapshot that was received from another host.
    session.store()?.remove(&names::received(machine.id))?;
    session.store()?.remove(&names::received_base(machine.id))
}

fn create(session: &Session, machine: &MachineSpec) -> Outcome<()> {
    let store = session.store()?;
    let base = images::base_disk(session, &machine.image)?;
    let name = names::disk(machine.id);
    store.remove(&name)?;
    let bytes = machine.disk_bytes.max(base.virtual_bytes);
    store.create_layer(&Layer { name: &name, bytes, below: Some((&base.path, base.format)) })?;
    Ok(())
}

pub fn check_off(session: &Session, machine: Uuid) -> Outcome<()> {
    match machines::alive(session, machine)? {
        Some(Alive::Off) | None => Ok(()),
        Some(_) => LibvirtError::refused("the machine is not shut off"),
    }
}

/// Adds a layer over the disk, so that the disk itself stays unchanged for a revert.
pub fn begin_resize(session: &Session, resized: &MachineSpec) -> Outcome<()> {
    let store = session.store()?;
    let domain = machines::find(session, resized.id)?;
    check_off(session, resized.id)?;
    let (disk, upper) = (names::disk(resized.id), names::resized_disk(resized.id));
    if !in_use(&domain.definition()?, &store.path(&upper))? {
        store.remove(&upper)?;
        let lower = store.find(&disk)?.ok_or_else(|| LibvirtError::NotFound(format!("disk {disk}")))?;
        let bytes = resized.disk_bytes.max(qcow2_bytes(session, &lower)?);
        store.create_layer(&Layer { name: &upper, bytes, below: Some((&store.path(&disk), "qcow2")) })?;
    }
    machines::define_with_disk(session, resized, &upper)
}

/// Returns whether a definition uses this file as its disk.
fn in_use(definition: &str, path: &str) -> Outcome<bool> {
    Ok(domain_xml::disk_path(definition)?.as_deref() == Some(path))
}

pub fn revert_resize(session: &Session, original: &MachineSpec) -> Outcome<()> {
    machines::find(session, original.id)?;
    check_off(session, original.id)?;
    if session.store()?.has(&names::confirming(original.id))? {
        // A partly merged disk is unusable.
        return LibvirtError::refused("the resize is being confirmed: its disks are partly merged");
    }
    machines::define_with_disk(session, original, &names::disk(original.id))?;
    session.store()?.remove(&names::resized_disk(original.id))
}

/// Merges the upper layer into the disk. Only QEMU can merge, so a machine that is off is started paused for that
/// time. A marker file on the host tells a retry that the machine was started for this.
pub fn confirm_resize(session: &Session, machine: Uuid) -> Outcome<()> {
    let store = session.store()?;
    let domain = machines::find(session, machine)?;
    let (upper, marker) = (names::resized_disk(machine), names::merging(machine));
    if store.has(&marker)? && machines::alive(session, machine)? == Some(Alive::Paused) {
        domain.destroy()?;
    }
    if in_use(&domain.definition()?, &store.path(&upper))? {
        store.ensure_raw(&names::confirming(machine), 0)?;
        if machines::alive(session, machine)? == Some(Alive::Off) {
            store.ensure_raw(&marker, 0)?;
            domain.start_paused()?;
        }
        merge(&domain)?;
        if store.has(&marker)? {
            domain.destroy()?;
        }
    }
    store.remove(&marker)?;
    store.remove(&upper)?;
    store.remove(&names::confirming(machine))
}

fn merge(domain: &super::sys::Domain) -> Outcome<()> {
    if domain.block_job(DISK_TARGET)?.is_none() {
        domain.begin_commit_of_top_layer(DISK_TARGET)?;
    }
    loop {
        match domain.block_job(DISK_TARGET)? {
            Some((done, end)) if end > 0 && done == end && domain.pivot(DISK_TARGET).is_ok() => break,
            Some(_) => pause(POLL_INTERVAL),
            None => {
                return Err(LibvirtError::Failed(
                    "the merge of the disk's layers ended before it was complete".to_owned(),
                ));
            }
        }
    }
    while domain.block_job(DISK_TARGET)?.is_some() {
        pause(POLL_INTERVAL);
    }
    Ok(())
}
