//! v2.0: an owner manages the account.

use database::on_each_engine;
use http::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, PASSWORD};

fn names(list: &Value, name: &str) -> Vec<String> {
    let items = list[name].as_array().unwrap();
    items
        .iter()
        .map(|item| item.get("username").or(item.get("name")).unwrap().as_str().unwrap().to_owned())
        .collect()
}

on_each_engine! {
    async fn an_owner_creates_finds_changes_and_deletes_users(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, owner_id, owner) = cloud.account("shop", &[]).await;
        let (_, _, stranger) = cloud.account("other", &[]).await;
        let body = json!({"user": {"username": "jqsmith", "email": "jq@example.com", "enabled": true}});
        let made = cloud.json(Method::POST, "/v2.0/users", &owner, body.clone()).await.expect(201).value();
        let user = &made["user"];
        let (id, password) = (user["id"].as_str().unwrap(), user["OS-KSADM:password"].as_str().unwrap());
        assert_eq!(user["RAX-AUTH:domainId"], tenant.as_str());
        assert_eq!(user["RAX-AUTH:defaultRegion"], "DFW");
        assert_eq!((user["email"].as_str(), user["enabled"].as_bool()), (Some("jq@example.com"), Some(true)));
        let token = cloud.token("jqsmith", password).await;
        let again = cloud.json(Method::POST, "/v2.0/users", &owner, body).await.expect(409);
        assert_eq!(again.value()["badRequest"]["code"], 409);

        let found = cloud.get("/v2.0/users?name=jqsmith", &owner).await.expect(200).value();
        assert_eq!(found["user"]["id"], id);
        cloud.get("/v2.0/users?name=admin", &owner).await.expect(404);
        cloud.get("/v2.0/users?name=jqsmith", &stranger).await.expect(404);
        let by_mail = cloud.get("/v2.0/users?email=jq@example.com", &owner).await.expect(200).value();
        assert_eq!(names(&by_mail, "users"), ["jqsmith"]);
        let none = cloud.get("/v2.0/users?email=none@example.com", &owner).await.expect(200).value();
        assert_eq!(none["users"], json!([]));
        let all = cloud.get("/v2.0/users", &owner).await.expect(200).value();
        assert_eq!(all["users"].as_array().unwrap().len(), 2);
        let own = cloud.get("/v2.0/users", &token).await.expect(200).value();
        assert_eq!(names(&own, "users"), ["jqsmith"], "a user without rights sees only itself");
        cloud.get(&format!("/v2.0/users/{id}"), &token).await.expect(200);
        cloud.get(&format!("/v2.0/users/{owner_id}"), &token).await.expect(404);
        cloud.get(&format!("/v2.0/users/{id}"), &stranger).await.expect(404);

        let path = format!("/v2.0/users/{id}");
        let change = json!({"user": {"email": "new@example.com", "RAX-AUTH:defaultRegion": "DFW"}});
        for method in [Method::POST, Method::PUT] {
            let changed = cloud.json(method, &path, &owner, change.clone()).await.expect(200).value();
            assert_eq!(changed["user"]["email"], "new@example.com");
        }
        let region = json!({"user": {"RAX-AUTH:defaultRegion": "MOON"}});
        cloud.json(Method::POST, &path, &owner, region).await.expect(400);
        cloud.json(Method::POST, &path, &token, change.clone()).await.expect(403);
        cloud.json(Method::POST, &path, &stranger, change).await.expect(404);
        let disabled = json!({"user": {"enabled": false}});
        cloud.json(Method::POST, &path, &owner, disabled.clone()).await.expect(200);
        cloud.get("/v2.0/tenants", &token).await.expect(401);
        cloud.json(Method::POST, &format!("/v2.0/users/{owner_id}"), &owner, disabled).await.expect(403);
        cloud.delete(&format!("/v2.0/users/{owner_id}"), &owner).await.expect(403);
        cloud.delete(&path, &stranger).await.expect(404);
        cloud.delete(&path, &owner).await.expect(204);
        cloud.get(&path, &owner).await.expect(404);
    }
}

