//! Starting the program: what a first start creates, and errors in one line with exit code 2.

use std::os::unix::fs::PermissionsExt;
use std::process::{Command, Output, Stdio};

use tests::cloud::{Cloud, PATIENCE, clean, program, until};
use tests::http::curl;

fn refused(output: &Output) -> String {
    let err = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = err.lines().filter(|line| line.starts_with("nephos: ")).collect();
    assert_eq!(output.status.code(), Some(2), "{err}");
    assert_eq!(lines.len(), 1, "{err}");
    lines[0].to_owned()
}

fn serve(words: &[&str]) -> Output {
    let mut command = Command::new(program());
    command.arg("serve").args(words).stdin(Stdio::null());
    clean(&mut command);
    command.output().unwrap()
}

#[test]
fn a_first_start_creates_what_it_needs() {
    let cloud = Cloud::start();
    let mode = |name: &str| std::fs::metadata(cloud.data().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("openrc"), mode("master.key"), mode("admin.sock")), (0o600, 0o600, 0o600));
    assert_eq!(curl(&[&format!("{}/healthz", cloud.url)]).status, 200);
    assert_eq!(curl(&[&format!("{}/metrics", cloud.url)]).status, 401);
    let root = curl(&[&format!("{}/", cloud.url)]);
    assert_eq!((root.status, root.json()["name"].as_str()), (300, Some("nephos")));
    let versions = curl(&[&format!("{}/identity", cloud.url)]);
    assert_eq!((versions.status, &versions.json()["versions"]), (300, &root.json()["versions"]));
    assert!(root.json().get("version").is_none(), "keystoneauth would read it as a version's document");
    // A path with one segment that belongs to no service is handled by Swift's dialect.
    for (path, status) in [("/v9", 412), ("/nothing/here", 404)] {
        assert_eq!(curl(&[&format!("{}{path}", cloud.url)]).status, status, "{path}");
    }
    assert!(!cloud.log().contains(tests::cloud::PASSWORD) && !cloud.log().contains(tests::cloud::API_KEY));
}

#[test]
fn startup_errors_are_reported_in_one_line() {
    let cloud = Cloud::start();
    let data = cloud.data();
    let data = data.to_str().unwrap();
    let busy = format!("127.0.0.1:{}", cloud.port());
    let other = tempfile::tempdir().unwrap();
    let fresh = other.path().join("data");
    let fresh = fresh.to_str().unwrap();
    let simulated = ["--hypervisor", "simulated:"];

    let line = refused(&serve(&[&["--data-dir", data, "--listen", "127.0.0.1:0"], &simulated[..]].concat()));
    assert!(line.contains("data_dir") && line.contains("in use by process"), "{line}");
    let line = refused(&serve(&[&["--data-dir", fresh, "--listen", &busy], &simulated[..]].concat()));
    assert!(line.contains("listen") && line.contains(&busy), "{line}");
    let words = ["--data-dir", fresh, "--listen", "127.0.0.1:0", "--edge-listen", &busy];
    let line = refused(&serve(&[&words, &simulated[..]].concat()));
    assert!(line.contains("edge_listen") && line.contains(&busy), "{line}");
    let line = refused(&serve(&["--data-dir", "/proc/nephos", "--listen", "127.0.0.1:0"]));
    assert!(line.contains("data_dir"), "{line}");
    let line = refused(&serve(&["--data-dir", fresh, "--database", "mysql://x"]));
    assert!(line.contains("database"), "{line}");
    let line = refused(&serve(&["--data-dir", fresh, "--config", "/nowhere.toml"]));
    assert!(line.contains("config"), "{line}");
    assert_eq!(serve(&["--no-such-flag"]).status.code(), Some(2));
}

#[test]
fn a_lost_key_and_a_newer_database_are_refused() {
    let mut cloud = Cloud::start();
    cloud.stop();
    let key = cloud.data().join("master.key");
    let saved = std::fs::read(&key).unwrap();
    std::fs::remove_file(&key).unwrap();
    let line = refused(&cloud.serve().stdin(Stdio::null()).output().unwrap());
    assert!(line.contains("master key"), "{line}");
    std::fs::write(&key, saved).unwrap();
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    let database = cloud.data().join("db/files.db");
    let newer = Command::new("python3")
        .args(["-c", "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('PRAGMA user_version = 9999'); c.commit()"])
        .arg(&database)
        .status();
    assert!(newer.unwrap().success());
    let line = refused(&cloud.serve().stdin(Stdio::null()).output().unwrap());
    assert!(line.contains("files database is at version 9999"), "{line}");
}

