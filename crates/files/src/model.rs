//! Types and rules of Cloud Files without I/O.

pub mod access;
pub mod account_acl;
pub mod acl;
pub mod cname;
pub mod entry;
pub mod etag;
pub mod json;
pub mod limits;
pub mod listing;
pub mod manifest;
pub mod metadata;
pub mod name;
pub mod policy;
pub mod quota;
pub mod rates;
pub mod realms;
mod shallow;
pub mod shape;
pub mod signature;
pub mod tar;
pub mod time;
pub mod version;
