//! The meter's tables.

use std::time::Duration;

use database::{Database, Error, Migration, params};
use work::Time;

use crate::{Flush, Measure, Usage};

/// A writer that stored nothing for this long is considered stopped.
const WRITER_RETENTION: Duration = Duration::from_secs(30 * 86_400);

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration {
        version: 1,
        sql: "CREATE TABLE usage (
                  tenant TEXT NOT NULL, day BIGINT NOT NULL, measure TEXT NOT NULL, total BIGINT NOT NULL,
                  PRIMARY KEY (tenant, day, measure)) WITHOUT ROWID;",
    },
    // Each writer's last flush, so that a retry after an unknown outcome is not added twice.
    Migration {
        version: 2,
        sql: "CREATE TABLE flushes (
                  writer TEXT NOT NULL PRIMARY KEY, number BIGINT NOT NULL, at BIGINT NOT NULL) WITHOUT ROWID;",
    },
];

/// Adds a flush's sums unless the flush is stored already.
pub(crate) async fn add(db: &Database, writer: &str, now: Time, flush: Flush) -> Result<(), Error> {
    db.write((writer.to_owned(), now, flush), |(writer, now, flush), tx| {
        Box::pin(async move {
            let sql = "INSERT INTO flushes (writer, number, at) VALUES ($1, $2, $3)
                       ON CONFLICT (writer) DO UPDATE SET number = excluded.number, at = excluded.at
                       WHERE flushes.number < excluded.number";
            if tx.execute(sql, params![writer, flush.number, now.0]).await? == 0 {
                return Ok(());
            }
            for ((tenant, day, measure), amount) in &flush.sums {
                let amount = i64::try_from(*amount).unwrap_or(i64::MAX);
                tx.execute(
                    "INSERT INTO usage (tenant, day, measure, total) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (tenant, day, measure) DO UPDATE SET total = usage.total + excluded.total",
                    params![tenant, day, measure.name(), amount],
                )
                .await?;
            }
            Ok(())
        })
    })
    .await
}

/// Deletes the rows of writers that have stopped.
pub(crate) async fn delete_old_writers(db: &Database, now: Time) -> Result<(), Error> {
    let before = now.before(WRITER_RETENTION);
    db.execute("DELETE FROM flushes WHERE at < $1", params![before.0]).await.map(|_| ())
}

pub(crate) async fn usage(db: &Database, tenant: Option<&str>, first_day: i64) -> Result<Vec<Usage>, Error> {
    let sql = "SELECT tenant, day, measure, total FROM usage
               WHERE day >= $1 AND ($2 = '' OR tenant = $2) ORDER BY tenant, day, measure";
    let rows = db.rows(sql, params![first_day, tenant.unwrap_or("")]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for mut row in rows {
        let measure: String = row.take(2)?;
        // Skip measures that a newer version of the program has written.
        let Some(measure) = Measure::named(&measure) else { continue };
        found.push(Usage { tenant: row.take(0)?, day: row.take(1)?, measure, total: row.take(3)? });
    }
    Ok(found)
}
