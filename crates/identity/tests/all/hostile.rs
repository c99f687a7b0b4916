//! Hostile bodies: each gets a clear fault in the dialect's shape, and none causes a crash.

use database::on_each_engine;
use http::{Method, StatusCode};
use proptest::prelude::*;
use serde_json::{Value, json};
use web::xml::Element;

use crate::cloud::Cloud;

const PLACES: [&str; 4] =
    ["/v1.1/auth", "/v2.0/tokens", "/v3/auth/tokens", "/v2.0/users/RAX-AUTH/change-pwd"];

fn is_fault(path: &str, body: &str, xml: bool) -> bool {
    if xml {
        return web::xml::parse(body.as_bytes()).is_ok_and(|fault| fault.attribute("code").is_some());
    }
    let Ok(Value::Object(fault)) = serde_json::from_str(body) else { return false };
    let code = fault.values().next().and_then(|fault| fault.get("code")).and_then(Value::as_u64);
    fault.len() == 1 && code.is_some() && (!path.starts_with("/v3") || fault.contains_key("error"))
}

on_each_engine! {
    async fn bad_bodies_are_400_and_name_the_field(location: &Location) {
        let cloud = Cloud::start(location).await;
        let typed = [("content-type", "application/json")];
        for path in PLACES {
            for body in ["", "{", "[]", "null", "\"x\"", "{\"auth\": 1}", "{\"auth\": {\"identity\": []}}", "{\"a\":"] {
                let reply = cloud.send(Method::POST, path, &typed, body).await.expect(400);
                assert!(is_fault(path, &reply.body, false), "{path} {body}: {}", reply.body);
            }
            let reply = cloud.send(Method::POST, path, &typed, "{\n  \"auth\" }").await.expect(400);
            assert!(reply.body.contains("line 2 column"), "{}", reply.body);
            let other = [("content-type", "text/plain")];
            let reply = cloud.send(Method::POST, path, &other, "{}").await.expect(415);
            assert!(is_fault(path, &reply.body, false), "{}", reply.body);
            let long = format!("\"{}\"", "x".repeat(70_000));
            let reply = cloud.send(Method::POST, path, &typed, &long).await.expect(413);
            assert!(is_fault(path, &reply.body, false), "{}", reply.body);
        }
    }
}

#[tokio::test]
async fn hostile_xml_is_400() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let bomb = r#"<!DOCTYPE a [<!ENTITY b "cc">]><auth>&b;</auth>"#;
    let headers = [("content-type", "application/xml"), ("accept", "application/xml")];
    for path in ["/v1.1/auth", "/v2.0/tokens"] {
        for body in [bomb, "<auth>", "<auth/>", "<a><b></a></b>", "", &"<a>".repeat(200), "<auth>text</auth>"]
        {
            let reply = cloud.send(Method::POST, path, &headers, body).await.expect(400);
            assert!(is_fault(path, &reply.body, true), "{path} {body}: {}", reply.body);
        }
    }
    let reply = cloud.send(Method::POST, "/v3/auth/tokens", &headers, "<auth/>").await.expect(415);
    assert!(reply.value()["error"]["code"] == 415);
}

#[tokio::test]
async fn unknown_paths_and_methods_are_faults_of_the_dialect() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let cases = [
        (Method::GET, "/v1.1/nothing", 404),
        (Method::GET, "/v2.0/nothing/at/all", 404),
        (Method::GET, "/v3/nothing", 404),
        (Method::GET, "/identity/v3/nothing", 404),
        (Method::DELETE, "/v1.1/auth", 405),
        (Method::PATCH, "/v2.0/tokens", 405),
        (Method::PUT, "/v3/users", 405),
    ];
    for (method, path, status) in cases {
        let reply = cloud.send(method, path, &[], "").await.expect(status);
        assert!(is_fault(path, &reply.body, false), "{path}: {}", reply.body);
        assert_eq!(status == 405, reply.headers.contains_key("allow"), "{path}");
    }
    let token = cloud.admin().await;
    let reply = cloud.get("/v3/users/%ff%fe", &token).await;
    assert!(matches!(reply.status.as_u16(), 400 | 404), "{}", reply.status);
    assert!(is_fault("/v3", &reply.body, false), "{}", reply.body);
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[ -~é\u{0}]{0,12}".prop_map(Value::from),
    ];
    let names = prop::sample::select(vec![
        "auth",
        "identity",
        "methods",
        "password",
        "user",
        "name",
        "domain",
        "id",
        "scope",
        "project",
        "token",
        "passwordCredentials",
        "RAX-KSKEY:apiKeyCredentials",
        "username",
        "apiKey",
        "tenantId",
        "credentials",
        "key",
        "application_credential",
        "secret",
        "system",
        "changePasswordCredentials",
        "newPassword",
        "email",
        "enabled",
        "roles",
        "expires_at",
        "url",
        "interface",
        "passwordDuration",
        "tenant_id",
    ]);
    leaf.prop_recursive(5, 40, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::hash_map(names.clone(), inner, 0..5)
                .prop_map(|map| Value::Object(map.into_iter().map(|(k, v)| (k.to_owned(), v)).collect())),
        ]
    })
}

/// Converts the value to an element: scalar fields become attributes, others children.
fn xml_of(name: &str, value: &Value) -> Element {
    let name = name.rsplit_once(':').map_or(name, |(_, last)| last);
    match value {
        Value::Object(fields) => {
            fields.iter().fold(Element::new(name), |element, (key, value)| match value {
                Value::Object(_) | Value::Array(_) => element.child(xml_of(key, value)),
                plain => element.attr(&key.replace(':', "-"), text_of(plain)),
            })
        }
        Value::Array(items) => Element::new(name).children(items.iter().map(|item| xml_of("item", item))),
        plain => Element::new(name).text(text_of(plain)),
    }
}

