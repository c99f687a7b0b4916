//! Tables of images, of access to them, and of pins to be created and removed.

use database::{Database, Error, Migration, Row, Tx, params};
use uuid::Uuid;
use work::Time;

use crate::model::{Content, Id, Image, Origin, Page, Status, Visibility};

pub(crate) const MIGRATIONS: &[Migration] = &[
    Migration { version: 1, sql: FIRST_TABLES },
    Migration { version: 2, sql: ACCESS_TABLES },
    Migration { version: 3, sql: work::TABLES },
    Migration { version: 4, sql: CHANGES },
];

const FIRST_TABLES: &str = "CREATE TABLE images (
         id TEXT NOT NULL PRIMARY KEY,
         number BIGINT NOT NULL UNIQUE,
         name TEXT NOT NULL,
         owner TEXT NOT NULL,
         server TEXT,
         server_number BIGINT,
         origin TEXT NOT NULL,
         public BIGINT NOT NULL,
         status TEXT NOT NULL,
         progress BIGINT NOT NULL,
         reason TEXT,
         min_disk_gib BIGINT NOT NULL,
         created BIGINT NOT NULL,
         updated BIGINT NOT NULL,
         deleted BIGINT NOT NULL,
         content TEXT,
         digest TEXT
     );
     CREATE INDEX images_digest ON images (digest, deleted);
     CREATE INDEX images_owner ON images (owner, deleted, number);
     CREATE INDEX images_public ON images (public, deleted, number);
     CREATE INDEX images_server ON images (server, deleted);
     CREATE INDEX images_status ON images (status, deleted);
     CREATE TABLE members (
         image TEXT NOT NULL,
         tenant TEXT NOT NULL,
         since BIGINT NOT NULL,
         PRIMARY KEY (image, tenant)
     );
     CREATE INDEX members_tenant ON members (tenant, image);
     CREATE TABLE discarded (pin TEXT NOT NULL PRIMARY KEY);
     CREATE TABLE cursors (name TEXT NOT NULL PRIMARY KEY, next BIGINT NOT NULL);";

/// Each row of `members` gives one tenant access to an image; the tenant [`EVERYONE`] stands for all. A row whose access was
/// revoked is kept with the time of that, for `changes-since`.
const ACCESS_TABLES: &str = "ALTER TABLE members ADD COLUMN until BIGINT NOT NULL DEFAULT 0;
     INSERT INTO members (image, tenant, since, until) SELECT id, '*', updated, 0 FROM images WHERE public = 1;
     CREATE TABLE pinnings (pin TEXT NOT NULL PRIMARY KEY, since BIGINT NOT NULL);";

/// A member's row stores when the image last changed from that member's point of view, so that queries need not search `images`
/// for it. Deleting an image also revokes its members' access, so that lists do not read deleted images.
const CHANGES: &str = "ALTER TABLE members ADD COLUMN changed BIGINT NOT NULL DEFAULT 0;
     UPDATE members SET changed = CASE WHEN since > until THEN since ELSE until END;
     UPDATE members SET changed = COALESCE((SELECT updated FROM images WHERE id = members.image AND updated > members.changed),
                                           changed)
     WHERE until = 0;
     UPDATE members SET until = changed WHERE until = 0 AND image IN (SELECT id FROM images WHERE deleted > 0);
     DROP INDEX images_public;
     DROP INDEX members_tenant;
     CREATE INDEX images_changed ON images (owner, updated);
     CREATE INDEX members_tenant ON members (tenant, until, image);
     CREATE INDEX members_changed ON members (tenant, changed);
     CREATE INDEX members_until ON members (until);";

/// The member id that stands for every tenant. No tenant has this id.
pub(crate) const EVERYONE: &str = "*";

macro_rules! columns {
    () => {
        "id, number, name, owner, server, server_number, origin, public, status, progress, reason, min_disk_gib,
         created, updated, deleted, content"
    };
}

macro_rules! select {
    ($rest:literal) => {
        concat!("SELECT ", columns!(), " FROM images ", $rest)
    };
}

