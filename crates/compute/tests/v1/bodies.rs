//! Parsing of bodies, and the messages for invalid ones.

use http::StatusCode;

use crate::bed::{NAMESPACE, TENANT, TestBed};

async fn refused(bed: &TestBed, path: &str, media: &str, body: &str) -> String {
    let headers = [("content-type", media), ("accept", "application/json")];
    let answer = bed.call("POST", path, &headers, body).await;
    assert_eq!(answer.status, 400, "{body}: {}", answer.body);
    answer.json()["badRequest"]["message"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn messages_name_the_error_in_the_body() {
    let bed = TestBed::unlimited().await;
    let (json, xml) = ("application/json", "application/xml");
    let server =
        |fields: &str| format!(r#"{{"server": {{"name": "x", "imageId": 1, "flavorId": 1{fields}}}}}"#);
    for (path, media, body, message) in [
        ("/servers", json, r#"{"server": null}"#.to_owned(), "the object server is missing: it is null"),
        ("/servers", json, r#"{"server": "web"}"#.to_owned(), "the object server is missing: it is a string"),
        (
            "/servers",
            json,
            r#"{"flavor": {}}"#.to_owned(),
            "the object server is missing: the body holds flavor",
        ),
        ("/servers", json, "{}".to_owned(), "the object server is missing: the body holds nothing"),
        ("/servers", json, "[]".to_owned(), "the object server is missing: the body holds an array"),
        ("/servers", xml, "<flavor/>".to_owned(), "the object server is missing: the body holds flavor"),
        (
            "/servers",
            json,
            r#"{"server": {"name": "x", "imageId": true, "flavorId": 1}}"#.to_owned(),
            "imageId must be a number or text",
        ),
        (
            "/servers",
            json,
            r#"{"server": {"name": "x", "imageId": "one", "flavorId": 1}}"#.to_owned(),
            "imageId must be a whole number",
        ),
        (
            "/servers",
            json,
            server(r#", "name": "y""#),
            "malformed JSON: name occurs twice at line 1 column 60",
        ),
        (
            "/servers",
            json,
            server(r#", "personality": [{"path": "/a", "contents": "%"}]"#),
            "personality file /a: its contents are not base64: Invalid symbol 37, offset 0.",
        ),
        (
            "/servers",
            json,
            server(r#", "personality": [{"path": "/a/", "contents": ""}]"#),
            "personality file /a/: its path does not name a file",
        ),
        (
            "/servers",
            json,
            server(r#", "metadata": {"k": "a\u0001b"}"#),
            "metadata item k: it contains a character that XML cannot represent",
        ),
        ("/servers", json, server(r#", "metadata": {"k": {}}"#), "metadata item k: it must be a string"),
        (
            "/servers",
            xml,
            "<server name='x' imageId='1' flavorId='1'><metadata/><metadata/></server>".to_owned(),
            "metadata occurs twice",
        ),
        (
            "/servers/1/action",
            json,
            r#"{"rebuild": "1"}"#.to_owned(),
            "rebuild must be an object, not a string",
        ),
        (
            "/shared_ip_groups",
            xml,
            "<sharedIpGroup name='g' server='1'><server id='1'/></sharedIpGroup>".to_owned(),
            "a shared IP group is created empty or with a single server",
        ),
    ] {
        assert_eq!(refused(&bed, path, media, &body).await, message, "{body}");
    }
    assert_eq!(bed.get("/servers").await.json()["servers"].as_array().unwrap().len(), 0);
    let own = bed.delete("/images/1").await;
    assert_eq!(own.status, 403);
    assert_eq!(own.json()["cloudServersFault"]["message"], "the image belongs to the cloud");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn xml_is_parsed_as_specified() {
    let bed = TestBed::unlimited().await;
    let (first, _) = bed.active("one", 1).await;
    let name = async |body: &[u8]| {
        let request = http::Request::post(format!("/v1.0/{TENANT}/shared_ip_groups"))
            .header("x-auth-token", "jdoe")
            .header("content-type", "application/xml")
            .body(axum::body::Body::from(body.to_vec()));
        let answer = bed.send(request.unwrap()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.body);
        answer.json()["sharedIpGroup"]["name"].as_str().unwrap().to_owned()
    };
    let foreign = r#"<sharedIpGroup xmlns:q="urn:q" q:name="bad" name="good"/>"#;
    assert_eq!(name(foreign.as_bytes()).await, "good");
    assert_eq!(name(b"<sharedIpGroup name='a\nb\tc'/>").await, "a b c");
    let text =
        format!("<?xml version='1.0' encoding='UTF-16'?><sharedIpGroup xmlns='{NAMESPACE}' name='\u{e9}'/>");
    let utf16: Vec<u8> =
        std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
    assert_eq!(name(&utf16).await, "\u{e9}");
    let foreign = "<g:sharedIpGroup xmlns:g='urn:q' g:name='bad'/>";
    let message = refused(&bed, "/shared_ip_groups", "application/xml", foreign).await;
    assert_eq!(message, "name is missing or empty");
    let group = format!(r#"<sharedIpGroup xmlns="{NAMESPACE}" name="g" server="{first}"/>"#);
    let group = bed.post("/shared_ip_groups", &group).await;
    assert_eq!(group.status, StatusCode::CREATED, "{}", group.body);
    assert_eq!(
        group.xml().find("servers").unwrap().children[0].attribute("id"),
        Some(first.to_string().as_str())
    );
    let marked = "\u{feff}{\"sharedIpGroup\": {\"name\": \"marked\"}}";
    assert_eq!(bed.post("/shared_ip_groups", marked).await.status, StatusCode::CREATED);
}

/// Metadata that XML can represent, even if only by references, is returned unchanged in both formats.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn metadata_is_returned_in_both_formats() {
    let bed = TestBed::unlimited().await;
    let body =
        r#"{"server": {"name": "x", "imageId": 1, "flavorId": 1, "metadata": {"a\tb": "c\r\nd\u0085"}}}"#;
    let answer = bed.call("POST", "/servers.xml", &[("content-type", "application/json")], body).await;
    assert_eq!(answer.status, 202, "{}", answer.body);
    let meta = answer.xml().find("metadata").unwrap().children[0].clone();
    assert_eq!((meta.attribute("key"), meta.text.as_str()), (Some("a\tb"), "c\r\nd\u{85}"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_body_with_a_too_large_content_length_is_rejected_unread() {
    let bed = TestBed::unlimited().await;
    for format in ["json", "xml"] {
        // No byte of it was read.
        let headers = [("content-type", "application/json"), ("content-length", "262145")];
        let answer = bed.call("POST", &format!("/servers.{format}"), &headers, "").await;
        assert_eq!(answer.status, 413, "{}", answer.body);
        assert!(answer.body.contains("overLimit") && answer.body.contains("262144"), "{}", answer.body);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn several_accept_headers_are_one_list() {
    let bed = TestBed::unlimited().await;
    for (accepts, media) in [
        (["application/json;Q=0.1", "application/xml"], "application/xml; charset=UTF-8"),
        (["application/xml;Q=0.1", "application/json"], "application/json"),
    ] {
        let headers = accepts.map(|accept| ("accept", accept));
        assert_eq!(bed.call("GET", "/flavors", &headers, "").await.header("content-type"), media);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_401_has_a_challenge() {
    let bed = TestBed::unlimited().await;
    let answer = bed.call("GET", "/servers", &[("x-auth-token", "stranger")], "").await;
    assert_eq!(
        (answer.status.as_u16(), answer.header("www-authenticate")),
        (401, "Token realm=\"Cloud Servers\"")
    );
    assert_eq!(bed.get("/servers").await.header("www-authenticate"), "");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_error_in_a_cloud_without_images_explains_how_to_add_one() {
    let bed = TestBed::unlimited().await;
    let launch = |image: i64| format!(r#"{{"server": {{"name": "x", "imageId": {image}, "flavorId": 1}}}}"#);
    let message = refused(&bed, "/servers", "application/json", &launch(9)).await;
    assert_eq!(message, "imageId names no image");
    bed.images().delete("", images::Id::Number(1)).await.unwrap();
    let message = refused(&bed, "/servers", "application/json", &launch(1)).await;
    assert!(
        message.contains("this cloud has none yet") && message.contains("nephos image import"),
        "{message}"
    );
}
