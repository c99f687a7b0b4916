//! Hosts run by libvirt with QEMU, touched only through libvirt's own calls, so that a host far away is like the one
//! we run on.

mod accelerator;
mod console;
mod disks;
mod domain_xml;
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
mod trouble;
mod uri;
mod xml;

pub use host::LibvirtHost;
