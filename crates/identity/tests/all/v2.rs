//! v2.0's tokens: JSON and XML.

use database::on_each_engine;
use http::Method;
use serde_json::{Value, json};

use crate::cloud::{API_KEY, Cloud, PASSWORD, Reply};

const JSON: (&str, &str) = ("content-type", "application/json");

async fn post(cloud: &Cloud, body: &Value) -> Reply {
    cloud.send(Method::POST, "/v2.0/tokens", &[JSON], &body.to_string()).await
}

fn by_key() -> Value {
    json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "admin", "apiKey": API_KEY}}})
}

on_each_engine! {
    async fn an_api_key_returns_rackspaces_catalog(location: &Location) {
        let cloud = Cloud::start(location).await;
        let access = post(&cloud, &by_key()).await.expect(200).value()["access"].clone();
        let token = &access["token"];
        assert_eq!(token["expires"], "2010-10-11T12:00:00.000Z");
        assert_eq!(token["tenant"]["id"], "100001");
        assert_eq!(token["tenant"]["name"], "admin");
        assert_eq!(token["RAX-AUTH:authenticatedBy"], json!(["APIKEY"]));
        let user = &access["user"];
        assert_eq!(user["name"], "admin");
        assert_eq!(user["RAX-AUTH:defaultRegion"], "DFW");
        assert_eq!(user["RAX-AUTH:domainId"], "100001");
        let roles: Vec<&str> =
            user["roles"].as_array().unwrap().iter().map(|role| role["name"].as_str().unwrap()).collect();
        assert_eq!(roles, ["operator", "admin"]);
        assert_eq!(user["roles"][1]["description"], "Everything on a tenant");

        let catalog = access["serviceCatalog"].as_array().unwrap();
        let named = |name: &str| catalog.iter().find(|service| service["name"] == name);
        let files = named("cloudFiles").unwrap();
        assert_eq!(files["type"], "object-store");
        assert_eq!(files["endpoints"][0]["region"], "DFW");
        assert_eq!(files["endpoints"][0]["tenantId"], "100001");
        assert_eq!(files["endpoints"][0]["publicURL"], "http://cloud.test:8080/v1/AUTH_100001");
        let servers = named("cloudServersOpenStack").unwrap();
        assert_eq!(servers["endpoints"][0]["versionId"], "2");
        assert_eq!(servers["endpoints"][0]["versionInfo"], "http://cloud.test:8080/servers/v2");
        assert_eq!(servers["endpoints"][0]["versionList"], "http://cloud.test:8080/servers/");
        let first = named("cloudServers").unwrap();
        assert!(first["endpoints"][0].get("region").is_none());
        assert_eq!(first["endpoints"][0]["versionId"], "1.0");
        assert_eq!(first["endpoints"][0]["publicURL"], "http://cloud.test:8080/servers/v1.0/100001");
        assert!(named("cloudFilesCDN").is_some() && named("cloudFeeds").is_some());
        // Clients of v2.0's time find a service by type and refuse to choose between two.
        for (kind, count) in [("object-store", 1), ("image", 1), ("network", 1), ("identity", 1)] {
            assert_eq!(catalog.iter().filter(|service| service["type"] == kind).count(), count, "{kind}");
        }
        let next = catalog.iter().filter(|s| s["type"] == "compute" && s["endpoints"][0]["versionId"] != "1.0");
        assert_eq!(next.count(), 1);
    }
}

on_each_engine! {
    async fn a_password_returns_openstacks_names_and_one_service_per_type(location: &Location) {
        let cloud = Cloud::start(location).await;
        let body = json!({"auth": {"tenantName": "admin",
            "passwordCredentials": {"username": "admin", "password": PASSWORD}}});
        let access = post(&cloud, &body).await.expect(200).value()["access"].clone();
        assert_eq!(access["token"]["RAX-AUTH:authenticatedBy"], json!(["PASSWORD"]));
        let catalog = access["serviceCatalog"].as_array().unwrap();
        let first = |kind: &str| catalog.iter().find(|service| service["type"] == kind).unwrap();
        assert_eq!(first("compute")["name"], "nova");
        assert_eq!(first("object-store")["name"], "swift");
        // Clients refuse to choose between two services of one type in a region. First-generation servers have no region.
        let mut places: Vec<_> =
            catalog.iter().map(|s| (s["type"].to_string(), s["endpoints"][0]["region"].to_string())).collect();
        places.sort();
        let count = places.len();
        places.dedup();
        assert_eq!(places.len(), count);
        assert_eq!(first("image")["name"], "glance");
        assert_eq!(first("network")["name"], "neutron");
        assert_eq!(first("identity")["endpoints"][0]["publicURL"], "http://cloud.test:8080/identity/v2.0");
        for name in ["cloudServersOpenStack", "cloudFiles"] {
            assert!(!catalog.iter().any(|service| service["name"] == name), "{name}");
        }
        // Clients send an empty tenant if the user configured none.
        for empty in ["tenantName", "tenantId"] {
            let body = json!({"auth": {empty: "", "passwordCredentials": {"username": "admin", "password": PASSWORD}}});
            let access = post(&cloud, &body).await.expect(200).value();
            assert_eq!(access["access"]["token"]["tenant"]["id"], "100001");
        }
        let path = "/v2.0/tokens?include_endpoints=false";
        let without = cloud.send(Method::POST, path, &[JSON], &body.to_string()).await;
        assert!(without.expect(200).value()["access"].get("serviceCatalog").is_none());
    }
}

