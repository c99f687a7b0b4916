//! The cache on disk: what a new process finds there, and what damage does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cdn::edge::{CacheSettings, Edge};
use cdn::model::Names;
use work::{Clock, Time};

use crate::cloud::START;
use crate::edge::{KEY, ask};
use crate::origin::{Fake, Mood};

const DISK: usize = 128 << 20;

async fn open(origin: &Arc<Fake>, dir: &Path, clock: &Clock) -> Arc<Edge> {
    let settings = CacheSettings { memory: 64 << 20, disk: Some((dir.to_owned(), DISK)) };
    Edge::open(origin.clone(), Names::new("cdn.test:8081", KEY), clock.clone(), &settings, None).await
}

fn body(n: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(n as u64);
    let length = if n == 0 { 3 << 20 } else { 1000 + n * 5000 };
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

/// Caches some objects, the first of them a large one.
async fn warm(origin: &Arc<Fake>, edge: &Arc<Edge>, objects: usize) {
    for n in 0..objects {
        origin.replace(&body(n), &format!("\"{n}\""));
        assert!(ask(edge, "GET", &origin.host, &format!("/o{n}"), &[]).await.body == body(n));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_process_serves_what_the_old_one_cached() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::frozen_at(Time::from_seconds(START));
    let origin = Fake::new(Vec::new());
    let edge = open(&origin, dir.path(), &clock).await;
    warm(&origin, &edge, 5).await;
    edge.close().await;
    drop(edge);
    origin.be(Mood::Away);
    let asked = origin.asked();
    let edge = open(&origin, dir.path(), &clock).await;
    for n in 0..5 {
        assert!(ask(&edge, "GET", &origin.host, &format!("/o{n}"), &[]).await.body == body(n), "{n}");
    }
    assert_eq!(origin.asked(), asked);
    // What was purged meanwhile is not served from the disk either.
    edge.close().await;
    origin.purge(None);
    let edge = open(&origin, dir.path(), &clock).await;
    assert_eq!(ask(&edge, "GET", &origin.host, "/o1", &[]).await.status, 503);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_on_the_disk_is_a_miss_and_never_an_answer() {
    let master = tempfile::tempdir().unwrap();
    let clock = Clock::frozen_at(Time::from_seconds(START));
    let origin = Fake::new(Vec::new());
    let edge = open(&origin, master.path(), &clock).await;
    warm(&origin, &edge, 8).await;
    edge.close().await;
    drop(edge);
    let seed = fastrand::u64(..);
    let mut random = fastrand::Rng::with_seed(seed);
    let mut hits = 0;
    for round in 0..12 {
        let dir = tempfile::tempdir().unwrap();
        for file in std::fs::read_dir(master.path()).unwrap().map(Result::unwrap) {
            let bytes = std::fs::read(file.path()).unwrap();
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let mut damaged = bytes;
            match round % 4 {
                // Single bits, a torn block, a cut file, and zeros where blocks were.
                0 => (0..used / 50_000 + 1).for_each(|_| {
                    if used > 0 {
                        damaged[random.usize(..used)] ^= 1 << random.u8(..8);
                    }
                }),
                1 if used > 4096 => {
                    let at = random.usize(..used - 4096);
                    damaged[at..at + 4096].iter_mut().for_each(|byte| *byte = random.u8(..));
                }
                2 => damaged.truncate(random.usize(..=used)),
                _ if used > 4096 => {
                    let at = random.usize(..used / 4096) * 4096;
                    damaged[at..at + 4096].fill(0);
                }
                _ => {}
            }
            std::fs::write(dir.path().join(file.file_name()), damaged).unwrap();
        }
        let edge = open(&origin, dir.path(), &clock).await;
        for n in 0..8 {
            origin.replace(&body(n), &format!("\"{n}\""));
            let asked = origin.asked();
            let answer = ask(&edge, "GET", &origin.host, &format!("/o{n}"), &[]).await;
            assert!(answer.status == 200 && answer.body == body(n), "seed {seed}, round {round}, object {n}");
            hits += u32::from(origin.asked() == asked);
        }
        edge.close().await;
    }
    assert!(hits > 0, "not everything was damaged each time");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_cannot_be_used_is_done_without() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("a file");
    std::fs::write(&file, "x").unwrap();
    let clock = Clock::frozen_at(Time::from_seconds(START));
    let origin = Fake::new(b"hello".to_vec());
    let edge = open(&origin, &file, &clock).await;
    assert_eq!(ask(&edge, "GET", &origin.host, "/o", &[]).await.text(), "hello");
    assert_eq!(ask(&edge, "GET", &origin.host, "/o", &[]).await.text(), "hello");
    assert_eq!(origin.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn more_than_the_cache_holds_evicts_and_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let clock = Clock::frozen_at(Time::from_seconds(START));
    let origin = Fake::new(vec![7; 1 << 20]);
    let edge = open(&origin, dir.path(), &clock).await;
    for n in 0..200 {
        assert_eq!(ask(&edge, "GET", &origin.host, &format!("/o{n}"), &[]).await.body.len(), 1 << 20);
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(ask(&edge, "GET", &origin.host, "/o199", &[]).await.body.len(), 1 << 20);
    let on_disk: u64 =
        std::fs::read_dir(dir.path()).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum();
    assert!(on_disk <= DISK as u64, "{on_disk}");
}
