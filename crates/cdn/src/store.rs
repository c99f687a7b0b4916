//! The CDN's tables.

pub(crate) mod limits;
pub(crate) mod purges;

use database::{Error, Migration, Row, Tx, params};
use work::Time;

use crate::model::{Hash, Publication, Ttl};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE publications (
              hash BLOB NOT NULL PRIMARY KEY, tenant TEXT NOT NULL, container BLOB NOT NULL,
              enabled BIGINT NOT NULL, ttl BIGINT NOT NULL, log_retention BIGINT NOT NULL, removed BIGINT NOT NULL,
              generation BIGINT NOT NULL, purged BIGINT NOT NULL, purged_at BIGINT,
              user_agents TEXT NOT NULL, referrers TEXT NOT NULL
          ) WITHOUT ROWID;
          CREATE UNIQUE INDEX publications_by_name ON publications (tenant, container);
          CREATE TABLE purges (
              hash BLOB NOT NULL, object BLOB NOT NULL, generation BIGINT NOT NULL, PRIMARY KEY (hash, object)
          ) WITHOUT ROWID;
          CREATE TABLE purge_counts (
              tenant TEXT NOT NULL PRIMARY KEY, day BIGINT NOT NULL, purges BIGINT NOT NULL
          ) WITHOUT ROWID;
          CREATE TABLE limits (tenant TEXT NOT NULL PRIMARY KEY, purges BIGINT) WITHOUT ROWID;",
}];

fn unreadable(what: &str) -> Error {
    Error::Statement { statement: "publications".into(), reason: format!("unreadable {what}") }
}

/// A count as databases have it.
fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn publication(mut row: Row) -> Result<Publication, Error> {
    let hash: Vec<u8> = row.take(0)?;
    let container: Vec<u8> = row.take(2)?;
    Ok(Publication {
        hash: Hash::from_bytes(&hash).ok_or_else(|| unreadable("hash"))?,
        tenant: row.take(1)?,
        container: String::from_utf8(container).map_err(|_| unreadable("container"))?,
        enabled: row.take(3)?,
        ttl: Ttl::clamped(row.take::<i64>(4)?.into()),
        log_retention: row.take(5)?,
        removed: row.take(6)?,
        generation: row.take(7)?,
        purged: row.take(8)?,
        user_agents: row.take(9)?,
        referrers: row.take(10)?,
    })
}

pub(crate) async fn find(tx: &mut Tx, tenant: &str, container: &str) -> Result<Option<Publication>, Error> {
    let sql = "SELECT hash, tenant, container, enabled, ttl, log_retention, removed, generation, purged, user_agents,
               referrers FROM publications WHERE tenant = $1 AND container = $2";
    tx.row(sql, params![tenant, container.as_bytes()]).await?.map(publication).transpose()
}

pub(crate) async fn find_by_hash(tx: &mut Tx, hash: Hash) -> Result<Option<Publication>, Error> {
    let sql = "SELECT hash, tenant, container, enabled, ttl, log_retention, removed, generation, purged, user_agents,
               referrers FROM publications WHERE hash = $1";
    tx.row(sql, params![hash.to_bytes()]).await?.map(publication).transpose()
}

/// Inserts a publication or replaces the one of the same container.
pub(crate) async fn put(tx: &mut Tx, new: &Publication) -> Result<(), Error> {
    let sql = "INSERT INTO publications (hash, tenant, container, enabled, ttl, log_retention, removed, generation,
                   purged, user_agents, referrers)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
               ON CONFLICT (hash) DO UPDATE SET enabled = excluded.enabled, ttl = excluded.ttl,
                   log_retention = excluded.log_retention, removed = excluded.removed,
                   generation = excluded.generation, purged = excluded.purged, user_agents = excluded.user_agents,
                   referrers = excluded.referrers";
    let hash = new.hash.to_bytes();
    tx.execute(
        sql,
        params![
            hash,
            new.tenant,
            new.container.as_bytes(),
            new.enabled,
            i64::from(new.ttl.seconds()),
            new.log_retention,
            new.removed,
            signed(new.generation),
            signed(new.purged),
            new.user_agents,
            new.referrers
        ],
    )
    .await
    .map(|_| ())
}

/// Publications of a tenant that were not removed, by name: after `marker`, before `end_marker` unless it is empty.
pub(crate) async fn list(
    tx: &mut Tx,
    tenant: &str,
    (marker, end_marker): (&str, &str),
    enabled: Option<bool>,
    limit: i64,
) -> Result<Vec<Publication>, Error> {
    let sql = "SELECT hash, tenant, container, enabled, ttl, log_retention, removed, generation, purged, user_agents,
               referrers FROM publications
               WHERE tenant = $1 AND container > $2 AND ($3 = 0 OR container < $4) AND removed = 0
                   AND ($5 < 0 OR enabled = $5)
               ORDER BY container LIMIT $6";
    let wanted = enabled.map_or(-1, i64::from);
    let rows = tx
        .rows(
            sql,
            params![
                tenant,
                marker.as_bytes(),
                i64::from(!end_marker.is_empty()),
                end_marker.as_bytes(),
                wanted,
                limit
            ],
        )
        .await?;
    rows.into_iter().map(publication).collect()
}

/// When the whole container was purged last.
pub(crate) async fn last_container_purge(tx: &mut Tx, hash: Hash) -> Result<Option<Time>, Error> {
    let sql = "SELECT purged_at FROM publications WHERE hash = $1";
    let row = tx.row(sql, params![hash.to_bytes()]).await?;
    let at: Option<i64> = row.map(|row| row.get(0)).transpose()?.flatten();
    Ok(at.map(Time))
}

pub(crate) async fn set_container_purge(tx: &mut Tx, hash: Hash, at: Time) -> Result<(), Error> {
    let sql = "UPDATE publications SET purged_at = $2 WHERE hash = $1";
    tx.execute(sql, params![hash.to_bytes(), at.0]).await.map(|_| ())
}

/// Deletes everything of a tenant.
pub(crate) async fn delete_tenant(tx: &mut Tx, tenant: &str) -> Result<(), Error> {
    let purges = "DELETE FROM purges WHERE hash IN (SELECT hash FROM publications WHERE tenant = $1)";
    tx.execute(purges, params![tenant]).await?;
    tx.execute("DELETE FROM publications WHERE tenant = $1", params![tenant]).await?;
    tx.execute("DELETE FROM purge_counts WHERE tenant = $1", params![tenant]).await?;
    tx.execute("DELETE FROM limits WHERE tenant = $1", params![tenant]).await.map(|_| ())
}
