//! Identity's tables. Contains every SQL statement of this service, each in a function that runs in its caller's unit.

pub(crate) mod audit;
pub(crate) mod catalog;
pub(crate) mod credentials;
pub(crate) mod domains;
pub(crate) mod grants;
pub(crate) mod known;
pub(crate) mod passwords;
pub(crate) mod roles;
pub(crate) mod tenants;
pub(crate) mod tokens;
pub(crate) mod users;

use database::Migration;

use crate::model::DEFAULT_DOMAIN;

/// Migrations of the tables, oldest first.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: work::TABLES },
    Migration { version: 2, sql: include_str!("store/schema.sql") },
    Migration { version: 3, sql: include_str!("store/passwords.sql") },
    Migration { version: 4, sql: include_str!("store/names.sql") },
    Migration { version: 5, sql: include_str!("store/token_limit.sql") },
    Migration { version: 6, sql: include_str!("store/domain_names.sql") },
    Migration { version: 7, sql: include_str!("store/extra.sql") },
    Migration { version: 8, sql: include_str!("store/known.sql") },
];

/// A page of a list that is ordered by id: at most `limit` rows after `marker`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) marker: String,
    pub(crate) limit: i64,
}

/// Returns the value of the column `name` of users and tenants. Names are unique per domain, but the column is unique per
/// table. So it holds the plain name in the domain `default`, and `DOMAIN/name` in any other. A name contains no slash.
pub(crate) fn key_of(domain_id: &str, name: &str) -> String {
    if domain_id == DEFAULT_DOMAIN { name.to_owned() } else { format!("{domain_id}/{name}") }
}

/// Returns the name that a value of the column `name` encodes.
pub(crate) fn name_of(key: String) -> String {
    match key.split_once('/') {
        Some((_, name)) => name.to_owned(),
        None => key,
    }
}
