//! Tests of the v1.0 API on simulated hosts, by the guide's samples and rules.

mod assertions;
mod bed;
mod bodies;
mod crash;
mod custom_images;
mod documents;
mod evacuation;
mod faults;
mod hosts;
mod image_sharing;
mod limits;
mod metering;
mod migration;
mod orders;
mod polling;
mod random_operations;
mod samples;
mod sharing;
mod transitions;
mod unauthorized;
mod unknown_outcome;
