//! No byte is read, decompressed or hashed before the sender is authorised (DESIGN.md, promise 7).

use std::io::Write;

use bytes::Bytes;
use database::on_each_engine;
use web::probe::Probe;

use crate::harness::cloud;

const PIECE: usize = 16 << 10;
/// Bytes of a form's fields that are read before the sender is authenticated.
const BEFORE_FILE: usize = 64 << 10;

/// The beginning of each kind of body that is expensive to process.
fn pieces() -> Vec<(&'static str, Bytes)> {
    let zeros = vec![0; 32 << 20];
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&zeros).unwrap();
    let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::best());
    bzip2.write_all(&zeros).unwrap();
    let form = format!("--B\r\nContent-Disposition: form-data; name=\"{}", "x".repeat(PIECE));
    let mut gzip = gzip.finish().unwrap();
    gzip.truncate(PIECE);
    vec![
        ("gzip bomb", gzip.into()),
        ("bzip2 bomb", bzip2.finish().unwrap().into()),
        ("manifest", "[1,".repeat(PIECE / 3).into()),
        ("form without an end of its head", form.into()),
        (
            "form of fields",
            "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\nx\r\n".repeat(PIECE / 55).into(),
        ),
        ("names", "c/o\n".repeat(PIECE / 4).into()),
    ]
}

const METHODS: [&str; 8] = ["GET", "HEAD", "PUT", "POST", "DELETE", "COPY", "OPTIONS", "PATCH"];
const PATHS: [&str; 6] = [
    "/v1/AUTH_1",
    "/v1/AUTH_1/c",
    "/v1/AUTH_1/c/o",
    "/v1/AUTH_1/none",
    "/v1/AUTH_1/none/o",
    "/v1/SERVICE_1/c/o",
];
const QUERIES: [&str; 10] = [
    "",
    "extract-archive=tar",
    "extract-archive=tar.gz",
    "extract-archive=tar.bz2",
    "bulk-delete",
    "multipart-manifest=put",
    "multipart-manifest=put&heartbeat=on",
    "multipart-manifest=delete",
    "version-id=null",
    "temp_url_sig=0123456789012345678901234567890123456789&temp_url_expires=4000000000",
];
const HEADERS: [&[(&str, &str)]; 8] = [
    &[("content-type", "text/plain")],
    &[("content-type", "text/plain"), ("content-encoding", "gzip")],
    &[("content-type", "multipart/form-data; boundary=B")],
    &[("x-copy-from", "c/o")],
    &[("x-symlink-target", "c/o")],
    &[("x-object-manifest", "c/o")],
    &[("destination", "c/p")],
    &[("x-container-sync-auth", "REALM nonce signature"), ("x-timestamp", "1389453423.00000")],
];

on_each_engine! {
    async fn nothing_is_read_before_the_sender_is_authorised(location: &Location) {
        let cloud = cloud(location).await;
        // With this key, a form could contain a valid signature.
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-meta-temp-url-key", "key")]).await;
        cloud.put("/v1/AUTH_1/c/o", "x").await;
        let pieces = pieces();
        let (mut asked, mut refused) = (0, 0);
        for (index, method) in METHODS.iter().enumerate() {
            for path in PATHS {
                for query in QUERIES {
                    for (at, headers) in HEADERS.iter().enumerate() {
                        let (kind, piece) = &pieces[(index + at) % pieces.len()];
                        for (token, stalls) in [("", false), ("", true), ("stranger", false), ("bogus", false)] {
                            let probe = Probe::default();
                            let body = probe.body(piece.clone(), stalls);
                            let url = format!("{path}?{query}");
                            let headers = [headers, &[("transfer-encoding", "chunked")][..]].concat();
                            let answer = probe.watch(cloud.call(token, method, &url, &headers, body)).await;
                            let status = answer.map(|answer| answer.status);
                            let given = probe.bytes();
                            let what = format!("{method} {url} {headers:?} as {token:?}, {kind}, stalled {stalls}");
                            let is_form = headers[0].1.starts_with("multipart");
                            let has_key = path.starts_with("/v1/AUTH_1/c");
                            let most = if is_form && has_key && token != "bogus" { BEFORE_FILE + piece.len() } else { 0 };
                            assert!(given <= most, "{given} bytes read: {what}");
                            // Rejections in a manifest's deletion are in its report, as in Swift.
                            let is_told = *method == "OPTIONS" || query == "multipart-manifest=delete";
                            let is_fine = is_told || status.is_none_or(|status| !status.is_success());
                            assert!(is_fine, "{status:?}: {what}");
                            asked += 1;
                            refused += usize::from(status.is_some_and(|status| matches!(status.as_u16(), 401 | 403)));
                        }
                    }
                }
            }
        }
        assert_eq!(asked, METHODS.len() * PATHS.len() * QUERIES.len() * HEADERS.len() * 4);
        assert!(refused * 10 > asked * 6, "{refused} of {asked}: most requests must reach the authorisation check");
    }
}

