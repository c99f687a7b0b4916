//! The requests in the seeds, verbatim: the guide's authentication, Cloud Files with curl, forms of a browser.

use std::process::Command;

use tests::cloud::{API_KEY, Cloud, PASSWORD, read, succeed};
use tests::http::{curl, sign_in};

/// Creates a JPEG with ImageMagick.
fn jpeg(cloud: &Cloud) -> std::path::PathBuf {
    let path = cloud.dir.path().join("hello.jpg");
    succeed(Command::new("convert").args(["-size", "320x240", "plasma:red-blue"]).arg(&path));
    path
}

#[test]
fn the_guides_authentication() {
    let cloud = Cloud::start();
    let answer = sign_in(&cloud.url, "admin", API_KEY);
    assert_eq!(answer.status, 204);
    assert_eq!(answer.header("x-storage-url"), format!("{}/v1/AUTH_100001", cloud.url));
    assert_eq!(answer.header("x-cdn-management-url"), format!("{}/cdn/v1/AUTH_100001", cloud.url));
    assert_eq!(answer.header("x-server-management-url"), format!("{}/servers/v1.0/100001", cloud.url));
    assert!(answer.header("x-auth-token").len() >= 32);
    assert!(answer.header("x-trans-id").starts_with("tx"));
    assert_eq!(answer.header("x-trans-id"), answer.header("x-openstack-request-id"));
    for (user, key) in [("admin", "wrong"), ("nobody", API_KEY), ("other:admin", API_KEY)] {
        assert_eq!(sign_in(&cloud.url, user, key).status, 401, "{user} {key}");
    }
    assert_eq!(sign_in(&cloud.url, "admin:admin", API_KEY).status, 204);
    let tempauth = curl(&[
        "-H",
        "X-Storage-User: admin:admin",
        "-H",
        &format!("X-Storage-Pass: {PASSWORD}"),
        &format!("{}/auth/v1.0", cloud.url),
    ]);
    assert_eq!(tempauth.status, 200);
    assert_eq!(tempauth.header("x-storage-url"), format!("{}/v1/AUTH_100001", cloud.url));
}

#[test]
fn the_first_seeds_curls() {
    let cloud = Cloud::start();
    let answer = sign_in(&cloud.url, "admin", API_KEY);
    let (storage, token) = (answer.header("x-storage-url"), answer.header("x-auth-token"));
    let token = &format!("X-Auth-Token: {token}");
    let picture = jpeg(&cloud);
    let bytes = read(&picture);
    let etag = hex::encode(fast_md5::digest(&bytes));
    let file = picture.to_str().unwrap();
    let object = &format!("{storage}/images/hello.jpg");

    assert_eq!(
        curl(&["-X", "PUT", "-H", token, "-H", "Content-Length: 0", &format!("{storage}/images")]).status,
        201
    );
    let wrong =
        curl(&["-X", "PUT", "-T", file, "-H", "ETag: 805120e285a7ed28f74024422fe3594", "-H", token, object]);
    assert_eq!(wrong.status, 422);
    assert_eq!(curl(&["-I", "-H", token, object]).status, 404, "a wrong ETag stores nothing");

    let put = curl(&[
        "-X",
        "PUT",
        "-T",
        file,
        "-H",
        &format!("ETag: {etag}"),
        "-H",
        "Content-Type: image/jpeg",
        "-H",
        token,
        "-H",
        "X-Object-Meta-Screenie: Hello World",
        object,
    ]);
    assert_eq!((put.status, put.header("etag")), (201, etag.as_str()));
    let get = curl(&["-H", token, object]);
    assert_eq!(get.status, 200);
    assert!(get.body == bytes, "byte for byte");
    assert_eq!(
        (get.header("content-type"), get.header("x-object-meta-screenie")),
        ("image/jpeg", "Hello World")
    );
    let range = curl(&["-H", token, "-r", "100-199", object]);
    assert_eq!((range.status, range.body.as_slice()), (206, &bytes[100..200]));

    let head = curl(&["-I", "-X", "HEAD", "-H", token, storage]);
    assert_eq!(head.status, 204);
    assert_eq!(head.header("x-account-container-count"), "1");
    assert_eq!(head.header("x-account-object-count"), "1");
    assert_eq!(head.header("x-account-bytes-used"), bytes.len().to_string());

    let cdn = answer.header("x-cdn-management-url");
    let published = &format!("{cdn}/images");
    assert_eq!(curl(&["-I", "-H", token, published]).status, 404, "never CDN-enabled");
    let enable = curl(&[
        "-X",
        "PUT",
        "-H",
        token,
        "-H",
        "X-CDN-Enabled: True",
        "-H",
        "X-TTL: 259200",
        &format!("{storage}/images"),
    ]);
    assert_eq!((enable.status, enable.header("content-length")), (202, "0"));
    assert!(enable.header("content-type").starts_with("text/plain"), "{}", enable.header("content-type"));
    let uri = enable.header("x-cdn-uri");
    let edge = format!(".cdn.localhost:{}", cloud.edge_port());
    assert!(uri.starts_with("http://") && uri.ends_with(&edge), "{uri}");
    assert!(enable.header("x-cdn-ssl-uri").starts_with("https://"), "{}", enable.header("x-cdn-ssl-uri"));
    let head = curl(&["-I", "-H", token, published]);
    assert_eq!((head.status, head.header("x-cdn-uri"), head.header("x-ttl")), (204, uri, "259200"));
    let list = curl(&["-H", token, &format!("{cdn}?format=json&enabled_only=true")]);
    let list: serde_json::Value = serde_json::from_slice(&list.body).unwrap();
    assert_eq!((list[0]["name"].as_str(), list[0]["cdn_uri"].as_str()), (Some("images"), Some(uri)));

    // The quota of purges, as the operator sets it.
    let limits = cloud.admin_json(&["tenant", "limits", "100001", "--set", "cdn-purges=1"]);
    assert_eq!((limits["cdn-purges"].as_u64(), limits["cdn-purges-left"].as_u64()), (Some(1), Some(1)));
    let object = &format!("{published}/hello.jpg");
    assert_eq!(curl(&["-X", "DELETE", "-H", token, object]).status, 204);
    assert_eq!(curl(&["-X", "DELETE", "-H", token, object]).status, 498);
}

