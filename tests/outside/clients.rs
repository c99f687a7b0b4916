//! Unmodified clients from their own packages: swift, rclone, openstack.

use std::path::{Path, PathBuf};
use std::process::Command;

use tests::cloud::{API_KEY, Cloud, PASSWORD, clean, read, succeed};

/// Returns the command of a client in the tests' environment.
fn client(name: &str) -> Command {
    let home =
        std::env::var_os("NEPHOS_TEST_CLIENTS").expect("NEPHOS_TEST_CLIENTS: run the tests by `make test`");
    let mut command = Command::new(PathBuf::from(home).join("bin").join(name));
    clean(&mut command);
    command
}

/// Sets the variables of `openrc`.
fn with_openrc(mut command: Command, cloud: &Cloud) -> Command {
    command.envs(cloud.openrc());
    command
}

/// Writes a few thousand files: many small ones, some larger, and names with special characters.
fn tree(root: &Path) -> usize {
    let mut count = 0;
    for directory in 0..60 {
        let dir = root.join(format!("dir {directory:02}")).join("größe");
        std::fs::create_dir_all(&dir).unwrap();
        for file in 0..50 {
            std::fs::write(
                dir.join(format!("file #{file} 100%.txt")),
                format!("{directory}/{file}\n").repeat(file + 1),
            )
            .unwrap();
            count += 1;
        }
    }
    let large: Vec<u8> = (0..5_000_000u32).map(|i| u8::try_from(i * 17 % 253).unwrap()).collect();
    std::fs::write(root.join("large.bin"), large).unwrap();
    std::fs::write(root.join("empty"), "").unwrap();
    count + 2
}

#[test]
fn swift_signs_in_with_every_version() {
    let cloud = Cloud::start();
    let file = cloud.dir.path().join("greeting.txt");
    std::fs::write(&file, "hello from swift\n").unwrap();
    let v1 = vec![
        "-A".into(),
        format!("{}/auth/v1.0", cloud.url),
        "-U".into(),
        "admin:admin".into(),
        "-K".into(),
        API_KEY.into(),
    ];
    let os = |version: &str| -> Vec<String> {
        let mut words: Vec<String> = vec![
            "-V".into(),
            version.into(),
            "--os-auth-url".into(),
            format!("{}/identity/v{version}", cloud.url),
            "--os-username".into(),
            "admin".into(),
            "--os-password".into(),
            PASSWORD.into(),
        ];
        if version == "3" {
            words.extend([
                "--os-project-name".into(),
                "admin".into(),
                "--os-user-domain-name".into(),
                "Default".into(),
                "--os-project-domain-name".into(),
                "Default".into(),
            ]);
        } else {
            words.extend(["--os-tenant-name".into(), "admin".into()]);
        }
        words
    };
    let mut two = os("2.0");
    two[3] = format!("{}/identity/v2.0", cloud.url);
    for (name, words) in [("one", v1), ("two", two), ("three", os("3"))] {
        let swift = |more: &[&str]| {
            let mut command = client("swift");
            command.args(&words).args(more);
            succeed(&mut command)
        };
        swift(&[
            "upload",
            name,
            file.to_str().unwrap(),
            "--object-name",
            "greeting.txt",
            "-H",
            "X-Object-Meta-Mood: fine",
        ]);
        assert_eq!(swift(&["list", name]), "greeting.txt\n");
        assert!(swift(&["stat", name, "greeting.txt"]).contains("Meta Mood: fine"));
        let copy = cloud.dir.path().join(format!("{name}.txt"));
        swift(&["download", name, "greeting.txt", "-o", copy.to_str().unwrap()]);
        assert_eq!(read(&copy), b"hello from swift\n");
        swift(&["copy", name, "greeting.txt", "-d", &format!("/{name}/second.txt")]);
        swift(&["post", name, "-m", "Color:blue"]);
        assert!(swift(&["stat", name]).contains("Meta Color: blue"));
        swift(&["delete", name]);
        assert!(!swift(&["list"]).contains(name));
    }
}