#[tokio::test]
async fn names_and_passwords_follow_v2s_rules() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let (_, _, owner) = cloud.account("shop", &[]).await;
    let cases = [
        json!({"username": "1abc"}),
        json!({"username": "a b"}),
        json!({"username": ""}),
        json!({"email": "x@example.com"}),
        json!({"username": "ok", "email": "no address"}),
        json!({"username": "ok", "OS-KSADM:password": "short"}),
        json!({"username": "ok", "enabled": "perhaps"}),
        json!({"username": {"x": 1}}),
    ];
    for user in cases {
        let reply = cloud.json(Method::POST, "/v2.0/users", &owner, json!({"user": user})).await.expect(400);
        assert_eq!(reply.value()["badRequest"]["code"], 400, "{user}");
    }
    let xml = r#"<user xmlns="http://docs.openstack.org/identity/api/v2.0"
        xmlns:OS-KSADM="http://docs.openstack.org/identity/api/ext/OS-KSADM/v1.0"
        username="xmluser" email="x@example.com" enabled="true" OS-KSADM:password="long enough"/>"#;
    let headers = [
        ("x-auth-token", owner.as_str()),
        ("content-type", "application/xml"),
        ("accept", "application/xml"),
    ];
    let made = cloud.send(Method::POST, "/v2.0/users", &headers, xml).await.expect(201).xml();
    assert_eq!((made.name.as_str(), made.attribute("username")), ("user", Some("xmluser")));
    assert_eq!(made.attribute("enabled"), Some("true"));
    assert_eq!(made.attribute("password"), None, "only a generated password is returned");
    cloud.token("xmluser", "long enough").await;
}

on_each_engine! {
    async fn api_keys_are_shown_reset_set_and_deleted(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, _, owner) = cloud.account("shop", &[]).await;
        let (id, token) = cloud.user("jdoe", &tenant, &["none"]).await;
        let (_, _, stranger) = cloud.account("other", &[]).await;
        let path = format!("/v2.0/users/{id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials");
        let key = async |by: &str| {
            let shown = cloud.get(&path, by).await.expect(200).value();
            assert_eq!(shown["RAX-KSKEY:apiKeyCredentials"]["username"], "jdoe");
            shown["RAX-KSKEY:apiKeyCredentials"]["apiKey"].as_str().unwrap().to_owned()
        };
        let first = key(&token).await;
        assert_eq!(first.len(), 32);
        assert_eq!(key(&owner).await, first);
        cloud.get(&path, &stranger).await.expect(404);
        cloud.get(&path.replace(':', "%3A"), &token).await.expect(200);
        let by_key = json!({"auth": {"RAX-KSKEY:apiKeyCredentials": {"username": "jdoe", "apiKey": first}}});
        let signed = cloud.json(Method::POST, "/v2.0/tokens", "", by_key.clone()).await.expect(200).value();
        let by_old_key = signed["access"]["token"]["id"].as_str().unwrap();

        let reset = cloud.json(Method::POST, &format!("{path}/RAX-AUTH/reset"), &token, json!({})).await;
        let second = reset.expect(200).value()["RAX-KSKEY:apiKeyCredentials"]["apiKey"].clone();
        assert_ne!(second, first.as_str());
        assert_eq!(key(&token).await, second.as_str().unwrap());
        cloud.json(Method::POST, "/v2.0/tokens", "", by_key).await.expect(401);
        cloud.get("/v2.0/tenants", by_old_key).await.expect(401);

        let all = format!("/v2.0/users/{id}/OS-KSADM/credentials");
        let listed = cloud.get(&all, &token).await.expect(200).value();
        assert_eq!(listed["credentials"][0], json!({"passwordCredentials": {"username": "jdoe"}}));
        assert_eq!(listed["credentials"][1]["RAX-KSKEY:apiKeyCredentials"]["apiKey"], second);
        let given = json!({"RAX-KSKEY:apiKeyCredentials": {"username": "jdoe", "apiKey": "a-key-of-my-own"}});
        cloud.json(Method::POST, &all, &token, given.clone()).await.expect(201);
        cloud.json(Method::POST, &path, &token, given).await.expect(200);
        assert_eq!(key(&token).await, "a-key-of-my-own");
        let other = json!({"RAX-KSKEY:apiKeyCredentials": {"username": "shop", "apiKey": "a-key-of-my-own"}});
        cloud.json(Method::POST, &all, &token, other).await.expect(400);
        let password = json!({"passwordCredentials": {"username": "jdoe", "password": "resetpass"}});
        cloud.json(Method::POST, &all, &token, password.clone()).await.expect(403);
        let echoed = cloud.json(Method::POST, &all, &owner, password.clone()).await.expect(201).value();
        assert_eq!(echoed, password);
        let token = cloud.token("jdoe", "resetpass").await;
        cloud.delete(&path, &token).await.expect(204);
        cloud.get(&path, &token).await.expect(404);
    }
}

