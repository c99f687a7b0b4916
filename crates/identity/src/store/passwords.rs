//! Passwords: current and former hashes, accounts' policies, and tokens for resetting forgotten passwords.

use std::time::Duration;

use database::{Error, Row, Tx, params};
use work::Time;

use crate::model::{HISTORY_MAX, PasswordPolicy};

/// Sets a password and keeps the previous one among the former passwords.
pub(crate) async fn set(tx: &mut Tx, user_id: &str, password: &str, at: Time) -> Result<(), Error> {
    let sql = "INSERT INTO former_passwords (user_id, at, password)
               SELECT id, password_set, password FROM users
               WHERE id = $1 AND password IS NOT NULL AND password_set IS NOT NULL ON CONFLICT DO NOTHING";
    tx.execute(sql, params![user_id]).await?;
    let sql = "DELETE FROM former_passwords WHERE user_id = $1 AND password NOT IN
               (SELECT password FROM former_passwords WHERE user_id = $1 ORDER BY at DESC, password LIMIT $2)";
    tx.execute(sql, params![user_id, HISTORY_MAX]).await?;
    tx.execute("DELETE FROM password_resets WHERE user_id = $1", params![user_id]).await?;
    let sql = "UPDATE users SET password = $2, password_set = $3 WHERE id = $1";
    tx.execute(sql, params![user_id, password, at.0]).await.map(|_| ())
}

/// Returns former passwords, latest first.
pub(crate) async fn former(tx: &mut Tx, user_id: &str, limit: i64) -> Result<Vec<String>, Error> {
    let sql = "SELECT password FROM former_passwords WHERE user_id = $1 ORDER BY at DESC, password LIMIT $2";
    tx.rows(sql, params![user_id, limit]).await?.into_iter().map(|mut row| row.take(0)).collect()
}

fn read_policy(mut row: Row) -> Result<PasswordPolicy, Error> {
    let lasts: i64 = row.take(1)?;
    Ok(PasswordPolicy {
        duration: row.take(0)?,
        lasts: Duration::from_micros(u64::try_from(lasts).unwrap_or(0)),
        history: row.take(2)?,
    })
}

pub(crate) async fn policy(tx: &mut Tx, tenant_id: &str) -> Result<Option<PasswordPolicy>, Error> {
    let sql = "SELECT duration, lasts, history FROM password_policies WHERE tenant_id = $1";
    tx.row(sql, params![tenant_id]).await?.map(read_policy).transpose()
}

pub(crate) async fn set_policy(tx: &mut Tx, tenant_id: &str, policy: &PasswordPolicy) -> Result<(), Error> {
    let sql = "INSERT INTO password_policies (tenant_id, duration, lasts, history) VALUES ($1, $2, $3, $4)
               ON CONFLICT (tenant_id) DO UPDATE SET duration = $2, lasts = $3, history = $4";
    let lasts = i64::try_from(policy.lasts.as_micros()).unwrap_or(i64::MAX);
    tx.execute(sql, params![tenant_id, policy.duration, lasts, policy.history]).await.map(|_| ())
}

pub(crate) async fn delete_policy(tx: &mut Tx, tenant_id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM password_policies WHERE tenant_id = $1", params![tenant_id]).await? == 1)
}

/// Stores the token with which a user may reset a forgotten password. It replaces an earlier token.
pub(crate) async fn set_reset(
    tx: &mut Tx,
    user_id: &str,
    hash: &[u8; 32],
    expires: Time,
) -> Result<(), Error> {
    let sql = "INSERT INTO password_resets (user_id, hash, expires) VALUES ($1, $2, $3)
               ON CONFLICT (user_id) DO UPDATE SET hash = $2, expires = $3";
    tx.execute(sql, params![user_id, hash, expires.0]).await.map(|_| ())
}

/// Returns the id of the user that a reset token belongs to.
pub(crate) async fn reset_of(tx: &mut Tx, hash: &[u8; 32], now: Time) -> Result<Option<String>, Error> {
    let sql = "SELECT user_id FROM password_resets WHERE hash = $1 AND expires > $2";
    tx.row(sql, params![hash, now.0]).await?.map(|mut row| row.take(0)).transpose()
}

/// Whether the user has a reset token that expires after `expires`.
pub(crate) async fn has_reset(tx: &mut Tx, user_id: &str, expires: Time) -> Result<bool, Error> {
    let sql = "SELECT user_id FROM password_resets WHERE user_id = $1 AND expires > $2";
    Ok(tx.row(sql, params![user_id, expires.0]).await?.is_some())
}
