//! A real browser with Cloud Files: a form that uploads, pages of another origin, a website in a container.

use std::path::Path;
use std::process::Command;

use tests::browser::{Browser, Pages};
use tests::cloud::{API_KEY, Cloud, PATIENCE, succeed, until};
use tests::http::{Answer, curl, sign_in};

/// The owner's access to Cloud Files.
struct Owner {
    token: String,
    url: String,
}

impl Owner {
    fn of(cloud: &Cloud) -> Self {
        let signed_in = sign_in(&cloud.url, "admin", API_KEY);
        Self {
            token: signed_in.header("x-auth-token").to_owned(),
            url: signed_in.header("x-storage-url").to_owned(),
        }
    }

    fn ask(&self, method: &str, path: &str, headers: &[&str], body: &str) -> Answer {
        let (token, url) = (format!("X-Auth-Token: {}", self.token), format!("{}{path}", self.url));
        let mut words = vec!["-X", method, "-H", &token, &url];
        if method == "PUT" && !body.is_empty() {
            words.extend(["--data-binary", body]);
        }
        headers.iter().for_each(|header| words.extend(["-H", header]));
        let answer = curl(&words);
        assert!(answer.status < 300, "{method} {path}: {} {}", answer.status, answer.text());
        answer
    }
}

fn hmac_sha256(key: &str, text: &str) -> String {
    let script = "import hashlib, hmac, sys; \
                  print(hmac.new(sys.argv[1].encode(), sys.argv[2].encode(), hashlib.sha256).hexdigest())";
    succeed(Command::new("python3").args(["-c", script, key, text])).trim().to_owned()
}

fn write(dir: &Path, name: &str, text: &str) {
    std::fs::write(dir.join(name), text).unwrap();
}

#[test]
fn a_signed_form_uploads_from_a_page() {
    let cloud = Cloud::start();
    let owner = Owner::of(&cloud);
    let dir = tempfile::tempdir().unwrap();
    let pages = Pages::serve(dir.path());
    owner.ask("POST", "", &["X-Account-Meta-Temp-URL-Key: a secret"], "");
    owner.ask("PUT", "/drop", &[], "");
    let path = format!("{}/drop/from-page-", owner.url.strip_prefix(&cloud.url).unwrap());
    let redirect = format!("{}/done.html", pages.origin);
    let expires = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() + 600;
    let signature = hmac_sha256("a secret", &format!("{path}\n{redirect}\n1000\n2\n{expires}"));
    let form = |signature: &str| {
        format!(
            r#"<meta charset="utf-8"><form action="{}{path}" method="POST" enctype="multipart/form-data">
            <input type="hidden" name="redirect" value="{redirect}"><input type="hidden" name="max_file_size" value="1000">
            <input type="hidden" name="max_file_count" value="2"><input type="hidden" name="expires" value="{expires}">
            <input type="hidden" name="signature" value="{signature}"><input type="file" name="one" id="one">
            <input type="file" name="two" id="two"><input type="submit" id="send"></form>"#,
            cloud.url
        )
    };
    write(dir.path(), "form.html", &form(&signature));
    write(dir.path(), "forged.html", &form(&signature.replace(['0', '1'], "2")));
    write(dir.path(), "done.html", "<title>done</title>");
    write(dir.path(), "größe.txt", "from a page\n");
    write(dir.path(), "b.bin", "second");
    write(dir.path(), "large.txt", &"x".repeat(1001));
    let file = |name: &str| dir.path().join(name).display().to_string();

    let browser = Browser::open();
    let send = |page: &str, one: &str, two: &str| {
        browser.visit(&format!("{}/{page}", pages.origin));
        browser.type_into("#one", &file(one));
        browser.type_into("#two", &file(two));
        browser.click("#send");
        until("the form's response", PATIENCE, || {
            let place = browser.place();
            (!place.ends_with(page)).then_some(place)
        })
    };
    assert_eq!(send("form.html", "größe.txt", "b.bin"), format!("{redirect}?status=201&message="));
    assert_eq!(browser.run("return document.title"), "done");
    let stored = owner.ask("GET", "/drop/from-page-gr%C3%B6%C3%9Fe.txt", &[], "");
    assert_eq!((stored.text().as_str(), stored.header("content-type")), ("from a page\n", "text/plain"));
    assert_eq!(owner.ask("GET", "/drop", &[], "").text(), "from-page-b.bin\nfrom-page-größe.txt\n");

    // A rejected form is not redirected (Swift, FormPost).
    let said = || browser.run("return document.body.textContent");
    assert_eq!(send("form.html", "large.txt", "b.bin"), format!("{}{path}", cloud.url));
    assert_eq!(said(), "FormPost: max_file_size exceeded");
    assert_eq!(send("forged.html", "größe.txt", "b.bin"), format!("{}{path}", cloud.url));
    assert_eq!(said(), "FormPost: Invalid Signature");
    assert_eq!(owner.ask("GET", "/drop", &[], "").text().lines().count(), 2, "nothing more was stored");

    // Signatures are as sensitive as keys, and none is in the log (CVE-2017-8761).
    let path = format!("{path}b.bin");
    let signature = hmac_sha256("a secret", &format!("GET\n{expires}\n{path}"));
    let signed = format!("{}{path}?temp_url_sig={signature}&temp_url_expires={expires}", cloud.url);
    assert_eq!(curl(&[&signed]).text(), "second");
    until("the request in the log", PATIENCE, || cloud.log().contains(&path).then_some(()));
    assert!(!cloud.log().contains(&signature), "{}", cloud.log());
}

