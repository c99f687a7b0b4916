//! The storage of a simulated host: images, disks, resizes and snapshots.

use tokio::io::AsyncReadExt;
use uuid::Uuid;

use super::host::SimulatedHost;
use super::state::{Disk, State};
use super::{blank, state};
use crate::{Error, ImageSource, ImageSpec, MachineSpec, Progress, Reader, Result, Snapshot};

fn refused(operation: &'static str, reason: String) -> Error {
    Error::Refused { operation, reason }
}

async fn read_exactly(
    operation: &'static str,
    mut reader: Reader,
    name: &str,
    expected: u64,
    progress: &Progress,
) -> Result<()> {
    let mut buffer = vec![0; 65_536];
    let mut seen = 0;
    loop {
        let failed = |error| Error::Failed { operation, reason: format!("{name}: {error}") };
        let count = reader.read(&mut buffer).await.map_err(failed)?;
        seen += count as u64;
        if count == 0 || seen > expected {
            break;
        }
        progress.advance(count as u64);
    }
    if seen == expected {
        Ok(())
    } else {
        let comparison = if seen > expected { "longer" } else { "shorter" };
        Err(refused(operation, format!("{name} is {comparison} than {expected} bytes")))
    }
}

pub async fn upload_image(
    host: &SimulatedHost,
    image: &ImageSpec,
    source: ImageSource,
    progress: &Progress,
) -> Result<()> {
    host.check_reachable()?;
    let kernel = image.kernel_bytes.unwrap_or(0);
    let initrd = image.initrd_bytes.unwrap_or(0);
    let total = image.size_bytes + kernel + initrd;
    progress.begin(total);
    if host.read(|state| state.rest.images.contains_key(&image.digest))? {
        progress.set(total);
        return Ok(());
    }
    progress.begin(2 * total);
    read_exactly("upload_image", source.disk, "disk", image.size_bytes, progress).await?;
    for (reader, name, expected) in
        [(source.kernel, "kernel", image.kernel_bytes), (source.initrd, "initrd", image.initrd_bytes)]
    {
        match (reader, expected) {
            (Some(reader), Some(expected)) => {
                read_exactly("upload_image", reader, name, expected, progress).await?;
            }
            (None, None) => {}
            _ => {
                return Err(refused(
                    "upload_image",
                    format!("{name}: either both length and stream must be given or neither"),
                ));
            }
        }
    }
    host.pass("upload_image", None).await?;
    host.write(|state| {
        state.rest.images.insert(image.digest.clone(), image.clone());
        Ok(())
    })?;
    progress.set(2 * total);
    Ok(())
}

fn create_disk(
    host: &SimulatedHost,
    state: &mut State,
    machine: &MachineSpec,
    operation: &'static str,
) -> Result<()> {
    let image = state.rest.images.get(&machine.image);
    let missing = || Error::NotFound { operation, what: format!("image {}", machine.image) };
    let bytes = image.ok_or_else(missing)?.virtual_bytes.max(machine.disk_bytes);
    check_space(host, state, bytes, operation)?;
    state.disks.insert(
        machine.id,
        Disk { image: machine.image.clone(), bytes, before_resize: None, received: None },
    );
    Ok(())
}

fn check_space(host: &SimulatedHost, state: &State, bytes: u64, operation: &'static str) -> Result<()> {
    let free = (host.settings().disk_gib << 30).saturating_sub(state.disk_in_use());
    if bytes > free {
        return Err(Error::NoCapacity { operation, reason: format!("{bytes} bytes requested, {free} free") });
    }
    Ok(())
}

pub async fn ensure_disk(host: &SimulatedHost, machine: &MachineSpec) -> Result<()> {
    host.pass("ensure_disk", Some(machine.id)).await?;
    host.write_of(machine.id, |state| {
        if state.disks.contains_key(&machine.id) {
            return Ok(());
        }
        create_disk(host, state, machine, "ensure_disk")
    })
}

pub async fn replace_disk(host: &SimulatedHost, machine: &MachineSpec) -> Result<()> {
    host.pass("replace_disk", Some(machine.id)).await?;
    host.write_of(machine.id, |state| {
        check_off(state, machine.id, "replace_disk")?;
        create_disk(host, state, machine, "replace_disk")
    })
}