#[test]
fn the_second_seeds_listings_and_accounts() {
    let cloud = Cloud::start();
    let admin = sign_in(&cloud.url, "admin", API_KEY);
    let operator = &format!("X-Auth-Token: {}", admin.header("x-auth-token"));
    let tenant = cloud.admin_json(&["tenant", "create", "literature"]);
    let id = tenant["id"].as_str().unwrap().to_owned();
    let user = cloud.admin_json(&["user", "create", "reader", "--tenant", "literature"]);
    let reader = sign_in(&cloud.url, "reader", user["api_key"].as_str().unwrap());
    let token = &format!("X-Auth-Token: {}", reader.header("x-auth-token"));
    let account = &format!("{}/v1/AUTH_{id}", cloud.url);
    assert_eq!(reader.header("x-storage-url"), account);

    assert_eq!(curl(&["-X", "PUT", "-H", token, account]).status, 403, "only the operator creates accounts");
    assert_eq!(curl(&["-X", "PUT", "-H", operator, account]).status, 201);
    assert_eq!(
        curl(&["-X", "PUT", "-H", operator, "-H", "X-Account-Meta-Subject: Literature", account]).status,
        202
    );
    for container in ["janeausten", "marktwain"] {
        let made = curl(&[
            "-i",
            "-X",
            "PUT",
            "-H",
            "Content-Length: 0",
            "-H",
            token,
            &format!("{account}/{container}"),
        ]);
        assert_eq!(made.status, 201);
        assert_eq!(made.header("content-type"), "text/html; charset=UTF-8");
        assert_eq!(made.header("x-trans-id"), made.header("x-openstack-request-id"));
    }
    let post = curl(&[
        "-X",
        "POST",
        "-H",
        token,
        "-H",
        "X-Container-Meta-Book: TomSawyer",
        &format!("{account}/marktwain"),
    ]);
    assert_eq!(post.status, 204);
    for (name, text) in [("goodbye", "Goodbye World!"), ("helloworld", "Hello World!")] {
        let put = curl(&[
            "-X",
            "PUT",
            "-H",
            token,
            "-H",
            "Content-Type: application/octet-stream",
            "-d",
            text,
            &format!("{account}/marktwain/{name}"),
        ]);
        assert_eq!(put.status, 201);
    }
    let listing = curl(&["-X", "GET", "-H", token, &format!("{account}?format=json")]);
    assert_eq!(listing.status, 200);
    for (header, value) in [
        ("x-account-object-count", "2"),
        ("x-account-container-count", "2"),
        ("x-account-bytes-used", "26"),
        ("x-account-meta-subject", "Literature"),
        ("content-type", "application/json; charset=utf-8"),
        ("accept-ranges", "bytes"),
    ] {
        assert_eq!(listing.header(header), value, "{header}");
    }
    assert_eq!(listing.header("content-length"), listing.body.len().to_string());
    let (seconds, decimals) = listing.header("x-timestamp").split_once('.').unwrap();
    assert!(seconds.len() == 10 && decimals.len() == 5, "{}", listing.header("x-timestamp"));
    let json = listing.json();
    assert_eq!(
        (&json[0]["name"], &json[0]["count"], &json[0]["bytes"]),
        (&"janeausten".into(), &0.into(), &0.into())
    );
    assert_eq!(
        (&json[1]["name"], &json[1]["count"], &json[1]["bytes"]),
        (&"marktwain".into(), &2.into(), &26.into())
    );
    assert_eq!(json[1]["last_modified"].as_str().unwrap().len(), "2016-04-29T16:23:50.460230".len());

    let listing = curl(&["-H", token, &format!("{account}/marktwain?format=json")]);
    assert_eq!(listing.header("x-container-object-count"), "2");
    assert_eq!(listing.header("x-container-bytes-used"), "26");
    assert_eq!(listing.header("x-container-meta-book"), "TomSawyer");
    let json = listing.json();
    assert_eq!(json[1]["hash"], "ed076287532e86365e841e92bfc50d8c", "the seed's own hash of Hello World!");
    assert_eq!(json[1]["content_type"], "application/octet-stream");

    let stranger = curl(&["-H", operator, &format!("{account}/marktwain/helloworld")]);
    assert_eq!(stranger.text(), "Hello World!", "the operator may");
    let other = cloud.admin_json(&["tenant", "create", "other"]);
    assert_ne!(other["id"], tenant["id"]);
    let other = cloud.admin_json(&["user", "create", "stranger", "--tenant", "other"]);
    let other = sign_in(&cloud.url, "stranger", other["api_key"].as_str().unwrap());
    let other = &format!("X-Auth-Token: {}", other.header("x-auth-token"));
    for path in ["", "/marktwain", "/marktwain/helloworld"] {
        assert_eq!(curl(&["-H", other, &format!("{account}{path}")]).status, 403, "{path}");
        assert_eq!(curl(&[&format!("{account}{path}")]).status, 401, "{path}");
    }
    assert_eq!(curl(&["-X", "DELETE", "-H", token, account]).status, 403);
    assert_eq!(curl(&["-X", "DELETE", "-H", operator, account]).status, 204);
    assert_eq!(curl(&["-H", token, &format!("{account}/marktwain/helloworld")]).status, 404);
}

