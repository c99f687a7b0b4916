//! The meter's table.

use database::{Database, Error, Migration, params};

use crate::{Measure, Sums, Usage};

pub(crate) const MIGRATIONS: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE usage (
              tenant TEXT NOT NULL, day BIGINT NOT NULL, measure TEXT NOT NULL, total BIGINT NOT NULL,
              PRIMARY KEY (tenant, day, measure)) WITHOUT ROWID;",
}];

pub(crate) async fn add(db: &Database, sums: Sums) -> Result<(), Error> {
    let mut sums: Vec<_> = sums.into_iter().collect();
    // In key order, so that two processes never wait for each other in a circle.
    sums.sort_unstable();
    db.write(sums, |sums, tx| {
        Box::pin(async move {
            for ((tenant, day, measure), amount) in sums {
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

pub(crate) async fn usage(db: &Database, tenant: Option<&str>, first_day: i64) -> Result<Vec<Usage>, Error> {
    let sql = "SELECT tenant, day, measure, total FROM usage
               WHERE day >= $1 AND ($2 = '' OR tenant = $2) ORDER BY tenant, day, measure";
    let rows = db.rows(sql, params![first_day, tenant.unwrap_or("")]).await?;
    let mut found = Vec::with_capacity(rows.len());
    for mut row in rows {
        let measure: String = row.take(2)?;
        // A measure of a later program's making is not this one's to show.
        let Some(measure) = Measure::named(&measure) else { continue };
        found.push(Usage { tenant: row.take(0)?, day: row.take(1)?, measure, total: row.take(3)? });
    }
    Ok(found)
}
