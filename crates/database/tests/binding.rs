//! A database records which cloud it belongs to.

use database::{CloudBinding, CloudRow, Database, Migration, on_each_engine};

const TABLES: &[Migration] =
    &[Migration { version: 1, sql: "CREATE TABLE t (id BIGINT NOT NULL PRIMARY KEY) WITHOUT ROWID;" }];

on_each_engine! {
    async fn a_database_is_absent_then_unbound_then_bound_for_good(location: &Location) {
        assert_eq!(CloudBinding::read(location, "s").await.unwrap(), CloudBinding::Absent);
        drop(Database::open(location, "s", TABLES).await.unwrap());
        assert_eq!(CloudBinding::read(location, "s").await.unwrap(), CloudBinding::Unbound);
        let row = CloudRow { cloud: "one".into(), key_check: "k".into(), since: 7 };
        CloudBinding::write(location, "s", &row).await.unwrap();
        let other = CloudRow { cloud: "two".into(), ..row.clone() };
        CloudBinding::write(location, "s", &other).await.unwrap();
        assert_eq!(CloudBinding::read(location, "s").await.unwrap(), CloudBinding::Bound(row));
        assert_eq!(CloudBinding::read(location, "other").await.unwrap(), CloudBinding::Absent);
        drop(Database::open(location, "s", TABLES).await.unwrap());
    }
}
