//! Tokens, by their hash.

use database::{Error, Row, Tx, params};
use work::Time;

use crate::model::{Method, Scope, Token};

fn read(mut row: Row) -> Result<Token, Error> {
    let hash: Vec<u8> = row.take(0)?;
    let methods: String = row.take(3)?;
    let audit_ids: String = row.take(6)?;
    Ok(Token {
        hash: hash.try_into().map_err(|_| Error::Type { column: 0, expected: "32 bytes" })?,
        user_id: row.take(1)?,
        scope: Scope::from_text(&row.take::<String>(2)?),
        methods: methods.split(' ').filter_map(Method::from_name).collect(),
        issued: Time(row.take(4)?),
        expires: Time(row.take(5)?),
        audit_ids: audit_ids.split(' ').map(str::to_owned).collect(),
        credential_id: row.take(7)?,
    })
}

pub(crate) async fn insert(tx: &mut Tx, token: &Token) -> Result<(), Error> {
    let sql = "INSERT INTO tokens (hash, user_id, scope, methods, issued, expires, audit_ids, credential_id)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    let t = token;
    let methods = t.methods.iter().map(|method| method.name()).collect::<Vec<_>>().join(" ");
    let audit_ids = t.audit_ids.join(" ");
    let scope = t.scope.to_text();
    let params =
        params![t.hash, t.user_id, scope, methods, t.issued.0, t.expires.0, audit_ids, t.credential_id];
    tx.execute(sql, params).await.map(|_| ())
}

pub(crate) async fn by_hash(tx: &mut Tx, hash: &[u8; 32]) -> Result<Option<Token>, Error> {
    let sql = "SELECT hash, user_id, scope, methods, issued, expires, audit_ids, credential_id FROM tokens
               WHERE hash = $1";
    tx.row(sql, params![hash]).await?.map(read).transpose()
}

pub(crate) async fn delete(tx: &mut Tx, hash: &[u8; 32]) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM tokens WHERE hash = $1", params![hash]).await? == 1)
}

pub(crate) async fn delete_of_user(tx: &mut Tx, user_id: &str) -> Result<u64, Error> {
    tx.execute("DELETE FROM tokens WHERE user_id = $1", params![user_id]).await
}

pub(crate) async fn delete_of_scope(tx: &mut Tx, scope: &Scope) -> Result<u64, Error> {
    tx.execute("DELETE FROM tokens WHERE scope = $1", params![scope.to_text()]).await
}

/// Deletes a user's oldest tokens beyond the newest `keep`, at most 100 at once, and returns their hashes. Tokens of each
/// application credential are counted separately, and so are tokens without one.
pub(crate) async fn delete_oldest(
    tx: &mut Tx,
    user_id: &str,
    credential_id: Option<&str>,
    keep: i64,
) -> Result<Vec<[u8; 32]>, Error> {
    let of_user = "SELECT hash FROM tokens WHERE user_id = $1 AND credential_id IS NULL
                   ORDER BY issued DESC LIMIT 100 OFFSET $2";
    let of_credential = "SELECT hash FROM tokens WHERE user_id = $1 AND credential_id = $3
                         ORDER BY issued DESC LIMIT 100 OFFSET $2";
    let rows = match credential_id {
        None => tx.rows(of_user, params![user_id, keep]).await?,
        Some(id) => tx.rows(of_credential, params![user_id, keep, id]).await?,
    };
    let mut deleted = Vec::new();
    for mut row in rows {
        let hash: Vec<u8> = row.take(0)?;
        let hash = hash.try_into().map_err(|_| Error::Type { column: 0, expected: "32 bytes" })?;
        delete(tx, &hash).await?;
        deleted.push(hash);
    }
    Ok(deleted)
}

/// Deletes a user's tokens in scopes where it has no role.
pub(crate) async fn delete_without_role(tx: &mut Tx, user_id: &str) -> Result<u64, Error> {
    let sql = "DELETE FROM tokens WHERE user_id = $1 AND scope <> ''
               AND NOT EXISTS (SELECT 1 FROM grants g
                               WHERE g.user_id = $1 AND (g.scope = tokens.scope OR g.scope = 'c'))";
    tx.execute(sql, params![user_id]).await
}

/// Deletes some expired tokens; returns `true` while there may be more.
pub(crate) async fn sweep(tx: &mut Tx, now: Time, limit: i64) -> Result<bool, Error> {
    let sql = "DELETE FROM tokens WHERE hash IN (SELECT hash FROM tokens WHERE expires <= $1 ORDER BY expires LIMIT $2)";
    let swept = tx.execute(sql, params![now.0, limit]).await?;
    Ok(i64::try_from(swept).unwrap_or(limit) >= limit)
}

/// Deletes a user's tokens that were issued by one method.
pub(crate) async fn delete_by_method(tx: &mut Tx, user_id: &str, method: Method) -> Result<u64, Error> {
    let sql = "DELETE FROM tokens WHERE user_id = $1 AND ' ' || methods || ' ' LIKE '% ' || $2 || ' %'";
    tx.execute(sql, params![user_id, method.name()]).await
}
