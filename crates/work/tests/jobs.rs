//! Jobs and leases, on both engines.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use database::{Database, Migration, on_each_engine, params};
use tokio::sync::Notify;
use work::{Clock, Handler, Job, NewJob, Next, Runner, Time, jobs, lease};

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

/// Keeps a job in hand until it is let go.
struct Keeper {
    steps: AtomicU32,
    let_go: Notify,
}

#[async_trait]
impl Handler for Keeper {
    async fn step(&self, _: &Job) -> Next {
        self.steps.fetch_add(1, Ordering::SeqCst);
        self.let_go.notified().await;
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
    async fn a_job_goes_through_its_steps_once(location: &Location) {
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
    async fn a_job_in_hand_is_kept_however_fast_the_clock_goes(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let handler = Arc::new(Keeper { steps: AtomicU32::new(0), let_go: Notify::new() });
        enqueue(&db, &clock, "x", clock.now(), Time::from_seconds(9000)).await;
        let runner = Runner { db: db.clone(), clock: clock.clone(), concurrency: 4 }.start(handler.clone());
        let leased_until = |seconds: i64| {
            let db = db.clone();
            let leased = async move {
                let sql = "SELECT COUNT(*) FROM jobs WHERE fence = 1 AND lease_until = $1";
                while db.row(sql, params![seconds * 1_000_000]).await.unwrap().unwrap().get::<i64>(0).unwrap() == 0 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // Sooner than by the machine's own time.
            async move { tokio::time::timeout(Duration::from_secs(5), leased).await.expect("the lease is kept") }
        };
        leased_until(1030).await;
        for renewal in 1..=6 {
            clock.advance(Duration::from_secs(10));
            leased_until(1030 + 10 * renewal).await;
        }
        assert_eq!(handler.steps.load(Ordering::SeqCst), 1);
        handler.let_go.notify_one();
        leased_until(0).await;
        runner.stop().await;
    }
}

/// Ends its job, and clears up behind it once it is let go.
struct Clearing {
    db: Database,
    let_go: Notify,
    cleared: AtomicU32,
}

#[async_trait]
impl Handler for Clearing {
    async fn step(&self, job: &Job) -> Next {
        let ended = self.db.write(job.clone(), |job, tx| Box::pin(async move { job.finish(tx).await }));
        assert!(ended.await.unwrap());
        self.let_go.notified().await;
        self.cleared.fetch_add(1, Ordering::SeqCst);
        Next::Ended
    }

    async fn expired(&self, _: &Job) -> Next {
        Next::Ended
    }
}

on_each_engine! {
    async fn what_a_step_clears_up_behind_its_job_is_not_cut_off(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let handler =
            Arc::new(Clearing { db: db.clone(), let_go: Notify::new(), cleared: AtomicU32::new(0) });
        enqueue(&db, &clock, "x", clock.now(), Time::from_seconds(9000)).await;
        let runner = Runner { db: db.clone(), clock: clock.clone(), concurrency: 4 }.start(handler.clone());
        until_no_job_is_left(&db).await;
        // The renewal that finds no job is one of many.
        for _ in 0..100 {
            clock.advance(Duration::from_secs(10));
            assert_eq!(jobs_left(&db).await, 0);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        handler.let_go.notify_one();
        runner.stop().await;
        assert_eq!(handler.cleared.load(Ordering::SeqCst), 1);
    }
}

on_each_engine! {
    async fn a_job_is_written_once_while_its_like_waits(location: &Location) {
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
        // What is in hand may have passed what the new one is for.
        db.execute("UPDATE jobs SET lease_until = $1", params![now.0 - 1]).await.unwrap();
        assert_eq!((write("a").await, write("a").await), (3, 3));
    }
}

on_each_engine! {
    async fn an_old_holder_cannot_write(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        enqueue(&db, &clock, "x", clock.now(), Time::from_seconds(9000)).await;
        let old = Job {
            id: db.row("SELECT id FROM jobs", &[]).await.unwrap().unwrap().get(0).unwrap(),
            kind: "x".into(), subject: "s".into(), payload: "0".into(),
            created: clock.now(), deadline: clock.now(), attempts: 1, fence: 1,
        };
        // Claimed twice since: the fence stands at 2.
        db.execute("UPDATE jobs SET fence = 2", &[]).await.unwrap();
        let wrote = db.write(old, |job, tx| Box::pin(async move { job.finish(tx).await })).await.unwrap();
        assert!(!wrote);
        assert_eq!(jobs_left(&db).await, 1);
    }
}

on_each_engine! {
    async fn a_lease_has_one_holder_and_its_fence_grows(location: &Location) {
        let db = open(location).await;
        let clock = Clock::frozen_at(Time::from_seconds(1000));
        let minute = Duration::from_secs(60);
        let first = lease::take(&db, &clock, "reaper", "a", minute).await.unwrap().expect("free");
        assert_eq!(first.fence, 1);
        assert_eq!(lease::take(&db, &clock, "reaper", "b", minute).await.unwrap(), None);
        clock.advance(Duration::from_secs(30));
        assert_eq!(lease::take(&db, &clock, "reaper", "a", minute).await.unwrap().expect("renewed").fence, 1);
        clock.advance(Duration::from_secs(61));
        assert_eq!(lease::take(&db, &clock, "reaper", "b", minute).await.unwrap().expect("run out").fence, 2);
        assert_eq!(lease::take(&db, &clock, "reaper", "a", minute).await.unwrap(), None);
    }
}
