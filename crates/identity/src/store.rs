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

use crate::model::DEFAULT_DOMAIN;

/// The tables, oldest change first.
pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: work::TABLES },
    Migration { version: 2, sql: include_str!("store/schema.sql") },
    Migration { version: 3, sql: include_str!("store/passwords.sql") },
    Migration { version: 4, sql: include_str!("store/names.sql") },
    Migration { version: 5, sql: include_str!("store/token_limit.sql") },
    Migration { version: 6, sql: include_str!("store/domain_names.sql") },
    Migration { version: 7, sql: include_str!("store/extra.sql") },
];

/// A page of a list that is ordered by id: what comes after `marker`, at most `limit` of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Page {
    pub(crate) marker: String,
    pub(crate) limit: i64,
}

/// What the column `name` of users and tenants holds. Names are unique in their domain, and the column is unique in its
/// table: it has the plain name in the domain `default`, and `DOMAIN/name` in any other. A name has no slash.
pub(crate) fn key_of(domain_id: &str, name: &str) -> String {
    if domain_id == DEFAULT_DOMAIN { name.to_owned() } else { format!("{domain_id}/{name}") }
}

/// The name that a row's column `name` stands for.
pub(crate) fn name_of(key: String) -> String {
    match key.split_once('/') {
        Some((_, name)) => name.to_owned(),
        None => key,
    }
}
