//! The v1.0 dialect over simulated hosts, by the guide's own samples and rules.

mod alike;
mod bed;
mod bodies;
mod crash;
mod crossing;
mod custom_images;
mod documents;
mod faults;
mod given_up;
mod hosts;
mod image_sharing;
mod limits;
mod metering;
mod orders;
mod polling;
mod samples;
mod sharing;
mod strangers;
mod transitions;
mod unknown;
mod walk;
