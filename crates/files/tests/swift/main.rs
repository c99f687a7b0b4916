//! The Swift dialect over an in-process router, on both engines.

mod accounts;
mod containers;
mod expiry;
mod harness;
mod large;
mod links;
mod objects;
mod routes;
mod uploads;
mod versions;