pub async fn receive_disk(
    host: &SimulatedHost,
    machine: &MachineSpec,
    snapshot: Uuid,
    source: Snapshot,
    progress: &Progress,
) -> Result<()> {
    let (operation, id) = ("receive_disk", machine.id);
    host.check_reachable()?;
    progress.begin(source.size_bytes);
    let is_whole = |state: &State| {
        check_off(state, id, operation)?;
        Ok::<_, Error>(state.disks.get(&id).is_some_and(|disk| disk.received == Some(snapshot)))
    };
    if host.read(is_whole)?? {
        progress.set(source.size_bytes);
        return Ok(());
    }
    read_exactly(operation, source.reader, "the snapshot", source.size_bytes, progress).await?;
    host.pass(operation, Some(id)).await?;
    let bytes = machine.disk_bytes.max(source.virtual_bytes);
    host.write_of(id, |state| {
        check_off(state, id, operation)?;
        check_space(host, state, bytes, operation)?;
        state.remove_machine(id);
        let image = machine.image.clone();
        state.disks.insert(id, Disk { image, bytes, before_resize: None, received: Some(snapshot) });
        Ok(())
    })
}

fn check_off(state: &State, machine: Uuid, operation: &'static str) -> Result<()> {
    if state.machines.get(&machine).is_some_and(state::Machine::is_alive) {
        return Err(refused(operation, "the machine is not shut off".to_owned()));
    }
    Ok(())
}

pub async fn begin_resize(host: &SimulatedHost, resized: &MachineSpec) -> Result<()> {
    host.pass("begin_resize", Some(resized.id)).await?;
    let operation = "begin_resize";
    host.write_of(resized.id, |state| {
        check_off(state, resized.id, operation)?;
        let missing = Error::NoMachine { operation, machine: resized.id };
        let disk = state.disks.get(&resized.id).cloned().ok_or(missing.clone())?;
        let larger = resized.disk_bytes.max(disk.bytes);
        check_space(host, state, larger - disk.bytes, operation)?;
        state.machines.get_mut(&resized.id).ok_or(missing)?.spec = resized.clone();
        let before_resize = Some(disk.before_resize.unwrap_or(disk.bytes));
        state.disks.insert(resized.id, Disk { bytes: larger, before_resize, ..disk });
        Ok(())
    })
}

pub async fn revert_resize(host: &SimulatedHost, original: &MachineSpec) -> Result<()> {
    host.pass("revert_resize", Some(original.id)).await?;
    let operation = "revert_resize";
    host.write_of(original.id, |state| {
        check_off(state, original.id, operation)?;
        let missing = Error::NoMachine { operation, machine: original.id };
        state.machines.get_mut(&original.id).ok_or(missing)?.spec = original.clone();
        if let Some(disk) = state.disks.get_mut(&original.id) {
            disk.bytes = disk.before_resize.take().unwrap_or(disk.bytes);
        }
        Ok(())
    })
}

pub async fn confirm_resize(host: &SimulatedHost, machine: Uuid) -> Result<()> {
    host.pass("confirm_resize", Some(machine)).await?;
    host.write_of(machine, |state| {
        let missing = Error::NoMachine { operation: "confirm_resize", machine };
        state.disks.get_mut(&machine).ok_or(missing)?.before_resize = None;
        Ok(())
    })
}

pub async fn take_snapshot(
    host: &SimulatedHost,
    machine: Uuid,
    snapshot: Uuid,
    progress: &Progress,
) -> Result<()> {
    let bytes = snapshot_bytes(host, machine)?;
    progress.begin(bytes);
    if host.read(|state| state.rest.snapshots.contains_key(&snapshot))? {
        progress.set(bytes);
        return Ok(());
    }
    progress.set(bytes / 2);
    host.pass("take_snapshot", Some(machine)).await?;
    host.write(|state| {
        state.rest.snapshots.insert(snapshot, bytes);
        Ok(())
    })?;
    progress.set(bytes);
    Ok(())
}

pub fn snapshot_bytes(host: &SimulatedHost, machine: Uuid) -> Result<u64> {
    let missing = Error::NoMachine { operation: "snapshot_bytes", machine };
    host.read(|state| state.disks.get(&machine).map(|disk| disk.bytes))?.ok_or(missing)
}

pub fn open_snapshot(host: &SimulatedHost, snapshot: Uuid) -> Result<Snapshot> {
    let missing = Error::NotFound { operation: "open_snapshot", what: format!("snapshot {snapshot}") };
    let virtual_bytes = host.read(|state| state.rest.snapshots.get(&snapshot).copied())?.ok_or(missing)?;
    let bytes = blank::qcow2(virtual_bytes);
    let size_bytes = bytes.len() as u64;
    Ok(Snapshot { size_bytes, virtual_bytes, reader: Box::pin(std::io::Cursor::new(bytes)) })
}