#[test]
fn a_browsers_form_and_a_file_servers_download() {
    let cloud = Cloud::start();
    let answer = sign_in(&cloud.url, "admin", API_KEY);
    let token = &format!("X-Auth-Token: {}", answer.header("x-auth-token"));
    let container = &format!("{}/forms", answer.header("x-storage-url"));
    assert_eq!(curl(&["-X", "PUT", "-H", token, container]).status, 201);
    let picture = jpeg(&cloud);
    let large = cloud.dir.path().join("large file.bin");
    let content: Vec<u8> = (0..3_000_000u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    std::fs::write(&large, &content).unwrap();
    let answer = curl(&[
        "-H",
        token,
        "-F",
        &format!("files=@{}", picture.display()),
        "-F",
        &format!("files=@{};type=application/x-large", large.display()),
        "-F",
        "comment=ignored",
        container,
    ]);
    assert_eq!(answer.status, 201, "{}", answer.text());
    let json = answer.json();
    assert_eq!(
        (json[0]["name"].as_str(), json[0]["content_type"].as_str()),
        (Some("hello.jpg"), Some("image/jpeg"))
    );
    assert_eq!(json[1]["hash"].as_str().unwrap(), hex::encode(fast_md5::digest(&content)));
    let get = curl(&["-H", token, &format!("{container}/large%20file.bin?filename=renamed.bin")]);
    assert!(get.body == content);
    assert_eq!(get.header("content-type"), "application/x-large");
    assert!(get.header("content-disposition").starts_with("attachment; filename=\"renamed.bin\""));
    assert_eq!(curl(&["-H", token, &format!("{container}/missing")]).status, 404);
}
