//! Tests of the images service on PostgreSQL and SQLite.

mod bed;
mod images;
mod registering;
mod sharing;