/// Images from the point of view of tenant $1: its own unchanged; another tenant's as changed when access was granted, and as
/// deleted when it was revoked.
macro_rules! seen {
    ($select:expr, $which:literal, $rest:literal) => {
        concat!(
            "SELECT ",
            $select,
            " FROM (SELECT id, number, name, owner, server, server_number, origin, public, status, progress, reason,
                           min_disk_gib, created, content,
                           CASE WHEN own = 1 OR (granted = 1 AND updated >= changed) THEN updated ELSE changed END AS updated,
                           CASE WHEN own = 1 OR granted = 1 THEN deleted ELSE COALESCE(changed, 1) END AS deleted
                    FROM (SELECT images.*, CASE WHEN owner = $1 THEN 1 ELSE 0 END AS own,
                                 (SELECT MAX(CASE WHEN until = 0 THEN 1 ELSE 0 END) FROM members
                                  WHERE image = images.id AND tenant IN ($1, '*')) AS granted,
                                 (SELECT MAX(changed) FROM members
                                  WHERE image = images.id AND tenant IN ($1, '*')) AS changed
                          FROM images WHERE ",
            $which,
            ") AS known) AS seen ",
            $rest
        )
    };
}

/// Every image that tenant $1 may use.
macro_rules! seen_now {
    ($rest:literal) => {
        seen!(
            columns!(),
            "deleted = 0 AND id IN (SELECT id FROM images WHERE owner = $1 AND deleted = 0
                                    UNION SELECT image FROM members WHERE tenant IN ($1, '*') AND until = 0)",
            $rest
        )
    };
}

const BY_NUMBER: &str = seen!(columns!(), "number = $2 AND deleted = 0", "WHERE deleted = 0");
const BY_UUID: &str = seen!(columns!(), "id = $2 AND deleted = 0", "WHERE deleted = 0");
const ALL: &str = seen_now!("WHERE deleted = 0 ORDER BY number LIMIT $2 OFFSET $3");
const NOT_DELETED: &str = seen_now!("WHERE deleted = 0 AND updated >= $4 ORDER BY number LIMIT $2 OFFSET $3");
/// The images that the tenant may use, and those that were deleted or revoked since $5.
const CHANGED: &str = seen!(
    columns!(),
    "id IN (SELECT id FROM images WHERE owner = $1 AND deleted = 0
            UNION SELECT id FROM images WHERE owner = $1 AND deleted >= $5
            UNION SELECT image FROM members WHERE tenant IN ($1, '*') AND until = 0
            UNION SELECT image FROM members WHERE tenant IN ($1, '*') AND until >= $5)",
    "WHERE updated >= $4 ORDER BY number LIMIT $2 OFFSET $3"
);
/// Publishing an image or making it private is not a change for its owner.
const LATEST: &str = "SELECT MAX(latest) FROM (
    SELECT MAX(updated) AS latest FROM images WHERE owner = $1
    UNION ALL SELECT MAX(changed) FROM members WHERE tenant = $1
    UNION ALL SELECT changed FROM (
        SELECT changed FROM members
        WHERE tenant = '*' AND NOT EXISTS (SELECT 1 FROM images WHERE id = members.image AND owner = $1)
        ORDER BY changed DESC LIMIT 1) AS of_others) AS of_each";
const OLD_ACCESS: &str = "SELECT image, tenant FROM members WHERE until > 0 AND until < $1 LIMIT $2";

fn bad(what: &str) -> Error {
    Error::Statement { statement: "images".into(), reason: format!("unreadable {what}") }
}

