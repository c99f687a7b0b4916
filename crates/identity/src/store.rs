//! Identity's tables: every SQL statement of this service, each as a function over the unit that it is part of.

pub(crate) mod audit;
pub(crate) mod catalog;
pub(crate) mod credentials;
pub(crate) mod domains;
pub(crate) mod grants;
pub(crate) mod passwords;
pub(crate) mod roles;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod users;

use database::Migration;

/// The tables, oldest change first.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: work::TABLES },
    Migration { version: 2, sql: include_str!("store/schema.sql") },
    Migration { version: 3, sql: include_str!("store/passwords.sql") },
    Migration { version: 4, sql: include_str!("store/names.sql") },
    Migration { version: 5, sql: include_str!("store/token_limit.sql") },
];

/// A page of a list that is ordered by id: what comes after `marker`, at most `limit` of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) marker: String,
    pub(crate) limit: i64,
}