on_each_engine! {
    async fn an_owner_grants_and_revokes_roles_within_the_account(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, owner_id, owner) = cloud.account("shop", &["identity:user-admin"]).await;
        let (id, token) = cloud.user("jdoe", &tenant, &["none"]).await;
        let (other_tenant, other_id, _) = cloud.account("other", &[]).await;
        let all = cloud.get("/v2.0/OS-KSADM/roles", &token).await.expect(200).value();
        let role = |name: &str| {
            let roles = all["roles"].as_array().unwrap();
            roles.iter().find(|role| role["name"] == name).unwrap()["id"].as_str().unwrap().to_owned()
        };
        let one = cloud.get(&format!("/v2.0/OS-KSADM/roles/{}", role("nova:creator")), &token).await.expect(200);
        assert_eq!(one.value()["role"]["name"], "nova:creator");
        cloud.get("/v2.0/OS-KSADM/roles/nova:creator", &token).await.expect(404);

        let path = |user: &str, name: &str| format!("/v2.0/users/{user}/roles/OS-KSADM/{}", role(name));
        let put = async |path: String, by: &str| cloud.json(Method::PUT, &path, by, json!({})).await;
        let given = put(path(&id, "nova:creator"), &owner).await.expect(200).value();
        assert_eq!((given["role"]["name"].as_str(), given["role"]["tenantId"].as_str()),
            (Some("nova:creator"), Some(tenant.as_str())));
        put(path(&id, "nova:creator"), &owner).await.expect(200);
        let held = cloud.get(&format!("/v2.0/users/{id}/roles"), &token).await.expect(200).value();
        assert_eq!(names(&held, "roles"), ["nova:creator"]);
        let holders = format!("/v2.0/OS-KSADM/roles/{}/RAX-AUTH/users", role("nova:creator"));
        assert_eq!(names(&cloud.get(&holders, &owner).await.expect(200).value(), "users"), ["jdoe"]);

        put(path(&id, "operator"), &owner).await.expect(403);
        put(path(&id, "service"), &owner).await.expect(403);
        put(path(&owner_id, "operator"), &owner).await.expect(403);
        put(path(&other_id, "nova:creator"), &owner).await.expect(404);
        put(path(&id, "nova:creator"), &token).await.expect(403);
        let elsewhere = format!("/v2.0/tenants/{other_tenant}/users/{id}/roles/OS-KSADM/{}", role("admin"));
        put(elsewhere, &owner).await.expect(403);
        let here = format!("/v2.0/tenants/{tenant}/users/{id}/roles/OS-KSADM/{}", role("observer"));
        put(here.clone(), &owner).await.expect(200);
        cloud.delete(&here, &owner).await.expect(204);
        cloud.delete(&here, &owner).await.expect(404);

        let assignments = format!("/v2.0/users/{id}/RAX-AUTH/roles");
        let body = json!({"RAX-AUTH:roleAssignments": {"tenantAssignments": [
            {"onRole": role("object-store:admin"), "forTenants": ["*"]},
            {"onRole": role("cbs:observer"), "forTenants": [tenant]},
        ]}});
        let shown = cloud.json(Method::PUT, &assignments, &owner, body).await.expect(200).value();
        let list = shown["RAX-AUTH:roleAssignments"]["tenantAssignments"].as_array().unwrap();
        let of = |name: &str| list.iter().find(|a| a["onRoleName"] == name).unwrap()["forTenants"].clone();
        assert_eq!((of("object-store:admin"), of("cbs:observer")), (json!([tenant]), json!([tenant])));
        let xml = format!(
            r#"<rax-auth:roleAssignments xmlns:rax-auth="http://docs.rackspace.com/identity/api/ext/RAX-AUTH/v1.0">
            <rax-auth:tenantAssignments><rax-auth:tenantAssignment forTenants="{tenant}" onRole="{}"/>
            </rax-auth:tenantAssignments></rax-auth:roleAssignments>"#, role("neutron:admin"));
        let headers = [("x-auth-token", owner.as_str()), ("content-type", "application/xml")];
        let shown = cloud.send(Method::PUT, &assignments, &headers, &xml).await.expect(200);
        assert!(shown.body.contains("neutron:admin"));
        cloud.delete(&path(&id, "nova:creator"), &owner).await.expect(204);

        let admins = cloud.get(&format!("/v2.0/users/{id}/RAX-AUTH/admins"), &token).await.expect(200).value();
        assert_eq!(names(&admins, "users"), ["shop"]);
    }
}

