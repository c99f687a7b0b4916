use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use database::on_each_engine;
use files::Settings;
use files::model::cname::Lookup;
use tokio::net::UdpSocket;

use crate::harness::{Cloud, cloud_with};

/// The aliases in the test's name server; `fails` is a name that it cannot resolve.
const ALIASES: [(&str, &str); 4] = [
    ("www.customer.org", "c.auth-1.files.example.com"),
    ("far.customer.org", "near.customer.org"),
    ("near.customer.org", "c.auth-1.files.example.com"),
    ("self.customer.org", "self.customer.org"),
];

fn name_in(question: &[u8]) -> String {
    let (mut at, mut labels) = (12, Vec::new());
    while question[at] > 0 {
        let end = at + 1 + usize::from(question[at]);
        labels.push(String::from_utf8_lossy(&question[at + 1..end]).into_owned());
        at = end;
    }
    labels.join(".")
}

/// Starts a name server on loopback; returns its address and a count of its queries.
async fn name_server() -> (SocketAddr, Arc<AtomicUsize>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (at, asked) = (socket.local_addr().unwrap(), Arc::new(AtomicUsize::new(0)));
    let count = Arc::clone(&asked);
    tokio::spawn(async move {
        let mut message = vec![0; 512];
        while let Ok((length, from)) = socket.recv_from(&mut message).await {
            count.fetch_add(1, Ordering::SeqCst);
            let mut answer = message[..length].to_vec();
            (answer[2], answer[3]) = (0x81, 0x80);
            let name = name_in(&answer);
            match ALIASES.iter().find(|(alias, _)| *alias == name) {
                Some((_, target)) => {
                    answer[7] = 1;
                    let mut data = Vec::new();
                    for label in target.split('.') {
                        data.push(u8::try_from(label.len()).unwrap());
                        data.extend_from_slice(label.as_bytes());
                    }
                    data.push(0);
                    answer.extend_from_slice(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x0e\x10\x00");
                    answer.push(u8::try_from(data.len()).unwrap());
                    answer.extend_from_slice(&data);
                }
                None if name.starts_with("fails") => answer[3] = 0x82,
                None => answer[3] = 0x83,
            }
            socket.send_to(&answer, from).await.unwrap();
        }
    });
    (at, asked)
}

async fn hosted(location: &database::Location, depth: usize) -> (Cloud, Arc<AtomicUsize>) {
    let (resolver, asked) = name_server().await;
    let settings = Settings {
        storage_domains: vec!["files.example.com".into()],
        cname: Some(Lookup { resolver, depth, own: vec!["cloud.example.org".into()] }),
        ..Settings::default()
    };
    let cloud = cloud_with(location, settings).await;
    let made = cloud.owner(
        "PUT",
        "/v1/AUTH_1/c",
        &[("x-container-read", ".r:*"), ("x-container-meta-web-index", "index.html")],
    );
    assert_eq!(made.await.status, 201);
    cloud.put("/v1/AUTH_1/c/o", "found").await;
    cloud.put("/v1/AUTH_1/c/sub/index.html", "sub").await;
    (cloud, asked)
}

on_each_engine! {
    async fn a_customers_host_name_serves_its_container(location: &Location) {
        let (cloud, asked) = hosted(location, 1).await;
        let get = async |host: &str, path: &str| cloud.call("", "GET", path, &[("host", host)], "").await;
        for host in ["www.customer.org", "WWW.Customer.org:8080", "c.auth-1.files.example.com"] {
            let read = get(host, "/o").await;
            assert_eq!((read.status.as_u16(), read.text()), (200, "found"), "{host}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "the result is cached");
        for host in ["cloud.example.org", "cloud.example.org:80", "127.0.0.1:8080", "[::1]:8080"] {
            assert_eq!(get(host, "/v1/AUTH_1/c/o").await.text(), "found", "{host}");
        }
        assert_eq!(asked.load(Ordering::SeqCst), 1, "our own names and addresses are not looked up");
        for host in ["other.customer.org", "fails.customer.org", "self.customer.org", "a..b", &"x".repeat(300)] {
            let refused = get(host, "/o").await;
            let expected = (400, "CNAME lookup failed to resolve to a valid domain", "text/plain");
            assert_eq!((refused.status.as_u16(), refused.text(), refused.header("content-type")), expected, "{host}");
        }
        let refused = get("far.customer.org", "/o").await;
        assert_eq!((refused.status.as_u16(), refused.text()), (400, "CNAME lookup failed after 1 tries"));
        let moved = get("www.customer.org:81", "/sub").await;
        assert_eq!(moved.status, 301);
        assert!(!moved.header("location").contains("files.example.com"), "{}", moved.header("location"));
        let info = cloud.call("", "GET", "/info", &[], "").await;
        let info: serde_json::Value = serde_json::from_slice(&info.body).unwrap();
        assert_eq!(info["cname_lookup"], serde_json::json!({"lookup_depth": 1}));
    }
}

on_each_engine! {
    async fn aliases_of_aliases_are_followed_up_to_the_configured_depth(location: &Location) {
        let (cloud, asked) = hosted(location, 2).await;
        let read = cloud.call("", "GET", "/o", &[("host", "far.customer.org")], "").await;
        assert_eq!((read.status.as_u16(), read.text()), (200, "found"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
    }
}
