//! Limits on what requests in progress may hold, and how tenants share them.

use std::task::{Context, Waker};
use std::time::Duration;

use axum::body::Body;
use database::on_each_engine;
use files::Settings;
use http_body_util::BodyExt;
use tokio::task::JoinSet;
use web::probe::Probe;

use crate::harness::{Cloud, cloud, cloud_with};

const MIB: u64 = 1 << 20;

/// Waits for a condition that other tasks bring about.
async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waiting = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"));
}

/// Starts requests of `token` whose bodies stall after the first bytes.
fn stalled(
    cloud: &Cloud,
    tasks: &mut JoinSet<()>,
    count: usize,
    (token, method, path, length): (&'static str, &'static str, &'static str, u64),
) -> Vec<Probe> {
    (0..count)
        .map(|_| {
            let (probe, router) = (Probe::default(), cloud.router.clone());
            let body = probe.body(vec![b'x'; 1000], true);
            tasks.spawn(async move {
                let request = http::Request::builder().method(method).uri(path).header("x-auth-token", token);
                let request = request.header("content-length", length).body(body).unwrap();
                let _ = tower::ServiceExt::oneshot(router, request).await;
            });
            probe
        })
        .collect()
}

fn begun(probes: &[Probe]) -> usize {
    probes.iter().filter(|probe| probe.bytes() > 0).count()
}

on_each_engine! {
    async fn stalled_uploads_use_only_their_tenants_share_of_memory(location: &Location) {
        let cloud = cloud_with(location, Settings { upload_memory: 8 * MIB, ..Settings::default() }).await;
        for account in ["AUTH_1", "AUTH_2"] {
            let made = cloud.call("operator", "PUT", &format!("/v1/{account}/c"), &[("content-length", "0")], "").await;
            assert_eq!(made.status, 201);
        }
        for length in [MIB, 100 * MIB] {
            let mut tasks = JoinSet::new();
            let uploads = stalled(&cloud, &mut tasks, 40, ("owner", "PUT", "/v1/AUTH_1/c/o", length));
            until("the tenant's share to be used up", || cloud.files.upload_memory().by_tenant.get("1") == Some(&(4 * MIB))).await;
            until("the admitted uploads to be read", || begun(&uploads) == 4).await;
            // Another tenant's uploads are admitted, small and large ones.
            for length in [1, 2 * MIB] {
                let body = vec![b'y'; usize::try_from(length).unwrap()];
                let put = cloud.call("stranger", "PUT", "/v1/AUTH_2/c/o", &[("content-length", &length.to_string())], body).await;
                assert_eq!(put.status, 201);
            }
            assert_eq!((begun(&uploads), cloud.files.upload_memory().used), (4, 4 * MIB));
            tasks.shutdown().await;
            until("the memory to be released", || cloud.files.upload_memory().used == 0).await;
        }
    }
}

on_each_engine! {
    async fn eight_tenants_can_upload_while_one_floods(location: &Location) {
        let cloud = cloud_with(location, Settings { upload_memory: 32 * MIB, ..Settings::default() }).await;
        for tenant in 1..=8 {
            let container = format!("/v1/AUTH_{tenant}/c");
            let made = cloud.call("operator", "PUT", &container, &[("content-length", "0")], "").await;
            assert_eq!(made.status, 201);
        }
        let mut tasks = JoinSet::new();
        let uploads = stalled(&cloud, &mut tasks, 100, ("owner", "PUT", "/v1/AUTH_1/c/o", 100 * MIB));
        until("the flood to hold half", || cloud.files.upload_memory().by_tenant.get("1") == Some(&(16 * MIB))).await;
        until("the admitted uploads to be read", || begun(&uploads) == 16).await;
        // Each other tenant has a stalled upload in progress and can still store other objects.
        let others: [&'static str; 7] = ["stranger", "tenant3", "tenant4", "tenant5", "tenant6", "tenant7", "tenant8"];
        let mut under_way = Vec::new();
        for (index, token) in others.into_iter().enumerate() {
            let path: &'static str = format!("/v1/AUTH_{}/c/o", index + 2).leak();
            under_way.extend(stalled(&cloud, &mut tasks, 1, (token, "PUT", path, 100 * MIB)));
        }
        until("each of the others to hold a share", || begun(&under_way) == 7).await;
        assert_eq!(cloud.files.upload_memory().used, 23 * MIB);
        for round in 0..3 {
            for (index, token) in others.into_iter().enumerate() {
                let path = format!("/v1/AUTH_{}/c/small{round}", index + 2);
                let put = cloud.call(token, "PUT", &path, &[("content-length", "1000")], vec![b'y'; 1000]).await;
                assert_eq!(put.status, 201, "{token}");
            }
        }
        assert_eq!(begun(&uploads), 16);
        tasks.shutdown().await;
    }
}

on_each_engine! {
    async fn bulk_requests_are_limited_per_tenant(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let mut tasks = JoinSet::new();
        let requests = stalled(&cloud, &mut tasks, 20, ("owner", "POST", "/v1/AUTH_1?bulk-delete", 5000));
        until("the admitted requests to be read", || begun(&requests) == 16).await;
        let other = [("content-length", "4"), ("content-type", "text/plain")];
        let deleted = cloud.call("stranger", "POST", "/v1/AUTH_2?bulk-delete", &other, "none").await;
        assert!(deleted.text().contains("Number Not Found: 1\n"), "{}", deleted.text());
        assert_eq!(begun(&requests), 16);
        tasks.shutdown().await;
        let own = cloud.call("owner", "POST", "/v1/AUTH_1?bulk-delete", &other, "none").await;
        assert!(own.text().contains("Number Not Found: 1\n"), "{}", own.text());
    }
}

on_each_engine! {
    async fn many_small_segments_are_read_at_one_per_second(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let mut segments = Vec::new();
        for index in 0..13 {
            cloud.send("PUT", &format!("/v1/AUTH_1/c/s{index:02}"), &[], "x").await;
            segments.push(format!("{{\"path\": \"/c/s{index:02}\"}}"));
        }
        let manifest = format!("[{}]", segments.join(","));
        assert_eq!(cloud.send("PUT", "/v1/AUTH_1/c/slo?multipart-manifest=put", &[], &manifest).await.status, 201);
        let request = http::Request::get("/v1/AUTH_1/c/slo").header("x-auth-token", "owner").body(Body::empty()).unwrap();
        let mut body = tower::ServiceExt::oneshot(cloud.router.clone(), request).await.unwrap().into_body();
        let mut read = 0;
        while read < 11 {
            read += body.frame().await.unwrap().unwrap().into_data().unwrap().len();
        }
        // Ten are read at once, the eleventh is the first of the next second, and the others wait for their seconds.
        for expected in 12..=13 {
            let mut next = Box::pin(body.frame());
            let waits = next.as_mut().poll(&mut Context::from_waker(Waker::noop()));
            assert!(waits.is_pending(), "segment {expected} was read too early");
            cloud.clock.advance(Duration::from_secs(1));
            read += next.await.unwrap().unwrap().into_data().unwrap().len();
            assert_eq!(read, expected);
        }
        assert!(body.frame().await.is_none());

        // Adjacent parts of one object count as one segment.
        cloud.send("PUT", "/v1/AUTH_1/c/whole", &[], &"0123456789".repeat(5)).await;
        let parts: Vec<_> = (0..50).map(|at| format!("{{\"path\": \"/c/whole\", \"range\": \"{at}-{at}\"}}")).collect();
        let manifest = format!("[{}]", parts.join(","));
        assert_eq!(cloud.send("PUT", "/v1/AUTH_1/c/parts?multipart-manifest=put", &[], &manifest).await.status, 201);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/parts", &[]).await.text(), "0123456789".repeat(5));
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/parts", &[("range", "bytes=13-16")]).await.text(), "3456");
    }
}

on_each_engine! {
    async fn a_manifest_lists_each_dynamic_object_once_and_limits_all_segments_together(location: &Location) {
        const SEGMENTS: usize = 300;
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let put = async |path: String, headers: &[(&str, &str)]| {
            assert_eq!(cloud.send("PUT", &path, headers, "x").await.status, 201, "{path}");
        };
        for n in 0..SEGMENTS {
            put(format!("/v1/AUTH_1/c/part/{n:03}"), &[]).await;
        }
        // A thousand entries with one name cost as much as one entry.
        put("/v1/AUTH_1/c/dynamic".into(), &[("x-object-manifest", "c/part/")]).await;
        let same = format!("[{}]", vec![r#"{"path": "/c/dynamic"}"#; 1000].join(","));
        let stored = cloud.send("PUT", "/v1/AUTH_1/c/slo?multipart-manifest=put", &[], &same).await;
        assert_eq!(stored.status, 201, "{}", stored.text());
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c/slo", &[]).await;
        assert_eq!(head.header("content-length"), (1000 * SEGMENTS).to_string());
        // Other names may list as many segments together as one dynamic object may have.
        let fit = 100_000 / SEGMENTS;
        let mut entries = Vec::new();
        for n in 0..=fit {
            put(format!("/v1/AUTH_1/c/d{n}"), &[("x-object-manifest", "c/part/")]).await;
            entries.push(format!(r#"{{"path": "/c/d{n}"}}"#));
        }
        let refused = format!("[{}]", entries.join(","));
        let refused = cloud.send("PUT", "/v1/AUTH_1/c/slo?multipart-manifest=put", &[], &refused).await;
        assert_eq!((refused.status.as_u16(), refused.text()), (400, format!("Errors:\n/c/d{fit}, 409 Conflict\n").as_str()));
        let stored = format!("[{}]", entries[..fit].join(","));
        let stored = cloud.send("PUT", "/v1/AUTH_1/c/slo?multipart-manifest=put", &[], &stored).await;
        assert_eq!(stored.status, 201, "{}", stored.text());
    }
}