on_each_engine! {
    async fn an_exchanged_token_expires_with_its_parent(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, _, token) = cloud.account("shop", &[]).await;
        cloud.clock.advance(std::time::Duration::from_secs(3600));
        let body = json!({"auth": {"token": {"id": token}, "tenantId": tenant}});
        let access = post(&cloud, &body).await.expect(200).value()["access"].clone();
        assert_eq!(access["token"]["tenant"]["name"], "shop");
        assert_eq!(access["token"]["expires"], "2010-10-11T12:00:00.000Z");
        assert_ne!(access["token"]["id"], token.as_str());
        let elsewhere = json!({"auth": {"token": {"id": token}, "tenantId": "100001"}});
        post(&cloud, &elsewhere).await.expect(401);
        let gone = json!({"auth": {"token": {"id": "0".repeat(32)}, "tenantId": tenant}});
        post(&cloud, &gone).await.expect(401);
    }
}

on_each_engine! {
    async fn wrong_credentials_and_scopes_are_rejected(location: &Location) {
        let cloud = Cloud::start(location).await;
        cloud.account("shop", &[]).await;
        let password = |user: &str, word: &str| json!({"username": user, "password": word});
        let cases = [
            (json!({"auth": {"passwordCredentials": password("admin", "wrong")}}), 401, "unauthorized"),
            (json!({"auth": {"passwordCredentials": password("admin", API_KEY)}}), 401, "unauthorized"),
            (json!({"auth": {"passwordCredentials": password("nobody", PASSWORD)}}), 401, "unauthorized"),
            (json!({"auth": {"apiKeyCredentials": {"username": "admin", "apiKey": PASSWORD}}}), 401, "unauthorized"),
            (json!({"auth": {"passwordCredentials": password("shop", PASSWORD), "tenantName": "admin"}}), 401,
                "unauthorized"),
            (json!({"auth": {"passwordCredentials": password("admin", PASSWORD), "tenantName": "nowhere"}}), 401,
                "unauthorized"),
            (json!({"auth": {"passwordCredentials": password("admin", PASSWORD), "tenantName": "a", "tenantId": "b"}}),
                400, "badRequest"),
            (json!({"auth": {"passwordCredentials": {"username": "admin"}}}), 400, "badRequest"),
            (json!({"auth": {}}), 400, "badRequest"),
            (json!({"auth": {"RAX-AUTH:passcodeCredentials": {"passcode": "1"}}}), 400, "badRequest"),
        ];
        for (body, status, name) in cases {
            let reply = post(&cloud, &body).await.expect(status);
            assert_eq!(reply.value()[name]["code"], status, "{body}");
            assert!(reply.value()[name]["message"].is_string());
        }
        let message = "Unable to authenticate user with credentials provided.";
        let wrong = json!({"auth": {"passwordCredentials": password("admin", "wrong")}});
        assert_eq!(post(&cloud, &wrong).await.value()["unauthorized"]["message"], message);
    }
}

on_each_engine! {
    async fn a_token_is_validated_by_permitted_callers_and_revoked(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let (tenant, _, owner) = cloud.account("shop", &[]).await;
        let (_, member) = cloud.user("jdoe", &tenant, &["observer"]).await;
        let (_, _, stranger) = cloud.account("other", &[]).await;
        let path = format!("/v2.0/tokens/{member}");
        for by in [&member, &owner, &admin] {
            let access = cloud.get(&path, by).await.expect(200).value()["access"].clone();
            assert_eq!(access["user"]["name"], "jdoe");
            assert_eq!(access["token"]["id"], member.as_str());
            assert!(access.get("serviceCatalog").is_none());
        }
        cloud.get(&path, &stranger).await.expect(404);
        cloud.get(&format!("/v2.0/tokens/{owner}"), &member).await.expect(404);
        cloud.get(&path, "").await.expect(401);
        cloud.get(&format!("{path}?belongsTo={tenant}"), &admin).await.expect(200);
        cloud.get(&format!("{path}?belongsTo=100001"), &admin).await.expect(404);
        let fault = cloud.get("/v2.0/tokens/nonsense", &admin).await.expect(404);
        assert_eq!(fault.value()["itemNotFound"]["code"], 404);

        let endpoints = cloud.get(&format!("{path}/endpoints"), &member).await.expect(200).value();
        let files = endpoints["endpoints"].as_array().unwrap().iter().find(|e| e["name"] == "swift").unwrap();
        assert_eq!(files["publicURL"], format!("http://cloud.test:8080/v1/AUTH_{tenant}"));
        assert_eq!(files["type"], "object-store");

        cloud.delete(&path, &stranger).await.expect(404);
        cloud.delete(&path, &owner).await.expect(204);
        cloud.get(&path, &admin).await.expect(404);
        cloud.get("/v2.0/tenants", &member).await.expect(401);
        cloud.delete("/v2.0/tokens", &owner).await.expect(204);
        cloud.get("/v2.0/tenants", &owner).await.expect(401);
    }
}