#[test]
fn administration_works_with_and_without_a_server() {
    let mut cloud = Cloud::start();
    let made = cloud.admin_json(&["tenant", "create", "while-it-runs"]);
    assert_eq!(made["id"], "100002");
    cloud.stop();
    let made = cloud.admin_json(&["tenant", "create", "while-it-does-not"]);
    assert_eq!(made["id"], "100003");
    cloud.launch();
    let listed = cloud.admin(&["tenant", "list", "--json"]);
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert_eq!(listed.lines().count(), 3, "{listed}");
    let table = String::from_utf8(cloud.admin(&["tenant", "list"]).stdout).unwrap();
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..3], ["ID", "NAME", "ENABLED"], "{table}");
    assert_eq!(rows[2][..3], ["100002", "while-it-runs", "true"], "{table}");
    let card = String::from_utf8(cloud.admin(&["tenant", "show", "100002"]).stdout).unwrap();
    assert!(card.contains("\nname         while-it-runs\n"), "{card}");
    let refused = cloud.admin(&["tenant", "create", "while-it-runs"]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).starts_with("nephos: "), "{refused:?}");
}

#[test]
fn operators_run_accounts_from_the_command_line() {
    use tests::http::sign_in;
    let cloud = Cloud::start();
    cloud.admin_json(&["tenant", "create", "acme"]);
    let user = cloud.admin_json(&["user", "create", "ann", "--tenant", "acme", "--role", "observer"]);
    let key = user["api_key"].as_str().unwrap();
    let answer = sign_in(&cloud.url, "ann", key);
    let token = format!("X-Auth-Token: {}", answer.header("x-auth-token"));
    let account = answer.header("x-storage-url").to_owned();
    let put = || curl(&["-X", "PUT", "-H", &token, &format!("{account}/c")]).status;
    assert_eq!(put(), 403, "an observer may read");
    cloud.admin_json(&["role", "grant", "admin", "--user", "ann", "--tenant", "acme"]);
    assert_eq!(put(), 201, "at once");
    assert_eq!(curl(&["-X", "PUT", "-H", &token, "-d", "x", &format!("{account}/c/o")]).status, 201);
    let shown = cloud.admin_json(&["user", "show", "ann"]);
    assert_eq!(shown["roles"].as_array().unwrap().len(), 2, "{shown}");

    cloud.admin_json(&["user", "disable", "ann"]);
    assert_eq!(put(), 401, "a disabled user's tokens are invalid at once");
    assert!(matches!(sign_in(&cloud.url, "ann", key).status, 401 | 403));
    cloud.admin_json(&["user", "enable", "ann"]);
    cloud.admin_json(&["user", "set", "ann", "--api-key", "0123456789abcdef0123456789abcdef"]);
    assert_eq!(sign_in(&cloud.url, "ann", key).status, 401);
    assert_eq!(sign_in(&cloud.url, "ann", "0123456789abcdef0123456789abcdef").status, 204);

    let limits = cloud.admin_json(&["tenant", "limits", "acme", "--set", "ram-mib=1024"]);
    assert_eq!((&limits["ram-mib"], &limits["ip-groups"]), (&1024.into(), &25.into()));
    let bad = cloud.admin(&["tenant", "limits", "acme", "--set", "ram-mib"]);
    assert_eq!(bad.status.code(), Some(2));
    assert!(cloud.admin_json(&["host", "list"])["name"].as_str().unwrap().starts_with("simulated"));
    let audit = cloud.admin(&["audit"]);
    assert!(String::from_utf8_lossy(&audit.stdout).contains("ann"), "{audit:?}");

    let rows = || cloud.query("files", "SELECT name FROM accounts WHERE name = CAST('AUTH_100002' AS BLOB)");
    assert_eq!(rows().len(), 1);
    cloud.admin_json(&["tenant", "delete", "acme"]);
    let admin = sign_in(&cloud.url, "admin", tests::cloud::API_KEY);
    let operator = format!("X-Auth-Token: {}", admin.header("x-auth-token"));
    assert_eq!(curl(&["-H", &operator, &format!("{account}/c/o")]).status, 404);
    until("its objects to be deleted", PATIENCE, || rows().is_empty().then_some(()));
    // Its user remains, without a tenant.
    let left = sign_in(&cloud.url, "ann", "0123456789abcdef0123456789abcdef");
    assert_eq!((left.status, left.header("x-storage-url")), (204, ""));
    cloud.admin_json(&["user", "delete", "ann"]);
    assert_eq!(sign_in(&cloud.url, "ann", "0123456789abcdef0123456789abcdef").status, 401);
}

