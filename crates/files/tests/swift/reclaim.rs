//! Dead space: how it is counted, what compaction does with it, and what faults leave.

use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use blobs::{Blobs, Local, record_bytes};
use database::testing::{Cut, Proxy, TestLocation};
use database::{Location, on_each_engine, params};
use files::Settings;
use files::service::AuditOptions;

use crate::faulty::Faulty;
use crate::harness::{Cloud, cloud_on, number, tables};

/// Length of each object, in bytes.
const SIZE: usize = 100_000;
const DEAD: &str = "SELECT CAST(COALESCE(SUM(dead), 0) AS BIGINT) FROM volumes WHERE volume = 2";

/// Starts a cloud that compacts only on request, with `count` objects in its first volume.
async fn packed(location: &Location, count: usize) -> (Arc<Faulty>, Cloud) {
    let dir = tempfile::tempdir().unwrap();
    let store = Faulty::over(Local::open(dir.path()).unwrap());
    let cloud =
        cloud_on(location, Settings::default(), dir, vec![Arc::clone(&store) as Arc<dyn Blobs>]).await;
    assert_eq!(cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await.status, 201);
    for n in 0..count {
        assert_eq!(cloud.put(&format!("/v1/AUTH_1/c/{n:02}"), &"x".repeat(SIZE)).await.status, 201);
    }
    (store, cloud)
}

impl Cloud {
    async fn delete_objects(&self, numbers: std::ops::Range<usize>) {
        for n in numbers {
            assert_eq!(self.owner("DELETE", &format!("/v1/AUTH_1/c/{n:02}"), &[]).await.status, 204);
        }
    }

    async fn still_has(&self, numbers: std::ops::Range<usize>) {
        for n in numbers {
            assert_eq!(self.owner("GET", &format!("/v1/AUTH_1/c/{n:02}"), &[]).await.body.len(), SIZE, "{n}");
        }
    }
}

on_each_engine! {
    async fn dead_space_at_the_end_of_a_volume_is_freed_on_a_full_disk(location: &Location) {
        let (store, cloud) = packed(location, 30).await;
        cloud.delete_objects(4..30).await;
        store.seal(1).await.unwrap();
        let full = store.volumes()[0].bytes;
        store.short.store(true, Ordering::SeqCst);
        store.cannot_relocate.store(true, Ordering::SeqCst);
        cloud.files.compact().await.unwrap();
        let live = 4 * record_bytes(SIZE as u64);
        let left = store.volumes()[0].bytes;
        assert!(left < live + 8192 && full > 7 * live, "{left} of {full} bytes are left, {live} live");
        cloud.still_has(0..4).await;
    }
}

