//! Jobs and leases, on PostgreSQL and SQLite.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use database::testing::{Proxy, TestLocation};
use database::{Database, Migration, on_each_engine, params};
use tokio::sync::Notify;
use work::lease::{self, Uptime};
use work::{Clock, Handler, Job, NewJob, Next, Runner, Time, jobs};

const TABLES: &[Migration] = &[Migration { version: 1, sql: work::TABLES }];

async fn open(location: &database::Location) -> Database {
    Database::open(location, "suite", TABLES).await.unwrap()
}

async fn enqueue(db: &Database, clock: &Clock, kind: &'static str, due: Time, deadline: Time) {
    let now = clock.now();
    db.write((), move |(), tx| {
        Box::pin(async move {
            let job = NewJob { kind, subject: "s", payload: "0".into(), due, deadline };
            jobs::enqueue(tx, now, &job).await.map(|_| ())
        })
    })
    .await
    .unwrap();
}

struct Counter {
    db: Database,
    steps: AtomicU32,
    expired: AtomicU32,
}

#[async_trait]
impl Handler for Counter {
    async fn step(&self, job: &Job) -> Next {
        self.steps.fetch_add(1, Ordering::SeqCst);
        let done: u32 = job.payload.parse().unwrap();
        let job = job.clone();
        let ended = self
            .db
            .write((job, done), |(job, done), tx| {
                Box::pin(async move {
                    if *done == 2 {
                        job.finish(tx).await
                    } else {
                        job.save(tx, &(done + 1).to_string()).await.map(|_| false)
                    }
                })
            })
            .await
            .unwrap();
        if ended { Next::Ended } else { Next::Continue }
    }

    async fn expired(&self, job: &Job) -> Next {
        self.expired.fetch_add(1, Ordering::SeqCst);
        let job = job.clone();
        self.db.write(job, |job, tx| Box::pin(async move { job.finish(tx).await })).await.unwrap();
        Next::Ended
    }
}

/// A handler whose step waits until the test lets it end.
struct WaitingHandler {
    steps: AtomicU32,
    may_end: Notify,
}

#[async_trait]
impl Handler for WaitingHandler {
    async fn step(&self, _: &Job) -> Next {
        self.steps.fetch_add(1, Ordering::SeqCst);
        self.may_end.notified().await;
        Next::After(Duration::from_secs(3600))
    }

    async fn expired(&self, _: &Job) -> Next {
        Next::Ended
    }
}

async fn jobs_left(db: &Database) -> i64 {
    db.row("SELECT COUNT(*) FROM jobs", &[]).await.unwrap().unwrap().get(0).unwrap()
}

async fn until_no_job_is_left(db: &Database) {
    tokio::time::timeout(Duration::from_secs(20), async {
        while jobs_left(db).await > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    })
    .await
    .expect("the job ends");
}

on_each_engine! {
    async fn a_job_runs_each_step_once(location: &Location) {
        let db = open(location).await;
        let clock = Clock::system();
        let handler = Arc::new(Counter { db: db.clone(), steps: AtomicU32::new(0), expired: AtomicU32::new(0) });
        enqueue(&db, &clock, "count", clock.now(), clock.now().after(Duration::from_secs(60))).await;
        let runner = Runner { db: db.clone(), clock, concurrency: 4 }.start(handler.clone());
        until_no_job_is_left(&db).await;
        runner.stop().await;
        assert_eq!(handler.steps.load(Ordering::SeqCst), 3);
        assert_eq!(handler.expired.load(Ordering::SeqCst), 0);
    }
}

on_each_engine! {
    async fn a_job_waits_for_its_time_and_expires_after_its_deadline(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let handler = Arc::new(Counter { db: db.clone(), steps: AtomicU32::new(0), expired: AtomicU32::new(0) });
        enqueue(&db, &clock, "late", Time::from_seconds(5000), Time::from_seconds(9000)).await;
        let runner = Runner { db: db.clone(), clock: clock.clone(), concurrency: 4 }.start(handler.clone());
        clock.advance(Duration::from_secs(3999));
        runner.wake();
        assert_eq!(jobs_left(&db).await, 1);
        assert_eq!(handler.steps.load(Ordering::SeqCst), 0);
        clock.advance(Duration::from_secs(4001));
        runner.wake();
        until_no_job_is_left(&db).await;
        runner.stop().await;
        assert_eq!(handler.steps.load(Ordering::SeqCst), 0);
        assert_eq!(handler.expired.load(Ordering::SeqCst), 1);
    }
}

