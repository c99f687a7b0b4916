//! What the edge asks of its origin, and what it does when that fails.

use std::sync::Arc;
use std::time::Duration;

use cdn::edge::Edge;
use http_body_util::BodyExt;
use work::{Clock, Time};

use crate::cloud::START;
use crate::edge::{ask, edge_over, request};
use crate::origin::{Fake, Mood};

const MIB: usize = 1 << 20;

fn noise(length: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(7);
    std::iter::repeat_with(|| random.u8(..)).take(length).collect()
}

async fn edge(body: &[u8]) -> (Arc<Fake>, Arc<Edge>, Clock) {
    let origin = Fake::new(body.to_vec());
    let clock = Clock::frozen_at(Time::from_seconds(START));
    let edge = edge_over(origin.clone(), &clock).await;
    (origin, edge, clock)
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if is_so() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    panic!("waited in vain for {what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_object_is_fetched_once_and_revalidated_after_its_ttl() {
    let (origin, edge, clock) = edge(b"hello").await;
    let get = async || ask(&edge, "GET", &origin.host, "/o", &[]).await;
    for _ in 0..3 {
        assert_eq!(get().await.body, b"hello");
    }
    assert_eq!((origin.asked(), origin.sent()), (1, 1));
    clock.advance(Duration::from_secs(899));
    let aged = get().await;
    assert_eq!((aged.header("age"), aged.header("cache-control")), ("899", "max-age=900, public"));
    assert_eq!(origin.asked(), 1);
    clock.advance(Duration::from_secs(1));
    // Unchanged: 304, and no body comes again.
    let fresh = get().await;
    assert_eq!((fresh.text(), fresh.header("age")), ("hello", ""));
    assert_eq!((origin.asked(), origin.sent()), (2, 1));
    clock.advance(Duration::from_secs(900));
    origin.replace(b"changed", "\"two\"");
    assert_eq!(get().await.text(), "changed");
    assert_eq!((origin.asked(), origin.sent()), (3, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_cold_requests_cost_the_origin_one() {
    let (origin, edge, _) = edge(&noise(300_000)).await;
    origin.close();
    let waiting: Vec<_> = (0..1000)
        .map(|_| {
            let (edge, host) = (Arc::clone(&edge), origin.host.clone());
            tokio::spawn(async move { ask(&edge, "GET", &host, "/o", &[]).await })
        })
        .collect();
    until("the request to the origin", || origin.asked() == 1).await;
    origin.open();
    let body = origin.body.lock().unwrap().clone();
    for answer in waiting {
        assert_eq!(answer.await.unwrap().body, body);
    }
    assert_eq!(origin.asked(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_of_a_large_object_fetches_its_pieces_alone() {
    let body = noise(5 * MIB + 1000);
    let (origin, edge, _) = edge(&body).await;
    let get = async |range: &str| ask(&edge, "GET", &origin.host, "/o", &[("range", range)]).await;
    let length = body.len();
    let answer = get(&format!("bytes={}-{}", 4 * MIB + 10, 4 * MIB + 19)).await;
    assert_eq!(answer.status, 206);
    assert_eq!(answer.body, body[4 * MIB + 10..4 * MIB + 20]);
    assert_eq!(answer.header("content-range"), format!("bytes {}-{}/{length}", 4 * MIB + 10, 4 * MIB + 19));
    let asks = |origin: &Fake| -> Vec<_> {
        origin
            .asks
            .lock()
            .unwrap()
            .drain(..)
            .map(|ask| ask.range.map(|range| range.start / MIB as u64))
            .collect()
    };
    assert_eq!(asks(&origin), [Some(4)]);
    // Across two pieces, of which one is there.
    let answer = get(&format!("bytes={}-{}", 3 * MIB + 5, 4 * MIB + 5)).await;
    assert_eq!(answer.body, body[3 * MIB + 5..4 * MIB + 6]);
    assert_eq!(asks(&origin), [Some(3)]);
    let answer = get("bytes=-1500").await;
    assert_eq!(answer.body, body[length - 1500..]);
    assert_eq!(asks(&origin), [Some(5)]);
    let whole = ask(&edge, "GET", &origin.host, "/o", &[]).await;
    assert!(whole.body == body);
    let mut rest = asks(&origin);
    rest.sort();
    assert_eq!(rest, [Some(0), Some(1), Some(2)]);
    assert!(ask(&edge, "GET", &origin.host, "/o", &[]).await.body == body);
    assert_eq!(asks(&origin), []);
    let beyond = get(&format!("bytes={length}-")).await;
    assert_eq!(
        (beyond.status.as_u16(), beyond.header("content-range")),
        (416, &*format!("bytes */{length}"))
    );
    assert_eq!(beyond.header("cache-control"), "max-age=30, public");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_beyond_the_end_of_what_is_not_cached_is_refused_with_the_length() {
    let (origin, edge, _) = edge(b"hello").await;
    let beyond = ask(&edge, "GET", &origin.host, "/o", &[("range", "bytes=9000000-9000001")]).await;
    assert_eq!((beyond.status.as_u16(), beyond.header("content-range")), (416, "bytes */5"));
    let (origin, edge, _) = self::edge(b"").await;
    let empty = ask(&edge, "GET", &origin.host, "/o", &[]).await;
    assert_eq!((empty.status.as_u16(), empty.header("content-length")), (200, "0"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_that_did_not_come_whole_is_never_kept() {
    for length in [5_000, 3 * MIB] {
        for mood in [Mood::Short(1000), Mood::Broken(1000), Mood::Long] {
            let body = noise(length);
            let (origin, edge, _) = edge(&body).await;
            origin.be(mood.clone());
            let answer = edge.answer(&request("GET", &origin.host, "/o", &[])).await;
            assert_eq!(answer.headers()["content-length"], length.to_string());
            assert!(answer.into_body().collect().await.is_err(), "{mood:?}: the connection breaks");
            origin.be(Mood::Well);
            let whole = ask(&edge, "GET", &origin.host, "/o", &[]).await;
            assert!(whole.body == body, "{mood:?}, {length} bytes");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_object_that_is_replaced_under_a_reader_is_never_mixed() {
    let body = noise(3 * MIB);
    let (origin, edge, _) = edge(&body).await;
    ask(&edge, "GET", &origin.host, "/o", &[("range", "bytes=0-9")]).await;
    let other = vec![b'x'; 3 * MIB];
    origin.replace(&other, "\"two\"");
    let mixed = edge.answer(&request("GET", &origin.host, "/o", &[])).await;
    assert!(mixed.into_body().collect().await.is_err(), "the old object's pieces cannot be had any more");
    assert!(ask(&edge, "GET", &origin.host, "/o", &[]).await.body == other);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stale_copies_are_served_while_the_origin_fails_unless_purged() {
    for mood in [Mood::Away, Mood::Failing] {
        let (origin, edge, clock) = edge(b"hello").await;
        let get = async || ask(&edge, "GET", &origin.host, "/o", &[]).await;
        get().await;
        origin.be(mood.clone());
        clock.advance(Duration::from_secs(900));
        let asked = origin.asked();
        assert_eq!(get().await.text(), "hello", "{mood:?}");
        // For some seconds it is not asked again.
        assert_eq!(get().await.text(), "hello");
        assert_eq!(origin.asked(), asked + 1);
        clock.advance(Duration::from_secs(5));
        assert_eq!(get().await.text(), "hello");
        assert_eq!(origin.asked(), asked + 2);
        for object in [Some("o"), None] {
            origin.purge(object);
            let refused = get().await;
            assert_eq!(
                (refused.status.as_u16(), refused.header("cache-control")),
                (503, "no-store"),
                "{mood:?}"
            );
            assert_eq!(refused.header("retry-after"), "5");
        }
        origin.be(Mood::Well);
        assert_eq!(get().await.text(), "hello");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_revalidates_and_concerns_its_object_alone() {
    let (origin, edge, _) = edge(b"hello").await;
    for path in ["/a", "/b", "/dir/"] {
        ask(&edge, "GET", &origin.host, path, &[]).await;
    }
    assert_eq!((origin.asked(), origin.sent()), (3, 3));
    origin.purge(Some("a"));
    for path in ["/a", "/b", "/dir/", "/a", "/dir/"] {
        assert_eq!(ask(&edge, "GET", &origin.host, path, &[]).await.text(), "hello");
    }
    // `a`, and what may have been made of it; both are unchanged.
    assert_eq!((origin.asked(), origin.sent()), (5, 3));
    origin.purge(None);
    origin.replace(b"new", "\"two\"");
    for path in ["/a", "/b", "/dir/"] {
        assert_eq!(ask(&edge, "GET", &origin.host, path, &[]).await.text(), "new");
    }
    assert_eq!((origin.asked(), origin.sent()), (8, 6));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_after_a_purge_does_not_get_what_was_on_its_way_before() {
    let (origin, edge, _) = edge(b"old").await;
    origin.close();
    let (early, host) = (Arc::clone(&edge), origin.host.clone());
    let early = tokio::spawn(async move { ask(&early, "GET", &host, "/o", &[]).await });
    until("the first request", || origin.asked() == 1).await;
    origin.replace(b"new", "\"two\"");
    origin.purge(Some("o"));
    let (late, host) = (Arc::clone(&edge), origin.host.clone());
    let late = tokio::spawn(async move { ask(&late, "GET", &host, "/o", &[]).await });
    until("the second request", || origin.asked() == 2).await;
    origin.open();
    assert_eq!(late.await.unwrap().text(), "new");
    assert_eq!(early.await.unwrap().text(), "old");
    assert_eq!(ask(&edge, "GET", &origin.host, "/o", &[]).await.text(), "new");
    assert_eq!(origin.asked(), 2, "the old one was not kept over the new one");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_missing_is_asked_for_again_after_30_seconds() {
    let (origin, edge, clock) = edge(b"hello").await;
    let get = async || ask(&edge, "GET", &origin.host, "/missing", &[]).await;
    let missing = get().await;
    assert_eq!((missing.status.as_u16(), missing.header("cache-control")), (404, "max-age=30, public"));
    clock.advance(Duration::from_secs(29));
    get().await;
    assert_eq!(origin.asked(), 1);
    clock.advance(Duration::from_secs(1));
    get().await;
    assert_eq!(origin.asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_misses_waits_and_does_not_reach_the_origin() {
    let (origin, edge, _) = edge(b"hello").await;
    origin.close();
    let flood: Vec<_> = (0..500)
        .map(|n| {
            let (edge, host) = (Arc::clone(&edge), origin.host.clone());
            tokio::spawn(async move { ask(&edge, "GET", &host, &format!("/flood{n}"), &[]).await.status })
        })
        .collect();
    until("the fills of the flood", || origin.asked() == 32).await;
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
    assert_eq!(origin.asked(), 32);
    origin.open();
    for answer in flood {
        assert_eq!(answer.await.unwrap(), 200);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_visitor_who_leaves_does_not_end_the_fill_for_others() {
    let body = noise(2 * MIB);
    let (origin, edge, _) = edge(&body).await;
    origin.close();
    let (first, host) = (Arc::clone(&edge), origin.host.clone());
    let first = tokio::spawn(async move { ask(&first, "GET", &host, "/o", &[]).await });
    until("the first request", || origin.asked() == 1).await;
    let (second, host) = (Arc::clone(&edge), origin.host.clone());
    let second = tokio::spawn(async move { ask(&second, "GET", &host, "/o", &[]).await });
    first.abort();
    assert!(first.await.is_err());
    origin.open();
    assert!(second.await.unwrap().body == body);
}
