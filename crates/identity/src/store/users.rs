//! Users and their secrets.

use database::{Error, Row, Tx, params};
use work::Time;

use crate::model::{Extra, User};
use crate::store::{Page, key_of, name_of};

/// A user's stored secrets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Secrets {
    /// The password as a PHC string.
    pub(crate) password: Option<String>,
    /// When it was set.
    pub(crate) password_set: Option<Time>,
    /// The API key, sealed.
    pub(crate) api_key: Option<Vec<u8>>,
}

/// Filters of a list of users.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    pub(crate) name: Option<String>,
    pub(crate) email: Option<String>,
    pub(crate) domain_id: Option<String>,
    pub(crate) enabled: Option<bool>,
    /// Only users of this account.
    pub(crate) tenant_id: Option<String>,
    /// Only users that belong to this tenant or have a role on it.
    pub(crate) on_tenant: Option<String>,
}

fn read(row: &mut Row) -> Result<User, Error> {
    Ok(User {
        id: row.take(0)?,
        name: name_of(row.take(1)?),
        domain_id: row.take(2)?,
        tenant_id: row.take(3)?,
        email: row.take(4)?,
        description: row.take(5)?,
        enabled: row.take(6)?,
        region: row.take(7)?,
        extra: Extra::from_text(&row.take::<String>(8)?),
        created: Time(row.take(9)?),
        password_expires: row.take::<Option<i64>>(10)?.map(Time),
    })
}

fn read_secrets(row: &mut Row, from: usize) -> Result<Secrets, Error> {
    Ok(Secrets {
        password: row.take(from)?,
        password_set: row.take::<Option<i64>>(from + 1)?.map(Time),
        api_key: row.take(from + 2)?,
    })
}

/// Inserts a user; returns `false` if its name is taken in its domain.
pub(crate) async fn insert(tx: &mut Tx, user: &User, secrets: &Secrets) -> Result<bool, Error> {
    let sql =
        "INSERT INTO users (id, name, domain_id, tenant_id, email, description, enabled, region, created,
                                  password, password_set, api_key, extra)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13) ON CONFLICT DO NOTHING";
    let u = user;
    let (set, extra) = (secrets.password_set.map(|time| time.0), u.extra.to_text());
    let name = key_of(&u.domain_id, &u.name);
    let params = params![
        u.id,
        name,
        u.domain_id,
        u.tenant_id,
        u.email,
        u.description,
        u.enabled,
        u.region,
        u.created.0,
        secrets.password,
        set,
        secrets.api_key,
        extra,
    ];
    Ok(tx.execute(sql, params).await? == 1)
}

pub(crate) async fn by_id(tx: &mut Tx, id: &str) -> Result<Option<User>, Error> {
    Ok(with_secrets_by_id(tx, id).await?.map(|(user, _)| user))
}

pub(crate) async fn by_name(tx: &mut Tx, domain_id: &str, name: &str) -> Result<Option<User>, Error> {
    Ok(with_secrets_by_name(tx, domain_id, name).await?.map(|(user, _)| user))
}

pub(crate) async fn with_secrets_by_id(tx: &mut Tx, id: &str) -> Result<Option<(User, Secrets)>, Error> {
    let sql = "SELECT id, name, domain_id, tenant_id, email, description, enabled, region, extra, created,
                      (SELECT users.password_set + lasts FROM password_policies p WHERE p.tenant_id = users.tenant_id),
                      password, password_set, api_key FROM users WHERE id = $1";
    let row = tx.row(sql, params![id]).await?;
    row.map(|mut row| Ok((read(&mut row)?, read_secrets(&mut row, 11)?))).transpose()
}

pub(crate) async fn with_secrets_by_name(
    tx: &mut Tx,
    domain_id: &str,
    name: &str,
) -> Result<Option<(User, Secrets)>, Error> {
    let sql = "SELECT id, name, domain_id, tenant_id, email, description, enabled, region, extra, created,
                      (SELECT users.password_set + lasts FROM password_policies p WHERE p.tenant_id = users.tenant_id),
                      password, password_set, api_key FROM users WHERE name = $1";
    let row = tx.row(sql, params![key_of(domain_id, name)]).await?;
    row.map(|mut row| Ok((read(&mut row)?, read_secrets(&mut row, 11)?))).transpose()
}

