//! Publishing, through the router that the program serves.

mod cloud;
mod management;
mod purging;
mod rights;
