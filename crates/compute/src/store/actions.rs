//! The action log of each server: what was requested and with which result.

use database::{Error, Tx, params};
use uuid::Uuid;
use work::Time;

/// An entry of a server's log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The action: `create`, `reboot`, …
    pub action: String,
    /// The id of the request; empty for actions of the cloud itself.
    pub request: String,
    /// The id of the user who requested it.
    pub user: String,
    /// When it was accepted.
    pub started: Time,
    /// When it finished.
    pub finished: Option<Time>,
    /// Why it failed.
    pub message: Option<String>,
}

/// Inserts an entry and returns its id.
pub(crate) async fn begin(
    tx: &mut Tx,
    server: Uuid,
    action: &str,
    request: &str,
    user: &str,
    now: Time,
) -> Result<String, Error> {
    let id = Uuid::now_v7().to_string();
    let sql =
        "INSERT INTO actions (id, server, action, request, user_id, started) VALUES ($1, $2, $3, $4, $5, $6)";
    tx.execute(sql, params![id, server.to_string(), action, request, user, now.0]).await?;
    Ok(id)
}

pub(crate) async fn finish(tx: &mut Tx, id: &str, message: Option<&str>, now: Time) -> Result<(), Error> {
    let sql = "UPDATE actions SET finished = $2, message = $3 WHERE id = $1 AND finished IS NULL";
    tx.execute(sql, params![id, now.0, message]).await.map(|_| ())
}

/// Finishes all unfinished entries of a server with this message.
pub(crate) async fn finish_all(tx: &mut Tx, server: Uuid, message: &str, now: Time) -> Result<(), Error> {
    let sql = "UPDATE actions SET finished = $2, message = $3 WHERE server = $1 AND finished IS NULL";
    tx.execute(sql, params![server.to_string(), now.0, message]).await.map(|_| ())
}

pub(crate) async fn of_server(tx: &mut Tx, server: Uuid, limit: i64) -> Result<Vec<Entry>, Error> {
    let sql = "SELECT action, request, user_id, started, finished, message FROM actions WHERE server = $1
               ORDER BY id DESC LIMIT $2";
    let rows = tx.rows(sql, params![server.to_string(), limit]).await?;
    rows.into_iter()
        .map(|mut row| {
            Ok(Entry {
                action: row.take(0)?,
                request: row.take(1)?,
                user: row.take(2)?,
                started: Time(row.take(3)?),
                finished: row.take::<Option<i64>>(4)?.map(Time),
                message: row.take(5)?,
            })
        })
        .collect()
}