fn text_of(plain: &Value) -> String {
    plain.as_str().map_or_else(|| plain.to_string(), |text| text.replace('\0', ""))
}

fn is_refusal(status: StatusCode) -> bool {
    matches!(status.as_u16(), 400 | 401 | 403 | 404 | 405 | 409 | 413 | 415 | 429)
}

/// A body to send: well-formed in either format, or random bytes.
#[derive(Clone, Debug)]
enum Sent {
    Json(Value),
    Xml(Value),
    Bytes(Vec<u8>, bool),
}

impl Sent {
    fn body(&self) -> (String, &'static str) {
        match self {
            Self::Json(value) => (value.to_string(), "application/json"),
            Self::Xml(value) => {
                let root = value.as_object().and_then(|map| map.iter().next());
                let (name, value) = root.map_or(("auth", value), |(name, value)| (name.as_str(), value));
                (xml_of(name, value).to_document(), "application/xml")
            }
            Self::Bytes(bytes, xml) => {
                let kind = if *xml { "application/xml" } else { "application/json" };
                (String::from_utf8_lossy(bytes).into_owned(), kind)
            }
        }
    }
}

fn any_body(wrap: fn(Value) -> Value) -> impl Strategy<Value = Sent> {
    prop_oneof![
        any_json().prop_map(move |value| Sent::Json(wrap(value))),
        any_json().prop_map(move |value| Sent::Xml(wrap(value))),
        (prop::collection::vec(any::<u8>(), 0..60), any::<bool>())
            .prop_map(|(bytes, xml)| Sent::Bytes(bytes, xml)),
    ]
}

#[test]
fn no_body_causes_a_5xx() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = runtime.block_on(Cloud::start(&scratch.location));
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    let wrap = |value: Value| json!({"auth": {"identity": value.clone(), "passwordCredentials": value}});
    runner
        .run(&(any_body(wrap), 0..PLACES.len()), |(sent, place)| {
            let ((body, kind), path) = (sent.body(), PLACES[place]);
            let reply = runtime
                .block_on(async { cloud.send(Method::POST, path, &[("content-type", kind)], &body).await });
            prop_assert!(is_refusal(reply.status), "{path} {body}: {} {}", reply.status, reply.body);
            prop_assert!(is_fault(path, &reply.body, false), "{path} {body}: {}", reply.body);
            Ok(())
        })
        .unwrap();
}

/// Changes that an account's owner sends: each succeeds or is rejected, none fails with a 5xx.
#[test]
fn no_change_causes_a_5xx() {
    const CHANGES: &[(&str, &str, &str)] = &[
        ("POST", "/v2.0/users", "user"),
        ("POST", "/v2.0/users/{id}", "user"),
        ("PUT", "/v2.0/users/{id}/RAX-AUTH/roles", "roles"),
        ("POST", "/v2.0/users/{id}/OS-KSADM/credentials", "passwordCredentials"),
        ("PUT", "/v2.0/RAX-AUTH/domains/{tenant}", "domain"),
        ("PUT", "/v2.0/RAX-AUTH/domains/{tenant}/password-policy", "passwordPolicy"),
        ("POST", "/v3/users", "user"),
        ("PATCH", "/v3/users/{id}", "user"),
        ("PATCH", "/v3/projects/{tenant}", "project"),
        ("POST", "/v3/users/{id}/application_credentials", "application_credential"),
        ("POST", "/v3/users/{id}/credentials/OS-EC2", "tenant_id"),
        ("POST", "/v3/projects", "project"),
        ("POST", "/v3/domains", "domain"),
        ("POST", "/v3/roles", "role"),
        ("POST", "/v3/services", "service"),
        ("POST", "/v3/endpoints", "endpoint"),
        ("POST", "/v3/regions", "region"),
    ];
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = runtime.block_on(Cloud::start(&scratch.location));
    let (tenant, _, _) = runtime.block_on(cloud.account("shop", &[]));
    let (id, _) = runtime.block_on(cloud.user("clerk", &tenant, &["observer"]));
    let admin = runtime.block_on(cloud.admin());
    let mut runner = proptest::test_runner::TestRunner::new(ProptestConfig::with_cases(400));
    runner
        .run(&(any_body(|value| value), 0..CHANGES.len()), |(sent, place)| {
            let (method, path, name) = CHANGES[place];
            let sent = match sent {
                Sent::Json(value) => Sent::Json(json!({ name: value })),
                Sent::Xml(value) => Sent::Xml(json!({ name: value })),
                bytes => bytes,
            };
            let (body, kind) = sent.body();
            let path = path.replace("{id}", &id).replace("{tenant}", &tenant);
            let headers = [("content-type", kind), ("x-auth-token", admin.as_str())];
            let method = Method::from_bytes(method.as_bytes()).unwrap();
            let reply = runtime.block_on(async { cloud.send(method, &path, &headers, &body).await });
            let done = reply.status.is_success();
            prop_assert!(done || is_refusal(reply.status), "{path} {body}: {} {}", reply.status, reply.body);
            prop_assert!(done || is_fault(&path, &reply.body, false), "{path} {body}: {}", reply.body);
            Ok(())
        })
        .unwrap();
    runtime.block_on(async { cloud.get("/v3/users", &admin).await.expect(200) });
}
