//! HTTPS: with the cloud's own certificate or a given one, and with one that is renewed while connections are open.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;
use tests::cloud::{API_KEY, Cloud, PATIENCE, clean, program, read, succeed, until};

const SIMULATED: [&str; 2] = ["--hypervisor", "simulated:?delay=20"];

/// A certificate and key made with openssl.
struct Pair {
    dir: TempDir,
}

impl Pair {
    fn new(name: &str) -> Self {
        let pair = Self { dir: tempfile::tempdir().unwrap() };
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]);
        openssl.arg(format!("/CN={name}")).args(["-addext", "subjectAltName=IP:127.0.0.1", "-keyout"]);
        succeed(openssl.arg(pair.key()).arg("-out").arg(pair.certificate()));
        pair
    }

    fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    fn key(&self) -> PathBuf {
        self.dir.path().join("key.pem")
    }

    /// Replaces the files, as a renewal does.
    fn become_like(&self, other: &Self) {
        std::fs::copy(other.key(), self.key()).unwrap();
        std::fs::copy(other.certificate(), self.certificate()).unwrap();
    }

    fn words(&self) -> Vec<String> {
        let (certificate, key) = (self.certificate(), self.key());
        let words = ["--tls-cert", certificate.to_str().unwrap(), "--tls-key", key.to_str().unwrap()];
        words.map(str::to_owned).to_vec()
    }
}

fn start(words: &[String]) -> Cloud {
    let words: Vec<&str> = SIMULATED.into_iter().chain(words.iter().map(String::as_str)).collect();
    Cloud::start_with(&words, &[])
}

