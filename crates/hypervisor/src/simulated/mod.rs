//! Hosts on which nothing runs: the whole behaviour of a host with short delays, for tests and for people who test
//! cloud tooling. State is kept for the life of the process, and in one file per host when a directory is given.

mod blank;
mod calls;
mod disks;
mod host;
mod journal;
mod settings;
mod state;
mod steps;

pub use host::SimulatedHost;
pub use settings::Settings;
pub use steps::{Step, Steps};
