//! v3's tokens: methods, scopes, validation, revocation.

use std::time::Duration;

use database::on_each_engine;
use http::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, PASSWORD, Reply};

fn password(user: &Value) -> Value {
    json!({"methods": ["password"], "password": {"user": user}})
}

fn admin() -> Value {
    password(&json!({"name": "admin", "domain": {"name": "Default"}, "password": PASSWORD}))
}

async fn issue(cloud: &Cloud, identity: Value, scope: Option<Value>) -> Reply {
    let mut auth = json!({"identity": identity});
    if let Some(scope) = scope {
        auth["scope"] = scope;
    }
    cloud.json(Method::POST, "/v3/auth/tokens", "", json!({"auth": auth})).await
}

on_each_engine! {
    async fn a_password_returns_a_token_with_roles_and_catalog(location: &Location) {
        let cloud = Cloud::start(location).await;
        let scope = json!({"project": {"name": "admin", "domain": {"name": "Default"}}});
        let reply = issue(&cloud, admin(), Some(scope)).await.expect(201);
        assert_eq!(reply.header("vary"), "X-Auth-Token");
        let subject = reply.header("x-subject-token").to_owned();
        let token = reply.value()["token"].clone();
        assert_eq!(token["methods"], json!(["password"]));
        assert_eq!(token["user"]["name"], "admin");
        assert_eq!(token["user"]["domain"], json!({"id": "default", "name": "Default"}));
        assert_eq!(token["project"], json!({"id": "100001", "name": "admin",
            "domain": {"id": "default", "name": "Default"}}));
        assert_eq!(token["issued_at"], "2010-10-10T12:00:00.000000Z");
        assert_eq!(token["expires_at"], "2010-10-11T12:00:00.000000Z");
        assert_eq!(token["audit_ids"].as_array().unwrap().len(), 1);
        let roles: Vec<&str> = token["roles"].as_array().unwrap().iter().map(|r| r["name"].as_str().unwrap()).collect();
        assert_eq!(roles, ["operator", "admin"]);
        let catalog = token["catalog"].as_array().unwrap();
        let url = |kind: &str| {
            let service = catalog.iter().find(|service| service["type"] == kind).unwrap();
            let endpoints = service["endpoints"].as_array().unwrap();
            let public = endpoints.iter().find(|e| e["interface"] == "public").unwrap();
            assert_eq!((public["region"].as_str(), public["region_id"].as_str()), (Some("DFW"), Some("DFW")));
            (service["name"].as_str().unwrap().to_owned(), public["url"].as_str().unwrap().to_owned())
        };
        let expected = [
            ("identity", "keystone", "/identity/v3"), ("object-store", "swift", "/v1/AUTH_100001"),
            ("compute", "nova", "/servers/v2.1/100001"), ("image", "glance", "/images"),
            ("network", "neutron", "/networks"), ("volumev3", "cinderv3", "/volumes/v3/100001"),
            ("rax:object-cdn", "cloudFilesCDN", "/cdn/v1/AUTH_100001"), ("rax:feeds", "cloudFeeds", "/feeds/100001"),
        ];
        for (kind, name, path) in expected {
            assert_eq!(url(kind), (name.to_owned(), format!("http://cloud.test:8080{path}")), "{kind}");
        }
        let names: Vec<&str> = catalog.iter().map(|service| service["name"].as_str().unwrap()).collect();
        for name in ["cloudFiles", "cloudServersOpenStack", "cloudServers", "cloudImages"] {
            assert!(!names.contains(&name), "{name}");
        }
        assert!(cloud.identity.authenticate(&subject).await.unwrap().operator);
    }
}

on_each_engine! {
    async fn users_and_scopes_are_found_by_id_and_by_name(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, _) = cloud.account("shop", &[]).await;
        let users = [
            json!({"id": id}), json!({"name": "shop", "domain": {"id": "default"}}),
            json!({"name": "shop", "domain": {"name": "Default"}}),
            json!({"name": "shop", "domain": {"name": "default"}}), json!({"name": "shop"}),
        ];
        let places = [
            None, Some(json!({"project": {"id": tenant}})),
            Some(json!({"project": {"name": "shop", "domain": {"id": "default"}}})),
        ];
        for user in users {
            let mut user = user;
            user["password"] = json!(PASSWORD);
            for place in &places {
                let reply = issue(&cloud, password(&user), place.clone()).await.expect(201);
                assert_eq!(reply.value()["token"]["project"]["id"], tenant.as_str(), "{user} {place:?}");
            }
        }
    }
}

