//! Domains.

use database::{Error, Row, Tx, params};

use crate::model::{Domain, Extra};
use crate::store::Page;

fn read(mut row: Row) -> Result<Domain, Error> {
    Ok(Domain {
        id: row.take(0)?,
        name: row.take(1)?,
        description: row.take(2)?,
        enabled: row.take(3)?,
        extra: Extra::from_text(&row.take::<String>(4)?),
    })
}

/// Inserts a domain; returns `false` if its name is taken.
pub(crate) async fn insert(tx: &mut Tx, domain: &Domain) -> Result<bool, Error> {
    let sql = "INSERT INTO domains (id, name, description, enabled, extra) VALUES ($1, $2, $3, $4, $5)
               ON CONFLICT DO NOTHING";
    let extra = domain.extra.to_text();
    let params = params![domain.id, domain.name, domain.description, domain.enabled, extra];
    Ok(tx.execute(sql, params).await? == 1)
}

pub(crate) async fn by_id(tx: &mut Tx, id: &str) -> Result<Option<Domain>, Error> {
    let sql = "SELECT id, name, description, enabled, extra FROM domains WHERE id = $1";
    tx.row(sql, params![id]).await?.map(read).transpose()
}

pub(crate) async fn by_name(tx: &mut Tx, name: &str) -> Result<Option<Domain>, Error> {
    let sql = "SELECT id, name, description, enabled, extra FROM domains WHERE name = $1";
    tx.row(sql, params![name]).await?.map(read).transpose()
}

/// Returns domains after the page's marker, optionally only those with that name or state.
pub(crate) async fn list(
    tx: &mut Tx,
    name: Option<&str>,
    enabled: Option<bool>,
    page: &Page,
) -> Result<Vec<Domain>, Error> {
    let sql = "SELECT id, name, description, enabled, extra FROM domains
               WHERE id > $1 AND (CAST($2 AS TEXT) IS NULL OR name = $2)
                 AND (CAST($3 AS BIGINT) IS NULL OR enabled = $3)
               ORDER BY id LIMIT $4";
    let rows = tx.rows(sql, params![page.marker, name, enabled, page.limit]).await?;
    rows.into_iter().map(read).collect()
}

/// Returns the domains that the user belongs to or has a role on.
pub(crate) async fn of_user(tx: &mut Tx, user_id: &str) -> Result<Vec<Domain>, Error> {
    let sql = "SELECT id, name, description, enabled, extra FROM domains
               WHERE id IN (SELECT SUBSTR(scope, 3) FROM grants WHERE user_id = $1 AND scope LIKE 'd:%')
               ORDER BY id";
    tx.rows(sql, params![user_id]).await?.into_iter().map(read).collect()
}

/// Updates a domain; returns `false` if another domain has its new name.
pub(crate) async fn update(tx: &mut Tx, domain: &Domain) -> Result<bool, Error> {
    if by_name(tx, &domain.name).await?.is_some_and(|other| other.id != domain.id) {
        return Ok(false);
    }
    let sql = "UPDATE domains SET name = $2, description = $3, enabled = $4, extra = $5 WHERE id = $1";
    tx.execute(
        sql,
        params![domain.id, domain.name, domain.description, domain.enabled, domain.extra.to_text()],
    )
    .await?;
    Ok(true)
}

pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM domains WHERE id = $1", params![id]).await? == 1)
}