on_each_engine! {
    async fn a_running_job_keeps_its_lease_when_the_services_clock_jumps(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let handler = Arc::new(WaitingHandler { steps: AtomicU32::new(0), may_end: Notify::new() });
        enqueue(&db, &clock, "x", clock.now(), Time(i64::MAX)).await;
        // Long enough for a busy machine: a renewal may be late by a third of it before the step is dropped.
        let lease = Duration::from_secs(6);
        let runner =
            Runner { db: db.clone(), clock: clock.clone(), concurrency: 4 }.start_with_lease(handler.clone(), lease);
        let mut leased = std::collections::BTreeSet::new();
        // One claim and four renewals together last longer than the lease.
        while leased.len() < 5 {
            clock.advance(Duration::from_secs(1));
            let row = db.row("SELECT lease_until FROM jobs WHERE fence = 1", &[]).await.unwrap();
            leased.extend(row.map(|row| row.get::<i64>(0).unwrap()).filter(|until| *until > 0));
            assert!(handler.steps.load(Ordering::SeqCst) <= 1);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        handler.may_end.notify_one();
        runner.stop().await;
        let row = db.row("SELECT fence, lease_until FROM jobs", &[]).await.unwrap().unwrap();
        // The release increases the fence; no other claim did.
        assert_eq!((row.get::<i64>(0).unwrap(), row.get::<i64>(1).unwrap()), (2, 0));
    }
}

/// A handler whose step runs until it is dropped, and which records when that was.
#[derive(Default)]
struct EndlessHandler {
    started: OnceLock<Instant>,
    dropped: Arc<OnceLock<Instant>>,
}

struct RecordDrop(Arc<OnceLock<Instant>>);

impl Drop for RecordDrop {
    fn drop(&mut self) {
        let _ = self.0.set(Instant::now());
    }
}

#[async_trait]
impl Handler for EndlessHandler {
    async fn step(&self, _: &Job) -> Next {
        let _ = self.started.set(Instant::now());
        let _record = RecordDrop(Arc::clone(&self.dropped));
        std::future::pending().await
    }

    async fn expired(&self, _: &Job) -> Next {
        Next::Ended
    }
}

async fn until_set(moment: &OnceLock<Instant>, what: &str) -> Instant {
    let set = async {
        while moment.get().is_none() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), set).await.unwrap_or_else(|_| panic!("never: {what}"));
    *moment.get().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_process_cut_off_from_the_database_stops_before_its_successor_starts() {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let (lease, clock) = (Duration::from_secs(3), Clock::system());
    let (first, second) = (Arc::new(EndlessHandler::default()), Arc::new(EndlessHandler::default()));
    let (db, cut_off) = (open(&scratch.location).await, open(&proxy.location).await);
    enqueue(&db, &clock, "x", clock.now(), clock.now().after(Duration::from_secs(3600))).await;
    let runner = |db: &Database| Runner { db: db.clone(), clock: clock.clone(), concurrency: 4 };
    let _first = runner(&cut_off).start_with_lease(first.clone(), lease);
    until_set(&first.started, "the first runs it").await;
    let other = runner(&db).start_with_lease(second.clone(), lease);
    proxy.isolate(true);
    let started = async {
        while second.started.get().is_none() {
            other.wake();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), started).await.expect("the second takes it over");
    let taken_over = *second.started.get().unwrap();
    let stopped = *first.dropped.get().expect("the first has stopped when the second starts");
    assert!(stopped < taken_over, "{:?} too late", stopped - taken_over);
    proxy.isolate(false);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_clock_that_is_ahead_does_not_take_leased_jobs() {
    let scratch = TestLocation::postgres();
    let db = open(&scratch.location).await;
    let (clock, ahead) =
        (Clock::frozen_at(Time::from_seconds(1000)), Clock::frozen_at(Time::from_seconds(1_000_000)));
    let (first, second) = (Arc::new(EndlessHandler::default()), Arc::new(EndlessHandler::default()));
    enqueue(&db, &clock, "first", clock.now(), Time(i64::MAX)).await;
    let _first = Runner { db: db.clone(), clock: clock.clone(), concurrency: 1 }.start(first.clone());
    until_set(&first.started, "the first job").await;
    enqueue(&db, &clock, "second", clock.now(), Time(i64::MAX)).await;
    let _second = Runner { db: db.clone(), clock: ahead, concurrency: 4 }.start(second.clone());
    until_set(&second.started, "the second job").await;
    let rows = db.rows("SELECT kind, fence FROM jobs ORDER BY kind", &[]).await.unwrap();
    let found: Vec<(String, i64)> =
        rows.iter().map(|row| (row.get(0).unwrap(), row.get(1).unwrap())).collect();
    assert_eq!(found, [("first".to_owned(), 1), ("second".to_owned(), 1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_claim_skips_a_job_that_another_transaction_has_locked() {
    let scratch = TestLocation::postgres();
    let db = open(&scratch.location).await;
    let clock = Clock::system();
    let far = clock.now().after(Duration::from_secs(3600));
    enqueue(&db, &clock, "first", clock.now(), far).await;
    enqueue(&db, &clock, "second", clock.now(), far).await;
    let (locked, resume) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let changing = tokio::spawn({
        let (db, input) = (db.clone(), (Arc::clone(&locked), Arc::clone(&resume)));
        async move {
            let changed: Result<u64, database::Error> = db
                .write(input, |(locked, resume), tx| {
                    Box::pin(async move {
                        let changed =
                            tx.execute("UPDATE jobs SET attempts = 7 WHERE kind = 'first'", &[]).await?;
                        locked.notify_one();
                        resume.notified().await;
                        Ok(changed)
                    })
                })
                .await;
            changed.unwrap()
        }
    });
    locked.notified().await;
    let handler = Arc::new(EndlessHandler::default());
    let _runner = Runner { db: db.clone(), clock, concurrency: 4 }.start(handler.clone());
    until_set(&handler.started, "the unlocked job is claimed").await;
    let claimed = db.row("SELECT kind FROM jobs WHERE fence = 1", &[]).await.unwrap().unwrap();
    assert_eq!(claimed.get::<String>(0).unwrap(), "second");
    resume.notify_one();
    assert_eq!(changing.await.unwrap(), 1);
}

/// Ends its job, and then waits for the test before it cleans up.
struct CleanupHandler {
    db: Database,
    may_clean_up: Notify,
    cleanups: AtomicU32,
}

#[async_trait]
impl Handler for CleanupHandler {
    async fn step(&self, job: &Job) -> Next {
        let ended = self.db.write(job.clone(), |job, tx| Box::pin(async move { job.finish(tx).await }));
        assert!(ended.await.unwrap());
        self.may_clean_up.notified().await;
        self.cleanups.fetch_add(1, Ordering::SeqCst);
        Next::Ended
    }

    async fn expired(&self, _: &Job) -> Next {
        Next::Ended
    }
}

on_each_engine! {
    async fn a_step_finishes_its_cleanup_after_its_job_ended(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let handler =
            Arc::new(CleanupHandler { db: db.clone(), may_clean_up: Notify::new(), cleanups: AtomicU32::new(0) });
        enqueue(&db, &clock, "x", clock.now(), Time::from_seconds(9000)).await;
        let lease = Duration::from_secs(3);
        let begun = Uptime::now();
        let runner =
            Runner { db: db.clone(), clock: clock.clone(), concurrency: 4 }.start_with_lease(handler.clone(), lease);
        until_no_job_is_left(&db).await;
        // The renewal after a third of the lease finds no job.
        begun.after(lease / 2).reached().await;
        handler.may_clean_up.notify_one();
        runner.stop().await;
        assert_eq!(handler.cleanups.load(Ordering::SeqCst), 1);
    }
}

on_each_engine! {
    async fn a_job_is_enqueued_once_while_an_identical_one_is_unclaimed(location: &Location) {
        let db = open(location).await;
        let now = Time::from_seconds(1000);
        let write = async |payload: &'static str| {
            db.write(payload, move |payload, tx| {
                Box::pin(async move {
                    let payload = (*payload).to_owned();
                    let job = NewJob { kind: "x", subject: "s", payload, due: now, deadline: now };
                    jobs::enqueue_once(tx, now, &job).await
                })
            })
            .await
            .unwrap();
            jobs_left(&db).await
        };
        assert_eq!((write("a").await, write("a").await, write("b").await), (1, 1, 2));
        // A claimed job may already be past the step that the new one is needed for.
        db.execute("UPDATE jobs SET lease_until = $1", params![now.0 - 1]).await.unwrap();
        assert_eq!((write("a").await, write("a").await), (3, 3));
    }
}

on_each_engine! {
    async fn a_holder_with_an_old_fence_cannot_write(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        enqueue(&db, &clock, "x", clock.now(), Time::from_seconds(9000)).await;
        let old = Job {
            id: db.row("SELECT id FROM jobs", &[]).await.unwrap().unwrap().get(0).unwrap(),
            kind: "x".into(), subject: "s".into(), payload: "0".into(),
            created: clock.now(), deadline: clock.now(), attempts: 1, fence: 1,
        };
        // The job was claimed again since, so the fence is 2.
        db.execute("UPDATE jobs SET fence = 2", &[]).await.unwrap();
        let wrote = db.write(old, |job, tx| Box::pin(async move { job.finish(tx).await })).await.unwrap();
        assert!(!wrote);
        assert_eq!(jobs_left(&db).await, 1);
    }
}

on_each_engine! {
    async fn a_lease_has_one_holder_and_its_fence_increases(location: &Location) {
        let db = open(location).await;
        let (minute, moment) = (Duration::from_secs(60), Duration::from_millis(20));
        let first = lease::take(&db, "reaper", "a", minute).await.unwrap().expect("free");
        assert_eq!(first.fence, 1);
        assert!(first.usable_until <= Uptime::now().after(minute * 2 / 3));
        assert_eq!(lease::take(&db, "reaper", "b", minute).await.unwrap(), None);
        assert_eq!(lease::take(&db, "reaper", "a", moment).await.unwrap().expect("renewed").fence, 1);
        let taken = async {
            loop {
                if let Some(taken) = lease::take(&db, "reaper", "b", minute).await.unwrap() {
                    return taken;
                }
            }
        };
        let taken = tokio::time::timeout(Duration::from_secs(20), taken).await.expect("the lease expires");
        assert_eq!(taken.fence, 2);
        assert_eq!(lease::take(&db, "reaper", "a", minute).await.unwrap(), None);
    }
}
