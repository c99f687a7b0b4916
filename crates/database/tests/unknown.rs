//! Commits whose response is lost, and connections that break earlier.

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use database::testing::{Cut, Proxy, TestLocation};
use database::{Database, Error, Location, Migration, params};

const TABLES: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE things (name BLOB NOT NULL PRIMARY KEY, size BIGINT NOT NULL) WITHOUT ROWID;",
}];
const INSERT: &str = "INSERT INTO things (name, size) VALUES ($1, $2)";

async fn count(db: &Database) -> i64 {
    db.row("SELECT COUNT(*) FROM things", &[]).await.unwrap().unwrap().get(0).unwrap()
}

#[tokio::test]
async fn a_commit_without_a_response_is_unknown_whether_it_was_applied_or_not() {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let db = Database::open(&proxy.location, "suite", TABLES).await.unwrap();
    proxy.cut(Cut::BeforeCommit, "INSERT INTO things");
    let lost = db.execute(INSERT, params![b"before", 1i64]).await;
    assert!(matches!(lost, Err(Error::Unknown { .. })), "{lost:?}");
    assert_eq!((proxy.cuts(), count(&db).await), (1, 0));
    proxy.cut(Cut::AfterCommit, "INSERT INTO things");
    let lost = db.execute(INSERT, params![b"after", 1i64]).await;
    assert!(matches!(lost, Err(Error::Unknown { .. })), "{lost:?}");
    assert_eq!((proxy.cuts(), count(&db).await), (2, 1));
    db.execute(INSERT, params![b"later", 1i64]).await.unwrap();
    assert_eq!(count(&db).await, 2);
}

#[tokio::test]
async fn a_connection_lost_before_commit_is_replaced_and_the_unit_repeated() {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let db = Database::open(&proxy.location, "suite", TABLES).await.unwrap();
    proxy.cut(Cut::Statement, "INSERT INTO things");
    db.execute(INSERT, params![b"a", 1i64]).await.unwrap();
    proxy.cut(Cut::Statement, "SELECT COUNT");
    assert_eq!((count(&db).await, proxy.cuts()), (1, 2));
}

