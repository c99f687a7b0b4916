//! Hostile and careless clients over real connections: uploads that are rejected while they are being sent, silent
//! connections, and what operators see of them.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};

use tests::cloud::{API_KEY, Cloud, PATIENCE, clean, succeed, until};
use tests::http::{curl, sign_in};

/// Uploads with Python's http.client, which reads a response only after sending everything; prints how many got a status.
const UPLOADS: &str = r#"
import http.client, ssl, sys
host, secure, length, times = sys.argv[1], sys.argv[2] == "https", int(sys.argv[3]), int(sys.argv[4])
seen = 0
for path in sys.argv[5:]:
    for _ in range(times):
        if secure:
            context = ssl._create_unverified_context()
            client = http.client.HTTPSConnection(host, timeout=60, context=context)
        else:
            client = http.client.HTTPConnection(host, timeout=60)
        client.request("POST" if "tokens" in path or "servers" in path else "PUT", path, body=b"x" * length,
                       headers={"X-Auth-Token": "bad", "Content-Type": "application/json"})
        answer = client.getresponse()
        answer.read()
        expected = 413 if path.endswith("tokens") else 401
        assert answer.status == expected, (path, answer.status)
        seen += 1
        client.close()
print(seen)
"#;

/// A path of each API that rejects a body early.
const PATHS: [&str; 4] = [
    "/v1/AUTH_100001/c/o",
    "/v1/AUTH_100001?extract-archive=tar",
    "/v3/auth/tokens",
    "/servers/v1.0/100001/servers",
];

#[test]
fn an_upload_that_is_rejected_early_gets_its_status() {
    for words in [&["--hypervisor", "simulated"][..], &["--hypervisor", "simulated", "--tls", "self-signed"]]
    {
        let cloud = Cloud::start_with(words, &[]);
        let (scheme, host) = cloud.url.split_once("://").unwrap();
        let mut python = Command::new("python3");
        python.args(["-c", UPLOADS, host, scheme, "30000000", "30"]).args(PATHS);
        assert_eq!(succeed(&mut python).trim(), (30 * PATHS.len()).to_string(), "{scheme}");

        let file = cloud.dir.path().join("bytes");
        std::fs::write(&file, vec![b'x'; 30_000_000]).unwrap();
        let versions: &[&str] = if scheme == "https" {
            &["--http1.1", "--http2"]
        } else {
            &["--http1.1", "--http2-prior-knowledge"]
        };
        for version in versions {
            for expect in ["Expect:", "Expect: 100-continue"] {
                for round in 0..30 {
                    let mut command = Command::new("curl");
                    command.args(["-s", "-S", "-k", "--max-time", "60", "--noproxy", "*", "-o", "/dev/null"]);
                    command.args([
                        version,
                        "-w",
                        "%{http_code}",
                        "-H",
                        "X-Auth-Token: bad",
                        "-H",
                        expect,
                        "-T",
                    ]);
                    command.arg(&file).arg(format!("{}{}", cloud.url, PATHS[0])).stdin(Stdio::null());
                    clean(&mut command);
                    let output = command.output().unwrap();
                    let said = String::from_utf8_lossy(&output.stdout).into_owned();
                    let why = String::from_utf8_lossy(&output.stderr).into_owned();
                    assert_eq!(said, "401", "{version} {expect} round {round}: {why}");
                }
            }
        }
    }
}

#[test]
fn a_thousand_silent_connections_block_nobody() {
    let few = ["prlimit", "--nofile=256:256"];
    let cloud = Cloud::start_with(&["--hypervisor", "simulated"], &few);
    let mut silent = Vec::new();
    for index in 0..1000 {
        let stream = TcpStream::connect(("127.0.0.1", cloud.port()));
        let mut stream = stream.unwrap_or_else(|error| panic!("connection {index}: {error}"));
        // Some send a few bytes, and then nothing.
        let _ = stream.write_all(&b"PUT /v1/AUTH_x/c/o HTTP/1.1\r\nHost: x\r\n"[..index % 4]);
        silent.push(stream);
        if index % 100 == 99 {
            assert_eq!(curl(&[&format!("{}/healthz", cloud.url)]).status, 200, "beside {index}");
        }
    }
    let answer = sign_in(&cloud.url, "admin", API_KEY);
    let token = format!("X-Auth-Token: {}", answer.header("x-auth-token"));
    let container = format!("{}/c", answer.header("x-storage-url"));
    assert_eq!(curl(&["-X", "PUT", "-H", &token, &container]).status, 201);
    let warnings = cloud.log().matches("cannot take a connection").count();
    assert!(warnings < 10, "{warnings} lines about it");
    // A connection that was closed to make room for others is really closed.
    let mut oldest = silent.swap_remove(0);
    oldest.set_read_timeout(Some(PATIENCE)).unwrap();
    assert_eq!(oldest.read(&mut [0]).unwrap_or(0), 0);
}