on_each_engine! {
    async fn the_dead_space_count_of_a_removed_volume_is_deleted_even_after_a_crash(location: &Location) {
        let (store, cloud) = packed(location, 1).await;
        let tables = tables(location).await;
        // The state after a crash between removing a volume and deleting its count.
        for volume in [1, 2, 7] {
            tables.execute("INSERT INTO volumes (volume, slot, dead) VALUES ($1, 9, 5)", params![volume as i64]).await.unwrap();
        }
        store.seal(1).await.unwrap();
        assert_eq!(cloud.put("/v1/AUTH_1/c/in-volume-2", "x").await.status, 201);
        cloud.files.compact().await.unwrap();
        let rows = tables.rows("SELECT volume FROM volumes WHERE slot = 9 ORDER BY volume", &[]).await.unwrap();
        let left: Vec<i64> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        assert_eq!(left, [1, 2], "counts of existing volumes are kept");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn copies_that_no_row_refers_to_are_counted_as_dead() {
    let scratch = TestLocation::sqlite();
    let (store, cloud) = packed(&scratch.location, 10).await;
    let tables = tables(&scratch.location).await;
    cloud.delete_objects(0..8).await;
    store.seal(1).await.unwrap();
    let fail = "CREATE TRIGGER fail_moves BEFORE UPDATE OF volume ON blobs BEGIN SELECT RAISE(ABORT, 'as a test wants'); END";
    tables.execute(fail, &[]).await.unwrap();
    let copies = i64::try_from(2 * record_bytes(SIZE as u64)).unwrap();
    cloud.files.compact().await.unwrap();
    assert_eq!(number(&tables, DEAD).await, copies);
    // If the database cannot count them either, they are counted later.
    let fail = "CREATE TRIGGER fail_counts BEFORE UPDATE ON volumes BEGIN SELECT RAISE(ABORT, 'as a test wants'); END";
    tables.execute(fail, &[]).await.unwrap();
    cloud.files.compact().await.unwrap();
    assert_eq!(number(&tables, DEAD).await, copies);
    tables.execute("DROP TRIGGER fail_counts", &[]).await.unwrap();
    cloud.files.compact().await.unwrap();
    assert_eq!(number(&tables, DEAD).await, 3 * copies, "those of the second round and of the third");
    tables.execute("DROP TRIGGER fail_moves", &[]).await.unwrap();
    cloud.files.compact().await.unwrap();
    assert!(!store.has_volume(1));
    cloud.still_has(8..10).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_with_bytes_of_an_unknown_commit_is_not_removed() {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let (store, cloud) = packed(&proxy.location, 2).await;
    cloud.delete_objects(0..1).await;
    store.seal(1).await.unwrap();
    // An upload, whose bytes are the only ones in volume 2.
    proxy.cut(Cut::BeforeCommit, "INSERT INTO objects");
    assert_eq!(cloud.put("/v1/AUTH_1/c/unknown", &"y".repeat(SIZE)).await.status, 503);
    store.seal(2).await.unwrap();
    // Compaction copies the live blobs of volume 1 to volume 3 and does not learn whether the rows were committed.
    tables(&scratch.location)
        .await
        .execute("UPDATE volumes SET dead = 1000000 WHERE volume = 1", &[])
        .await
        .unwrap();
    proxy.cut(Cut::BeforeCommit, "UPDATE blobs SET volume");
    cloud.files.compact().await.unwrap();
    assert_eq!(proxy.cuts(), 2);
    store.seal(3).await.unwrap();
    cloud.files.compact().await.unwrap();
    cloud.files.compact().await.unwrap();
    let there: Vec<bool> = (1..=4).map(|number| store.has_volume(number)).collect();
    assert_eq!(there, [false, true, true, true]);
    cloud.still_has(1..2).await;
}

on_each_engine! {
    async fn reading_a_damaged_object_again_writes_nothing(location: &Location) {
        let (_store, cloud) = packed(location, 1).await;
        let path = cloud.dir.path().join("volumes/00000001.vol");
        std::fs::File::options().write(true).open(path).unwrap().write_all_at(b"?", 5000).unwrap();
        let tables = tables(location).await;
        let noted = async || number(&tables, "SELECT COUNT(*) FROM damaged").await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/00", &[]).await.status, 500);
        assert_eq!(noted().await, 1);
        tables.execute("DELETE FROM damaged", &[]).await.unwrap();
        for _ in 0..3 {
            assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/00", &[]).await.status, 500);
        }
        assert_eq!(noted().await, 0, "it is already recorded");
        // A blob that the scrub finds intact may be damaged again.
        let path = cloud.dir.path().join("volumes/00000001.vol");
        let file = std::fs::File::options().write(true).open(path).unwrap();
        file.write_all_at(b"x", 5000).unwrap();
        cloud.files.scrub_all().await.unwrap();
        file.write_all_at(b"?", 5000).unwrap();
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/00", &[]).await.status, 500);
        assert_eq!(noted().await, 1);
    }
}

on_each_engine! {
    async fn reference_counts_are_checked_and_corrected(location: &Location) {
        let (_store, cloud) = packed(location, 3).await;
        cloud.owner("COPY", "/v1/AUTH_1/c/00", &[("destination", "c/copy")]).await;
        let tables = tables(location).await;
        tables.execute("UPDATE blobs SET refs = 5", &[]).await.unwrap();
        let report = cloud.files.audit(AuditOptions { bytes: false, repair: true }).await.unwrap();
        assert_eq!((report.repaired.len(), report.broken.len()), (3, 0), "{report:?}");
        assert_eq!(number(&tables, "SELECT CAST(SUM(refs) AS BIGINT) FROM blobs").await, 4);
        // A queued blob that a row refers to is removed from the queue; one without a row is not.
        tables.execute("INSERT INTO garbage (blob) SELECT id FROM blobs ORDER BY id LIMIT 1", &[]).await.unwrap();
        tables.execute("INSERT INTO garbage (blob) VALUES ($1)", params![[9u8; 16]]).await.unwrap();
        let report = cloud.files.audit(AuditOptions { bytes: false, repair: true }).await.unwrap();
        assert_eq!((report.repaired.len(), report.broken.len()), (1, 0), "{report:?}");
        assert_eq!(number(&tables, "SELECT COUNT(*) FROM garbage").await, 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_runs_in_the_background_before_the_start() {
    let scratch = TestLocation::sqlite();
    let (store, cloud) = packed(&scratch.location, 0).await;
    let settings = Settings::default();
    let meter = meter::Meter::open(&scratch.location, cloud.clock.clone()).await.unwrap();
    let tasks = || tokio::runtime::Handle::current().metrics().num_alive_tasks();
    let before = tasks();
    let files =
        files::Files::open(&scratch.location, store, cloud.clock.clone(), meter, settings).await.unwrap();
    assert_eq!(tasks(), before, "opening starts no task that could delete anything");
    files.start();
    assert!(tasks() > before);
    files.stop().await;
}