fn image(mut row: Row) -> Result<Image, Error> {
    let owner: String = row.take(3)?;
    let server: Option<String> = row.take(4)?;
    let number: Option<i64> = row.take(5)?;
    let content: Option<String> = row.take(15)?;
    let deleted: i64 = row.take(14)?;
    let public: bool = row.take(7)?;
    Ok(Image {
        id: row.take::<String>(0)?.parse().map_err(|_| bad("id"))?,
        number: row.take(1)?,
        name: row.take(2)?,
        owner: (!owner.is_empty()).then_some(owner),
        server: match (server, number) {
            (Some(server), Some(number)) => Some((server.parse().map_err(|_| bad("server"))?, number)),
            _ => None,
        },
        origin: Origin::parse(&row.take::<String>(6)?).ok_or_else(|| bad("origin"))?,
        visibility: if public { Visibility::Public } else { Visibility::Private },
        status: Status::parse(&row.take::<String>(8)?).ok_or_else(|| bad("status"))?,
        progress: u8::try_from(row.take::<i64>(9)?).map_err(|_| bad("progress"))?,
        reason: row.take(10)?,
        min_disk_gib: row.take(11)?,
        created: Time(row.take(12)?),
        updated: Time(row.take(13)?),
        deleted: (deleted > 0).then_some(Time(deleted)),
        content: content.map(|text| serde_json::from_str(&text)).transpose().map_err(|_| bad("content"))?,
    })
}

fn images(rows: Vec<Row>) -> Result<Vec<Image>, Error> {
    rows.into_iter().map(image).collect()
}

pub(crate) async fn next_number(tx: &mut Tx) -> Result<i64, Error> {
    let sql = "INSERT INTO cursors (name, next) VALUES ('image', 2)
               ON CONFLICT (name) DO UPDATE SET next = cursors.next + 1 RETURNING next - 1";
    tx.row(sql, &[]).await?.ok_or_else(|| bad("cursor"))?.take(0)
}

pub(crate) async fn insert(tx: &mut Tx, image: &Image) -> Result<(), Error> {
    let sql = "INSERT INTO images (id, number, name, owner, server, server_number, origin, public, status, progress,
                                   reason, min_disk_gib, created, updated, deleted, content)
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, 0, $15)";
    tx.execute(
        sql,
        params![
            image.id.to_string(),
            image.number,
            image.name,
            image.owner.as_deref().unwrap_or(""),
            image.server.map(|(id, _)| id.to_string()),
            image.server.map(|(_, number)| number),
            image.origin.as_str(),
            image.visibility == Visibility::Public,
            image.status.as_str(),
            i64::from(image.progress),
            image.reason,
            image.min_disk_gib,
            image.created.0,
            image.updated.0,
            image.content.as_ref().map(text),
        ],
    )
    .await
    .map(|_| ())
}

fn text(content: &Content) -> String {
    serde_json::to_string(content).unwrap_or_default()
}

/// Updates an image. Returns `false` if it was deleted.
pub(crate) async fn update(tx: &mut Tx, image: &Image) -> Result<bool, Error> {
    let sql = "UPDATE images SET name = $2, public = $3, status = $4, progress = $5, reason = $6, min_disk_gib = $7,
                                 updated = $8, content = $9, digest = $10 WHERE id = $1 AND deleted = 0";
    let changed = tx
        .execute(
            sql,
            params![
                image.id.to_string(),
                image.name,
                image.visibility == Visibility::Public,
                image.status.as_str(),
                i64::from(image.progress),
                image.reason,
                image.min_disk_gib,
                image.updated.0,
                image.content.as_ref().map(text),
                image.content.as_ref().map(|content| content.digest.to_string()),
            ],
        )
        .await?;
    if changed == 1 {
        let sql = "UPDATE members SET changed = $2 WHERE image = $1 AND until = 0 AND changed < $2";
        tx.execute(sql, params![image.id.to_string(), image.updated.0]).await?;
    }
    Ok(changed == 1)
}

/// Returns an image that is not deleted, without an access check.
pub(crate) async fn by_id(tx: &mut Tx, id: Uuid) -> Result<Option<Image>, Error> {
    let row = tx.row(select!("WHERE id = $1 AND deleted = 0"), params![id.to_string()]).await?;
    row.map(image).transpose()
}

