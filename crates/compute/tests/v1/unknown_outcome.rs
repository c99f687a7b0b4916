//! Creates whose commit has an unknown outcome.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use compute::Settings;
use database::testing::{Cut, Proxy, TestLocation};
use hypervisor::simulated::Settings as HostSettings;

use crate::bed::TestBed;

const SERVER: &str = r#"{"server": {"name": "s", "imageId": 1, "flavorId": 1}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_keeps_its_addresses_if_the_reply_to_its_commit_is_lost() {
    let scratch = TestLocation::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let settings = Settings { rate_limits: false, ..Settings::default() };
    let bed = TestBed::at(&proxy.location, HostSettings::default(), settings).await;
    proxy.cut(Cut::BeforeCommit, "INSERT INTO servers");
    assert_eq!(bed.post("/servers", SERVER).await.status, 503);
    assert_eq!(bed.get("/servers").await.json()["servers"].as_array().unwrap().len(), 0);
    proxy.cut(Cut::AfterCommit, "INSERT INTO servers");
    assert_eq!(bed.post("/servers", SERVER).await.status, 503);
    assert_eq!(proxy.cuts(), 2);
    let servers = bed.get("/servers").await.json()["servers"].clone();
    let number = servers[0]["id"].as_i64().expect("the server was created");
    bed.until(number, "ACTIVE").await;
    // Its addresses are recorded and are not allocated again.
    let ports = bed.networks().ports(bed.uuid(number).await).await.unwrap();
    assert_eq!(ports, bed.server(number).await.interfaces);
    let mut seen: HashSet<Ipv4Addr> = HashSet::new();
    for _ in 0..5 {
        bed.active("other", 1).await;
    }
    for number in bed.get("/servers").await.json()["servers"].as_array().unwrap() {
        let server = bed.server(number["id"].as_i64().unwrap()).await;
        for held in server.interfaces.iter().flat_map(|port| &port.addresses) {
            assert!(seen.insert(held.address), "{} is allocated twice", held.address);
        }
    }
    assert_eq!(seen.len(), 12);
    bed.compute.stop().await;
}
