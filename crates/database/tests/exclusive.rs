//! At most one process at a time holds a cloud's databases.

use std::io::BufRead;
use std::process::{Command, Stdio};
use std::time::Duration;

use database::testing::TestLocation;
use database::{Database, ExclusiveLock, Location, on_each_engine};

const AT_ONCE: Duration = Duration::ZERO;
const SOON: Duration = Duration::from_secs(20);

async fn take(location: &Location, wait: Duration) -> Option<ExclusiveLock> {
    ExclusiveLock::take_within(location, wait).await.unwrap()
}

on_each_engine! {
    async fn a_second_holder_is_refused_until_the_first_is_gone(location: &Location) {
        let first = take(location, AT_ONCE).await.expect("free");
        assert!(location.is_exclusive());
        assert!(take(location, AT_ONCE).await.is_none());
        drop(first);
        assert!(take(location, SOON).await.is_some());
    }
}

/// The process that the test kills: takes the lock and reports it.
#[tokio::test]
async fn child_that_holds_the_lock() {
    let Ok(url) = std::env::var("EXCLUSIVE_CHILD_URL") else { return };
    let location = Location::parse(&url, "/nowhere".as_ref()).unwrap();
    let _held = take(&location, AT_ONCE).await.expect("free");
    println!("held");
    std::future::pending::<()>().await;
}

async fn another_process_takes_the_lock_of_a_killed_holder(url: &str) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_that_holds_the_lock", "--nocapture"])
        .env("EXCLUSIVE_CHILD_URL", url)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.ends_with("held")));
    let location = Location::parse(url, "/nowhere".as_ref()).unwrap();
    assert!(take(&location, AT_ONCE).await.is_none());
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(take(&location, SOON).await.is_some(), "a killed process must not keep the lock");
}

#[tokio::test]
async fn a_killed_holder_releases_the_lock() {
    let dir = tempfile::tempdir().unwrap();
    another_process_takes_the_lock_of_a_killed_holder(&format!("sqlite:{}", dir.path().display())).await;
    let url =
        std::env::var("NEPHOS_TEST_POSTGRES").expect("NEPHOS_TEST_POSTGRES: run the tests by `make test`");
    let prefix = format!("killed_{}", std::process::id());
    another_process_takes_the_lock_of_a_killed_holder(&format!("{url}?options=-c%20search_path%3D{prefix}"))
        .await;
}

/// Terminates the connection that holds the lock of a test's prefix.
async fn break_connection(location: &Location, db: &Database) {
    let Location::Postgres(server) = location else { panic!("PostgreSQL only") };
    let prefix = server.schema_prefix().unwrap();
    let sql = "SELECT CAST(COUNT(pg_terminate_backend(pid)) AS BIGINT) FROM pg_locks
               WHERE locktype = 'advisory' AND objid = CAST(CAST(hashtext($1) AS BIT(32)) AS BIGINT)";
    let ended = db.row(sql, database::params![prefix]).await.unwrap().unwrap();
    assert_eq!(ended.get::<i64>(0).unwrap(), 1);
}

#[tokio::test]
async fn a_holder_whose_connection_broke_takes_the_lock_again_or_learns_that_it_lost_it() {
    let scratch = TestLocation::postgres();
    let db = Database::open(&scratch.location, "suite", &[]).await.unwrap();
    let first = take(&scratch.location, Duration::from_secs(3)).await.expect("free");
    break_connection(&scratch.location, &db).await;
    // The first process takes the lock again, so the second finds it free for a moment at most.
    let moment = Duration::from_secs(4);
    let again = async {
        loop {
            match take(&scratch.location, AT_ONCE).await {
                Some(second) => drop(second),
                None => return,
            }
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
    };
    tokio::time::timeout(SOON, again).await.expect("the first process takes the lock again");
    assert!(tokio::time::timeout(moment, first.lost()).await.is_err());
    // The second process takes the lock while the first has no connection.
    break_connection(&scratch.location, &db).await;
    let second = take(&scratch.location, SOON).await.expect("free");
    tokio::time::timeout(SOON, first.lost()).await.expect("the first process learns that it lost the lock");
    drop(second);
}
