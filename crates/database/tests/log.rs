//! SQLite's write-ahead log stays small.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use database::testing::TestLocation;
use database::{Database, Location, Migration, params};

const TABLES: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE things (id BIGINT NOT NULL PRIMARY KEY, bytes BLOB NOT NULL);",
}];

fn log_bytes(location: &Location) -> u64 {
    let Location::Sqlite(dir) = location else { panic!("SQLite only") };
    std::fs::metadata(dir.join("suite.db-wal")).map_or(0, |found| found.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_log_is_bounded_under_load_and_truncated_when_idle() {
    let scratch = TestLocation::sqlite();
    let db = Database::open(&scratch.location, "suite", TABLES).await.unwrap();
    let largest = Arc::new(AtomicU64::new(0));
    let writers: Vec<_> = (0..8)
        .map(|writer| {
            let (db, location, largest) = (db.clone(), scratch.location.clone(), Arc::clone(&largest));
            tokio::spawn(async move {
                for n in 0..100i64 {
                    // Rewrite the same rows, so that the database stays small while the log grows.
                    let bytes = vec![u8::try_from(n).unwrap(); 500_000];
                    let sql = "INSERT INTO things (id, bytes) VALUES ($1, $2)
                               ON CONFLICT (id) DO UPDATE SET bytes = excluded.bytes";
                    db.execute(sql, params![writer, bytes]).await.unwrap();
                    largest.fetch_max(log_bytes(&location), Ordering::SeqCst);
                }
            })
        })
        .collect();
    for writer in writers {
        writer.await.unwrap();
    }
    // 128 MiB and one batch.
    let largest = largest.load(Ordering::SeqCst) >> 20;
    assert!(largest < 140, "the log grew to {largest} MiB");
    let truncated = async {
        while log_bytes(&scratch.location) > 0 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), truncated).await.expect("an idle log is truncated");
    let row = db.row("SELECT COUNT(*) FROM things", &[]).await.unwrap().unwrap();
    assert_eq!(row.get::<i64>(0).unwrap(), 8);
    println!("largest log: {largest} MiB");
}