#[tokio::test]
async fn xml_requests_get_xml_responses() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let body = format!(
        r#"<?xml version="1.0" encoding="UTF-8"?>
        <auth xmlns="http://docs.openstack.org/identity/api/v2.0">
          <apiKeyCredentials xmlns="http://docs.rackspace.com/identity/api/ext/RAX-KSKEY/v1.0"
            username="admin" apiKey="{API_KEY}"/>
        </auth>"#
    );
    let headers = [("content-type", "application/xml"), ("accept", "application/xml")];
    let reply = cloud.send(Method::POST, "/v2.0/tokens", &headers, &body).await.expect(200);
    assert!(reply.body.contains(r#"<access xmlns="http://docs.openstack.org/identity/api/v2.0""#));
    let access = reply.xml();
    let token = access.find("token").unwrap();
    assert_eq!(token.attribute("expires"), Some("2010-10-11T12:00:00.000Z"));
    assert_eq!(token.find("tenant").unwrap().attribute("id"), Some("100001"));
    assert_eq!(token.find("authenticatedBy").unwrap().find("credential").unwrap().text, "APIKEY");
    let roles = access.find("user").unwrap().find("roles").unwrap();
    assert_eq!(roles.children[1].attribute("name"), Some("admin"));
    let services = &access.find("serviceCatalog").unwrap().children;
    let servers = services.iter().find(|s| s.attribute("name") == Some("cloudServersOpenStack")).unwrap();
    let endpoint = servers.find("endpoint").unwrap();
    assert_eq!(endpoint.attribute("publicURL"), Some("http://cloud.test:8080/servers/v2/100001"));
    let version = endpoint.find("version").unwrap();
    assert_eq!(version.attribute("id"), Some("2"));
    assert_eq!(version.attribute("info"), Some("http://cloud.test:8080/servers/v2"));

    let bad = body.replace(API_KEY, "wrong");
    let fault = cloud.send(Method::POST, "/v2.0/tokens.xml", &headers[..1], &bad).await.expect(401).xml();
    assert_eq!((fault.name.as_str(), fault.attribute("code")), ("unauthorized", Some("401")));
    assert_eq!(fault.find("message").unwrap().text, "Unable to authenticate user with credentials provided.");
}

#[tokio::test]
async fn re_authentication_returns_the_same_token() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let id = async || post(&cloud, &by_key()).await.expect(200).value()["access"]["token"]["id"].clone();
    let first = id().await;
    assert_eq!(id().await, first);
    cloud.delete("/v2.0/tokens", first.as_str().unwrap()).await.expect(204);
    assert_ne!(id().await, first);
}

#[tokio::test]
async fn versions_and_extensions_need_no_token() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    for path in ["/v2.0", "/v2.0/", "/identity/v2.0"] {
        let version = cloud.send(Method::GET, path, &[], "").await.expect(200).value();
        assert_eq!(version["version"]["id"], "v2.0");
        assert_eq!(version["version"]["links"][0]["href"], "http://cloud.test:8080/identity/v2.0/");
    }
    let all = cloud.send(Method::GET, "/v2.0/extensions", &[], "").await.expect(200).value();
    let aliases: Vec<&str> = all["extensions"]["values"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["alias"].as_str().unwrap())
        .collect();
    assert_eq!(aliases, ["RAX-KSKEY", "OS-KSADM", "RAX-AUTH"]);
    cloud.send(Method::GET, "/v2.0/extensions/RAX-KSKEY.xml", &[], "").await.expect(200).xml();
    cloud.send(Method::GET, "/v2.0/extensions/other", &[], "").await.expect(404);
    for path in ["/identity", "/identity/"] {
        let list = cloud.send(Method::GET, path, &[], "").await.expect(300).value();
        let ids: Vec<&str> = list["versions"]["values"]
            .as_array()
            .unwrap()
            .iter()
            .map(|version| version["id"].as_str().unwrap())
            .collect();
        assert_eq!(ids, ["v3.14", "v2.0", "v1.1", "v1.0"]);
    }
}
