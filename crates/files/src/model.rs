//! What Cloud Files is about: pure types and rules.

pub mod acl;
pub mod entry;
pub mod limits;
pub mod listing;
pub mod metadata;
pub mod name;
pub mod time;
