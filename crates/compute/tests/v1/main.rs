//! The v1.0 dialect over simulated hosts, by the guide's own samples and rules.

mod bed;
mod crash;
mod crossing;
mod faults;
mod hosts;
mod limits;
mod metering;
mod polling;
mod samples;
mod sharing;
mod transitions;
mod walk;