on_each_engine! {
    async fn a_user_manager_grants_only_single_products_and_only_to_others(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, owner_id, _) = cloud.account("shop", &[]).await;
        let (manager_id, manager) = cloud.user("manager", &tenant, &["identity:user-manage"]).await;
        let (id, _) = cloud.user("jdoe", &tenant, &["none"]).await;
        let role = |name: &str| identity::model::builtin_role_id(name);
        let put = async |user: &str, name: &str| {
            let path = format!("/v2.0/users/{user}/roles/OS-KSADM/{}", role(name));
            cloud.json(Method::PUT, &path, &manager, json!({})).await.status.as_u16()
        };
        assert_eq!(put(&id, "nova:admin").await, 200);
        assert_eq!(put(&id, "admin").await, 403);
        assert_eq!(put(&id, "observer").await, 403);
        assert_eq!(put(&id, "identity:user-manage").await, 403);
        assert_eq!(put(&manager_id, "nova:admin").await, 403);
        assert_eq!(put(&owner_id, "nova:admin").await, 403);
        let change = json!({"user": {"OS-KSADM:password": "taken over"}});
        cloud.json(Method::POST, &format!("/v2.0/users/{owner_id}"), &manager, change.clone()).await.expect(403);
        cloud.json(Method::POST, &format!("/v2.0/users/{id}"), &manager, change).await.expect(200);
        let reset = format!(
            "/v2.0/users/{owner_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials/RAX-AUTH/reset");
        cloud.json(Method::POST, &reset, &manager, json!({})).await.expect(403);
        let get = format!("/v2.0/users/{owner_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials");
        cloud.get(&get, &manager).await.expect(403);
    }
}

on_each_engine! {
    async fn an_owner_cannot_take_over_an_operator_of_the_account(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, _, owner) = cloud.account("shop", &[]).await;
        let (operator, _) = cloud.user("root", &tenant, &["none"]).await;
        cloud.identity.administration().grant_role("root", "operator", None).await.unwrap();
        let path = format!("/v2.0/users/{operator}");
        let change = json!({"user": {"OS-KSADM:password": "taken over"}});
        cloud.json(Method::POST, &path, &owner, change).await.expect(403);
        cloud.get(&format!("{path}/OS-KSADM/credentials"), &owner).await.expect(403);
        cloud.delete(&path, &owner).await.expect(403);
    }
}

