//! Jobs as rows: written in the unit that makes them necessary, changed only under their fence.
//!
//! `due` and `deadline` are instants of the service's clock. Leases run by the database's clock, which all processes share.

use std::time::Duration;

use database::{Database, Error, Tx, params};

use crate::clock::Time;

/// A job to be done.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Which handler runs it; each service has its own kinds.
    pub kind: &'a str,
    /// What it is about, such as a server's id.
    pub subject: &'a str,
    /// Its state, as JSON.
    pub payload: String,
    /// It does not start before this.
    pub due: Time,
    /// After this it fails with a reason instead of being continued.
    pub deadline: Time,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id, ordered by time.
    pub id: String,
    /// Which handler runs it.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Its state, as JSON.
    pub payload: String,
    /// When it was enqueued.
    pub created: Time,
    /// When it must have ended.
    pub deadline: Time,
    /// How often it was claimed, this time included.
    pub attempts: i64,
    /// Grows with every claim: only its newest holder may change it.
    pub fence: i64,
}

/// The lease was lost to another process: its holder must not write any more.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the job's lease is lost")]
pub struct LeaseLost;

/// Enqueues a job within a unit and returns its id.
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

/// Enqueues a job within a unit unless an identical unclaimed one exists. A claimed job does not count: it may already be
/// past the step that this one is needed for.
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

/// Deletes every job about `subject`, such as when the subject is deleted; their holders lose their leases.
///
/// # Errors
/// The database's.
pub async fn cancel_all(tx: &mut Tx, subject: &str) -> Result<u64, Error> {
    tx.execute("DELETE FROM jobs WHERE subject = $1", params![subject]).await
}

impl Job {
    /// Within a unit: whether this holder may still write for the job.
    ///
    /// # Errors
    /// The database's.
    pub async fn holds(&self, tx: &mut Tx) -> Result<bool, Error> {
        let row = tx.row("SELECT fence FROM jobs WHERE id = $1", params![self.id]).await?;
        Ok(row.map(|row| row.get::<i64>(0)).transpose()? == Some(self.fence))
    }

    /// Within a unit: saves the job's new state; `false` if the lease was lost.
    ///
    /// # Errors
    /// The database's.
    pub async fn save(&self, tx: &mut Tx, payload: &str) -> Result<bool, Error> {
        let sql = "UPDATE jobs SET payload = $3 WHERE id = $1 AND fence = $2";
        Ok(tx.execute(sql, params![self.id, self.fence, payload]).await? == 1)
    }

    /// Within a unit: deletes the job, which is done; `false` if the lease was lost.
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
    // Look without writing first: an idle runner must cost nothing.
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

/// Releases a job, to be claimed again from `due` on.
pub(crate) async fn release(db: &Database, job: &Job, due: Time) -> Result<(), Error> {
    let sql = "UPDATE jobs SET due = $3, lease_until = 0 WHERE id = $1 AND fence = $2 RETURNING id";
    db.write_rows(sql, params![job.id, job.fence, due.0]).await.map(|_| ())
}

/// What a renewal finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// This process holds the job as before.
    Still,
    /// The job is done or cancelled.
    Gone,
    /// Another process holds it.
    Lost,
}

/// Renews a job's lease for the duration of `lease`.
pub(crate) async fn renew(db: &Database, job: &Job, lease: Duration) -> Result<Held, Error> {
    let sql = "UPDATE jobs SET lease_until = now_micros() + $3 WHERE id = $1 AND fence = $2 RETURNING id";
    if !db.write_rows(sql, params![job.id, job.fence, micros(lease)]).await?.is_empty() {
        return Ok(Held::Still);
    }
    let other = db.row("SELECT fence FROM jobs WHERE id = $1", params![job.id]).await?;
    Ok(if other.is_some() { Held::Lost } else { Held::Gone })
}

/// Jobs looked at for the next one that is due, however many wait; more than a runner holds.
const FIRST: i64 = 1024;

/// When the next unclaimed job is due. Claimed ones are looked at again regularly: their leases may run out.
pub(crate) async fn next_due(db: &Database) -> Result<Option<Time>, Error> {
    let sql = "SELECT MIN(due) FROM (SELECT due, lease_until FROM jobs ORDER BY due LIMIT $1) AS first
               WHERE lease_until <= now_micros()";
    let row = db.row(sql, params![FIRST]).await?;
    Ok(row.map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten().map(Time))
}

/// Releases the jobs that an earlier process held. Only for the sole process on a database.
///
/// # Errors
/// The database's.
pub async fn release_all(db: &Database) -> Result<u64, Error> {
    db.execute("UPDATE jobs SET lease_until = 0 WHERE lease_until > 0", &[]).await
}
