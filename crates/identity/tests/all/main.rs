//! Identity from outside: its dialects through the router in process, and the functions that other services call.

mod administration;
mod cloud;
mod guessing;
mod hostile;
mod passwords;
mod rights;
mod routes;
mod strangers;
mod tokens;
mod unknown;
mod v1;
mod v11;
mod v2;
mod v2_account;
mod v3;
mod v3_manage;
