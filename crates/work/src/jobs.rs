//! Jobs as rows: inserted in the transaction that makes them necessary, changed only by the holder of the newest fence.
//!
//! `due` and `deadline` are read from the service's clock. Leases use the database's clock, which all processes share.

use std::time::Duration;

use database::{Database, Error, Tx, params};

use crate::clock::Time;

/// A job to be done.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Which handler runs it; each service has its own kinds.
    pub kind: &'a str,
    /// The id of the object that it works on, such as a server's id.
    pub subject: &'a str,
    /// Its state, as JSON.
    pub payload: String,
    /// Earliest start.
    pub due: Time,
    /// After this time the job fails instead of being continued.
    pub deadline: Time,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id, a UUID v7: ids sort by creation time.
    pub id: String,
    /// Which handler runs it.
    pub kind: String,
    /// The id of the object that it works on.
    pub subject: String,
    /// Its state, as JSON.
    pub payload: String,
    /// When it was enqueued.
    pub created: Time,
    /// After this time the job fails instead of being continued.
    pub deadline: Time,
    /// Number of claims so far, including the current one.
    pub attempts: i64,
    /// Increases with every claim. Only the holder of the newest fence may change the job.
    pub fence: i64,
}

/// The lease was lost to another process: its holder must not write any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the job's lease is lost")]
pub struct LeaseLost;

/// Enqueues a job in the caller's transaction and returns its id.
///
/// # Errors
/// The database's.
pub async fn enqueue(tx: &mut Tx, now: Time, job: &NewJob<'_>) -> Result<String, Error> {
    let id = uuid::Uuid::now_v7().to_string();
    tx.execute(
        "INSERT INTO jobs (id, kind, subject, payload, created, due, deadline, attempts, fence, owner, lease_until)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, 0, '', 0)",
        params![id, job.kind, job.subject, job.payload, now.0, job.due.0, job.deadline.0],
    )
    .await?;
    Ok(id)
}

/// Enqueues a job in the caller's transaction unless an identical unclaimed one exists. A claimed job does not count:
/// it may already be past the step that this one is needed for.
///
/// # Errors
/// The database's.
pub async fn enqueue_once(tx: &mut Tx, now: Time, job: &NewJob<'_>) -> Result<(), Error> {
    let sql =
        "SELECT id FROM jobs WHERE subject = $1 AND kind = $2 AND payload = $3 AND lease_until = 0 LIMIT 1";
    if tx.row(sql, params![job.subject, job.kind, job.payload]).await?.is_none() {
        enqueue(tx, now, job).await?;
    }
    Ok(())
}

/// Deletes every job of `subject`, for example when the subject is deleted, and returns how many there were. Processes that
/// are running one of them lose its lease.
///
/// # Errors
/// The database's.
pub async fn cancel_all(tx: &mut Tx, subject: &str) -> Result<u64, Error> {
    tx.execute("DELETE FROM jobs WHERE subject = $1", params![subject]).await
}

impl Job {
    /// Returns whether this holder still has the lease, read in the caller's transaction.
    ///
    /// # Errors
    /// The database's.
    pub async fn holds(&self, tx: &mut Tx) -> Result<bool, Error> {
        let row = tx.row("SELECT fence FROM jobs WHERE id = $1", params![self.id]).await?;
        Ok(row.map(|row| row.get::<i64>(0)).transpose()? == Some(self.fence))
    }

    /// Saves the job's new state in the caller's transaction. Returns `false` if the lease was lost.
    ///
    /// # Errors
    /// The database's.
    pub async fn save(&self, tx: &mut Tx, payload: &str) -> Result<bool, Error> {
        let sql = "UPDATE jobs SET payload = $3 WHERE id = $1 AND fence = $2";
        Ok(tx.execute(sql, params![self.id, self.fence, payload]).await? == 1)
    }

    /// Deletes the finished job in the caller's transaction. Returns `false` if the lease was lost.
    ///
    /// # Errors
    /// The database's.
    pub async fn finish(&self, tx: &mut Tx) -> Result<bool, Error> {
        let sql = "DELETE FROM jobs WHERE id = $1 AND fence = $2";
        Ok(tx.execute(sql, params![self.id, self.fence]).await? == 1)
    }
}

