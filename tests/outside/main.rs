//! The whole cloud from outside: the built program, driven by clients that nobody here wrote.

mod clients;
mod durability;
mod seeds;
mod starting;
mod tidy;
