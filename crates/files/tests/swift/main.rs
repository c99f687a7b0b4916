//! The Swift dialect over an in-process router, on both engines.

mod accounts;
mod browsers;
mod bulk;
mod containers;
mod expiry;
mod harness;
mod large;
mod links;
mod objects;
mod quotas;
mod routes;
mod signatures;
mod uploads;
mod versions;
mod websites;
