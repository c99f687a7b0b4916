//! Roles.

use database::{Error, Row, Tx, params};

use crate::model::{Extra, Role};
use crate::store::Page;

fn read(mut row: Row) -> Result<Role, Error> {
    Ok(Role {
        id: row.take(0)?,
        name: row.take(1)?,
        description: row.take(2)?,
        builtin: row.take(3)?,
        extra: Extra::from_text(&row.take::<String>(4)?),
    })
}

/// Inserts a role; returns `false` if its name is taken.
pub(crate) async fn insert(tx: &mut Tx, role: &Role) -> Result<bool, Error> {
    let sql = "INSERT INTO roles (id, name, description, builtin, extra) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING";
    Ok(tx
        .execute(sql, params![role.id, role.name, role.description, role.builtin, role.extra.to_text()])
        .await?
        == 1)
}

pub(crate) async fn by_id(tx: &mut Tx, id: &str) -> Result<Option<Role>, Error> {
    let sql = "SELECT id, name, description, builtin, extra FROM roles WHERE id = $1";
    tx.row(sql, params![id]).await?.map(read).transpose()
}

pub(crate) async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<Role>, Error> {
    let sql = "SELECT id, name, description, builtin, extra FROM roles WHERE name = $1";
    tx.row(sql, params![name]).await?.map(read).transpose()
}

pub(crate) async fn list(tx: &mut Tx, name: Option<&str>, page: &Page) -> Result<Vec<Role>, Error> {
    let sql = "SELECT id, name, description, builtin, extra FROM roles
               WHERE id > $1 AND (CAST($2 AS TEXT) IS NULL OR name = $2) ORDER BY id LIMIT $3";
    tx.rows(sql, params![page.marker, name, page.limit]).await?.into_iter().map(read).collect()
}

/// Updates a role; returns `false` if another role has its new name.
pub(crate) async fn update(tx: &mut Tx, role: &Role) -> Result<bool, Error> {
    if by_name(tx, &role.name).await?.is_some_and(|other| other.id != role.id) {
        return Ok(false);
    }
    let sql = "UPDATE roles SET name = $2, description = $3, extra = $4 WHERE id = $1";
    tx.execute(sql, params![role.id, role.name, role.description, role.extra.to_text()]).await?;
    Ok(true)
}

pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM roles WHERE id = $1", params![id]).await? == 1)
}

/// Returns ids up to the page's marker, last first.
pub(crate) async fn before(tx: &mut Tx, page: &Page) -> Result<Vec<String>, Error> {
    let sql = "SELECT id FROM roles WHERE id <= $1 ORDER BY id DESC LIMIT $2";
    let rows = tx.rows(sql, params![page.marker, page.limit]).await?;
    rows.into_iter().map(|mut row| row.take(0)).collect()
}
