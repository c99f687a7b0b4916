//! Real machines: QEMU under libvirt, in namespaces, as seen by their guests.

mod addresses;
mod changes;
mod crossing;
mod kills;
mod power;
mod remote;
mod time;