/// Claims up to `limit` jobs that are due and unclaimed, for the duration of `lease`.
///
/// Concurrent claims skip each other's rows instead of conflicting.
pub(crate) async fn claim(
    db: &Database,
    owner: &str,
    now: Time,
    lease: Duration,
    limit: i64,
) -> Result<Vec<Job>, Error> {
    // Read before writing, so that an idle runner causes no write transactions.
    let due = "SELECT id FROM jobs WHERE due <= $1 AND lease_until <= now_micros() LIMIT 1";
    if limit == 0 || db.rows(due, params![now.0]).await?.is_empty() {
        return Ok(Vec::new());
    }
    let sql = "WITH claimed AS MATERIALIZED (
                 SELECT id FROM jobs WHERE due <= $1 AND lease_until <= now_micros()
                 ORDER BY due, id LIMIT $2 FOR UPDATE SKIP LOCKED)
               UPDATE jobs SET owner = $3, lease_until = now_micros() + $4, fence = fence + 1, attempts = attempts + 1
               WHERE id IN (SELECT id FROM claimed)
               RETURNING id, kind, subject, payload, created, deadline, attempts, fence, due";
    let mut rows = db.write_rows(sql, params![now.0, limit, owner, micros(lease)]).await?;
    rows.sort_by_key(|row| (row.get::<i64>(8).unwrap_or(0), row.get::<String>(0).unwrap_or_default()));
    let job = |mut row: database::Row| {
        Ok(Job {
            id: row.take(0)?,
            kind: row.take(1)?,
            subject: row.take(2)?,
            payload: row.take(3)?,
            created: Time(row.take(4)?),
            deadline: Time(row.take(5)?),
            attempts: row.take(6)?,
            fence: row.take(7)?,
        })
    };
    rows.into_iter().map(job).collect()
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).unwrap_or(i64::MAX)
}

/// Releases a job; it can be claimed again from `due` on.
pub(crate) async fn release(db: &Database, job: &Job, due: Time) -> Result<(), Error> {
    // The fence increases, so that a renewal that was dropped while it was being sent finds nothing to renew.
    let sql = "UPDATE jobs SET due = $3, lease_until = 0, fence = fence + 1 WHERE id = $1 AND fence = $2 RETURNING id";
    db.write_rows(sql, params![job.id, job.fence, due.0]).await.map(|_| ())
}

/// Result of renewing a lease.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Renewal {
    /// This process still holds the lease.
    Renewed,
    /// The job has finished or was cancelled.
    JobGone,
    /// Another process holds the lease.
    LeaseLost,
}

/// Renews a job's lease for the duration of `lease`.
pub(crate) async fn renew(db: &Database, job: &Job, lease: Duration) -> Result<Renewal, Error> {
    let sql = "UPDATE jobs SET lease_until = now_micros() + $3 WHERE id = $1 AND fence = $2 RETURNING id";
    if !db.write_rows(sql, params![job.id, job.fence, micros(lease)]).await?.is_empty() {
        return Ok(Renewal::Renewed);
    }
    let other = db.row("SELECT fence FROM jobs WHERE id = $1", params![job.id]).await?;
    Ok(if other.is_some() { Renewal::LeaseLost } else { Renewal::JobGone })
}

/// Number of jobs that [`next_due`] reads at most, which bounds its cost on a long queue. Larger than the number of jobs that
/// a runner leases.
const DUE_SCAN_LIMIT: i64 = 1024;

/// Returns when the next unclaimed job is due. Claimed jobs do not count; the runner polls for those whose lease expired.
pub(crate) async fn next_due(db: &Database) -> Result<Option<Time>, Error> {
    let sql = "SELECT MIN(due) FROM (SELECT due, lease_until FROM jobs ORDER BY due LIMIT $1) AS first
               WHERE lease_until <= now_micros()";
    let row = db.row(sql, params![DUE_SCAN_LIMIT]).await?;
    Ok(row.map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten().map(Time))
}

/// Releases all claimed jobs and returns how many there were. Only for a process that has the database to itself: the jobs
/// were claimed by its predecessor.
///
/// # Errors
/// The database's.
pub async fn release_all(db: &Database) -> Result<u64, Error> {
    db.execute("UPDATE jobs SET lease_until = 0 WHERE lease_until > 0", &[]).await
}

#[cfg(test)]
mod tests {
    use database::{Migration, on_each_engine};

    use super::*;

    on_each_engine! {
        async fn a_renewal_that_arrives_after_the_release_changes_nothing(location: &Location) {
            let tables: &[Migration] = &[Migration { version: 1, sql: crate::TABLES }];
            let db = Database::open(location, "late", tables).await.unwrap();
            let now = Time::from_seconds(1000);
            db.write((), move |(), tx| {
                Box::pin(async move {
                    let (due, deadline) = (now, Time(i64::MAX));
                    enqueue(tx, now, &NewJob { kind: "k", subject: "s", payload: String::new(), due, deadline }).await
                })
            })
            .await
            .unwrap();
            let lease = Duration::from_secs(3600);
            let claimed = claim(&db, "one", now, lease, 1).await.unwrap();
            release(&db, &claimed[0], now).await.unwrap();
            assert_eq!(renew(&db, &claimed[0], lease).await.unwrap(), Renewal::LeaseLost);
            assert_eq!(claim(&db, "two", now, lease, 1).await.unwrap().len(), 1, "it can be claimed at once");
        }
    }
}
