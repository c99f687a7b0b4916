//! Tenants.

use database::{Error, Row, Tx, params};
use work::Time;

use crate::model::{Extra, Tenant};
use crate::store::{Page, key_of, name_of};

/// Filters of a list of tenants.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) name: Option<String>,
    pub(crate) domain_id: Option<String>,
    pub(crate) enabled: Option<bool>,
    /// Only those that the user belongs to or has a role on.
    pub(crate) of_user: Option<String>,
}

fn read(mut row: Row) -> Result<Tenant, Error> {
    Ok(Tenant {
        id: row.take(0)?,
        name: name_of(row.take(1)?),
        domain_id: row.take(2)?,
        description: row.take(3)?,
        enabled: row.take(4)?,
        created: Time(row.take(5)?),
        extra: Extra::from_text(&row.take::<String>(6)?),
    })
}

/// Returns the next numeric id. Ids are never reused.
pub(crate) async fn next_id(tx: &mut Tx) -> Result<String, Error> {
    let sql = "UPDATE sequences SET next = next + 1 WHERE name = 'tenant' RETURNING next - 1";
    let row = tx.row(sql, &[]).await?;
    let id: i64 = row.map_or(Ok(0), |row| row.get(0))?;
    Ok(id.to_string())
}

/// Inserts a tenant; returns `false` if its name is taken in its domain.
pub(crate) async fn insert(tx: &mut Tx, tenant: &Tenant) -> Result<bool, Error> {
    let sql = "INSERT INTO tenants (id, name, domain_id, description, enabled, created, extra)
               VALUES ($1, $2, $3, $4, $5, $6, $7) ON CONFLICT DO NOTHING";
    let t = tenant;
    let name = key_of(&t.domain_id, &t.name);
    let extra = t.extra.to_text();
    let params = params![t.id, name, t.domain_id, t.description, t.enabled, t.created.0, extra];
    Ok(tx.execute(sql, params).await? == 1)
}

pub(crate) async fn by_id(tx: &mut Tx, id: &str) -> Result<Option<Tenant>, Error> {
    let sql = "SELECT id, name, domain_id, description, enabled, created, extra FROM tenants WHERE id = $1";
    tx.row(sql, params![id]).await?.map(read).transpose()
}

pub(crate) async fn by_name(tx: &mut Tx, domain_id: &str, name: &str) -> Result<Option<Tenant>, Error> {
    let sql = "SELECT id, name, domain_id, description, enabled, created, extra FROM tenants WHERE name = $1";
    tx.row(sql, params![key_of(domain_id, name)]).await?.map(read).transpose()
}

pub(crate) async fn list(tx: &mut Tx, filter: &Filter, page: &Page) -> Result<Vec<Tenant>, Error> {
    let sql = "SELECT id, name, domain_id, description, enabled, created, extra FROM tenants
               WHERE id > $1
                 AND (CAST($2 AS TEXT) IS NULL OR name IN (SELECT CASE WHEN d.id = 'default' THEN $2 ELSE d.id || '/' || $2 END FROM domains d))
                 AND (CAST($3 AS TEXT) IS NULL OR domain_id = $3)
                 AND (CAST($4 AS BIGINT) IS NULL OR enabled = $4)
               ORDER BY id LIMIT $5";
    let of_user = "SELECT id, name, domain_id, description, enabled, created, extra FROM tenants
               WHERE id > $1
                 AND (CAST($2 AS TEXT) IS NULL OR name IN (SELECT CASE WHEN d.id = 'default' THEN $2 ELSE d.id || '/' || $2 END FROM domains d))
                 AND (CAST($3 AS TEXT) IS NULL OR domain_id = $3)
                 AND (CAST($4 AS BIGINT) IS NULL OR enabled = $4)
                 AND id IN (SELECT tenant_id FROM users WHERE id = $6 AND tenant_id IS NOT NULL
                            UNION SELECT SUBSTR(scope, 3) FROM grants WHERE user_id = $6 AND scope LIKE 't:%')
               ORDER BY id LIMIT $5";
    let f = filter;
    let rows = match &f.of_user {
        None => tx.rows(sql, params![page.marker, f.name, f.domain_id, f.enabled, page.limit]).await?,
        Some(user) => {
            let params = params![page.marker, f.name, f.domain_id, f.enabled, page.limit, user];
            tx.rows(of_user, params).await?
        }
    };
    rows.into_iter().map(read).collect()
}

/// Updates a tenant; returns `false` if another tenant has its new name.
pub(crate) async fn update(tx: &mut Tx, tenant: &Tenant) -> Result<bool, Error> {
    if by_name(tx, &tenant.domain_id, &tenant.name).await?.is_some_and(|other| other.id != tenant.id) {
        return Ok(false);
    }
    let sql = "UPDATE tenants SET name = $2, description = $3, enabled = $4, extra = $5 WHERE id = $1";
    let name = key_of(&tenant.domain_id, &tenant.name);
    tx.execute(sql, params![tenant.id, name, tenant.description, tenant.enabled, tenant.extra.to_text()])
        .await?;
    Ok(true)
}

pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM tenants WHERE id = $1", params![id]).await? == 1)
}

/// Returns a domain's tenants.
pub(crate) async fn of_domain(tx: &mut Tx, domain_id: &str) -> Result<Vec<Tenant>, Error> {
    let sql = "SELECT id, name, domain_id, description, enabled, created, extra FROM tenants
               WHERE domain_id = $1 ORDER BY id";
    tx.rows(sql, params![domain_id]).await?.into_iter().map(read).collect()
}

pub(crate) async fn any(tx: &mut Tx) -> Result<bool, Error> {
    Ok(tx.row("SELECT id FROM tenants LIMIT 1", &[]).await?.is_some())
}

/// Returns ids up to the page's marker, last first.
pub(crate) async fn before(tx: &mut Tx, filter: &Filter, page: &Page) -> Result<Vec<String>, Error> {
    let all = "SELECT id FROM tenants WHERE id <= $1 ORDER BY id DESC LIMIT $2";
    let of_user = "SELECT id FROM tenants
                   WHERE id <= $1
                     AND id IN (SELECT tenant_id FROM users WHERE id = $3 AND tenant_id IS NOT NULL
                                UNION SELECT SUBSTR(scope, 3) FROM grants WHERE user_id = $3 AND scope LIKE 't:%')
                   ORDER BY id DESC LIMIT $2";
    let rows = match &filter.of_user {
        None => tx.rows(all, params![page.marker, page.limit]).await?,
        Some(user) => tx.rows(of_user, params![page.marker, page.limit, user]).await?,
    };
    rows.into_iter().map(|mut row| row.take(0)).collect()
}

/// Returns v2.0's inactivity timeout of an account, an ISO 8601 duration.
pub(crate) async fn session_timeout(tx: &mut Tx, id: &str) -> Result<Option<String>, Error> {
    let row = tx.row("SELECT session_timeout FROM tenants WHERE id = $1", params![id]).await?;
    row.map(|mut row| row.take(0)).transpose()
}

pub(crate) async fn set_session_timeout(tx: &mut Tx, id: &str, timeout: &str) -> Result<(), Error> {
    let sql = "UPDATE tenants SET session_timeout = $2 WHERE id = $1";
    tx.execute(sql, params![id, timeout]).await.map(|_| ())
}