/// Returns an image that is not deleted by either id, without an access check.
pub(crate) async fn find(tx: &mut Tx, id: Id) -> Result<Option<Image>, Error> {
    let row = match id {
        Id::Number(number) => tx.row(select!("WHERE number = $1 AND deleted = 0"), params![number]).await?,
        Id::Uuid(id) => return by_id(tx, id).await,
    };
    row.map(image).transpose()
}

/// Returns an image, deleted or not, without an access check.
pub(crate) async fn by_id_or_tombstone(tx: &mut Tx, id: Uuid) -> Result<Option<Image>, Error> {
    let row = tx.row(select!("WHERE id = $1"), params![id.to_string()]).await?;
    row.map(image).transpose()
}

/// Returns whether an image exists or existed.
pub(crate) async fn ever_existed(tx: &mut Tx, id: Uuid) -> Result<bool, Error> {
    Ok(tx.row("SELECT 1 FROM images WHERE id = $1", params![id.to_string()]).await?.is_some())
}

/// Returns an image that a tenant may use.
pub(crate) async fn visible(tx: &mut Tx, tenant: &str, id: Id) -> Result<Option<Image>, Error> {
    let row = match id {
        Id::Number(number) => tx.row(BY_NUMBER, params![tenant, number]).await?,
        Id::Uuid(id) => tx.row(BY_UUID, params![tenant, id.to_string()]).await?,
    };
    row.map(image).transpose()
}

/// Returns a page of a tenant's images. Images deleted or revoked before `shown_since` are left out.
pub(crate) async fn page(
    tx: &mut Tx,
    tenant: &str,
    page: Page,
    shown_since: Time,
) -> Result<Vec<Image>, Error> {
    let rows = match page.since {
        None => tx.rows(ALL, params![tenant, page.limit, page.offset]).await?,
        Some(since) if page.deleted => {
            // Zero means not deleted or revoked.
            let lost_since = since.max(shown_since).0.max(1);
            tx.rows(CHANGED, params![tenant, page.limit, page.offset, since.0, lost_since]).await?
        }
        Some(since) => tx.rows(NOT_DELETED, params![tenant, page.limit, page.offset, since.0]).await?,
    };
    images(rows)
}

pub(crate) async fn latest_change(tx: &mut Tx, tenant: &str) -> Result<Option<Time>, Error> {
    let row = tx.row(LATEST, params![tenant]).await?;
    Ok(row.map(|row| row.get::<Option<i64>>(0)).transpose()?.flatten().map(Time))
}

/// Deletes up to `limit` rows of access that was revoked before `before`, and returns their number.
///
/// Rows of deleted images stay: servers need them to boot, and they tell which images hosts may delete. No list reads old ones.
pub(crate) async fn delete_old_access(tx: &mut Tx, before: Time, limit: i64) -> Result<usize, Error> {
    let rows = tx.rows(OLD_ACCESS, params![before.0, limit]).await?;
    for row in &rows {
        let (image, tenant): (String, String) = (row.get(0)?, row.get(1)?);
        tx.execute("DELETE FROM members WHERE image = $1 AND tenant = $2", params![image, tenant]).await?;
    }
    Ok(rows.len())
}

/// Returns whether [`delete_old_access`] would delete any row.
pub(crate) async fn has_old_access(tx: &mut Tx, before: Time) -> Result<bool, Error> {
    Ok(tx.row(OLD_ACCESS, params![before.0, 1i64]).await?.is_some())
}

/// Returns the images that a new one replaces: those of the same owner and name, or the last one of the server's schedule. A
/// schedule gives the images of all servers the same name. Therefore a requested image and a scheduled one of the same name
/// replace each other only if they are of the same server.
pub(crate) async fn replaced_by(tx: &mut Tx, new: &Image) -> Result<Vec<Image>, Error> {
    let (id, owner) = (new.id.to_string(), new.owner.as_deref().unwrap_or(""));
    let server = new.server.map(|(server, _)| server.to_string());
    let rows = if new.origin.is_backup() {
        let sql = select!(
            "WHERE server = $1 AND (origin = $2 OR (origin = 'snapshot' AND name = $5)) AND deleted = 0 AND id <> $3
             AND number < $4"
        );
        tx.rows(sql, params![server, new.origin.as_str(), id, new.number, new.name]).await?
    } else {
        let sql = select!(
            "WHERE owner = $1 AND name = $2 AND (origin IN ('snapshot', 'upload') OR server = $5) AND deleted = 0
             AND id <> $3 AND number < $4"
        );
        tx.rows(sql, params![owner, new.name, id, new.number, server]).await?
    };
    images(rows)
}

