//! The targets: the requests that each builds from bytes, and what must hold of the responses.

use std::future::Future;
use std::pin::Pin;

use axum::body::Body;
use database::Location;
use http::{HeaderName, HeaderValue, Request};
use http_body_util::BodyExt;
use tower::ServiceExt;

use crate::harness::{Answer, Cloud, cloud};

type Run = for<'a> fn(&'a Cloud, &'a [u8]) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

/// A parser of untrusted bytes, named after its input.
pub struct Target {
    pub name: &'static str,
    pub samples: &'static [&'static [u8]],
    pub run: Run,
}

/// The content of `/v1/AUTH_1/c/o`.
const DATA: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";
const ENDS: &str = "1389453500";

/// Starts a cloud with objects to read, link to and copy, and with keys for signatures.
pub async fn cloud_with_objects(location: &Location) -> Cloud {
    let cloud = cloud(location).await;
    for (path, headers) in [
        ("/v1/AUTH_1", [("x-account-meta-temp-url-key", "key")]),
        ("/v1/AUTH_1/c", [("x-container-read", ".r:*")]),
        ("/v1/AUTH_1/d", [("x-container-meta-quota-bytes", "100000000")]),
    ] {
        let method = if path == "/v1/AUTH_1" { "POST" } else { "PUT" };
        assert!(cloud.owner(method, path, &headers).await.status.is_success(), "{path}");
    }
    for name in ["o", "dir/o", "keep"] {
        let put = cloud.put(&format!("/v1/AUTH_1/c/{name}"), std::str::from_utf8(DATA).unwrap()).await;
        assert_eq!(put.status, 201);
    }
    cloud
}

/// Checks that the existing objects are unchanged.
pub async fn check_unchanged(cloud: &Cloud) {
    let kept = cloud.owner("GET", "/v1/AUTH_1/c/keep", &[]).await;
    assert_eq!((kept.status.as_u16(), kept.body.as_slice()), (200, DATA));
    for container in ["c", "d"] {
        let head = cloud.owner("HEAD", &format!("/v1/AUTH_1/{container}"), &[]).await;
        let path = format!("/v1/AUTH_1/{container}?limit=10000&format=json");
        let listed = cloud.owner("GET", &path, &[]).await;
        let listed: Vec<serde_json::Value> = serde_json::from_slice(&listed.body).unwrap();
        assert_eq!(head.header("x-container-object-count"), listed.len().to_string(), "{container}");
    }
}

/// Sends a request, unless the HTTP library cannot represent it.
async fn send(
    cloud: &Cloud,
    token: &str,
    method: &str,
    path: &str,
    headers: &[(&str, &[u8])],
    body: &[u8],
) -> Option<Answer> {
    let mut request = Request::builder().method(method).uri(path);
    if !token.is_empty() {
        request = request.header("x-auth-token", token);
    }
    for (name, value) in headers {
        let name = HeaderName::from_bytes(name.as_bytes()).ok()?;
        request = request.header(name, HeaderValue::from_bytes(value).ok()?);
    }
    if matches!(method, "PUT" | "POST") {
        request = request.header("content-length", body.len());
    }
    let request = request.body(Body::from(body.to_vec())).ok()?;
    let response = cloud.router.clone().oneshot(request).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let body = body.collect().await.map(|body| body.to_bytes().to_vec()).unwrap_or_default();
    let answer = Answer { status: parts.status, headers: parts.headers, body };
    assert!(
        !answer.status.is_server_error(),
        "{method} {path} {headers:?}: {} {}",
        answer.status,
        String::from_utf8_lossy(&answer.body)
    );
    Some(answer)
}

/// Encodes bytes for a URL; existing percent signs are kept.
fn in_url(bytes: &[u8]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~/%&=+,;:@!$'()*?".contains(&byte);
    bytes.iter().map(|b| if plain(*b) { char::from(*b).to_string() } else { format!("%{b:02X}") }).collect()
}

async fn count(cloud: &Cloud, container: &str) -> String {
    let head = cloud.owner("HEAD", &format!("/v1/AUTH_1/{container}"), &[]).await;
    head.header("x-container-object-count").to_owned()
}

