//! Cloud Servers: servers and what can be done to them, over hosts that run machines.
//!
//! The service decides and writes in one unit what a request accepts, and answers; jobs carry it out in small
//! steps that survive a crash. Dialects are under [`api`].

pub mod api;
pub mod model;
mod service;
mod store;

pub use api::{Denied, Tokens};
pub use service::{
    Answers, Compute, Context, Deadlines, Error, Fence, Host, Launched, Pollable, ServerUsage, Settings,
    Upload,
};
