//! Creates whose commit is not answered.

use std::collections::HashSet;
use std::net::Ipv4Addr;

use compute::Settings;
use database::testing::{Cut, Proxy, Scratch};
use hypervisor::simulated::Settings as HostSettings;

use crate::bed::Bed;

const SERVER: &str = r#"{"server": {"name": "s", "imageId": 1, "flavorId": 1}}"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_whose_commit_was_not_answered_keeps_its_addresses() {
    let scratch = Scratch::postgres();
    let proxy = Proxy::before(&scratch.location).await;
    let settings = Settings { rate_limits: false, ..Settings::default() };
    let bed = Bed::at(&proxy.location, HostSettings::default(), settings).await;
    proxy.cut(Cut::BeforeCommit, "INSERT INTO servers");
    assert_eq!(bed.post("/servers", SERVER).await.status, 503);
    assert_eq!(bed.get("/servers").await.json()["servers"].as_array().unwrap().len(), 0);
    proxy.cut(Cut::AfterCommit, "INSERT INTO servers");
    assert_eq!(bed.post("/servers", SERVER).await.status, 503);
    assert_eq!(proxy.cuts(), 2);
    let servers = bed.get("/servers").await.json()["servers"].clone();
    let number = servers[0]["id"].as_i64().expect("the server was made");
    bed.until(number, "ACTIVE").await;
    // What it was given is its own, and is given to nobody else.
    let ports = bed.networks().ports(bed.uuid(number).await).await.unwrap();
    assert_eq!(ports, bed.server(number).await.interfaces);
    let mut seen: HashSet<Ipv4Addr> = HashSet::new();
    for _ in 0..5 {
        bed.active("other", 1).await;
    }
    for number in bed.get("/servers").await.json()["servers"].as_array().unwrap() {
        let server = bed.server(number["id"].as_i64().unwrap()).await;
        for held in server.interfaces.iter().flat_map(|port| &port.addresses) {
            assert!(seen.insert(held.address), "{} is given twice", held.address);
        }
    }
    assert_eq!(seen.len(), 12);
    bed.compute.stop().await;
}