on_each_engine! {
    async fn tenants_domains_and_pages(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let (tenant, owner_id, owner) = cloud.account("shop", &[]).await;
        for name in ["a", "b"] {
            let body = json!({"tenant": {"name": name, "description": "d"}});
            cloud.json(Method::POST, "/v2.0/tenants", &admin, body).await.expect(201);
        }
        let own = cloud.get("/v2.0/tenants", &owner).await.expect(200).value();
        assert_eq!(own["tenants"], json!([{"id": tenant, "name": "shop", "enabled": true, "description": ""}]));
        assert_eq!(own["tenants_links"], json!([]));
        let users = cloud.get(&format!("/v2.0/tenants/{tenant}/users"), &owner).await.expect(200).value();
        assert_eq!(names(&users, "users"), ["shop"]);
        cloud.get("/v2.0/tenants/100001/users", &owner).await.expect(404);

        let page = async |query: &str| cloud.get(&format!("/v2.0/tenants{query}"), &admin).await.expect(200).value();
        let link = |page: &Value, rel: &str| {
            let links = page["tenants_links"].as_array().unwrap().clone();
            links.iter().find(|l| l["rel"] == rel).map(|l| l["href"].as_str().unwrap().to_owned())
        };
        let base = "http://cloud.test:8080/identity/v2.0/tenants";
        let first = page("?limit=2").await;
        assert_eq!(names(&first, "tenants"), ["admin", "shop"]);
        assert_eq!(link(&first, "next"), Some(format!("{base}?limit=2&marker=100002")));
        assert_eq!(link(&first, "previous"), None);
        let last = page("?limit=2&marker=100002").await;
        assert_eq!(names(&last, "tenants"), ["a", "b"]);
        assert_eq!(link(&last, "next"), None);
        assert_eq!(link(&last, "previous"), Some(format!("{base}?limit=2")));
        let third = page("?limit=1&marker=100003").await;
        assert_eq!(link(&third, "previous"), Some(format!("{base}?limit=1&marker=100002")));
        let empty = page("?marker=100004").await;
        assert_eq!(empty["tenants"], json!([]));
        cloud.get("/v2.0/tenants?marker=nonsense", &admin).await.expect(404);
        cloud.get("/v2.0/tenants?limit=1001", &admin).await.expect(413);
        cloud.get("/v2.0/tenants?limit=x", &admin).await.expect(400);
        let xml = cloud.get("/v2.0/tenants.xml?limit=1", &admin).await.expect(200).xml();
        assert_eq!(xml.find("tenant").unwrap().attribute("name"), Some("admin"));
        let next = xml.find("link").unwrap();
        assert_eq!(next.attribute("href"), Some(format!("{base}?limit=1&marker=100001").as_str()));
        let roles = cloud.get("/v2.0/OS-KSADM/roles?limit=3", &admin).await.expect(200).value();
        let marker = roles["roles"][2]["id"].as_str().unwrap();
        let next = cloud.get(&format!("/v2.0/OS-KSADM/roles?limit=3&marker={marker}"), &admin).await.expect(200);
        assert_eq!(next.value()["roles_links"].as_array().unwrap().len(), 2);

        let domain = format!("/v2.0/RAX-AUTH/domains/{tenant}");
        let shown = cloud.get(&domain, &owner).await.expect(200).value();
        assert_eq!(shown["RAX-AUTH:domain"]["id"], tenant.as_str());
        assert_eq!(shown["RAX-AUTH:domain"]["sessionInactivityTimeout"], "PT15M");
        let timeout = json!({"RAX-AUTH:domain": {"sessionInactivityTimeout": "PT30M"}});
        let changed = cloud.json(Method::PUT, &domain, &owner, timeout).await.expect(200).value();
        assert_eq!(changed["RAX-AUTH:domain"]["sessionInactivityTimeout"], "PT30M");
        for bad in ["PT1S", "P2D", "soon", "PT25H"] {
            let body = json!({"RAX-AUTH:domain": {"sessionInactivityTimeout": bad}});
            cloud.json(Method::PUT, &domain, &owner, body).await.expect(400);
        }
        cloud.json(Method::PUT, &domain, &owner, json!({"RAX-AUTH:domain": {"enabled": false}})).await.expect(403);
        cloud.get("/v2.0/RAX-AUTH/domains/100001", &owner).await.expect(404);
        cloud.get(&format!("{domain}/password-policy"), &owner).await.expect(404);
        let of_user = cloud.get(&format!("/v2.0/users/{owner_id}/RAX-AUTH/domains"), &owner).await.expect(200);
        assert_eq!(of_user.value()["RAX-AUTH:domains"][0]["name"], "shop");
    }
}

on_each_engine! {
    async fn changing_a_password_needs_the_old_one_and_revokes_all_tokens(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (_, _, token) = cloud.account("shop", &[]).await;
        let change = |old: &str, new: &str| json!({"RAX-AUTH:changePasswordCredentials": {
            "username": "shop", "password": old, "newPassword": new}});
        let path = "/v2.0/users/RAX-AUTH/change-pwd";
        cloud.json(Method::POST, path, "", change("wrong", "Password2")).await.expect(401);
        cloud.json(Method::POST, path, "", change(PASSWORD, "short")).await.expect(400);
        cloud.json(Method::POST, path, "", change(PASSWORD, PASSWORD)).await.expect(400);
        cloud.get("/v2.0/tenants", &token).await.expect(200);
        cloud.json(Method::POST, path, "", change(PASSWORD, "Password2")).await.expect(204);
        cloud.get("/v2.0/tenants", &token).await.expect(401);
        cloud.sign_in("shop", PASSWORD).await.expect(401);
        cloud.token("shop", "Password2").await;
    }
}
