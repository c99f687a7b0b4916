//! Cloud Servers: servers, their lifecycle and the hosts that run their machines.
//!
//! A request is checked and recorded, with its job, in one transaction before the response is sent. Jobs then execute
//! it in small steps that survive a crash. The wire APIs are under [`api`].

pub mod api;
pub mod model;
mod service;
mod store;

pub use api::{Denied, Tokens};
pub use service::{
    Compute, Context, Deadlines, Error, Fence, Host, Launched, Pollable, ResponseStyle, ServerUsage,
    Settings, Upload,
};
