//! The service of images on both databases.

mod bed;
mod images;
mod registering;
mod sharing;
