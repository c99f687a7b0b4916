//! The Swift dialect over an in-process router, on both engines.

mod accounts;
mod advisories;
mod aliases;
mod browsers;
mod bulk;
mod containers;
mod creators;
mod encryption;
mod expiry;
mod harness;
mod heartbeats;
mod large;
mod links;
mod logs;
mod objects;
mod order;
mod orphans;
mod packing;
mod quotas;
mod rates;
mod routes;
mod signatures;
mod sync;
mod uploads;
mod versions;
mod websites;
