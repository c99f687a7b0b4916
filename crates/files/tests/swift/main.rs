//! The Swift dialect over an in-process router, on both engines.

mod accounts;
mod containers;
mod harness;
mod objects;
mod routes;
mod uploads;
