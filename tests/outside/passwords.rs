//! A forgotten password: from the request to signing in with a new one, by mail.

use std::os::unix::fs::PermissionsExt;

use tests::cloud::{Cloud, PATIENCE, until};
use tests::http::{curl, sign_in};

#[test]
fn a_forgotten_password_is_reset_by_mail() {
    let dir = tempfile::tempdir().unwrap();
    let (sendmail, letter) = (dir.path().join("sendmail"), dir.path().join("letter"));
    // Renamed when complete, so that no partial mail is read.
    let script =
        format!("#!/bin/sh\necho \"$@\" >{0}.part; cat >>{0}.part; mv {0}.part {0}\n", letter.display());
    std::fs::write(&sendmail, script).unwrap();
    std::fs::set_permissions(&sendmail, std::fs::Permissions::from_mode(0o755)).unwrap();
    let config = dir.path().join("nephos.toml");
    let text =
        format!("[identity]\nsendmail = '{} -oem'\nmail_from = 'cloud@example.org'\n", sendmail.display());
    std::fs::write(&config, text).unwrap();
    let cloud = Cloud::start_with(&["--config", config.to_str().unwrap()], &[]);
    cloud.admin_json(&["tenant", "create", "acme"]);
    cloud.admin_json(&["user", "create", "ann", "--tenant", "acme", "--email", "ann@example.org"]);
    let post = |path: &str, headers: &[&str], body: &str| {
        let mut words = vec!["-X", "POST", "-H", "Content-Type: application/json", "-d", body];
        headers.iter().for_each(|header| words.extend(["-H", header]));
        let url = format!("{}{path}", cloud.url);
        words.push(&url);
        curl(&words)
    };
    let wish = r#"{"RAX-AUTH:forgotPasswordCredentials": {"username": "ann"}}"#;
    assert_eq!(post("/v2.0/users/RAX-AUTH/forgot-pwd", &[], wish).status, 204);
    let letter = until("the mail", PATIENCE, || std::fs::read_to_string(&letter).ok());
    let (head, body) = letter.split_once("\n\n").unwrap();
    assert!(
        head.starts_with("-oem -i -t\nFrom: cloud@example.org\nTo: ann@example.org\nSubject: "),
        "{letter}"
    );
    let token = body.lines().find_map(|line| line.strip_prefix("    ")).unwrap();
    let header = format!("X-Auth-Token: {token}");
    let set = r#"{"RAX-AUTH:passwordReset": {"password": "remembered"}}"#;
    assert_eq!(post("/v2.0/users/RAX-AUTH/pwd-reset", &[&header], set).status, 204);
    assert_eq!(post("/v2.0/users/RAX-AUTH/pwd-reset", &[&header], set).status, 401);
    assert_eq!(sign_in(&cloud.url, "ann", "remembered").status, 204);
    assert!(!cloud.log().contains(token), "the token is in no log");
}