#[test]
fn rclone_copies_syncs_and_checks_a_tree() {
    let cloud = Cloud::start();
    let source = cloud.dir.path().join("source");
    let count = tree(&source);
    let rclone = |words: &[&str]| {
        let mut command = Command::new("rclone");
        clean(&mut command);
        command.env("RCLONE_CONFIG", "/dev/null");
        let mut command = with_openrc(command, &cloud);
        command.args(["--transfers", "16", "--checkers", "16"]).args(words);
        succeed(&mut command)
    };
    let from = source.to_str().unwrap();
    rclone(&["copy", from, "nephos:tree"]);
    rclone(&["check", from, "nephos:tree"]);
    rclone(&["check", "--download", from, "nephos:tree"]);
    let size: serde_json::Value = serde_json::from_str(&rclone(&["size", "--json", "nephos:tree"])).unwrap();
    assert_eq!(size["count"], count);

    std::fs::remove_dir_all(source.join("dir 00")).unwrap();
    std::fs::write(source.join("new.txt"), "new").unwrap();
    std::fs::write(source.join("large.bin"), "smaller now").unwrap();
    rclone(&["sync", from, "nephos:tree"]);
    rclone(&["check", from, "nephos:tree"]);
    let size: serde_json::Value = serde_json::from_str(&rclone(&["size", "--json", "nephos:tree"])).unwrap();
    assert_eq!(size["count"], count - 50 + 1);
    let back = cloud.dir.path().join("back");
    rclone(&["copy", "nephos:tree", back.to_str().unwrap()]);
    succeed(Command::new("diff").args(["-r", from, back.to_str().unwrap()]));
    rclone(&["purge", "nephos:tree"]);
    assert_eq!(rclone(&["lsd", "nephos:"]), "");
}

#[test]
fn openstack_shows_tokens_containers_and_objects() {
    let cloud = Cloud::start();
    let openstack = |words: &[&str]| {
        let mut command = with_openrc(client("openstack"), &cloud);
        command.args(words);
        succeed(&mut command)
    };
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_str(&openstack(&[words, &["-f", "json"]].concat())).unwrap()
    };
    let token = json(&["token", "issue"]);
    assert_eq!(token["project_id"], "100001");
    assert!(token["id"].as_str().unwrap().len() >= 32);
    let catalog = json(&["catalog", "list"]);
    let types: Vec<&str> =
        catalog.as_array().unwrap().iter().map(|entry| entry["Type"].as_str().unwrap()).collect();
    assert!(types.contains(&"object-store") && types.contains(&"identity"), "{types:?}");

    assert_eq!(json(&["container", "create", "box"])[0]["container"], "box");
    let file = cloud.dir.path().join("thing.txt");
    std::fs::write(&file, "a thing\n").unwrap();
    let created = json(&["object", "create", "box", file.to_str().unwrap(), "--name", "thing.txt"]);
    assert_eq!(created[0]["etag"], hex::encode(fast_md5::digest(b"a thing\n")));
    assert_eq!(json(&["object", "list", "box"])[0]["Name"], "thing.txt");
    assert_eq!(json(&["object", "show", "box", "thing.txt"])["content-length"], "8");
    assert_eq!(json(&["container", "list"])[0]["Name"], "box");
    assert_eq!(json(&["container", "show", "box"])["object_count"], "1");
    let copy = cloud.dir.path().join("copy.txt");
    openstack(&["object", "save", "box", "thing.txt", "--file", copy.to_str().unwrap()]);
    assert_eq!(read(&copy), b"a thing\n");
    openstack(&["object", "delete", "box", "thing.txt"]);
    openstack(&["container", "delete", "box"]);
    assert_eq!(json(&["container", "list"]), serde_json::json!([]));
    assert_eq!(json(&["user", "show", "admin"])["name"], "admin");
    assert_eq!(json(&["project", "show", "admin"])["id"], "100001");
}

