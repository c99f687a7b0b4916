//! Purged objects, each with the generation of its purge.

use std::collections::HashMap;

use database::{Error, Tx, params};

use crate::model::Hash;

pub(crate) async fn count(tx: &mut Tx, hash: Hash) -> Result<i64, Error> {
    let row = tx.row("SELECT COUNT(*) FROM purges WHERE hash = $1", params![hash.to_bytes()]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}

/// Each purged object's name and the generation of its purge.
pub(crate) async fn all(tx: &mut Tx, hash: Hash) -> Result<HashMap<String, u64>, Error> {
    let sql = "SELECT object, generation FROM purges WHERE hash = $1";
    let mut found = HashMap::new();
    for mut row in tx.rows(sql, params![hash.to_bytes()]).await? {
        let object = String::from_utf8(row.take(0)?).map_err(|_| super::unreadable("object"))?;
        found.insert(object, row.take(1)?);
    }
    Ok(found)
}

pub(crate) async fn put(tx: &mut Tx, hash: Hash, object: &str, generation: u64) -> Result<(), Error> {
    let sql = "INSERT INTO purges (hash, object, generation) VALUES ($1, $2, $3)
               ON CONFLICT (hash, object) DO UPDATE SET generation = excluded.generation";
    tx.execute(sql, params![hash.to_bytes(), object.as_bytes(), super::signed(generation)]).await.map(|_| ())
}

pub(crate) async fn clear(tx: &mut Tx, hash: Hash) -> Result<(), Error> {
    tx.execute("DELETE FROM purges WHERE hash = $1", params![hash.to_bytes()]).await.map(|_| ())
}
