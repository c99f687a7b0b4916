//! Images on a host: a disk volume, optionally a kernel and an initial RAM disk, and a marker file once all are complete.

use tokio::runtime::Handle;

use super::error::{LibvirtError, Outcome, optional};
use super::link::Session;
use super::sys::Volume;
use super::transfer;
use super::xml::Element;
use super::{domain_xml, names};
use crate::{Digest, DiskFormat, ImageSource, ImageSpec, Progress};

pub fn holds(session: &Session, digest: &Digest) -> Outcome<bool> {
    session.store()?.has(&names::image_marker(digest))
}

pub fn list(session: &Session) -> Outcome<Vec<Digest>> {
    Ok(session.store()?.names()?.iter().filter_map(|name| names::image_of_marker(name)).collect())
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
        return Err(LibvirtError::NoCapacity(format!("the image has {total} bytes, {free} bytes are free")));
    }
    for (volume, name, source, length) in parts {
        match (source, length) {
            (Some(mut source), Some(length)) => {
                let stream = store.replace_raw(&volume, length)?;
                transfer::send(&mut source, name, length, stream, runtime, progress)?;
            }
            (None, None) => store.remove(&volume)?,
            _ => {
                return LibvirtError::refused(format!(
                    "{name}: either both length and stream must be given or neither"
                ));
            }
        }
    }
    store.ensure_raw(&names::image_marker(&image.digest), 0)?;
    Ok(())
}

/// Removes an image. The marker is removed first, so that a partly removed image does not count as complete.
pub fn drop_image(session: &Session, digest: &Digest) -> Outcome<()> {
    let store = session.store()?;
    let disks = [DiskFormat::Qcow2, DiskFormat::Raw].map(|format| names::image(digest, format));
    for name in store.names()?.iter().filter(|name| name.ends_with(".disk.qcow2")) {
        let below = store.find(name)?.map(|volume| backing_path(&volume)).transpose()?.flatten();
        if below.is_some_and(|below| disks.iter().any(|disk| below == store.path(disk))) {
            return LibvirtError::refused(format!("disk {name} is based on image {digest}"));
        }
    }
    check_not_booted(session, digest)?;
    store.remove(&names::image_marker(digest))?;
    for name in disks.into_iter().chain([names::kernel(digest), names::initrd(digest)]) {
        store.remove(&name)?;
    }
    Ok(())
}

/// Checks that no machine boots the image's kernel. A machine whose disk was received from another host is not based
/// on the image but still boots its kernel.
fn check_not_booted(session: &Session, digest: &Digest) -> Outcome<()> {
    let store = session.store()?;
    let kernel = names::kernel(digest);
    if !store.has(&kernel)? {
        return Ok(());
    }
    let kernel = store.path(&kernel);
    for domain in session.connection.domains()? {
        let Some(definition) = optional(domain.definition())? else { continue };
        if domain_xml::kernel_path(&definition)?.is_some_and(|path| path == kernel) {
            return LibvirtError::refused(format!("{} boots the kernel of image {digest}", domain.name()));
        }
    }
    Ok(())
}

/// Returns the path of a volume's backing file.
pub fn backing_path(volume: &Volume) -> Outcome<Option<String>> {
    let definition = Element::parse(&volume.definition()?)?;
    Ok(definition.text_at(&["backingStore", "path"]).map(str::to_owned))
}

/// The disk of a complete image: its path and format on the host, and its virtual size in bytes.
pub struct BaseDisk {
    pub path: String,
    pub format: &'static str,
    pub virtual_bytes: u64,
}

pub fn base_disk(session: &Session, digest: &Digest) -> Outcome<BaseDisk> {
    let store = session.store()?;
    if !holds(session, digest)? {
        return Err(LibvirtError::NotFound(format!("image {digest}")));
    }
    if let Some(volume) = store.find(&names::image(digest, DiskFormat::Qcow2))? {
        let path = store.path(&volume.name());
        return Ok(BaseDisk { path, format: "qcow2", virtual_bytes: qcow2_bytes(session, &volume)? });
    }
    if let Some(volume) = store.find(&names::image(digest, DiskFormat::Raw))? {
        let (_, virtual_bytes) = volume.sizes()?;
        return Ok(BaseDisk { path: store.path(&volume.name()), format: "raw", virtual_bytes });
    }
    Err(LibvirtError::NotFound(format!("disk of image {digest}")))
}

/// Offset of the virtual size in the header of a qcow2.
const QCOW2_SIZE_OFFSET: u64 = 24;

/// Returns the virtual size of a qcow2 in bytes, read from the file: libvirt's value is the one at the volume's creation.
pub fn qcow2_bytes(session: &Session, volume: &Volume) -> Outcome<u64> {
    let stream = session.store()?.read(volume, QCOW2_SIZE_OFFSET, 8)?;
    let bytes = transfer::read_some(stream, 8)?;
    let bytes: [u8; 8] =
        bytes.try_into().map_err(|_| LibvirtError::Failed("a qcow2 has no header".to_owned()))?;
    Ok(u64::from_be_bytes(bytes))
}
