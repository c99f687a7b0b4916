//! Identity from outside: its dialects over the router in process, and what other services call.

mod cloud;
mod tokens;
mod v1;
mod v2;
mod v3;
