//! Publishing, and the edge that serves what is published.

mod caching;
mod cloud;
mod disk;
mod edge;
mod logs;
mod management;
mod origin;
mod purging;
mod rights;
mod serving;
