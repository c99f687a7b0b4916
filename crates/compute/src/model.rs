//! Plain values: servers and their states, flavors, limits, backup windows, shared IP groups.

pub mod backup;
pub mod flavor;
pub mod launch;
pub mod limits;
pub mod server;
pub mod state;
mod work_item;

pub use backup::{Cadence, Daily, Schedule, Weekly};
pub use flavor::{FLAVORS, Flavor};
pub use launch::{File, Launch};
pub use limits::{Limits, Rate, Rule, Unit};
pub use server::{Fault, Group, Id, Other, Page, Resize, Server};
pub use state::{Action, Reboot, Refusal, State, Task, Vm};
pub(crate) use work_item::{JobPayload, NewImage, WorkItem};