pub(crate) async fn list(tx: &mut Tx, filter: &Filter, page: &Page) -> Result<Vec<User>, Error> {
    // One statement per combination of filters, so that each uses its index.
    let all = "SELECT id, name, domain_id, tenant_id, email, description, enabled, region, extra, created,
                      (SELECT users.password_set + lasts FROM password_policies p WHERE p.tenant_id = users.tenant_id)
               FROM users
               WHERE id > $1 AND (CAST($2 AS TEXT) IS NULL OR name IN (SELECT CASE WHEN d.id = 'default' THEN $2 ELSE d.id || '/' || $2 END FROM domains d))
                 AND (CAST($3 AS TEXT) IS NULL OR email = $3) AND (CAST($4 AS TEXT) IS NULL OR domain_id = $4)
                 AND (CAST($5 AS BIGINT) IS NULL OR enabled = $5)
               ORDER BY id LIMIT $6";
    let of_tenant =
        "SELECT id, name, domain_id, tenant_id, email, description, enabled, region, extra, created,
                      (SELECT users.password_set + lasts FROM password_policies p WHERE p.tenant_id = users.tenant_id)
               FROM users
               WHERE tenant_id = $7 AND id > $1 AND (CAST($2 AS TEXT) IS NULL OR name IN (SELECT CASE WHEN d.id = 'default' THEN $2 ELSE d.id || '/' || $2 END FROM domains d))
                 AND (CAST($3 AS TEXT) IS NULL OR email = $3) AND (CAST($4 AS TEXT) IS NULL OR domain_id = $4)
                 AND (CAST($5 AS BIGINT) IS NULL OR enabled = $5)
               ORDER BY id LIMIT $6";
    let on_tenant =
        "SELECT id, name, domain_id, tenant_id, email, description, enabled, region, extra, created,
                      (SELECT users.password_set + lasts FROM password_policies p WHERE p.tenant_id = users.tenant_id)
               FROM users
               WHERE (tenant_id = $7 OR id IN (SELECT user_id FROM grants WHERE scope = 't:' || $7))
                 AND id > $1 AND (CAST($2 AS TEXT) IS NULL OR name IN (SELECT CASE WHEN d.id = 'default' THEN $2 ELSE d.id || '/' || $2 END FROM domains d))
                 AND (CAST($3 AS TEXT) IS NULL OR email = $3) AND (CAST($4 AS TEXT) IS NULL OR domain_id = $4)
                 AND (CAST($5 AS BIGINT) IS NULL OR enabled = $5)
               ORDER BY id LIMIT $6";
    let f = filter;
    let rows = match (&f.tenant_id, &f.on_tenant) {
        (None, None) => {
            let params = params![page.marker, f.name, f.email, f.domain_id, f.enabled, page.limit];
            tx.rows(all, params).await?
        }
        (Some(tenant), _) => {
            let params = params![page.marker, f.name, f.email, f.domain_id, f.enabled, page.limit, tenant];
            tx.rows(of_tenant, params).await?
        }
        (None, Some(tenant)) => {
            let params = params![page.marker, f.name, f.email, f.domain_id, f.enabled, page.limit, tenant];
            tx.rows(on_tenant, params).await?
        }
    };
    rows.into_iter().map(|mut row| read(&mut row)).collect()
}

/// Updates a user; returns `false` if another user has its new name.
pub(crate) async fn update(tx: &mut Tx, user: &User) -> Result<bool, Error> {
    if by_name(tx, &user.domain_id, &user.name).await?.is_some_and(|other| other.id != user.id) {
        return Ok(false);
    }
    let sql =
        "UPDATE users SET name = $2, tenant_id = $3, email = $4, description = $5, enabled = $6, region = $7,
                    extra = $8
               WHERE id = $1";
    let u = user;
    let name = key_of(&u.domain_id, &u.name);
    let extra = u.extra.to_text();
    let params = params![u.id, name, u.tenant_id, u.email, u.description, u.enabled, u.region, extra];
    tx.execute(sql, params).await?;
    Ok(true)
}