on_each_engine! {
    async fn scopes_need_a_role_there(location: &Location) {
        let cloud = Cloud::start(location).await;
        cloud.account("shop", &[]).await;
        let shop = || password(&json!({"name": "shop", "domain": {"id": "default"}, "password": PASSWORD}));
        let token = |reply: Reply| reply.value()["token"].clone();

        let unscoped = token(issue(&cloud, admin(), Some(json!("unscoped"))).await.expect(201));
        assert!(unscoped.get("roles").is_none() && unscoped.get("catalog").is_none());
        issue(&cloud, admin(), Some(json!({"unscoped": {}}))).await.expect(201);
        let domain = token(issue(&cloud, admin(), Some(json!({"domain": {"id": "default"}}))).await.expect(201));
        assert_eq!(domain["domain"], json!({"id": "default", "name": "Default"}));
        assert!(domain["catalog"].as_array().unwrap().iter().all(|s| s["type"] != "compute"), "compute needs a tenant");
        let system = token(issue(&cloud, admin(), Some(json!({"system": {"all": true}}))).await.expect(201));
        assert_eq!(system["system"], json!({"all": true}));
        assert_eq!(system["roles"][0]["name"], "operator");
        // The operator may use any scope.
        issue(&cloud, admin(), Some(json!({"project": {"name": "shop"}}))).await.expect(201);

        let refused = [
            json!({"project": {"id": "100001"}}), json!({"project": {"name": "nowhere"}}),
            json!({"project": {"name": "shop", "domain": {"id": "other"}}}),
            json!({"domain": {"id": "default"}}), json!({"domain": {"name": "none"}}), json!({"system": {"all": true}}),
        ];
        for scope in refused {
            issue(&cloud, shop(), Some(scope)).await.expect(401);
        }
        for scope in [json!({}), json!({"system": {}}), json!(7), json!({"project": {}})] {
            issue(&cloud, shop(), Some(scope)).await.expect(400);
        }
        let elsewhere = password(&json!({"name": "shop", "domain": {"id": "other"}, "password": PASSWORD}));
        issue(&cloud, elsewhere, None).await.expect(401);
    }
}

on_each_engine! {
    async fn a_rescoped_token_keeps_its_expiry(location: &Location) {
        let cloud = Cloud::start(location).await;
        let unscoped = issue(&cloud, admin(), Some(json!("unscoped"))).await.expect(201);
        let parent = unscoped.header("x-subject-token").to_owned();
        let parent_audit = unscoped.value()["token"]["audit_ids"][0].clone();
        assert!(!cloud.identity.authenticate(&parent).await.unwrap().operator);
        cloud.clock.advance(Duration::from_secs(7200));
        let by_token = json!({"methods": ["token"], "token": {"id": parent}});
        let scope = json!({"project": {"name": "admin", "domain": {"id": "default"}}});
        let reply = issue(&cloud, by_token.clone(), Some(scope.clone())).await.expect(201);
        let token = &reply.value()["token"];
        assert_eq!(token["methods"], json!(["token", "password"]));
        assert_eq!(token["expires_at"], "2010-10-11T12:00:00.000000Z");
        assert_eq!(token["audit_ids"][1], parent_audit);
        let child = reply.header("x-subject-token");
        let caller = cloud.identity.authenticate(child).await.unwrap();
        assert!(caller.operator && caller.tenant.is_some());
        let projects = cloud.get("/v3/auth/projects", &parent).await.expect(200).value();
        assert_eq!(projects["projects"][0]["name"], "admin");
        let domains = cloud.get("/v3/auth/domains", &parent).await.expect(200).value();
        assert_eq!(domains["domains"][0]["id"], "default");
        let system = cloud.get("/v3/auth/system", &parent).await.expect(200).value();
        assert_eq!(system["system"], json!([{"all": true}]));
        cloud.get("/v3/auth/catalog", &parent).await.expect(403);
        let catalog = cloud.get("/v3/auth/catalog", child).await.expect(200).value();
        assert_eq!(catalog["catalog"][0]["type"], "identity");
        cloud.clock.advance(Duration::from_secs(22 * 3600));
        // The same response as for a missing resource (Keystone).
        issue(&cloud, by_token, Some(scope)).await.expect(404);
    }
}

