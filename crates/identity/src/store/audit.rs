//! The audit log: who changed what, written in the unit that made the change.

use database::{Error, Tx, params};
use work::Time;

/// A change.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct AuditEntry {
    /// When, in UTC.
    pub at: String,
    /// The actor's id.
    pub actor_id: String,
    /// The actor's name.
    pub actor_name: String,
    /// The action, such as `user.create`.
    pub action: String,
    /// The id of the changed object.
    pub subject: String,
    /// Details; never a secret.
    pub detail: String,
}

/// Records a change.
pub(crate) async fn record(
    tx: &mut Tx,
    now: Time,
    actor: (&str, &str),
    action: &str,
    subject: &str,
    detail: &str,
) -> Result<(), Error> {
    let sql = "INSERT INTO audit (id, at, actor_id, actor_name, action, subject, detail)
               VALUES ($1, $2, $3, $4, $5, $6, $7)";
    let id = uuid::Uuid::now_v7().to_string();
    tx.execute(sql, params![id, now.0, actor.0, actor.1, action, subject, detail]).await.map(|_| ())
}

/// Returns changes, newest first.
pub(crate) async fn newest(tx: &mut Tx, subject: Option<&str>, limit: i64) -> Result<Vec<AuditEntry>, Error> {
    let sql = "SELECT at, actor_id, actor_name, action, subject, detail FROM audit
               WHERE (CAST($1 AS TEXT) IS NULL OR subject = $1) ORDER BY id DESC LIMIT $2";
    let rows = tx.rows(sql, params![subject, limit]).await?;
    let read = |mut row: database::Row| {
        Ok(AuditEntry {
            at: Time(row.take(0)?).iso_micros(),
            actor_id: row.take(1)?,
            actor_name: row.take(2)?,
            action: row.take(3)?,
            subject: row.take(4)?,
            detail: row.take(5)?,
        })
    };
    rows.into_iter().map(read).collect()
}