#[test]
fn pages_of_another_origin_read_and_write_where_they_may() {
    let cloud = Cloud::start();
    let owner = Owner::of(&cloud);
    let dir = tempfile::tempdir().unwrap();
    let pages = Pages::serve(dir.path());
    write(dir.path(), "page.html", "<title>a page</title>");
    let origin = format!("X-Container-Meta-Access-Control-Allow-Origin: {}", pages.origin);
    owner.ask("PUT", "/public", &[&origin, "X-Container-Read: .r:*"], "");
    owner.ask("PUT", "/private", &[&origin, "X-Container-Meta-Access-Control-Max-Age: 60"], "");
    owner.ask("PUT", "/closed", &["X-Container-Read: .r:*"], "");
    for container in ["public", "private", "closed"] {
        owner.ask("PUT", &format!("/{container}/o"), &["X-Object-Meta-Mood: fine"], "some text");
    }
    let browser = Browser::open();
    browser.visit(&format!("{}/page.html", pages.origin));
    let fetch = |path: &str, options: &str| {
        let url = format!("{}{path}", owner.url);
        browser.run(&format!(
            "const a = await fetch('{url}', {options});
             return [a.status, await a.text(), a.headers.get('x-object-meta-mood'), a.headers.get('etag')]"
        ))
    };
    let etag = hex::encode(fast_md5::digest(b"some text"));
    let whole = serde_json::json!([200, "some text", "fine", etag]);
    assert_eq!(fetch("/public/o", "{}"), whole);
    let refused = "TypeError: Failed to fetch";
    assert_eq!(fetch("/closed/o", "{}"), refused);

    // A token and a range require a preflight request.
    let token = format!("{{headers: {{'X-Auth-Token': '{}', 'Range': 'bytes=5-'}}}}", owner.token);
    assert_eq!(fetch("/private/o", &token), serde_json::json!([206, "text", "fine", etag]));
    assert_eq!(fetch("/closed/o", &token), refused);
    let put = format!("{{method: 'PUT', body: 'written', headers: {{'X-Auth-Token': '{}'}}}}", owner.token);
    assert_eq!(fetch("/private/new", &put)[0], 201);
    assert_eq!(fetch("/closed/new", &put), refused);
    assert_eq!(owner.ask("GET", "/private/new", &[], "").text(), "written");
    assert_eq!(owner.ask("GET", "/closed", &[], "").text(), "o\n", "the write was not even attempted");
}

#[test]
fn a_container_is_served_as_a_website() {
    let cloud = Cloud::start();
    let owner = Owner::of(&cloud);
    let site = [
        "X-Container-Read: .r:*,.rlistings",
        "X-Container-Meta-Web-Index: index.html",
        "X-Container-Meta-Web-Error: error.html",
        "X-Container-Meta-Web-Listings: true",
        "X-Container-Meta-Web-Listings-CSS: style.css",
    ];
    owner.ask("PUT", "/site", &site, "");
    let put = |name: &str, kind: &str, text: &str| {
        owner.ask("PUT", &format!("/site/{name}"), &[&format!("Content-Type: {kind}")], text);
    };
    let style = r#"<link rel="stylesheet" href="style.css">"#;
    put("index.html", "text/html", &format!("<title>home</title>{style}<a id='sub' href='sub'>sub</a>"));
    put("style.css", "text/css", "body { color: rgb(1, 2, 3) }");
    put("sub/index.html", "text/html", "<title>below</title>");
    put("404error.html", "text/html", "<title>not here</title>");
    put("files/a.txt", "text/plain", "a text");
    let browser = Browser::open();
    let title = || browser.run("return document.title");
    browser.visit(&format!("{}/site", owner.url));
    assert_eq!(
        (title(), browser.place()),
        ("home".into(), format!("{}/site/", owner.url)),
        "redirected to the path with a slash"
    );
    assert_eq!(browser.run("return getComputedStyle(document.body).color"), "rgb(1, 2, 3)");
    browser.click("#sub");
    until("the linked page", PATIENCE, || {
        (browser.place() == format!("{}/site/sub/", owner.url)).then_some(())
    });
    assert_eq!(title(), "below");
    browser.visit(&format!("{}/site/missing", owner.url));
    assert_eq!(title(), "not here");
    browser.visit(&format!("{}/site/files/", owner.url));
    let link = browser.run("return [...document.querySelectorAll('a')].map(a => a.textContent)");
    assert_eq!(link, serde_json::json!(["../", "a.txt"]));
    assert_eq!(
        browser.run("return getComputedStyle(document.body).color"),
        "rgb(1, 2, 3)",
        "the listing's style"
    );
    browser.click("a[href^='./a']");
    until("the file", PATIENCE, || browser.place().ends_with("txt").then_some(()));
    assert_eq!(browser.run("return document.body.textContent"), "a text");
}