/// Sends a request with one header, whose name is chosen by the first byte.
async fn one_of(cloud: &Cloud, names: &[&str], method: &str, path: &str, bytes: &[u8]) -> Option<Answer> {
    let (first, value) = bytes.split_first()?;
    let name = names[usize::from(*first) % names.len()];
    send(cloud, "owner", method, path, &[(name, value)], b"").await
}

macro_rules! target {
    ($name:ident, $samples:expr, |$cloud:ident, $bytes:ident| $body:block) => {
        Target {
            name: stringify!($name),
            samples: $samples,
            run: |$cloud, $bytes| Box::pin(async move { $body }),
        }
    };
}

pub const TARGETS: &[Target] = &[
    target!(paths, &[b"/v1/AUTH_1/c/o", b"/v1/AUTH_1/c/%C3%A9%20b", b"/v1/AUTH_1//", b"/info", b"/v1/%41UTH_1/c?x"], |cloud, bytes| {
        let path = format!("/{}", in_url(bytes).trim_start_matches('/'));
        for method in ["GET", "HEAD", "OPTIONS"] {
            send(cloud, "owner", method, &path, &[], b"").await;
        }
    }),
    target!(queries, &[
        b"format=json&limit=2&marker=a&delimiter=/&prefix=d", b"path=dir&reverse=true&end_marker=z", b"versions&format=xml",
        b"multipart-manifest=get&format=raw&part-number=1", b"version-id=1389453423.00000&symlink=get",
    ], |cloud, bytes| {
        let query = in_url(bytes);
        for place in ["", "/c", "/c/o"] {
            send(cloud, "owner", "GET", &format!("/v1/AUTH_1{place}?{query}"), &[], b"").await;
        }
    }),
    target!(ranges, &[b"bytes=0-4", b"bytes=-3", b"bytes=5-", b"bytes=0-1,4-5,-2", b"bytes=0-0,10-99999"], |cloud, bytes| {
        let Some(answer) = send(cloud, "owner", "GET", "/v1/AUTH_1/c/o", &[("range", bytes)], b"").await else { return };
        if answer.status != 206 || !answer.header("content-range").starts_with("bytes ") {
            return;
        }
        // For a single range, the body must be the range that the response names.
        let range = answer.header("content-range").trim_start_matches("bytes ").to_owned();
        let (from, rest) = range.split_once('-').unwrap();
        let until = rest.split_once('/').unwrap().0;
        let (from, until): (usize, usize) = (from.parse().unwrap(), until.parse().unwrap());
        assert_eq!(answer.body, DATA[from..=until], "{range}");
    }),
    target!(conditions, &[
        b"\0\"900150983cd24fb0d6963f7d28e17f72\"", b"\x01*", b"\x02Sat, 11 Jan 2014 15:18:20 GMT", b"\x03W/\"x\", \"y\"", b"\x04\"x\"",
    ], |cloud, bytes| {
        let names = ["if-match", "if-none-match", "if-modified-since", "if-unmodified-since", "if-range"];
        one_of(cloud, &names, "GET", "/v1/AUTH_1/c/o", bytes).await;
    }),
    target!(dates, &[b"\x001389453500", b"\x01100", b"\x021389453500.12345", b"\x03Sat, 11 Jan 2014 15:18:20 GMT"], |cloud, bytes| {
        let names = ["x-delete-at", "x-delete-after", "x-timestamp", "if-modified-since"];
        one_of(cloud, &names, "PUT", "/v1/AUTH_1/d/dated", bytes).await;
        one_of(cloud, &names, "POST", "/v1/AUTH_1/c/o", bytes).await;
    }),
    target!(acls, &[b".r:*,.rlistings", b"tenant2:user2,*:user3", b".r:-.example.com,.r:example.com", b"2:*"], |cloud, bytes| {
        let acl = async || cloud.owner("HEAD", "/v1/AUTH_1/d", &[]).await.header("x-container-read").to_owned();
        let before = acl().await;
        let headers = [("x-container-read", bytes), ("x-container-write", bytes)];
        let Some(answer) = send(cloud, "owner", "POST", "/v1/AUTH_1/d", &headers, b"").await else { return };
        if answer.status.is_client_error() {
            assert_eq!(acl().await, before, "a rejected ACL was set");
        }
        for token in ["", "stranger", "none"] {
            send(cloud, token, "GET", "/v1/AUTH_1/d", &[("referer", bytes)], b"").await;
        }
    }),
    target!(account_acls, &[
        br#"{"admin":["tenant2:user2"],"read-only":["*:user3"],"read-write":[]}"#, b"{}", b"", br#"{"admin":"x"}"#,
    ], |cloud, bytes| {
        cloud.owner("POST", "/v1/AUTH_1", &[("x-account-access-control", "")]).await;
        let headers = [("x-account-access-control", bytes)];
        send(cloud, "owner", "POST", "/v1/AUTH_1", &headers, b"").await;
        let open = send(cloud, "stranger", "DELETE", "/v1/AUTH_1/c/keep", &[], b"").await;
        if open.is_some_and(|answer| answer.status == 204) {
            assert!(bytes.windows(5).any(|word| word == b"admin" || word == b"write"), "access granted by {bytes:?}");
            cloud.put("/v1/AUTH_1/c/keep", std::str::from_utf8(DATA).unwrap()).await;
        }
    }),
    target!(manifests, &[
        br#"[{"path":"/c/o","etag":null,"size_bytes":36,"range":"1-5"},{"data":"aGVsbG8="}]"#,
        br#"[{"path":"/c/o"},{"path":"c/dir/o","size_bytes":"36"}]"#, br#"[{"path":"/c/o","range":"-3","sub_slo":true}]"#, b"[]",
    ], |cloud, bytes| {
        let before = count(cloud, "d").await;
        let put = send(cloud, "owner", "PUT", "/v1/AUTH_1/d/large?multipart-manifest=put", &[], bytes).await;
        if put.is_some_and(|answer| answer.status.is_client_error()) {
            assert_eq!(count(cloud, "d").await, before, "a rejected request changed the container");
        }
        for query in ["", "?multipart-manifest=get", "?multipart-manifest=get&format=raw", "?part-number=1"] {
            send(cloud, "owner", "GET", &format!("/v1/AUTH_1/d/large{query}"), &[("range", b"bytes=1-3")], b"").await;
        }
    }),
    target!(forms, &[
        b"--b\r\nContent-Disposition: form-data; name=\"max_file_size\"\r\n\r\n100\r\n--b\r\nContent-Disposition: form-data; name=\"max_file_count\"\r\n\r\n1\r\n--b\r\nContent-Disposition: form-data; name=\"expires\"\r\n\r\n1389453500\r\n--b\r\nContent-Disposition: form-data; name=\"signature\"\r\n\r\n0123456789012345678901234567890123456789\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"f\"\r\nContent-Type: text/plain\r\n\r\ndata\r\n--b--\r\n",
        b"--b\r\nContent-Disposition: form-data; name=\"prefix\"\r\n\r\np/\r\n--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x\"\r\n\r\nx\r\n--b--",
    ], |cloud, bytes| {
        let before = count(cloud, "c").await;
        let kind: &[u8] = b"multipart/form-data; boundary=b";
        let answer = send(cloud, "", "POST", "/v1/AUTH_1/c/p", &[("content-type", kind)], bytes).await;
        assert!(answer.is_some_and(|answer| !answer.status.is_success()), "an unsigned form was accepted");
        assert_eq!(count(cloud, "c").await, before);
        send(cloud, "owner", "POST", "/v1/AUTH_1/d", &[("content-type", kind)], bytes).await;
    }),
    target!(tars, &[b"dir/a\0\0\0", &[0; 1024]], |cloud, bytes| {
        // The header block of a file, followed by arbitrary bytes.
        let mut archive = vec![0u8; 512];
        archive[..4].copy_from_slice(b"name");
        archive[100..107].copy_from_slice(b"0000644");
        archive[124..135].copy_from_slice(b"00000000003");
        archive[257..265].copy_from_slice(b"ustar\x0000");
        for (place, byte) in archive.iter_mut().zip(bytes) {
            *place = *byte;
        }
        archive[148..156].fill(b' ');
        let sum: u32 = archive.iter().map(|byte| u32::from(*byte)).sum();
        archive[148..154].copy_from_slice(format!("{sum:06o}").as_bytes());
        archive.extend_from_slice(bytes);
        for format in ["tar", "tar.gz", "tar.bz2"] {
            let path = format!("/v1/AUTH_1/d?extract-archive={format}");
            send(cloud, "owner", "PUT", &path, &[], if format == "tar" { &archive } else { bytes }).await;
        }
    }),
    target!(signatures, &[
        b"temp_url_sig=0123456789012345678901234567890123456789&temp_url_expires=1389453500", b"temp_url_prefix=dir&temp_url_sig=sha256:x",
        b"temp_url_ip_range=10.0.0.0/8&temp_url_expires=2014-01-11T15:18:20Z&filename=%22&inline",
    ], |cloud, bytes| {
        for method in ["GET", "PUT", "DELETE"] {
            let path = format!("/v1/AUTH_1/d/signed?{}&temp_url_expires={ENDS}", in_url(bytes));
            let answer = send(cloud, "", method, &path, &[], b"").await;
            assert!(answer.is_none_or(|answer| !answer.status.is_success()), "{method} {path}: an invalid signature was accepted");
        }
    }),
    target!(deletions, &[b"d/a\n/d/b%20c\n\nAUTH_1/d/x", b"/d/%C3%A9\r\nd", b"%"], |cloud, bytes| {
        // In an account without objects that other targets need.
        for kind in [b"application/json".as_slice(), b"text/plain", b"text/xml"] {
            let headers = [("content-type", b"text/plain".as_slice()), ("accept", kind)];
            send(cloud, "stranger", "POST", "/v1/AUTH_2?bulk-delete", &headers, bytes).await;
        }
    }),
    target!(copies, &[b"\0c/o", b"\x01/d/copied", b"\x02AUTH_1", b"\x01d/%C3%A9"], |cloud, bytes| {
        one_of(cloud, &["x-copy-from", "x-copy-from", "x-copy-from-account"], "PUT", "/v1/AUTH_1/d/copied", bytes).await;
        if let Some((_, value)) = bytes.split_first().filter(|(_, value)| !value.windows(4).any(|w| w == b"keep")) {
            send(cloud, "owner", "COPY", "/v1/AUTH_1/d/copied", &[("destination", value)], b"").await;
        }
    }),
    target!(links, &[b"\0c/o", b"\x01d41d8cd98f00b204e9800998ecf8427e", b"\x02c/dir", b"\x03AUTH_1"], |cloud, bytes| {
        let names = ["x-symlink-target", "x-symlink-target-etag", "x-object-manifest", "x-symlink-target-account"];
        one_of(cloud, &names, "PUT", "/v1/AUTH_1/d/link", bytes).await;
        for query in ["", "?symlink=get", "?multipart-manifest=get"] {
            send(cloud, "owner", "GET", &format!("/v1/AUTH_1/d/link{query}"), &[], b"").await;
        }
    }),
    target!(metadata, &[b"color: blue", b"quota-bytes: 5", b"temp-url-key: x", b"web-index: index.html", b"access-control-allow-origin: *"], |cloud, bytes| {
        let mut parts = bytes.splitn(2, |byte| *byte == b':');
        let (name, value) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let name = String::from_utf8_lossy(name).into_owned();
        for (place, kind) in [("", "account"), ("/e", "container"), ("/c/o", "object")] {
            let header = format!("x-{kind}-meta-{name}");
            send(cloud, "owner", "POST", &format!("/v1/AUTH_1{place}"), &[(&header, value)], b"").await;
            send(cloud, "owner", "HEAD", &format!("/v1/AUTH_1{place}"), &[], b"").await;
        }
    }),
];
