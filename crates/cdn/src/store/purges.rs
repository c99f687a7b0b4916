//! Purged objects, each with the generation of its purge.

use database::{Error, Tx, params};

use crate::model::Hash;

pub(crate) async fn count(tx: &mut Tx, hash: Hash) -> Result<i64, Error> {
    let row = tx.row("SELECT COUNT(*) FROM purges WHERE hash = $1", params![hash.to_bytes()]).await?;
    row.map_or(Ok(0), |row| row.get(0))
}

pub(crate) async fn put(tx: &mut Tx, hash: Hash, object: &str, generation: u64) -> Result<(), Error> {
    let sql = "INSERT INTO purges (hash, object, generation) VALUES ($1, $2, $3)
               ON CONFLICT (hash, object) DO UPDATE SET generation = excluded.generation";
    tx.execute(sql, params![hash.to_bytes(), object.as_bytes(), super::signed(generation)]).await.map(|_| ())
}

pub(crate) async fn clear(tx: &mut Tx, hash: Hash) -> Result<(), Error> {
    tx.execute("DELETE FROM purges WHERE hash = $1", params![hash.to_bytes()]).await.map(|_| ())
}