pub(crate) async fn of_server(tx: &mut Tx, server: Uuid) -> Result<Vec<Image>, Error> {
    let sql = select!("WHERE server = $1 AND deleted = 0");
    images(tx.rows(sql, params![server.to_string()]).await?)
}

pub(crate) async fn in_flight(tx: &mut Tx) -> Result<Vec<Image>, Error> {
    let sql = select!("WHERE status IN ('QUEUED', 'PREPARING', 'SAVING') AND deleted = 0 ORDER BY number");
    images(tx.rows(sql, &[]).await?)
}

/// Returns whether an image of a server is being created.
pub(crate) async fn has_image_in_flight(tx: &mut Tx, server: Uuid) -> Result<bool, Error> {
    let sql = "SELECT 1 FROM images WHERE server = $1 AND deleted = 0
               AND status IN ('QUEUED', 'PREPARING', 'SAVING')";
    Ok(tx.row(sql, params![server.to_string()]).await?.is_some())
}

pub(crate) async fn first_base(tx: &mut Tx) -> Result<Option<Image>, Error> {
    let row = tx.row(select!("WHERE owner = '' AND deleted = 0 ORDER BY number LIMIT 1"), &[]).await?;
    row.map(image).transpose()
}

/// Marks an image as deleted, revokes all access to it and marks its pins for unpinning.
pub(crate) async fn delete(tx: &mut Tx, image: &Image, now: Time) -> Result<(), Error> {
    let sql = "UPDATE images SET deleted = $2, updated = $2 WHERE id = $1 AND deleted = 0";
    tx.execute(sql, params![image.id.to_string(), now.0]).await?;
    let sql = "UPDATE members SET until = $2, changed = $2 WHERE image = $1 AND until = 0";
    tx.execute(sql, params![image.id.to_string(), now.0]).await?;
    for piece in image.content.iter().flat_map(Content::pieces) {
        discard(tx, &piece.pin).await?;
    }
    Ok(())
}

/// Returns whether an image with this content exists; `None` if there has never been one.
pub(crate) async fn has_content(tx: &mut Tx, digest: &str) -> Result<Option<bool>, Error> {
    let sql = "SELECT deleted FROM images WHERE digest = $1 ORDER BY deleted LIMIT 1";
    let row = tx.row(sql, params![digest]).await?;
    Ok(row.map(|row| row.get::<i64>(0)).transpose()?.map(|deleted| deleted == 0))
}

/// Marks a pin for unpinning.
pub(crate) async fn discard(tx: &mut Tx, pin: &str) -> Result<(), Error> {
    let sql = "INSERT INTO discarded (pin) VALUES ($1) ON CONFLICT (pin) DO NOTHING";
    tx.execute(sql, params![pin]).await.map(|_| ())
}

/// Removes the mark of a pin that was unpinned.
pub(crate) async fn remove_discarded(db: &Database, pin: &str) -> Result<(), Error> {
    db.execute("DELETE FROM discarded WHERE pin = $1", params![pin]).await.map(|_| ())
}