#[test]
fn metrics_are_for_operators_or_on_a_listener_of_their_own() {
    let port = tests::cloud::free_port();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("nephos.toml");
    std::fs::write(&file, format!("[metrics]\nlisten = '127.0.0.1:{port}'\n")).unwrap();
    let cloud = Cloud::start_with(&["--hypervisor", "simulated", "--config", file.to_str().unwrap()], &[]);
    let metrics = format!("{}/metrics", cloud.url);
    let operator = sign_in(&cloud.url, "admin", API_KEY);
    let operator = format!("X-Auth-Token: {}", operator.header("x-auth-token"));
    cloud.admin_json(&["tenant", "create", "acme"]);
    cloud.admin_json(&["user", "create", "jdoe", "--tenant", "acme", "--api-key", "0123456789abcdef"]);
    let user = sign_in(&cloud.url, "jdoe", "0123456789abcdef");
    let user = format!("X-Auth-Token: {}", user.header("x-auth-token"));
    for (header, status) in
        [("X-Other: x", 401), ("X-Auth-Token: bad", 401), (user.as_str(), 403), (operator.as_str(), 200)]
    {
        let answer = curl(&["-H", header, &metrics]);
        assert_eq!(
            (answer.status, answer.text().contains("nephos_requests_total")),
            (status, status == 200),
            "{header}"
        );
    }
    let own = until("metrics on their own listener", PATIENCE, || {
        let answer = curl(&[&format!("http://127.0.0.1:{port}/metrics")]);
        (answer.status == 200).then_some(answer)
    });
    assert!(own.text().contains("nephos_request_seconds_bucket"), "{}", own.text());
    assert_eq!(
        curl(&[&format!("http://127.0.0.1:{port}/v1/AUTH_100001")]).status,
        404,
        "and nothing else there"
    );
}

#[test]
fn a_request_rejected_before_routing_gets_a_fault_of_its_dialect() {
    let cloud = Cloud::start();
    for (path, status, body) in [
        (
            "/v1/AUTH_100001/c",
            "400 Bad Request",
            "<html><h1>Bad Request</h1><p>The request has no Host header.</p></html>",
        ),
        (
            "/v3/auth/tokens",
            "400 Bad Request",
            r#"{"error":{"code":400,"message":"The request has no Host header","title":"Bad Request"}}"#,
        ),
        (
            "/v2.0/tokens",
            "400 Bad Request",
            r#"{"badRequest":{"code":400,"message":"The request has no Host header"}}"#,
        ),
        (
            "/servers/v1.0/100001/servers",
            "400 Bad Request",
            r#"{"badRequest":{"code":400,"details":"","message":"The request has no Host header"}}"#,
        ),
    ] {
        for hosts in ["", "Host: a\r\nHost: b\r\n"] {
            let mut stream = TcpStream::connect(("127.0.0.1", cloud.port())).unwrap();
            write!(stream, "GET {path} HTTP/1.1\r\nConnection: close\r\n{hosts}\r\n").unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            let body = if hosts.is_empty() {
                body.to_owned()
            } else {
                body.replace("no Host header", "more than one Host header")
            };
            assert!(answer.starts_with(&format!("HTTP/1.1 {status}\r\n")), "{path}: {answer}");
            assert!(answer.ends_with(&format!("\r\n\r\n{body}")), "{path}: {answer}");
        }
    }
    // Tokens in paths are not logged, however the paths are encoded.
    for path in ["/v2.0/tokens/SECRET", "/v2.0/token%73/SECRET", "/v2.0/%2574okens%2FSECRET/endpoints"] {
        let _ = curl(&["--path-as-is", "-H", "X-Auth-Token: SECRET", &format!("{}{path}", cloud.url)]);
    }
    let shown = until("the requests in the log", PATIENCE, || {
        let log = cloud.log();
        (log.matches("/v2.0/tokens/").count() >= 3).then_some(log)
    });
    assert!(!shown.contains("SECRET"), "{shown}");
}