#[tokio::test]
async fn a_unit_whose_connection_the_server_closes_is_repeated() {
    let scratch = TestLocation::postgres();
    let db = Database::open(&scratch.location, "suite", TABLES).await.unwrap();
    let ended = db.write((db.clone(), AtomicBool::new(false)), |(other, ended), tx| {
        Box::pin(async move {
            tx.execute(INSERT, params![b"a", 1i64]).await?;
            let pid = tx.row("SELECT CAST(pg_backend_pid() AS BIGINT)", &[]).await?.expect("a row");
            if !ended.swap(true, Ordering::SeqCst) {
                // Same effect as a restart of the server (57P01).
                let end = "SELECT pg_terminate_backend(CAST($1 AS INT4))";
                other.row(end, params![pid.get::<i64>(0)?]).await?;
            }
            tx.row("SELECT 1", &[]).await.map(|_| ())
        })
    });
    let ended: Result<(), Error> = ended.await;
    ended.unwrap();
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_read_only_server_is_unavailable_and_its_connection_is_not_reused() {
    let scratch = TestLocation::postgres();
    let db = Database::open(&scratch.location, "suite", TABLES).await.unwrap();
    // Like a primary that became a standby: pooled connections refuse writes, new connections do not.
    let demoted = "SELECT set_config('default_transaction_read_only', 'on', false)";
    db.row(demoted, &[]).await.unwrap();
    db.execute(INSERT, params![b"a", 1i64]).await.unwrap();
    assert_eq!(count(&db).await, 1);
}

#[tokio::test]
async fn a_unit_that_panics_leaves_no_open_transaction_in_the_pool() {
    let scratch = TestLocation::postgres();
    let db = Database::open(&scratch.location.clone().with_connections(1), "suite", TABLES).await.unwrap();
    let panicking = db.clone();
    let ended = tokio::spawn(async move {
        let unit = panicking.write((), |(), tx| {
            Box::pin(async move {
                tx.execute(INSERT, params![b"lost", 1i64]).await?;
                panic!("simulated bug")
            })
        });
        let _: Result<(), Error> = unit.await;
    });
    assert!(ended.await.unwrap_err().is_panic());
    db.execute(INSERT, params![b"kept", 1i64]).await.unwrap();
    assert_eq!(count(&db).await, 1, "the panicking unit's row must not ride on a later commit");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_commit_that_is_not_answered_in_time_is_unknown_and_keeps_its_connection() {
    let scratch = TestLocation::postgres();
    let proxy = Arc::new(Proxy::before(&scratch.location).await);
    let location = proxy.location.clone().with_connections(1);
    let Location::Postgres(server) = &location else { unreachable!("it is PostgreSQL") };
    let location = Location::Postgres(server.with_commit_within(Duration::from_millis(300)));
    let db = Database::open(&location, "suite", TABLES).await.unwrap();
    let connections = proxy.connections();
    let unit = db.write(Arc::clone(&proxy), |proxy, tx| {
        Box::pin(async move {
            tx.execute(INSERT, params![b"late", 1i64]).await?;
            // The connection stays open, and COMMIT does not arrive.
            proxy.isolate(true);
            Ok(())
        })
    });
    let unit: Result<(), Error> =
        tokio::time::timeout(Duration::from_secs(20), unit).await.expect("its deadline ends it");
    assert!(matches!(unit, Err(Error::Unknown { .. })), "{unit:?}");
    // The only connection is not given to anyone before the server has answered.
    let values: &[database::Value<'_>] = params![b"next", 1i64];
    let mut next = Box::pin(db.execute(INSERT, values));
    assert!(tokio::time::timeout(Duration::from_millis(300), &mut next).await.is_err());
    assert_eq!(proxy.connections(), connections, "none was opened in its place");
    proxy.isolate(false);
    next.await.unwrap();
    assert_eq!(count(&db).await, 2, "the commit was done after all");
}

const FAIL_SYNC: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <stdlib.h>
#include <unistd.h>
static int fails(int fd) {
    char link[64], path[512];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return strstr(path, "-wal") && access(getenv("FAIL_SYNC_WHEN"), F_OK) == 0;
}
int fsync(int fd) {
    if (fails(fd)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fsync"))(fd);
}
int fdatasync(int fd) {
    if (fails(fd)) { errno = EIO; return -1; }
    return ((int (*)(int))dlsym(RTLD_NEXT, "fdatasync"))(fd);
}
"#;

/// The process whose disk fails: writes rows until it is ended and reports which ones were acknowledged.
#[tokio::test]
async fn child_that_writes_until_its_log_cannot_be_synced() {
    let Ok(dir) = std::env::var("UNKNOWN_CHILD_DIR") else { return };
    let location = database::Location::Sqlite(dir.clone().into());
    let db = Database::open(&location, "suite", TABLES).await.unwrap();
    for size in 0..100i64 {
        if size == 50 {
            std::fs::write(format!("{dir}/fail"), "").unwrap();
        }
        match db.execute(INSERT, params![&size.to_be_bytes()[..], size]).await {
            Ok(_) => println!("acknowledged {size}"),
            Err(error) => println!("failed {size} {error:?}"),
        }
    }
    println!("went on");
}

#[tokio::test]
async fn a_log_that_cannot_be_synced_ends_the_process_and_loses_nothing_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let (source, library) = (dir.path().join("fail.c"), dir.path().join("fail.so"));
    std::fs::write(&source, FAIL_SYNC).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).args([&library, &source]).arg("-ldl").status();
    assert!(compiled.expect("cc: a C compiler is needed").success());
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_writes_until_its_log_cannot_be_synced", "--nocapture"])
        .env("LD_PRELOAD", &library)
        .env("UNKNOWN_CHILD_DIR", dir.path())
        .env("FAIL_SYNC_WHEN", dir.path().join("fail"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout).into_owned() + &String::from_utf8_lossy(&child.stderr);
    assert_eq!(child.status.code(), Some(1), "{said}");
    assert!(said.contains("the log cannot be synced") && !said.contains("went on"), "{said}");
    let acknowledged = said.matches("acknowledged").count();
    assert_eq!(acknowledged, 50, "{said}");
    let db = Database::open(&database::Location::Sqlite(dir.path().into()), "suite", TABLES).await.unwrap();
    let rows = db.rows("SELECT size FROM things ORDER BY size", &[]).await.unwrap();
    // The row whose sync failed may or may not be there.
    assert!(rows.len() == 50 || rows.len() == 51, "{}", rows.len());
    for (row, expected) in rows.iter().zip(0i64..) {
        assert_eq!(row.get::<i64>(0).unwrap(), expected);
    }
}