#[test]
fn openstack_runs_users_projects_roles_and_application_credentials() {
    let cloud = Cloud::start();
    let openstack = |words: &[&str]| {
        let mut command = with_openrc(client("openstack"), &cloud);
        command.args(words);
        succeed(&mut command)
    };
    let json = |words: &[&str]| -> serde_json::Value {
        serde_json::from_str(&openstack(&[words, &["-f", "json"]].concat())).unwrap()
    };
    let project = json(&["project", "create", "acme", "--description", "a shop"]);
    assert_eq!((project["name"].as_str(), project["description"].as_str()), (Some("acme"), Some("a shop")));
    let user = json(&[
        "user",
        "create",
        "ann",
        "--project",
        "acme",
        "--password",
        "correct horse",
        "--email",
        "a@x.org",
    ]);
    assert_eq!(user["name"], "ann");
    openstack(&["role", "add", "--user", "ann", "--project", "acme", "object-store:admin"]);
    let assigned = json(&["role", "assignment", "list", "--names", "--user", "ann"]);
    let roles: Vec<&str> =
        assigned.as_array().unwrap().iter().map(|entry| entry["Role"].as_str().unwrap()).collect();
    assert!(roles.contains(&"object-store:admin"), "{assigned}");
    let users = json(&["user", "list"]);
    assert!(users.as_array().unwrap().iter().any(|entry| entry["Name"] == "ann"), "{users}");
    assert_eq!(json(&["domain", "show", "default"])["id"], "default");

    // As the new user, create a container and an application credential.
    let as_ann = |words: &[&str]| {
        let mut command = with_openrc(client("openstack"), &cloud);
        command
            .env("OS_USERNAME", "ann")
            .env("OS_PASSWORD", "correct horse")
            .env("OS_PROJECT_NAME", "acme")
            .args(words);
        succeed(&mut command)
    };
    as_ann(&["container", "create", "hers"]);
    let credential = as_ann(&["application", "credential", "create", "robot", "-f", "json"]);
    let credential: serde_json::Value = serde_json::from_str(&credential).unwrap();
    let field = |name: &str| {
        let mut fields = credential.as_object().unwrap().iter();
        let found = fields.find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.unwrap_or_else(|| panic!("no {name}: {credential}")).1.as_str().unwrap().to_owned()
    };
    let robot = |words: &[&str]| {
        let mut command = client("openstack");
        command
            .env("OS_AUTH_URL", &cloud.openrc()["OS_AUTH_URL"])
            .env("OS_IDENTITY_API_VERSION", "3")
            .env("OS_AUTH_TYPE", "v3applicationcredential")
            .env("OS_APPLICATION_CREDENTIAL_ID", field("id"))
            .env("OS_APPLICATION_CREDENTIAL_SECRET", field("secret"))
            .args(words);
        command
    };
    let listed = succeed(&mut robot(&["container", "list", "-f", "value"]));
    assert_eq!(listed, "hers\n");
    let token = json(&["token", "issue"]);
    openstack(&["token", "revoke", token["id"].as_str().unwrap()]);
    let ended = format!("X-Auth-Token: {}", token["id"].as_str().unwrap());
    assert_eq!(tests::http::curl(&["-H", &ended, &format!("{}/v1/AUTH_100001", cloud.url)]).status, 401);

    openstack(&["user", "set", "--disable", "ann"]);
    let refused = robot(&["container", "list"]).output().unwrap();
    assert!(!refused.status.success(), "a disabled user's credentials are invalid at once");
    openstack(&["user", "delete", "ann"]);
    openstack(&["project", "delete", "acme"]);
    let projects = json(&["project", "list"]);
    assert!(projects.as_array().unwrap().iter().all(|entry| entry["Name"] != "acme"), "{projects}");
}
