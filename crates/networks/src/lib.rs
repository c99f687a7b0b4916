//! Address pools, ports and shared addresses: which server may use which address on which network interface.
//!
//! A server has one port in each of its networks. A port holds its own address and those that other servers share with it.
//! An address is free once no port holds it. All operations are idempotent by the server's id, so that a job can retry them
//! after a crash. A sweep frees the ports of servers that no longer exist.

mod model;
mod service;
mod store;

pub use model::{
    Config, Label, PRIVATE_NETWORK, PUBLIC_NETWORK, Pool, Port, PortAddress, PublicAddress, machine_nics,
};
pub use service::{Error, Networks, Servers};
