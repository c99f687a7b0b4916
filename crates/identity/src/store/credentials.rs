//! Application credentials and EC2 credentials.

use database::{Error, Row, Tx, params};
use work::Time;

use crate::model::ApplicationCredential;
use crate::store::Page;

/// An EC2 credential whose secret is still sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SealedEc2 {
    pub(crate) access: String,
    pub(crate) secret: Vec<u8>,
    pub(crate) user_id: String,
    pub(crate) tenant_id: String,
}

fn read(row: &mut Row) -> Result<ApplicationCredential, Error> {
    let roles: String = row.take(5)?;
    Ok(ApplicationCredential {
        id: row.take(0)?,
        user_id: row.take(1)?,
        name: row.take(2)?,
        tenant_id: row.take(3)?,
        description: row.take(4)?,
        roles: roles.split(' ').filter(|id| !id.is_empty()).map(str::to_owned).collect(),
        expires: row.take::<Option<i64>>(6)?.map(Time),
        unrestricted: row.take(7)?,
    })
}

/// Inserts an application credential; returns `false` if the user has one with that name.
pub(crate) async fn insert(
    tx: &mut Tx,
    credential: &ApplicationCredential,
    secret: &str,
) -> Result<bool, Error> {
    let sql = "INSERT INTO application_credentials
                 (id, user_id, name, tenant_id, description, roles, expires, unrestricted, secret)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9) ON CONFLICT DO NOTHING";
    let c = credential;
    let roles = c.roles.join(" ");
    let expires = c.expires.map(|time| time.0);
    let params =
        params![c.id, c.user_id, c.name, c.tenant_id, c.description, roles, expires, c.unrestricted, secret];
    Ok(tx.execute(sql, params).await? == 1)
}

/// Returns an application credential and the hash of its secret.
pub(crate) async fn by_id(tx: &mut Tx, id: &str) -> Result<Option<(ApplicationCredential, String)>, Error> {
    let sql = "SELECT id, user_id, name, tenant_id, description, roles, expires, unrestricted, secret
               FROM application_credentials WHERE id = $1";
    let row = tx.row(sql, params![id]).await?;
    row.map(|mut row| Ok((read(&mut row)?, row.take(8)?))).transpose()
}

/// Returns the id of a user's credential with that name.
pub(crate) async fn id_of(tx: &mut Tx, user_id: &str, name: &str) -> Result<Option<String>, Error> {
    let sql = "SELECT id FROM application_credentials WHERE user_id = $1 AND name = $2";
    tx.row(sql, params![user_id, name]).await?.map(|mut row| row.take(0)).transpose()
}

pub(crate) async fn list(
    tx: &mut Tx,
    user_id: &str,
    name: Option<&str>,
    page: &Page,
) -> Result<Vec<ApplicationCredential>, Error> {
    let sql = "SELECT id, user_id, name, tenant_id, description, roles, expires, unrestricted
               FROM application_credentials
               WHERE user_id = $1 AND id > $2 AND (CAST($3 AS TEXT) IS NULL OR name = $3) ORDER BY id LIMIT $4";
    let rows = tx.rows(sql, params![user_id, page.marker, name, page.limit]).await?;
    rows.into_iter().map(|mut row| read(&mut row)).collect()
}

pub(crate) async fn delete(tx: &mut Tx, id: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM application_credentials WHERE id = $1", params![id]).await? == 1)
}

fn read_ec2(mut row: Row) -> Result<SealedEc2, Error> {
    Ok(SealedEc2 {
        access: row.take(0)?,
        secret: row.take(1)?,
        user_id: row.take(2)?,
        tenant_id: row.take(3)?,
    })
}

pub(crate) async fn insert_ec2(tx: &mut Tx, credential: &SealedEc2, now: Time) -> Result<(), Error> {
    let sql = "INSERT INTO ec2_credentials (access, secret, user_id, tenant_id, created) VALUES ($1, $2, $3, $4, $5)";
    let c = credential;
    tx.execute(sql, params![c.access, c.secret, c.user_id, c.tenant_id, now.0]).await.map(|_| ())
}

pub(crate) async fn ec2_by_access(tx: &mut Tx, access: &str) -> Result<Option<SealedEc2>, Error> {
    let sql = "SELECT access, secret, user_id, tenant_id FROM ec2_credentials WHERE access = $1";
    tx.row(sql, params![access]).await?.map(read_ec2).transpose()
}

pub(crate) async fn ec2_of_user(tx: &mut Tx, user_id: &str, page: &Page) -> Result<Vec<SealedEc2>, Error> {
    let sql = "SELECT access, secret, user_id, tenant_id FROM ec2_credentials
               WHERE user_id = $1 AND access > $2 ORDER BY access LIMIT $3";
    tx.rows(sql, params![user_id, page.marker, page.limit]).await?.into_iter().map(read_ec2).collect()
}

pub(crate) async fn delete_ec2(tx: &mut Tx, access: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM ec2_credentials WHERE access = $1", params![access]).await? == 1)
}
