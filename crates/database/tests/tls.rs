//! TLS to PostgreSQL for each `sslmode`, with a server whose certificate a private authority issued for `localhost`.

use std::path::Path;
use std::process::Command;

use database::{Database, Error, Location, inspect};

struct Server {
    url: String,
    dir: tempfile::TempDir,
}

fn script(args: &[&str]) -> String {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/hosts/postgres.sh");
    let out = Command::new(script).args(args).output().expect("tests/hosts/postgres.sh");
    assert!(out.status.success(), "{args:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

impl Server {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        // The server runs as another user if the tests run as root.
        let everyone = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(dir.path(), everyone).unwrap();
        let url = script(&["start", dir.path().join("pg").to_str().unwrap(), "tls"]);
        Self { url, dir }
    }

    fn location(&self, host: &str, parameters: &str) -> Location {
        let url = self.url.replace("127.0.0.1", host);
        Location::parse(&format!("{url}?{parameters}"), "/nowhere".as_ref()).unwrap()
    }

    /// Returns whether a connection was encrypted, or why it failed.
    async fn encrypted(&self, host: &str, parameters: &str) -> Result<bool, String> {
        match inspect(&self.location(host, parameters)).await {
            Ok(report) => Ok(report.expect("PostgreSQL").encrypted),
            Err(Error::Open { reason, .. } | Error::Location { reason, .. }) => Err(reason),
            Err(other) => panic!("{other}"),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        script(&["stop", self.dir.path().join("pg").to_str().unwrap()]);
    }
}

#[tokio::test]
async fn every_sslmode_means_what_libpq_says() {
    let server = Server::start();
    let ca = format!("sslrootcert={}", server.dir.path().join("pg/ca.pem").display());
    let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let stranger = server.dir.path().join("stranger.pem");
    std::fs::write(&stranger, own.cert.pem()).unwrap();
    let strangers = format!("sslrootcert={}", stranger.display());
    for (host, parameters, expected) in [
        ("localhost", "sslmode=disable", Ok(false)),
        ("localhost", "sslmode=prefer", Ok(true)),
        ("localhost", "", Ok(true)),
        ("localhost", "sslmode=require", Ok(true)),
        ("localhost", &format!("sslmode=require&{ca}"), Ok(true)),
        ("localhost", &format!("sslmode=require&{strangers}"), Err("UnknownIssuer")),
        ("localhost", &format!("sslmode=verify-ca&{ca}"), Ok(true)),
        ("localhost", &format!("sslmode=verify-full&{ca}"), Ok(true)),
        // By IP address, which the certificate does not name.
        ("127.0.0.1", "sslmode=require", Ok(true)),
        ("127.0.0.1", &format!("sslmode=verify-ca&{ca}"), Ok(true)),
        ("127.0.0.1", &format!("sslmode=verify-full&{ca}"), Err("not valid for name")),
        ("localhost", &format!("sslmode=verify-full&{strangers}"), Err("UnknownIssuer")),
        ("localhost", &format!("sslmode=verify-ca&{strangers}"), Err("UnknownIssuer")),
        ("localhost", "sslmode=verify-full&sslrootcert=system", Err("UnknownIssuer")),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere.pem", Err("sslrootcert /nowhere.pem")),
    ] {
        let found = server.encrypted(host, parameters).await;
        match (&found, expected) {
            (Ok(found), Ok(expected)) => assert_eq!(*found, expected, "{host} {parameters}"),
            (Err(found), Err(expected)) => {
                assert!(found.contains(expected), "{host} {parameters}: {found}");
            }
            _ => panic!("{host} {parameters}: {found:?}"),
        }
    }
    // Services use the same path for everything they do.
    let location = server.location("localhost", &format!("sslmode=verify-full&{ca}"));
    let db = Database::open(&location, "suite", &[]).await.unwrap();
    let row = db.row("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()", &[]).await.unwrap();
    assert!(row.unwrap().get::<bool>(0).unwrap());
}

#[tokio::test]
async fn require_rejects_plaintext_connections() {
    let plain =
        std::env::var("NEPHOS_TEST_POSTGRES").expect("NEPHOS_TEST_POSTGRES: run the tests by `make test`");
    let location = Location::parse(&format!("{plain}?sslmode=require"), "/nowhere".as_ref()).unwrap();
    let refused = inspect(&location).await.unwrap_err().to_string();
    assert!(refused.contains("TLS"), "{refused}");
    let location = Location::parse(&plain, "/nowhere".as_ref()).unwrap();
    assert!(!inspect(&location).await.unwrap().unwrap().encrypted);
}

#[tokio::test]
async fn a_server_without_room_for_the_pool_is_reported() {
    let url =
        std::env::var("NEPHOS_TEST_POSTGRES").expect("NEPHOS_TEST_POSTGRES: run the tests by `make test`");
    let location = Location::parse(&url, "/nowhere".as_ref()).unwrap();
    let report = inspect(&location.clone().with_connections(2)).await.unwrap().unwrap();
    // PostgreSQL's default of 100, minus the 3 reserved for superusers.
    assert_eq!((report.connections_max, report.connections_wanted), (97, 3));
    let report = inspect(&location.with_connections(97)).await.unwrap().unwrap();
    assert!(!report.has_room(), "{report:?}");
}
