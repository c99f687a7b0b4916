//! Hosts run by libvirt with QEMU. They are accessed only through libvirt's API, so a remote host works like the local one.

mod accelerator;
mod console;
mod disks;
mod domain_xml;
mod error;
mod filters;
mod host;
mod images;
mod lifecycle;
mod link;
mod machines;
mod names;
mod networks;
mod plugs;
mod received;
mod snapshots;
mod store;
mod sys;
mod transfer;
mod uri;
mod xml;

pub use host::LibvirtHost;