on_each_engine! {
    async fn a_token_is_validated_and_revoked(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, _, owner) = cloud.account("shop", &[]).await;
        let (_, member) = cloud.user("jdoe", &tenant, &["observer"]).await;
        let (_, _, stranger) = cloud.account("other", &[]).await;
        let (_, _, service) = cloud.account("glance", &["service"]).await;
        let call = async |method: Method, by: &str, subject: &str| {
            let headers = [("x-auth-token", by), ("x-subject-token", subject)];
            cloud.send(method, "/v3/auth/tokens", &headers, "").await
        };
        for by in [&member, &owner, &service, &cloud.admin().await] {
            let reply = call(Method::GET, by, &member).await.expect(200);
            assert_eq!(reply.value()["token"]["user"]["name"], "jdoe");
            assert_eq!(reply.header("x-subject-token"), member);
            let head = call(Method::HEAD, by, &member).await.expect(200);
            assert_eq!(head.body, "");
        }
        call(Method::GET, &stranger, &member).await.expect(404);
        call(Method::GET, &owner, "nonsense").await.expect(404);
        call(Method::GET, "nonsense", &member).await.expect(401);
        cloud.get("/v3/auth/tokens", &member).await.expect(400);
        call(Method::DELETE, &stranger, &member).await.expect(404);
        call(Method::DELETE, &service, &member).await.expect(404);
        call(Method::DELETE, &member, &member).await.expect(204);
        call(Method::GET, &owner, &member).await.expect(404);
        call(Method::GET, &member, &owner).await.expect(401);
    }
}

on_each_engine! {
    async fn application_credentials_sign_in_within_their_limits(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, user, token) = cloud.account("shop", &["admin", "nova:observer"]).await;
        let path = format!("/v3/users/{user}/application_credentials");
        let make = async |by: &str, body: Value| {
            cloud.json(Method::POST, &path, by, json!({"application_credential": body})).await
        };
        let made = make(&token, json!({"name": "ci", "roles": [{"name": "nova:observer"}],
            "expires_at": "2010-10-10T18:00:00.000000"})).await.expect(201).value()["application_credential"].clone();
        assert_eq!(made["project_id"], tenant.as_str());
        assert_eq!(made["expires_at"], "2010-10-10T18:00:00.000000");
        assert_eq!(made["roles"][0]["name"], "nova:observer");
        assert_eq!(made["unrestricted"], false);
        let (id, secret) = (made["id"].as_str().unwrap(), made["secret"].as_str().unwrap());
        let by_id = |secret: &str| json!({"methods": ["application_credential"],
            "application_credential": {"id": id, "secret": secret}});
        let reply = issue(&cloud, by_id(secret), None).await.expect(201);
        let shown = &reply.value()["token"];
        assert_eq!(shown["methods"], json!(["application_credential"]));
        assert_eq!(shown["expires_at"], "2010-10-10T18:00:00.000000Z");
        assert_eq!(shown["roles"].as_array().unwrap().len(), 1);
        assert_eq!(shown["application_credential"], json!({"id": id, "restricted": true}));
        let child = reply.header("x-subject-token").to_owned();
        let caller = cloud.identity.authenticate(&child).await.unwrap();
        assert!(caller.may(&tenant, identity::Product::Compute, identity::Right::Observe));
        assert!(!caller.may(&tenant, identity::Product::ObjectStore, identity::Right::Observe));

        let by_name = json!({"methods": ["application_credential"], "application_credential": {
            "name": "ci", "user": {"name": "shop", "domain": {"id": "default"}}, "secret": secret}});
        issue(&cloud, by_name, None).await.expect(201);
        issue(&cloud, by_id("wrong"), None).await.expect(401);
        issue(&cloud, by_id(secret), Some(json!({"project": {"id": tenant}}))).await.expect(401);
        let rescope = json!({"methods": ["token"], "token": {"id": child}});
        issue(&cloud, rescope.clone(), Some(json!("unscoped"))).await.expect(403);
        issue(&cloud, rescope, Some(json!({"project": {"id": tenant}}))).await.expect(201);
        make(&child, json!({"name": "more"})).await.expect(403);
        cloud.delete(&format!("{path}/{id}"), &child).await.expect(403);
        cloud.get(&format!("/v3/users/{user}/credentials/OS-EC2"), &child).await.expect(403);
        cloud.get(&format!("/v2.0/users/{user}/OS-KSADM/credentials"), &child).await.expect(403);

        make(&token, json!({"name": "ci"})).await.expect(409);
        make(&token, json!({})).await.expect(400);
        make(&token, json!({"name": "x", "roles": [{"name": "operator"}]})).await.expect(400);
        make(&token, json!({"name": "x", "expires_at": "2000-01-01T00:00:00"})).await.expect(400);
        make(&token, json!({"name": "x", "expires_at": "soon"})).await.expect(400);
        make(&token, json!({"name": "own", "secret": "my own secret", "unrestricted": true})).await.expect(201);
        let own = json!({"methods": ["application_credential"], "application_credential": {
            "name": "own", "user": {"id": user}, "secret": "my own secret"}});
        let free = issue(&cloud, own.clone(), None).await.expect(201);
        make(free.header("x-subject-token"), json!({"name": "more"})).await.expect(201);

        let listed = cloud.get(&path, &token).await.expect(200).value();
        assert_eq!(listed["application_credentials"].as_array().unwrap().len(), 3);
        assert!(listed["application_credentials"][0].get("secret").is_none());
        let shown = cloud.get(&format!("{path}/{id}"), &token).await.expect(200).value();
        assert_eq!(shown["application_credential"]["name"], "ci");
        cloud.get(&format!("{path}/ci"), &token).await.expect(404);
        let filtered = cloud.get(&format!("{path}?name=own"), &token).await.expect(200).value();
        assert_eq!(filtered["application_credentials"].as_array().unwrap().len(), 1);
        cloud.delete(&format!("{path}/{id}"), &token).await.expect(204);
        assert!(cloud.identity.authenticate(&child).await.is_err());
        cloud.clock.advance(Duration::from_secs(6 * 3600));
        issue(&cloud, by_id(secret), None).await.expect(401);
        let admin = cloud.identity.administration();
        admin.revoke_role("shop", "admin", Some("shop")).await.unwrap();
        let roles = issue(&cloud, own, None).await.expect(201).value()["token"]["roles"].clone();
        assert_eq!(roles.as_array().unwrap().len(), 1, "only the roles that the user still has");
    }
}

