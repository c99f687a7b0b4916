//! Everything that services rely on, tested on both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use database::{Cell, Database, Error, Migration, Value, on_each_engine, params};

const TABLES: &[Migration] = &[Migration {
    version: 1,
    sql: "CREATE TABLE things (name BLOB NOT NULL PRIMARY KEY, size BIGINT NOT NULL) WITHOUT ROWID;
          CREATE TABLE sums (name TEXT NOT NULL, slot BIGINT NOT NULL, total BIGINT NOT NULL, PRIMARY KEY (name, slot));",
}];
const INSERT: &str = "INSERT INTO things (name, size) VALUES ($1, $2)";
const ADD: &str = "INSERT INTO sums (name, slot, total) VALUES ($1, $2, $3)
                   ON CONFLICT (name, slot) DO UPDATE SET total = sums.total + excluded.total";

async fn total(db: &Database) -> i64 {
    let row = db.row("SELECT CAST(COALESCE(SUM(total), 0) AS BIGINT) FROM sums", &[]).await.unwrap();
    row.unwrap().get(0).unwrap()
}

on_each_engine! {
    async fn placeholders_bind_by_number(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        db.execute("INSERT INTO things (size, name) VALUES ($2, $1)", params![b"a", 7i64]).await.unwrap();
        let row = db.row("SELECT size FROM things WHERE size = $2 AND name = $1", params![b"a", 7i64]).await.unwrap();
        assert_eq!(row.unwrap().get::<i64>(0).unwrap(), 7);
    }
}

on_each_engine! {
    async fn names_are_ordered_by_bytes(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        let names: [&[u8]; 5] = [b"b", b"B", "é".as_bytes(), b"a_", b"aB"];
        for name in names {
            db.execute(INSERT, params![name, 0i64]).await.unwrap();
        }
        let rows = db.rows("SELECT name FROM things ORDER BY name", &[]).await.unwrap();
        let found: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0).unwrap()).collect();
        let mut expected: Vec<Vec<u8>> = names.iter().map(|name| name.to_vec()).collect();
        expected.sort();
        assert_eq!(found, expected);
    }
}

on_each_engine! {
    async fn a_rejected_unit_changes_nothing(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        let refused: Result<(), Error> = db.write((), |(), tx| Box::pin(async move {
            tx.execute(INSERT, params![b"kept?", 1i64]).await?;
            tx.fold(ADD, vec![Cell::Text("t".into()), Cell::Int(tx.slot())], &[5]);
            Err(Error::Full)
        })).await;
        assert!(matches!(refused, Err(Error::Full)));
        assert!(db.rows("SELECT name FROM things", &[]).await.unwrap().is_empty());
        assert_eq!(total(&db).await, 0);
    }
}

on_each_engine! {
    async fn duplicates_are_reported_and_fail_their_unit(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        db.execute(INSERT, params![b"a", 1i64]).await.unwrap();
        let again = db.execute(INSERT, params![b"a", 2i64]).await;
        assert!(matches!(again, Err(Error::Duplicate { .. })), "{again:?}");
        let swallowed: Result<(), Error> = db.write((), |(), tx| Box::pin(async move {
            let _ = tx.execute(INSERT, params![b"a", 3i64]).await;
            Ok(())
        })).await;
        assert!(matches!(swallowed, Err(Error::Duplicate { .. })), "{swallowed:?}");
    }
}

on_each_engine! {
    async fn concurrent_units_all_count(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        db.execute(INSERT, params![b"counter", 0i64]).await.unwrap();
        let tasks: Vec<_> = (0..50i64).map(|_| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write((), |(), tx| Box::pin(async move {
                    let row = tx.row("SELECT size FROM things WHERE name = $1", params![b"counter"]).await?;
                    let size: i64 = row.expect("present").take(0)?;
                    tx.execute("UPDATE things SET size = $2 WHERE name = $1", params![b"counter", size + 1]).await?;
                    tx.fold(ADD, vec![Cell::Text("t".into()), Cell::Int(tx.slot())], &[2]);
                    Ok::<(), Error>(())
                })).await
            })
        }).collect();
        for task in tasks {
            task.await.unwrap().unwrap();
        }
        let row = db.row("SELECT size FROM things", &[]).await.unwrap();
        assert_eq!(row.unwrap().get::<i64>(0).unwrap(), 50);
        assert_eq!(total(&db).await, 100);
    }
}