/// Runs curl, trusting only `authority`, and returns the output of `-w`; `None` if it fails.
fn curl(authority: &Path, say: &str, words: &[&str]) -> Option<String> {
    let mut command = Command::new("curl");
    command.args(["-s", "--max-time", "60", "--noproxy", "*", "-w", say, "--cacert"]);
    command.arg(authority).args(words).args(["-o", "/dev/null"]).stdin(Stdio::null());
    clean(&mut command);
    let output = command.output().expect("curl");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn healthy(cloud: &Cloud, authority: &Path) -> bool {
    let status = curl(authority, "%{http_code}", &[&format!("{}/healthz", cloud.url)]);
    assert!(status.as_deref().is_none_or(|status| status == "200"), "{status:?}");
    status.is_some()
}

/// A connection that stays open between requests.
struct Kept {
    child: Child,
    answers: BufReader<std::process::ChildStdout>,
}

impl Kept {
    fn open(cloud: &Cloud) -> Self {
        let mut openssl = Command::new("openssl");
        openssl.args(["s_client", "-quiet", "-connect", &format!("127.0.0.1:{}", cloud.port())]);
        openssl.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = openssl.spawn().expect("openssl");
        let answers = BufReader::new(child.stdout.take().unwrap());
        Self { child, answers }
    }

    fn ask(&mut self) -> String {
        let request = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n";
        self.child.stdin.as_mut().unwrap().write_all(request).unwrap();
        let mut status = String::new();
        self.answers.read_line(&mut status).unwrap();
        let mut line = String::new();
        while line != "OK\n" {
            line.clear();
            assert_ne!(self.answers.read_line(&mut line).unwrap(), 0, "closed after {status:?}");
        }
        status
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_cloud_signs_its_own_certificate_once() {
    let words = ["--tls", "self-signed", "--public-url", "https://cloud.example.test:8443"];
    let mut cloud = start(&words.map(str::to_owned));
    let authority = cloud.data().join("tls-cert.pem");
    let mode = std::fs::metadata(cloud.data().join("tls-key.pem")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let healthz = format!("{}/healthz", cloud.url);
    let said = |words: &[&str]| curl(&authority, "%{http_code} %{http_version}", words);
    assert_eq!(said(&[&healthz]).as_deref(), Some("200 2"));
    assert_eq!(said(&["--http1.1", &healthz]).as_deref(), Some("200 1.1"));
    for (name, address) in [("localhost", "127.0.0.1"), ("cloud.example.test", "127.0.0.1")] {
        let resolve = format!("{name}:{}:{address}", cloud.port());
        let url = format!("https://{name}:{}/healthz", cloud.port());
        assert_eq!(said(&["--resolve", &resolve, &url]).as_deref(), Some("200 2"), "{name}");
    }
    let other = format!("other.example.test:{}:127.0.0.1", cloud.port());
    let url = format!("https://other.example.test:{}/healthz", cloud.port());
    assert_eq!(said(&["--resolve", &other, &url]), None, "a name that is not the cloud's");
    assert_eq!(said(&[&healthz.replace("https://", "http://")]), None, "plain HTTP");

    let made = read(&authority);
    cloud.stop();
    cloud.launch();
    assert_eq!(read(&authority), made);
    assert!(healthy(&cloud, &authority));
}

#[test]
fn clients_get_https_urls() {
    let cloud = start(&["--tls", "self-signed"].map(str::to_owned));
    let authority = cloud.data().join("tls-cert.pem");
    let key = format!("X-Auth-Key: {API_KEY}");
    let words = ["-H", "X-Auth-User: admin", "-H", &key, &format!("{}/v1.0", cloud.url)];
    let url = curl(&authority, "%header{x-storage-url} %header{x-auth-token}", &words).unwrap();
    let (account, token) = url.split_once(' ').unwrap();
    assert!(account.starts_with(&format!("https://127.0.0.1:{}/v1/", cloud.port())), "{url}");
    assert_eq!(cloud.openrc()["NEPHOS_URL"], cloud.url);
    assert_eq!(Path::new(&cloud.openrc()["OS_CACERT"]), authority);
    assert!(cloud.url.starts_with("https://"));

    // A 3 MB object over HTTP/2, in both directions.
    let file = cloud.dir.path().join("bytes");
    std::fs::write(&file, (0..3_000_000_u32).map(|n| (n % 251) as u8).collect::<Vec<_>>()).unwrap();
    let token = format!("X-Auth-Token: {token}");
    let (container, object) = (format!("{account}/site"), format!("{account}/site/dir/index.html"));
    let status = |words: &[&str]| curl(&authority, "%{http_code}", &[&["-H", &token], words].concat());
    let website = ["-H", "X-Container-Read: .r:*", "-H", "X-Container-Meta-Web-Index: index.html"];
    assert_eq!(status(&[&["-X", "PUT"], &website[..], &[&container]].concat()).as_deref(), Some("201"));
    assert_eq!(status(&["-T", file.to_str().unwrap(), &object]).as_deref(), Some("201"));
    let fetched = cloud.dir.path().join("fetched");
    assert_eq!(status(&["-o", fetched.to_str().unwrap(), &object]).as_deref(), Some("200"));
    assert!(read(&file) == read(&fetched), "the downloaded bytes differ");
    for version in ["--http1.1", "--http2"] {
        let to = curl(&authority, "%header{location}", &[version, &format!("{container}/dir")]);
        assert_eq!(to.as_deref(), Some(format!("{container}/dir/").as_str()), "{version}");
    }
}

#[test]
fn a_certificate_is_renewed_under_open_connections() {
    let (pair, old, new, broken) = (Pair::new("a"), Pair::new("old"), Pair::new("new"), Pair::new("broken"));
    pair.become_like(&old);
    let cloud = start(&pair.words());
    assert!(healthy(&cloud, &old.certificate()) && !healthy(&cloud, &new.certificate()));
    let mut kept = Kept::open(&cloud);
    assert_eq!(kept.ask(), "HTTP/1.1 200 OK\r\n");

    std::fs::copy(broken.key(), pair.key()).unwrap();
    cloud.hang_up();
    until("the invalid certificate to be rejected", PATIENCE, || {
        cloud.log().contains("keeping the old one").then_some(())
    });
    assert!(healthy(&cloud, &old.certificate()));

    pair.become_like(&new);
    cloud.hang_up();
    until("the new certificate", PATIENCE, || healthy(&cloud, &new.certificate()).then_some(()));
    assert!(!healthy(&cloud, &old.certificate()));
    assert_eq!(kept.ask(), "HTTP/1.1 200 OK\r\n", "an open connection stays usable");
}

#[test]
fn clients_that_do_not_complete_the_handshake_block_nobody() {
    let cloud = start(&["--tls", "self-signed"].map(str::to_owned));
    let silent: Vec<TcpStream> =
        (0..20).map(|_| TcpStream::connect(("127.0.0.1", cloud.port())).unwrap()).collect();
    assert!(healthy(&cloud, &cloud.data().join("tls-cert.pem")));
    for mut stream in silent {
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the server closes the connection");
        assert!(rest.is_empty(), "{rest:?}");
    }
}

/// The key that the error names, the variables, and the flags.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [&'a str]);

#[test]
fn an_unusable_certificate_is_reported_in_one_line() {
    let (pair, other) = (Pair::new("a"), Pair::new("b"));
    let (certificate, key) = (pair.certificate(), pair.key());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let other = other.key();
    let other = other.to_str().unwrap();
    let data = pair.dir.path().join("data");
    let file = pair.dir.path().join("nephos.toml");
    std::fs::write(&file, format!("tls_cert = '{certificate}'\ntls_key = '{other}'")).unwrap();
    let file = file.to_str().unwrap();
    let cases: [Case<'_>; 12] = [
        ("tls_key", &[], &["--tls-cert", certificate]),
        ("tls_cert", &[], &["--tls-key", key]),
        ("tls_cert", &[("NEPHOS_TLS_KEY", key)], &[]),
        ("tls", &[], &["--tls", "on"]),
        ("tls", &[("NEPHOS_TLS", "yes")], &[]),
        ("tls", &[], &["--tls", "self-signed", "--tls-cert", certificate]),
        ("tls_cert", &[], &["--tls-cert", "/nowhere.pem", "--tls-key", key]),
        ("tls_key", &[], &["--tls-cert", certificate, "--tls-key", "/nowhere.pem"]),
        ("tls_cert", &[], &["--tls-cert", key, "--tls-key", key]),
        ("tls_key", &[], &["--tls-cert", certificate, "--tls-key", certificate]),
        // A flag takes precedence over the variable, and the variable over the file.
        (
            "tls_key",
            &[("NEPHOS_TLS_KEY", key), ("NEPHOS_TLS", "no")],
            &["--tls-cert", certificate, "--tls-key", other],
        ),
        ("tls_key", &[], &["--config", file]),
    ];
    for (named, variables, words) in cases {
        let mut command = Command::new(program());
        command
            .arg("serve")
            .arg("--data-dir")
            .arg(&data)
            .args(["--listen", "127.0.0.1:0", "--edge-listen", "off"])
            .args(SIMULATED);
        clean(&mut command);
        command.args(words).envs(variables.iter().copied()).stdin(Stdio::null());
        let output = command.output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {err}");
        let lines: Vec<&str> = err.lines().filter(|line| line.starts_with("nephos: ")).collect();
        assert!(lines.len() == 1 && lines[0].starts_with(&format!("nephos: {named}: ")), "{words:?}: {err}");
    }
}
