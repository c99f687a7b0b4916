use std::io::{Read, Write};

use database::on_each_engine;

use crate::harness::{Answer, cloud};

const GZIP: (&str, &str) = ("accept-encoding", "deflate, gzip");

fn unpacked(answer: &Answer) -> String {
    let mut text = String::new();
    flate2::read::GzDecoder::new(answer.body.as_slice()).read_to_string(&mut text).unwrap();
    text
}

on_each_engine! {
    async fn listings_are_compressed_on_request(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        for n in 0..20 {
            cloud.put(&format!("/v1/AUTH_1/c/object-{n:02}"), "x").await;
        }
        for path in ["/v1/AUTH_1", "/v1/AUTH_1/c", "/v1/AUTH_1/c?format=json", "/v1/AUTH_1/c?format=xml", "/v1/AUTH_1/c?versions"] {
            let plain = cloud.owner("GET", path, &[("accept", "*/*")]).await;
            let packed = cloud.owner("GET", path, &[GZIP, ("accept", "*/*")]).await;
            assert_eq!((packed.status, packed.header("content-encoding")), (plain.status, "gzip"), "{path}");
            let vary = packed.header("vary");
            assert!(vary.split(", ").any(|name| name == "Accept-Encoding"), "{path}: {vary}");
            assert_eq!(unpacked(&packed), plain.text(), "{path}");
            assert!(!plain.headers.contains_key("content-encoding"));
        }
        let info = cloud.call("", "GET", "/info", &[GZIP], "").await;
        assert!(unpacked(&info).contains("\"swift\""));
        let refused = cloud.owner("GET", "/v1/AUTH_1/c", &[("accept-encoding", "gzip;q=0")]).await;
        assert!(!refused.headers.contains_key("content-encoding"));
        let object = cloud.owner("GET", "/v1/AUTH_1/c/object-00", &[GZIP]).await;
        assert_eq!((object.text(), object.header("content-encoding")), ("x", ""), "an object is sent as it was stored");
        let head = cloud.owner("HEAD", "/v1/AUTH_1/c", &[GZIP]).await;
        assert_eq!((head.status.as_u16(), head.header("content-encoding")), (204, ""));
    }
}

on_each_engine! {
    async fn a_list_of_names_may_be_compressed(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let names: Vec<_> = (0..300).map(|n| format!("c/{n}")).collect();
        cloud.put("/v1/AUTH_1/c/7", "x").await;
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(names.join("\n").as_bytes()).unwrap();
        let body = encoder.finish().unwrap();
        let length = body.len().to_string();
        let headers = [("content-encoding", "gzip"), ("content-length", length.as_str()), ("accept", "application/json")];
        let report = cloud.call("owner", "POST", "/v1/AUTH_1?bulk-delete", &headers, body.clone()).await;
        let report: serde_json::Value = serde_json::from_slice(&report.body).unwrap();
        assert_eq!((&report["Number Deleted"], &report["Number Not Found"]), (&1.into(), &299.into()));
        let broken = cloud.call("owner", "POST", "/v1/AUTH_1?bulk-delete", &headers[..1], "no gzip").await;
        assert!(broken.text().contains("400 Bad Request") || broken.text().contains("411"), "{}", broken.text());
        let long = [("content-encoding", "gzip"), ("content-length", "7"), ("accept", "application/json")];
        let broken = cloud.call("owner", "POST", "/v1/AUTH_1?bulk-delete", &long, "no gzip").await;
        let broken: serde_json::Value = serde_json::from_slice(&broken.body).unwrap();
        assert_eq!(broken["Response Status"], "400 Bad Request");
        // An object's own content coding is stored with it, and its bytes are unchanged.
        let headers = [("content-encoding", "gzip"), ("content-length", length.as_str())];
        cloud.call("owner", "PUT", "/v1/AUTH_1/c/packed", &headers, body.clone()).await;
        let object = cloud.owner("GET", "/v1/AUTH_1/c/packed", &[]).await;
        assert_eq!((object.header("content-encoding"), object.body.as_slice()), ("gzip", body.as_slice()));
    }
}