on_each_engine! {
    async fn a_long_unit_is_not_starved_by_others(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        db.execute(INSERT, params![b"counter", 0i64]).await.unwrap();
        let add = |db: Database, reads: i64| async move {
            db.write(reads, |reads, tx| Box::pin(async move {
                let mut size = 0i64;
                for _ in 0..*reads {
                    let row = tx.row("SELECT size FROM things WHERE name = $1", params![b"counter"]).await?;
                    size = row.expect("present").take(0)?;
                }
                tx.execute("UPDATE things SET size = $2 WHERE name = $1", params![b"counter", size + 1]).await?;
                Ok::<(), Error>(())
            })).await
        };
        let done = Arc::new(AtomicBool::new(false));
        let short: Vec<_> = (0..2).map(|_| {
            let (db, done) = (db.clone(), Arc::clone(&done));
            tokio::spawn(async move {
                let mut times = 0;
                while !done.load(Ordering::Acquire) {
                    add(db.clone(), 1).await.unwrap();
                    times += 1;
                }
                times
            })
        }).collect();
        let long = add(db.clone(), 200).await;
        done.store(true, Ordering::Release);
        let mut times = 1;
        for short in short {
            times += short.await.unwrap();
        }
        long.unwrap();
        let row = db.row("SELECT size FROM things", &[]).await.unwrap();
        assert_eq!(row.unwrap().get::<i64>(0).unwrap(), times);
    }
}

on_each_engine! {
    async fn a_unit_completes_after_its_caller_stopped_waiting(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        for size in 1..=20i64 {
            let mut dropped = Box::pin(db.write(size, |size, tx| Box::pin(async move {
                for _ in 0..5 {
                    tx.rows("SELECT size FROM things", &[]).await?;
                }
                tx.execute(INSERT, params![&size.to_be_bytes()[..], *size]).await.map(|_| ())
            })));
            let begun: Poll<Result<(), Error>> =
                std::future::poll_fn(|context| Poll::Ready(dropped.as_mut().poll(context))).await;
            drop((begun, dropped));
        }
        let all = async {
            while db.rows("SELECT name FROM things", &[]).await.unwrap().len() < 20 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(20), all).await.expect("all units complete");
        // No connection was left inside a transaction.
        for size in 21..=60i64 {
            let refused: Result<(), Error> = db.write(size, |size, tx| Box::pin(async move {
                tx.execute(INSERT, params![&size.to_be_bytes()[..], *size]).await?;
                Err(Error::Full)
            })).await;
            assert!(matches!(refused, Err(Error::Full)), "{refused:?}");
        }
        assert_eq!(db.rows("SELECT name FROM things", &[]).await.unwrap().len(), 20);
    }
}

on_each_engine! {
    async fn folded_sums_survive_units_that_flush_and_are_rolled_back(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        let add = |db: &Database, amount: i64, refuse: bool| {
            let db = db.clone();
            tokio::spawn(async move {
                db.write((amount, refuse), |(amount, refuse), tx| Box::pin(async move {
                    tx.fold(ADD, vec![Cell::Text("t".into()), Cell::Int(tx.slot())], &[*amount]);
                    if *refuse {
                        tx.flush().await?;
                        return Err(Error::Full);
                    }
                    Ok(())
                })).await
            })
        };
        let tasks: Vec<_> = (0..60).map(|n| add(&db, n, n % 3 == 0)).collect();
        for (n, task) in tasks.into_iter().enumerate() {
            assert_eq!(task.await.unwrap().is_err(), n % 3 == 0);
        }
        assert_eq!(total(&db).await, (0..60).filter(|n| n % 3 != 0).sum::<i64>());
    }
}

on_each_engine! {
    async fn a_snapshot_does_not_change(location: &Location) {
        let db = Database::open(location, "suite", TABLES).await.unwrap();
        let other = db.clone();
        let seen = db.scan(other, |other, tx| Box::pin(async move {
            let count = "SELECT COUNT(*) FROM things";
            let before: i64 = tx.row(count, &[]).await?.expect("a count").take(0)?;
            // Another unit writes while this snapshot is open.
            let other = other.clone();
            let written = std::thread::spawn(move || {
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
                    .block_on(other.execute(INSERT, &[Value::Bytes(b"late"), Value::Int(1)]))
            });
            while !written.is_finished() { std::thread::yield_now(); }
            written.join().expect("thread")?;
            let after: i64 = tx.row(count, &[]).await?.expect("a count").take(0)?;
            Ok::<_, Error>((before, after))
        })).await.unwrap();
        assert_eq!(seen, (0, 0));
    }
}

on_each_engine! {
    async fn a_newer_database_is_refused(location: &Location) {
        let newer = [TABLES[0], Migration { version: 2, sql: "CREATE TABLE more (x BIGINT)" }];
        drop(Database::open(location, "suite", &newer).await.unwrap());
        let refused = Database::open(location, "suite", TABLES).await.err().expect("refused");
        assert!(matches!(refused, Error::Newer { found: 2, known: 1, .. }), "{refused:?}");
        assert!(Database::open(location, "suite", &newer).await.is_ok());
    }
}

#[tokio::test]
async fn commits_survive_reopening() {
    let scratch = database::testing::TestLocation::sqlite();
    let db = Database::open(&scratch.location, "suite", TABLES).await.unwrap();
    db.execute(INSERT, params![b"a", 9i64]).await.unwrap();
    drop(db);
    let db = Database::open(&scratch.location, "suite", TABLES).await.unwrap();
    let row = db.row("SELECT size FROM things WHERE name = $1", params![b"a"]).await.unwrap();
    assert_eq!(row.unwrap().get::<i64>(0).unwrap(), 9);
}
