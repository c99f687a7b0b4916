//! Jobs as rows: written in the unit that makes them necessary, changed only under their fence.

use database::{Database, Error, Tx, params};

use crate::clock::Time;

/// A job to be done.
#[derive(Clone, Debug)]
pub struct NewJob<'a> {
    /// Which handler takes it, in the service's own words.
    pub kind: &'a str,
    /// What it is about, such as a server's id.
    pub subject: &'a str,
    /// Its state, as JSON.
    pub payload: String,
    /// Not before this.
    pub due: Time,
    /// After this it is not carried forward any more but failed with a reason.
    pub deadline: Time,
}

/// A claimed job.
#[derive(Clone, Debug)]
pub struct Job {
    /// Its id, ordered by time.
    pub id: String,
    /// Which handler takes it.
    pub kind: String,
    /// What it is about.
    pub subject: String,
    /// Its state, as JSON.
    pub payload: String,
    /// When it was written.
    pub created: Time,
    /// When it must have ended.
    pub deadline: Time,
    /// How often it was claimed, this time included.
    pub attempts: i64,
    /// Grows with every claim: only its newest holder may change it.
    pub fence: i64,
}

/// The lease was lost to another process: whatever was to be written must not be.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the job's lease is lost")]
pub struct LeaseLost;

/// Writes a job within a unit and answers its id.
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

/// Writes a job within a unit, unless its like waits in nobody's hands already: one whose step may be under way, its lease
/// run out or not, might have passed what this one is for.
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

/// Drops every job about `subject`, such as when the subject is deleted; their holders lose their fence.
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

    /// Within a unit: keeps the job's new state, due at once.
    ///
    /// # Errors
    /// The database's.
    pub async fn save(&self, tx: &mut Tx, payload: &str) -> Result<bool, Error> {
        let sql = "UPDATE jobs SET payload = $3 WHERE id = $1 AND fence = $2";
        Ok(tx.execute(sql, params![self.id, self.fence, payload]).await? == 1)
    }

    /// Within a unit: the job is done.
    ///
    /// # Errors
    /// The database's.
    pub async fn finish(&self, tx: &mut Tx) -> Result<bool, Error> {
        let sql = "DELETE FROM jobs WHERE id = $1 AND fence = $2";
        Ok(tx.execute(sql, params![self.id, self.fence]).await? == 1)
    }
}

/// Claims up to `limit` jobs that are due and in nobody's hands.
pub(crate) async fn claim(
    db: &Database,
    owner: &str,
    now: Time,
    lease_until: Time,
    limit: i64,
) -> Result<Vec<Job>, Error> {
    // A look without a transaction first: an idle runner must cost nothing.
    let due = "SELECT id FROM jobs WHERE due <= $1 AND lease_until <= $1 ORDER BY due, id LIMIT $2";
    if limit == 0 || db.rows(due, params![now.0, limit]).await?.is_empty() {
        return Ok(Vec::new());
    }
    db.write((owner.to_owned(), now, lease_until, limit), move |(owner, now, until, limit), tx| {
        Box::pin(async move {
            let mut claimed = Vec::new();
            for mut row in tx.rows(due, params![now.0, *limit]).await? {
                let id: String = row.take(0)?;
                let sql =
                    "UPDATE jobs SET owner = $2, lease_until = $3, fence = fence + 1, attempts = attempts + 1
                           WHERE id = $1
                           RETURNING kind, subject, payload, created, deadline, attempts, fence";
                if let Some(mut row) = tx.row(sql, params![id, owner, until.0]).await? {
                    claimed.push(Job {
                        kind: row.take(0)?,
                        subject: row.take(1)?,
                        payload: row.take(2)?,
                        created: Time(row.take(3)?),
                        deadline: Time(row.take(4)?),
                        attempts: row.take(5)?,
                        fence: row.take(6)?,
                        id,
                    });
                }
            }
            Ok(claimed)
        })
    })
    .await
}

/// Gives a job back, to be taken up again at `due`.
pub(crate) async fn release(db: &Database, job: &Job, due: Time) -> Result<(), Error> {
    let sql = "UPDATE jobs SET due = $3, lease_until = 0 WHERE id = $1 AND fence = $2";
    db.execute(sql, params![job.id, job.fence, due.0]).await.map(|_| ())
}

/// What a renewal finds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Held {
    /// The job is in this process's hands as before.
    Still,
    /// It is done or cancelled.
    Gone,
    /// Another process has it.
    Lost,
}

/// Keeps a job in this process's hands until `until`.
pub(crate) async fn renew(db: &Database, job: &Job, until: Time) -> Result<Held, Error> {
    let sql = "UPDATE jobs SET lease_until = $3 WHERE id = $1 AND fence = $2";
    if db.execute(sql, params![job.id, job.fence, until.0]).await? == 1 {
        return Ok(Held::Still);
    }
    let other = db.row("SELECT fence FROM jobs WHERE id = $1", params![job.id]).await?;
    Ok(if other.is_some() { Held::Lost } else { Held::Gone })
}

/// Jobs looked at for the next one that is due, however many wait; more than a runner has in hand.
const FIRST: i64 = 1024;

/// When the next job that nobody holds is due, or a held one's lease ends.
pub(crate) async fn next_due(db: &Database) -> Result<Option<Time>, Error> {
    // Those in someone's hands were due before, so that they come first; behind them any that is free is the next one.
    let sql = "SELECT MIN(CASE WHEN due > lease_until THEN due ELSE lease_until END)
               FROM (SELECT due, lease_until FROM jobs ORDER BY due LIMIT $1) AS first";
    let row = db.row(sql, params![FIRST]).await?;
    Ok(row.map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten().map(Time))
}

/// Forgets what processes of an earlier life held, where no other process shares the database.
///
/// # Errors
/// The database's.
pub async fn release_all(db: &Database) -> Result<u64, Error> {
    db.execute("UPDATE jobs SET lease_until = 0 WHERE lease_until > 0", &[]).await
}