#[test]
fn strangers_cause_no_usage_and_tokens_are_not_logged() {
    let cloud = Cloud::start();
    let answer = tests::http::sign_in(&cloud.url, "admin", tests::cloud::API_KEY);
    let token = answer.header("x-auth-token").to_owned();
    let header = format!("X-Auth-Token: {token}");
    for path in ["/v2.0/tokens/", "/identity/v2.0/tokens/"] {
        assert_eq!(curl(&["-H", &header, &format!("{}{path}{token}", cloud.url)]).status, 200);
    }
    assert_eq!(curl(&[&format!("{}/v1/AUTH_ghost/c/o", cloud.url)]).status, 401);
    assert_eq!(
        curl(&["-X", "PUT", "-H", &header, &format!("{}/c", answer.header("x-storage-url"))]).status,
        201
    );
    let usage = String::from_utf8(cloud.admin(&["usage"]).stdout).unwrap();
    assert!(usage.contains("100001") && !usage.contains("ghost"), "{usage}");
    assert!(cloud.log().contains("/v2.0/tokens/…"), "the request is logged");
    assert!(!cloud.log().contains(&token), "its token is not logged");
}

#[test]
fn a_mistyped_directory_is_not_initialised() {
    let dir = tempfile::tempdir().unwrap();
    let typo = dir.path().join("nephos-dta");
    let mut command = Command::new(program());
    command.args(["tenant", "list", "--data-dir"]).arg(&typo).stdin(Stdio::null());
    clean(&mut command);
    let line = refused(&command.output().unwrap());
    assert!(line.contains("there is no cloud"), "{line}");
    assert!(!typo.exists());
}

#[test]
fn requests_in_progress_finish_before_the_program_exits() {
    let mut cloud = Cloud::start();
    let answer = tests::http::sign_in(&cloud.url, "admin", tests::cloud::API_KEY);
    let token = format!("X-Auth-Token: {}", answer.header("x-auth-token"));
    let container = format!("{}/drain", answer.header("x-storage-url"));
    assert_eq!(curl(&["-X", "PUT", "-H", &token, &container]).status, 201);
    // A slow upload: curl limits its rate.
    let file = cloud.dir.path().join("slow");
    std::fs::write(&file, vec![1; 400_000]).unwrap();
    let upload = Command::new("curl")
        .args(["-s", "-o", "/dev/null", "-w", "%{http_code}", "--limit-rate", "200k", "-T"])
        .arg(&file)
        .args(["-H", &token, &format!("{container}/slow")])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    until("the upload to begin", PATIENCE, || {
        let sockets = std::fs::read_to_string("/proc/net/tcp").ok()?;
        let port = format!(":{:04X}", cloud.port());
        sockets
            .lines()
            .any(|line| line.contains(&port) && line.split_whitespace().nth(3) == Some("01"))
            .then_some(())
    });
    cloud.stop();
    let status = upload.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&status.stdout), "201");
    cloud.launch();
    let head = curl(&["-I", "-H", &token, &format!("{container}/slow")]);
    assert_eq!((head.status, head.header("content-length")), (200, "400000"));
}

#[test]
fn a_client_that_never_completes_its_head_is_disconnected() {
    use std::io::{Read, Write};
    let cloud = Cloud::start();
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", cloud.port())).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: loc").unwrap();
    let mut answer = Vec::new();
    // Reading ends when the server closes the connection; anything it sends before is a 4xx.
    stream.read_to_end(&mut answer).expect("the server closes the connection");
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 4"), "{answer}");
    let huge = format!("X-Padding: {}", "x".repeat(100_000));
    let refused = Command::new("curl")
        .args([
            "-s",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-H",
            &huge,
            "-H",
            &huge,
            &format!("{}/healthz", cloud.url),
        ])
        .output()
        .unwrap();
    let status = String::from_utf8_lossy(&refused.stdout).into_owned();
    assert!(status == "431" || status == "000", "{status}");
    assert_eq!(curl(&[&format!("{}/healthz", cloud.url)]).status, 200);
}

#[test]
fn the_manual_and_completions_know_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let nephos = |words: &[&str]| {
        let output = Command::new(program()).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    let pages = dir.path().join("man1");
    nephos(&["man", pages.to_str().unwrap()]);
    let page = std::fs::read_to_string(pages.join("nephos-user-create.1")).unwrap();
    assert!(page.contains(r"\-\-api\-key") && page.contains("unique in its domain"), "{page}");
    assert!(pages.join("nephos.1").exists() && pages.join("nephos-tenant-limits.1").exists());
    for (shell, mark) in
        [("bash", "complete -F _nephos"), ("zsh", "#compdef nephos"), ("fish", "complete -c nephos")]
    {
        let script = nephos(&["completions", shell]);
        assert!(script.contains(mark) && script.contains("hypervisor"), "{shell}: {script}");
    }
    // Bash accepts the script and completes a command with it.
    let script = dir.path().join("nephos.bash");
    std::fs::write(&script, nephos(&["completions", "bash"])).unwrap();
    let asked = format!(
        "source {}; COMP_WORDS=(nephos tenant li); COMP_CWORD=2; _nephos nephos li tenant; echo ${{COMPREPLY[*]}}",
        script.display()
    );
    let output = Command::new("bash").args(["-c", &asked]).output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), "list limits", "{output:?}");
}
