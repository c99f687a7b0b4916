//! Deletions concurrent with writes into what is deleted, on PostgreSQL at an isolation level that does not detect the
//! conflict by itself.

use database::Location;
use database::testing::TestLocation;

use crate::harness::{Cloud, cloud};

const ROUNDS: u32 = 60;

async fn at_snapshot_isolation() -> (TestLocation, Cloud) {
    let scratch = TestLocation::postgres();
    let Location::Postgres(server) = &scratch.location else { unreachable!("it is PostgreSQL") };
    let cloud = cloud(&Location::Postgres(server.with_isolation("REPEATABLE READ"))).await;
    (scratch, cloud)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_container_is_either_deleted_or_written_to() {
    let (_scratch, cloud) = at_snapshot_isolation().await;
    let mut outcomes = std::collections::BTreeMap::new();
    for round in 0..ROUNDS {
        // Row keys are derived from the time.
        cloud.clock.advance(std::time::Duration::from_millis(1));
        let container = format!("/v1/AUTH_1/c{round}");
        assert_eq!(cloud.owner("PUT", &container, &[]).await.status, 201);
        let object = format!("{container}/o");
        let (put, deleted) = tokio::join!(cloud.put(&object, "x"), cloud.owner("DELETE", &container, &[]));
        let there = cloud.owner("GET", &object, &[]).await.status.as_u16();
        let outcome = (put.status.as_u16(), deleted.status.as_u16(), there);
        assert!([(201, 409, 200), (404, 204, 404)].contains(&outcome), "round {round}: {outcome:?}");
        *outcomes.entry(outcome).or_insert(0) += 1;
    }
    println!("{outcomes:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_versioned_container_is_either_deleted_or_gets_a_marker() {
    let (_scratch, cloud) = at_snapshot_isolation().await;
    for round in 0..ROUNDS {
        // Row keys are derived from the time.
        cloud.clock.advance(std::time::Duration::from_millis(1));
        let container = format!("/v1/AUTH_1/v{round}");
        assert_eq!(cloud.owner("PUT", &container, &[("x-versions-enabled", "true")]).await.status, 201);
        let object = format!("{container}/o");
        let (marked, deleted) =
            tokio::join!(cloud.owner("DELETE", &object, &[]), cloud.owner("DELETE", &container, &[]));
        // Creating a marker returns 404, since there was nothing to delete, but with an id.
        let made = !marked.header("x-object-version-id").is_empty();
        let outcome = (made, deleted.status.as_u16());
        assert!([(true, 409), (false, 204)].contains(&outcome), "round {round}: {outcome:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_deleted_with_every_container_that_was_created() {
    let (_scratch, cloud) = at_snapshot_isolation().await;
    for round in 0..ROUNDS {
        // Row keys are derived from the time.
        cloud.clock.advance(std::time::Duration::from_millis(1));
        let account = format!("/v1/AUTH_{}", 1000 + round);
        let container = format!("{account}/c");
        let operator = async |method: &str, path: &str| {
            cloud.call("operator", method, path, &[("content-length", "0")], "").await.status.as_u16()
        };
        assert_eq!(operator("PUT", &account).await, 201);
        let (made, deleted) = tokio::join!(operator("PUT", &container), operator("DELETE", &account));
        assert_eq!(deleted, 204);
        // The container was deleted with the account, or created later in a new account; never in a deleted one.
        let (account_there, there) = (operator("HEAD", &account).await, operator("HEAD", &container).await);
        let orphan = there == 204 && account_there == 404;
        assert!(!orphan && (made == 201 || made == 404), "round {round}: {made}, {account_there}, {there}");
        let listed = cloud.call("operator", "GET", &account, &[], "").await;
        assert_eq!(listed.text() == "c\n", there == 204, "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_deleted_with_every_object_that_was_stored() {
    let (_scratch, cloud) = at_snapshot_isolation().await;
    let mut outcomes = std::collections::BTreeMap::new();
    for round in 0..ROUNDS {
        // Row keys are derived from the time.
        cloud.clock.advance(std::time::Duration::from_millis(1));
        let account = format!("/v1/AUTH_{}", 2000 + round);
        let object = format!("{account}/c/o");
        let operator = async |method: &str, path: &str| {
            cloud.call("operator", method, path, &[("content-length", "0")], "").await.status.as_u16()
        };
        assert_eq!(
            (operator("PUT", &account).await, operator("PUT", &format!("{account}/c")).await),
            (201, 201)
        );
        let (put, deleted) = tokio::join!(
            cloud.call("operator", "PUT", &object, &[("content-length", "5")], "bytes"),
            operator("DELETE", &account)
        );
        assert_eq!((deleted, operator("GET", &object).await), (204, 404), "round {round}");
        assert!([201, 404].contains(&put.status.as_u16()), "round {round}: {}", put.status);
        *outcomes.entry(put.status.as_u16()).or_insert(0) += 1;
    }
    println!("{outcomes:?}");
    let report = cloud.files.audit(files::service::AuditOptions::default()).await.unwrap();
    assert_eq!((report.broken, report.repaired), (vec![], vec![]), "no row is left over");
}
