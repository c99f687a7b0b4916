//! Address pools, ports and shared addresses: which server may use which address, with which card.
//!
//! A server has one port in each of its networks. A port holds addresses: its own, and those that other servers
//! share with it. An address is free once no port holds it. Everything is idempotent by the server's id, so that a
//! job which died may ask again, and a sweep frees what belongs to servers that are no more.

mod model;
mod service;
mod store;

pub use model::{
    Config, Held, Label, PRIVATE_NETWORK, PUBLIC_NETWORK, Pool, Port, PublicAddress, machine_nics,
};
pub use service::{Error, Networks, Servers};