pub(crate) async fn discarded(tx: &mut Tx, limit: i64) -> Result<Vec<String>, Error> {
    let rows = tx.rows("SELECT pin FROM discarded ORDER BY pin LIMIT $1", params![limit]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Records a pin that is about to be created, so that the sweep removes it if the request crashes.
pub(crate) async fn record_pending_pin(tx: &mut Tx, pin: &str, now: Time) -> Result<(), Error> {
    tx.execute("INSERT INTO pinnings (pin, since) VALUES ($1, $2)", params![pin, now.0]).await.map(|_| ())
}

/// Removes the record of a pending pin. Returns whether there was one.
pub(crate) async fn remove_pending_pin(tx: &mut Tx, pin: &str) -> Result<bool, Error> {
    Ok(tx.execute("DELETE FROM pinnings WHERE pin = $1", params![pin]).await? == 1)
}

/// Returns pending pins that were recorded before `before`.
pub(crate) async fn overdue_pins(tx: &mut Tx, before: Time, limit: i64) -> Result<Vec<String>, Error> {
    let sql = "SELECT pin FROM pinnings WHERE since < $1 ORDER BY pin LIMIT $2";
    let rows = tx.rows(sql, params![before.0, limit]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Returns the number of a tenant's uploads that are being created.
pub(crate) async fn count_uploads_in_flight(tx: &mut Tx, owner: &str) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) FROM images WHERE owner = $1 AND deleted = 0 AND origin = 'upload'
               AND status IN ('QUEUED', 'PREPARING', 'SAVING')";
    tx.row(sql, params![owner]).await?.ok_or_else(|| bad("count"))?.get(0)
}

/// Returns the number of a tenant's uploads, finished or being created, without those that an image of this name replaces.
pub(crate) async fn count_other_uploads(tx: &mut Tx, owner: &str, name: &str) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) FROM images WHERE owner = $1 AND deleted = 0 AND origin = 'upload'
               AND status <> 'FAILED' AND (status <> 'ACTIVE' OR name <> $2)";
    tx.row(sql, params![owner, name]).await?.ok_or_else(|| bad("count"))?.get(0)
}

/// Returns the number of a tenant's public images.
pub(crate) async fn count_public(tx: &mut Tx, owner: &str) -> Result<i64, Error> {
    let sql = "SELECT COUNT(*) FROM images WHERE owner = $1 AND deleted = 0 AND public = 1";
    tx.row(sql, params![owner]).await?.ok_or_else(|| bad("count"))?.get(0)
}

/// Grants access. Has no effect on existing access.
pub(crate) async fn grant(tx: &mut Tx, image: Uuid, tenant: &str, now: Time) -> Result<(), Error> {
    let sql = "INSERT INTO members (image, tenant, since, until, changed) VALUES ($1, $2, $3, 0, $3)
               ON CONFLICT (image, tenant) DO UPDATE SET since = $3, until = 0, changed = $3 WHERE members.until > 0";
    tx.execute(sql, params![image.to_string(), tenant, now.0]).await.map(|_| ())
}

/// Revokes access, if any.
pub(crate) async fn revoke(tx: &mut Tx, image: Uuid, tenant: &str, now: Time) -> Result<(), Error> {
    let sql = "UPDATE members SET until = $3, changed = $3 WHERE image = $1 AND tenant = $2 AND until = 0";
    tx.execute(sql, params![image.to_string(), tenant, now.0]).await.map(|_| ())
}

/// Returns the tenants that an image is shared with by id.
pub(crate) async fn members(tx: &mut Tx, image: Uuid) -> Result<Vec<String>, Error> {
    let sql = "SELECT tenant FROM members WHERE image = $1 AND tenant <> '*' AND until = 0 ORDER BY tenant";
    let rows = tx.rows(sql, params![image.to_string()]).await?;
    rows.iter().map(|row| row.get(0)).collect()
}