on_each_engine! {
    async fn ec2_pairs_are_sealed_and_authenticate_their_caller(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, user, token) = cloud.account("shop", &[]).await;
        let (_, _, stranger) = cloud.account("other", &[]).await;
        let path = format!("/v3/users/{user}/credentials/OS-EC2");
        let made = cloud.json(Method::POST, &path, &token, json!({"tenant_id": tenant})).await.expect(201).value();
        let pair = &made["credential"];
        let (access, secret) = (pair["access"].as_str().unwrap(), pair["secret"].as_str().unwrap());
        let (found, caller) = cloud.identity.authenticate_ec2(access).await.unwrap();
        assert_eq!(found, secret);
        assert!(caller.may(&tenant, identity::Product::ObjectStore, identity::Right::Administer));
        assert!(cloud.identity.authenticate_ec2("nonsense").await.is_err());
        cloud.json(Method::POST, &path, &token, json!({"tenant_id": "100001"})).await.expect(404);
        cloud.json(Method::POST, &path, &stranger, json!({"tenant_id": tenant})).await.expect(404);
        let listed = cloud.get(&path, &token).await.expect(200).value();
        assert_eq!(listed["credentials"][0]["secret"], secret);
        cloud.get(&format!("{path}/{access}"), &stranger).await.expect(404);
        cloud.get(&format!("{path}/{access}"), &token).await.expect(200);
        cloud.delete(&format!("{path}/{access}"), &token).await.expect(204);
        assert!(cloud.identity.authenticate_ec2(access).await.is_err());
    }
}

#[tokio::test]
async fn the_version_is_public_and_faults_have_keystones_shape() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    for path in ["/v3", "/v3/", "/identity/v3"] {
        let version = cloud.send(Method::GET, path, &[], "").await.expect(200).value()["version"].clone();
        assert_eq!((version["id"].as_str(), version["status"].as_str()), (Some("v3.14"), Some("stable")));
        assert_eq!(version["links"][0]["href"], "http://cloud.test:8080/identity/v3/");
    }
    let wrong = password(&json!({"name": "admin", "password": "wrong", "domain": {"id": "default"}}));
    let fault = issue(&cloud, wrong, None).await.expect(401);
    assert_eq!(
        fault.value(),
        json!({"error": {"code": 401, "title": "Unauthorized",
            "message": "The request you have made requires authentication."}})
    );
    assert!(fault.header("www-authenticate").starts_with("Keystone uri="));
    let unknown = json!({"methods": ["saml2"], "saml2": {}});
    let fault = issue(&cloud, unknown, None).await.expect(400).value();
    assert_eq!(fault["error"]["message"], "auth.identity.methods: saml2 is not supported");
    let missing = json!({"methods": ["password"], "password": {"user": {"name": "admin"}}});
    let fault = issue(&cloud, missing, None).await.expect(400).value();
    assert_eq!(fault["error"]["message"], "auth.identity.password.user.password is missing");
}
