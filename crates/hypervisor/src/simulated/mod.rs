//! Simulated hosts: they behave like real hosts with short delays but run nothing. For tests, and for users who test
//! cloud tooling. State is kept in memory, and also in one file per host if a directory is given.

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