/// Deletes all access of a tenant.
pub(crate) async fn delete_tenant_access(tx: &mut Tx, tenant: &str) -> Result<(), Error> {
    tx.execute("DELETE FROM members WHERE tenant = $1", params![tenant]).await.map(|_| ())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns SQLite's query plan of a statement.
    async fn plan(db: &Database, sql: &str) -> String {
        let sql: &'static str = Box::leak(format!("EXPLAIN QUERY PLAN {sql}").into_boxed_str());
        let plan = db.read(sql, |sql: &&'static str, tx| {
            Box::pin(async move {
                let all = params!["100", 1i64, 2i64, 3i64, 4i64];
                let wanted = (1..=5).filter(|n| sql.contains(&format!("${n}"))).max().unwrap_or(0);
                let rows = tx.rows(sql, &all[..wanted]).await?;
                rows.iter().map(|row| row.get::<String>(3)).collect::<Result<Vec<_>, Error>>()
            })
        });
        plan.await.unwrap().join("\n")
    }

    #[tokio::test]
    async fn no_list_scans_deleted_images() {
        let scratch = database::testing::TestLocation::sqlite();
        let db = Database::open(&scratch.location, "images", MIGRATIONS).await.unwrap();
        for (name, sql, wanted) in [
            (
                "all",
                ALL,
                &["images_owner (owner=? AND deleted=?)", "members_tenant (tenant=? AND until=?)"][..],
            ),
            (
                "not deleted",
                NOT_DELETED,
                &["images_owner (owner=? AND deleted=?)", "members_tenant (tenant=? AND until=?)"],
            ),
            (
                "changed",
                CHANGED,
                &["images_owner (owner=? AND deleted>?)", "members_tenant (tenant=? AND until>?)"],
            ),
            ("latest", LATEST, &["images_changed (owner=?)", "members_changed (tenant=?)"]),
            ("number", BY_NUMBER, &["(number=?)"]),
            ("id", BY_UUID, &["(id=?)"]),
            ("old access", OLD_ACCESS, &["members_until (until>? AND until<?)"]),
        ] {
            let plan = plan(&db, sql).await;
            for wanted in wanted {
                assert!(plan.contains(wanted), "{name}:\n{plan}");
            }
            for table in ["SCAN images", "SCAN members"] {
                assert!(!plan.contains(table), "{name}:\n{plan}");
            }
        }
    }

    database::on_each_engine! {
        async fn rows_of_older_versions_are_listed_as_before(location: &Location) {
            let db = Database::open(location, "images", &MIGRATIONS[..3]).await.unwrap();
            let mut pages = Vec::new();
            for (number, deleted, until) in [(1i64, 0i64, 0i64), (2, 50, 0), (3, 0, 40)] {
                let id = Uuid::from_u128(number.unsigned_abs().into()).to_string();
                let updated = if deleted > 0 { deleted } else { 30 };
                db.execute(
                    "INSERT INTO images (id, number, name, owner, origin, public, status, progress, min_disk_gib, created,
                                         updated, deleted)
                     VALUES ($1, $2, 'x', '100', 'snapshot', 0, 'ACTIVE', 100, 1, 10, $3, $4)",
                    params![id, number, updated, deleted],
                ).await.unwrap();
                db.execute("INSERT INTO members (image, tenant, since, until) VALUES ($1, '200', 20, $2)", params![id, until])
                    .await.unwrap();
            }
            drop(db);
            let db = Database::open(location, "images", MIGRATIONS).await.unwrap();
            for (since, shown_since) in [(None, 0), (Some(Time(1)), 0), (Some(Time(1)), 45), (Some(Time(35)), 0)] {
                let input = (Page { offset: 0, limit: 9, since, deleted: true }, Time(shown_since));
                let list = db.scan(input, |(wanted, shown_since), tx| {
                    Box::pin(async move { page(tx, "200", *wanted, *shown_since).await })
                });
                let list: Vec<_> = list.await.unwrap().iter().map(|image| {
                    (image.number, image.updated.0, image.deleted.map(|time| time.0))
                }).collect();
                pages.push(list);
            }
            let (existing, deleted, revoked) = ((1, 30, None), (2, 50, Some(50)), (3, 40, Some(40)));
            assert_eq!(pages, [vec![existing], vec![existing, deleted, revoked], vec![existing, deleted], vec![deleted, revoked]]);
            let latest = db.scan((), |(), tx| Box::pin(async move { latest_change(tx, "200").await }));
            assert_eq!(latest.await.unwrap(), Some(Time(50)));
        }
    }
}