on_each_engine! {
    async fn a_form_is_read_only_if_it_could_be_authorised(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let kind = [("content-type", "multipart/form-data; boundary=B"), ("transfer-encoding", "chunked")];
        let field = |name: &str| format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\nx\r\n");
        // Nothing is read if neither the container nor its account has a key, or if there is no container.
        for path in ["/v1/AUTH_1/c", "/v1/AUTH_1/c/prefix", "/v1/AUTH_1/none", "/v1/AUTH_2/c"] {
            let probe = Probe::default();
            let answer = cloud.call("", "POST", path, &kind, probe.body(field("a"), false)).await;
            assert_eq!((answer.status.as_u16(), probe.bytes()), (401, 0), "{path}");
        }
        cloud.owner("POST", "/v1/AUTH_1/c", &[("x-container-meta-temp-url-key", "key")]).await;
        // An endless head and endless fields are read only up to the allowance.
        for piece in ["--B\r\nContent-Disposition: form-data; x=\"".to_owned() + &"y".repeat(4000), field("a").repeat(50)] {
            let (probe, length) = (Probe::default(), piece.len());
            let answer = cloud.call("", "POST", "/v1/AUTH_1/c", &kind, probe.body(piece, false)).await;
            assert_eq!(answer.status, 400, "{}", answer.text());
            assert!((1..=BEFORE_FILE + length).contains(&probe.bytes()), "{} bytes", probe.bytes());
        }
        // Names of fields, and parts without a file.
        let empty = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"\"\r\n\r\n\r\n";
        for (form, reason) in [
            (field(&"n".repeat(65)), "has a name of more than 64 bytes"),
            (empty.repeat(101), "holds at most 100 fields"),
            (field("a").repeat(101), "holds at most 100 fields"),
        ] {
            let answer = cloud.call("", "POST", "/v1/AUTH_1/c", &kind[..1], form + "--B--\r\n").await;
            assert!(answer.status == 400 && answer.text().contains(reason), "{reason}: {}", answer.text());
        }
    }
}

on_each_engine! {
    async fn callers_with_the_right_are_still_admitted(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-write", "2:user2")]).await;
        cloud.put("/v1/AUTH_1/c/o", "x").await;
        let delete = [("content-type", "text/plain"), ("content-length", "3")];
        // A right on a container permits bulk requests that name the container.
        let account = cloud.call("stranger", "POST", "/v1/AUTH_1?bulk-delete", &delete, "c/o").await;
        assert_eq!(account.status, 403);
        let container = cloud.call("stranger", "POST", "/v1/AUTH_1/c?bulk-delete", &delete, "c/o").await;
        assert!(container.text().contains("Number Deleted: 1\n"), "{}", container.text());
        let manifest = [("content-length", "2")];
        let missing = cloud.call("owner", "PUT", "/v1/AUTH_1/none/o?multipart-manifest=put", &manifest, "{}").await;
        assert_eq!((missing.status.as_u16(), missing.text()), (400, "Manifest must be a list.\n"));
    }
}

on_each_engine! {
    async fn lists_of_errors_are_limited(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let wrong = format!("[{}]", vec!["1"; 100_000].join(","));
        let put = cloud.send("PUT", "/v1/AUTH_1/c/o?multipart-manifest=put", &[], &wrong).await;
        assert_eq!((put.status.as_u16(), put.text().lines().count()), (400, 1000));
        let names = "%ff\n".repeat(5000);
        let deleted = cloud.send("POST", "/v1/AUTH_1?bulk-delete", &[("content-type", "text/plain")], &names).await;
        assert_eq!(deleted.text().matches("412 Precondition Failed").count(), 1000);
        let long = format!("c/{}\n", "o".repeat(7000)).repeat(1500);
        let deleted = cloud.send("POST", "/v1/AUTH_1?bulk-delete", &[("content-type", "text/plain")], &long).await;
        assert!(deleted.text().contains("413 Request Entity Too Large"), "{}", deleted.text());
    }
}