pub(crate) async fn set_api_key(tx: &mut Tx, id: &str, sealed: Option<&[u8]>) -> Result<(), Error> {
    let sealed = sealed.map(<[u8]>::to_vec);
    tx.execute("UPDATE users SET api_key = $2 WHERE id = $1", params![id, sealed]).await.map(|_| ())
}

pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM users WHERE id = $1", params![id]).await? == 1)
}

/// Returns the ids of a domain's users.
pub(crate) async fn of_domain(tx: &mut Tx, domain_id: &str) -> Result<Vec<String>, Error> {
    let sql = "SELECT id FROM users WHERE domain_id = $1 ORDER BY id";
    tx.rows(sql, params![domain_id]).await?.into_iter().map(|mut row| row.take(0)).collect()
}

/// Records that a user of that tenant had the name. Called before the user is deleted or renamed.
pub(crate) async fn reserve_former_name(tx: &mut Tx, user: &User) -> Result<(), Error> {
    let tenant_id = user.tenant_id.as_deref().unwrap_or_default();
    let sql = "INSERT INTO former_names (domain_id, name, tenant_id) VALUES ($1, $2, $3)
               ON CONFLICT (domain_id, name) DO UPDATE SET tenant_id = $3";
    tx.execute(sql, params![user.domain_id, user.name, tenant_id]).await.map(|_| ())
}

/// Returns the tenant whose user last had the name, if that user was deleted or renamed; empty if the user had no tenant.
pub(crate) async fn former_tenant(tx: &mut Tx, domain_id: &str, name: &str) -> Result<Option<String>, Error> {
    let sql = "SELECT tenant_id FROM former_names WHERE domain_id = $1 AND name = $2";
    tx.row(sql, params![domain_id, name]).await?.map(|mut row| row.take(0)).transpose()
}

/// Lets users of any tenant take a former name; returns `false` if it is not a former name.
pub(crate) async fn release_name(tx: &mut Tx, domain_id: &str, name: &str) -> Result<bool, Error> {
    let sql = "DELETE FROM former_names WHERE domain_id = $1 AND name = $2";
    Ok(tx.execute(sql, params![domain_id, name]).await? == 1)
}

/// Returns ids up to the page's marker, last first.
pub(crate) async fn before(tx: &mut Tx, filter: &Filter, page: &Page) -> Result<Vec<String>, Error> {
    let all = "SELECT id FROM users WHERE id <= $1 AND (CAST($3 AS TEXT) IS NULL OR email = $3)
               ORDER BY id DESC LIMIT $2";
    let of_tenant = "SELECT id FROM users WHERE tenant_id = $4 AND id <= $1
                       AND (CAST($3 AS TEXT) IS NULL OR email = $3)
                     ORDER BY id DESC LIMIT $2";
    let on_tenant = "SELECT id FROM users
                     WHERE (tenant_id = $4 OR id IN (SELECT user_id FROM grants WHERE scope = 't:' || $4))
                       AND id <= $1 AND (CAST($3 AS TEXT) IS NULL OR email = $3)
                     ORDER BY id DESC LIMIT $2";
    let f = filter;
    let rows = match (&f.tenant_id, &f.on_tenant) {
        (None, None) => tx.rows(all, params![page.marker, page.limit, f.email]).await?,
        (Some(tenant), _) => tx.rows(of_tenant, params![page.marker, page.limit, f.email, tenant]).await?,
        (None, Some(tenant)) => tx.rows(on_tenant, params![page.marker, page.limit, f.email, tenant]).await?,
    };
    rows.into_iter().map(|mut row| row.take(0)).collect()
}
