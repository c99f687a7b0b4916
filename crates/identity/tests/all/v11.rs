//! v1.1: JSON and XML.

use database::on_each_engine;
use http::Method;
use serde_json::json;

use crate::cloud::{API_KEY, Cloud, PASSWORD};

const JSON: (&str, &str) = ("content-type", "application/json");
const XML: (&str, &str) = ("content-type", "application/xml");

on_each_engine! {
    async fn an_api_key_returns_a_token_and_v11s_catalog(location: &Location) {
        let cloud = Cloud::start(location).await;
        let body = json!({"credentials": {"username": "admin", "key": API_KEY}}).to_string();
        for path in ["/v1.1/auth", "/v1.1/auth.json", "/identity/v1.1/auth"] {
            let reply = cloud.send(Method::POST, path, &[JSON], &body).await.expect(200);
            let auth = &reply.value()["auth"];
            let token = auth["token"]["id"].as_str().unwrap();
            assert_eq!(auth["token"]["expires"], "2010-10-11T12:00:00.000Z");
            cloud.identity.authenticate(token).await.unwrap();
            assert_eq!(auth["serviceCatalog"]["cloudFiles"], json!([{
                "region": "DFW", "v1Default": true,
                "publicURL": "http://cloud.test:8080/v1/AUTH_100001",
                "internalURL": "http://cloud.test:8080/v1/AUTH_100001",
            }]));
            assert_eq!(auth["serviceCatalog"]["cloudServers"], json!([{
                "publicURL": "http://cloud.test:8080/servers/v1.0/100001",
            }]));
            assert!(auth["serviceCatalog"]["cloudFilesCDN"].is_array());
            assert!(auth["serviceCatalog"].get("nova").is_none());
        }
    }
}

#[tokio::test]
async fn xml_requests_get_xml_responses() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let body = format!(
        r#"<credentials xmlns="http://docs.rackspacecloud.com/auth/api/v1.1" username="admin" key="{API_KEY}"/>"#
    );
    let reply = cloud.send(Method::POST, "/v1.1/auth.xml", &[XML], &body).await.expect(200);
    assert_eq!(reply.header("content-type"), "application/xml");
    let auth = reply.xml();
    assert_eq!(auth.name, "auth");
    assert_eq!(auth.find("token").unwrap().attribute("expires"), Some("2010-10-11T12:00:00.000Z"));
    let services = &auth.find("serviceCatalog").unwrap().children;
    let files = services.iter().find(|s| s.attribute("name") == Some("cloudFiles")).unwrap();
    let endpoint = files.find("endpoint").unwrap();
    assert_eq!(endpoint.attribute("publicURL"), Some("http://cloud.test:8080/v1/AUTH_100001"));
    assert_eq!(endpoint.attribute("v1Default"), Some("true"));

    let bad = body.replace(API_KEY, "wrong");
    let refused = cloud.send(Method::POST, "/v1.1/auth.xml", &[XML], &bad).await.expect(401);
    let fault = refused.xml();
    assert_eq!((fault.name.as_str(), fault.attribute("code")), ("unauthorized", Some("401")));
    assert!(fault.find("message").is_some());
}

#[tokio::test]
async fn passwords_work_too_and_faults_have_v11s_shape() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let good = json!({"passwordCredentials": {"username": "admin", "password": PASSWORD}}).to_string();
    cloud.send(Method::POST, "/v1.1/auth", &[JSON], &good).await.expect(200);
    let cases = [
        (json!({"credentials": {"username": "admin"}}).to_string(), 400, "badRequest"),
        ("{".to_owned(), 400, "badRequest"),
        ("{}".to_owned(), 400, "badRequest"),
        (json!({"credentials": {"username": "admin", "key": PASSWORD}}).to_string(), 401, "unauthorized"),
        (json!({"credentials": {"username": "nobody", "key": "x"}}).to_string(), 401, "unauthorized"),
    ];
    for (body, status, name) in cases {
        let reply = cloud.send(Method::POST, "/v1.1/auth", &[JSON], &body).await.expect(status);
        assert_eq!(reply.value()[name]["code"], status, "{body}");
    }
    let version = cloud.send(Method::GET, "/v1.1", &[], "").await.expect(200);
    assert_eq!(version.value()["version"]["id"], "v1.1");
}
