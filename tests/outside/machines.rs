//! Real machines: QEMU under libvirt, in namespaces of the tests' own, as their guests see them.

mod addresses;
mod changes;
mod crossing;
mod kills;
mod power;
mod remote;
mod time;
