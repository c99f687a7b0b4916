//! Images on a host: a disk volume, perhaps a kernel and an initial RAM disk, and a seal once all are complete.

use tokio::runtime::Handle;

use super::link::Session;
use super::sys::Volume;
use super::transfer;
use super::trouble::{Outcome, Trouble, found};
use super::xml::Element;
use super::{domain_xml, names};
use crate::{Digest, DiskFormat, ImageSource, ImageSpec, Progress};

pub fn holds(session: &Session, digest: &Digest) -> Outcome<bool> {
    session.store()?.has(&names::image_seal(digest))
}

pub fn list(session: &Session) -> Outcome<Vec<Digest>> {
    Ok(session.store()?.names()?.iter().filter_map(|name| names::image_of_seal(name)).collect())
}

pub fn upload(
    session: &Session,
    image: &ImageSpec,
    source: ImageSource,
    progress: &Progress,
    runtime: &Handle,
) -> Outcome<()> {
    let store = session.store()?;
    let parts = [
        (names::image(&image.digest, image.format), "disk", Some(source.disk), Some(image.size_bytes)),
        (names::kernel(&image.digest), "kernel", source.kernel, image.kernel_bytes),
        (names::initrd(&image.digest), "initrd", source.initrd, image.initrd_bytes),
    ];
    let total = parts.iter().filter_map(|(_, _, _, length)| *length).sum();
    progress.begin(total);
    if holds(session, &image.digest)? {
        progress.set(total);
        return Ok(());
    }
    let (_, free) = store.space()?;
    if total > free {
        return Err(Trouble::NoCapacity(format!("the image has {total} bytes, {free} are free")));
    }
    for (volume, name, source, length) in parts {
        match (source, length) {
            (Some(mut source), Some(length)) => {
                let stream = store.replace_raw(&volume, length)?;
                transfer::send(&mut source, name, length, stream, runtime, progress)?;
            }
            (None, None) => store.remove(&volume)?,
            _ => return Trouble::refused(format!("{name}: length and stream belong together")),
        }
    }
    store.ensure_raw(&names::image_seal(&image.digest), 0)?;
    Ok(())
}

/// Breaks the seal first, so that nothing half removed counts as held.
pub fn drop_image(session: &Session, digest: &Digest) -> Outcome<()> {
    let store = session.store()?;
    let disks = [DiskFormat::Qcow2, DiskFormat::Raw].map(|format| names::image(digest, format));
    for name in store.names()?.iter().filter(|name| name.ends_with(".disk.qcow2")) {
        let below = store.find(name)?.map(|volume| backing_path(&volume)).transpose()?.flatten();
        if below.is_some_and(|below| disks.iter().any(|disk| below == store.path(disk))) {
            return Trouble::refused(format!("disk {name} is based on image {digest}"));
        }
    }
    refuse_booted(session, digest)?;
    store.remove(&names::image_seal(digest))?;
    for name in disks.into_iter().chain([names::kernel(digest), names::initrd(digest)]) {
        store.remove(&name)?;
    }
    Ok(())
}

/// A machine whose disk came from another host is based on no image, and yet boots the kernel of one.
fn refuse_booted(session: &Session, digest: &Digest) -> Outcome<()> {
    let store = session.store()?;
    let kernel = names::kernel(digest);
    if !store.has(&kernel)? {
        return Ok(());
    }
    let kernel = store.path(&kernel);
    for domain in session.connection.domains()? {
        let Some(definition) = found(domain.definition())? else { continue };
        if domain_xml::kernel_path(&definition)?.is_some_and(|path| path == kernel) {
            return Trouble::refused(format!("{} boots the kernel of image {digest}", domain.name()));
        }
    }
    Ok(())
}

/// The volume below a layer, by its path.
pub fn backing_path(volume: &Volume) -> Outcome<Option<String>> {
    let definition = Element::parse(&volume.definition()?)?;
    Ok(definition.text_at(&["backingStore", "path"]).map(str::to_owned))
}

/// The disk of a held image: its path and format on the host, and its size in bytes as a guest sees it.
pub struct BaseDisk {
    pub path: String,
    pub format: &'static str,
    pub virtual_bytes: u64,
}

pub fn base_disk(session: &Session, digest: &Digest) -> Outcome<BaseDisk> {
    let store = session.store()?;
    if !holds(session, digest)? {
        return Err(Trouble::NotFound(format!("image {digest}")));
    }
    if let Some(volume) = store.find(&names::image(digest, DiskFormat::Qcow2))? {
        let path = store.path(&volume.name());
        return Ok(BaseDisk { path, format: "qcow2", virtual_bytes: qcow2_bytes(session, &volume)? });
    }
    if let Some(volume) = store.find(&names::image(digest, DiskFormat::Raw))? {
        let (_, virtual_bytes) = volume.sizes()?;
        return Ok(BaseDisk { path: store.path(&volume.name()), format: "raw", virtual_bytes });
    }
    Err(Trouble::NotFound(format!("disk of image {digest}")))
}

/// Where the header of a qcow2 has the size that a guest sees.
const QCOW2_SIZE_OFFSET: u64 = 24;

/// Size in bytes of a qcow2 as a guest sees it, from the file itself: libvirt's own idea of it dates from the
/// volume's making.
pub fn qcow2_bytes(session: &Session, volume: &Volume) -> Outcome<u64> {
    let stream = session.store()?.read(volume, QCOW2_SIZE_OFFSET, 8)?;
    let bytes = transfer::read_some(stream, 8)?;
    let bytes: [u8; 8] =
        bytes.try_into().map_err(|_| Trouble::Failed("a qcow2 without a header".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}
