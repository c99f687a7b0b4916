//! Tests of the built program with third-party clients.

mod access;
mod backups;
mod browser;
mod cdn;
mod clients;
mod custom_images;
mod disk;
mod durability;
mod golden;
mod machines;
mod parts;
mod passwords;
mod readme;
mod seeds;
mod server_clients;
mod servers;
mod starting;
mod strangers;
mod tidy;
mod tls;
mod twins;
