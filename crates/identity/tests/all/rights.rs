//! No caller changes, reads the secrets of or acts as a user who has a right, in any scope, that the caller lacks. A token
//! of an application credential changes no secrets unless it has all its user's rights.

use database::on_each_engine;
use http::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, PASSWORD};

/// Every operation on another user `{id}` of tenant `{tenant}`, whose token is `{token}`.
const OPERATIONS: &[(&str, &str, &str)] = &[
    ("GET", "/v2.0/users/{id}/OS-KSADM/credentials", ""),
    ("GET", "/v2.0/users/{id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials", ""),
    ("GET", "/v3/users/{id}/credentials/OS-EC2", ""),
    ("GET", "/v2.0/tokens/{token}", ""),
    ("GET", "/v2.0/tokens/{token}/endpoints", ""),
    ("POST", "/v3/users/{id}/credentials/OS-EC2", r#"{"tenant_id": "{tenant}"}"#),
    ("GET", "/v3/users/{id}/credentials/OS-EC2/{access}", ""),
    ("DELETE", "/v3/users/{id}/credentials/OS-EC2/{access}", ""),
    ("DELETE", "/v3/users/{id}/application_credentials/{credential}", ""),
    ("PUT", "/v3/projects/{tenant}/users/{id}/roles/{role}", ""),
    ("DELETE", "/v3/projects/{tenant}/users/{id}/roles/{role}", ""),
    ("PUT", "/v2.0/tenants/{tenant}/users/{id}/roles/OS-KSADM/{role}", ""),
    ("DELETE", "/v2.0/tenants/{tenant}/users/{id}/roles/OS-KSADM/{role}", ""),
    ("PUT", "/v2.0/users/{id}/roles/OS-KSADM/{role}", ""),
    ("DELETE", "/v2.0/users/{id}/roles/OS-KSADM/{role}", ""),
    ("PATCH", "/v3/users/{id}", r#"{"user": {"email": "other@example.com"}}"#),
    ("PATCH", "/v3/users/{id}", r#"{"user": {"description": "other"}}"#),
    ("POST", "/v2.0/users/{id}", r#"{"user": {"email": "third@example.com"}}"#),
    ("DELETE", "/v2.0/tokens/{token}", ""),
    (
        "POST",
        "/v2.0/users/{id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials",
        r#"{"RAX-KSKEY:apiKeyCredentials": {"username": "{name}", "apiKey": "0123456789"}}"#,
    ),
    ("POST", "/v2.0/users/{id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials/RAX-AUTH/reset", ""),
    ("DELETE", "/v2.0/users/{id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials", ""),
    (
        "POST",
        "/v2.0/users/{id}/OS-KSADM/credentials",
        r#"{"passwordCredentials": {"username": "{name}", "password": "another one"}}"#,
    ),
    ("PATCH", "/v3/users/{id}", r#"{"user": {"password": "yet another one"}}"#),
    ("PATCH", "/v3/users/{id}", r#"{"user": {"enabled": false}}"#),
    ("DELETE", "/v3/users/{id}", ""),
];

/// A user's name, its role on its tenant, another role and its scope, and which callers may change the user.
type Case<'c> = (&'c str, &'c str, Option<(&'c str, &'c str)>, [bool; 3]);

struct Target {
    id: String,
    name: String,
    token: String,
    access: String,
    credential: String,
}

async fn scoped(cloud: &Cloud, user: &str, password: &str, scope: Value) -> String {
    let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
        "name": user, "password": password, "domain": {"id": "default"}}}}, "scope": scope}});
    let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(201);
    reply.header("x-subject-token").to_owned()
}

async fn role_id(cloud: &Cloud, admin: &str, name: &str) -> String {
    let listed = cloud.get(&format!("/v3/roles?name={name}"), admin).await.expect(200).value();
    listed["roles"][0]["id"].as_str().unwrap().to_owned()
}

/// Creates a user of the tenant with a role there, an EC2 key pair and an application credential, and then a role in another
/// scope.
async fn target(
    cloud: &Cloud,
    tenant: &str,
    name: &str,
    role: &str,
    elsewhere: Option<(&str, &str)>,
) -> Target {
    let (id, token) = cloud.user(name, tenant, &[role]).await;
    let own = scoped(cloud, name, PASSWORD, json!({"project": {"id": tenant}})).await;
    let pair = json!({"tenant_id": tenant});
    let made =
        cloud.json(Method::POST, &format!("/v3/users/{id}/credentials/OS-EC2"), &own, pair).await.expect(201);
    let access = made.value()["credential"]["access"].as_str().unwrap().to_owned();
    let body = json!({"application_credential": {"name": "own"}});
    let path = format!("/v3/users/{id}/application_credentials");
    let made = cloud.json(Method::POST, &path, &own, body).await.expect(201);
    let credential = made.value()["application_credential"]["id"].as_str().unwrap().to_owned();
    if let Some((role, place)) = elsewhere {
        let admin = cloud.admin().await;
        let role = role_id(cloud, &admin, role).await;
        let path = format!("/v3/{place}/users/{id}/roles/{role}");
        cloud.send(Method::PUT, &path, &[("x-auth-token", &admin)], "").await.expect(204);
    }
    Target { id, name: name.to_owned(), token, access, credential }
}

async fn attempt(
    cloud: &Cloud,
    by: &str,
    to: &Target,
    tenant: &str,
    role: &str,
    op: (&str, &str, &str),
) -> u16 {
    let fill = |text: &str| {
        text.replace("{id}", &to.id)
            .replace("{name}", &to.name)
            .replace("{token}", &to.token)
            .replace("{access}", &to.access)
            .replace("{credential}", &to.credential)
            .replace("{tenant}", tenant)
            .replace("{role}", role)
    };
    let headers = [("x-auth-token", by), ("content-type", "application/json")];
    let method = Method::from_bytes(op.0.as_bytes()).unwrap();
    let headers = if op.2.is_empty() { &headers[..1] } else { &headers };
    cloud.send(method, &fill(op.1), headers, &fill(op.2)).await.status.as_u16()
}

on_each_engine! {
    async fn no_caller_reaches_a_user_with_rights_that_the_caller_lacks(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let (alpha, _, owner) = cloud.account("alpha", &["admin"]).await;
        let (beta, _, _) = cloud.account("beta", &["admin"]).await;
        let (_, manager) = cloud.user("manager", &alpha, &["identity:user-manage"]).await;
        let (both_id, _) = cloud.user("both", &alpha, &["admin"]).await;
        let admin_role = role_id(&cloud, &admin, "admin").await;
        let path = format!("/v3/projects/{beta}/users/{both_id}/roles/{admin_role}");
        cloud.send(Method::PUT, &path, &[("x-auth-token", &admin)], "").await.expect(204);
        let both = cloud.token("both", PASSWORD).await;
        cloud.json(Method::POST, "/v3/roles", &admin, json!({"role": {"name": "custom"}})).await.expect(201);
        let files = role_id(&cloud, &admin, "object-store:observer").await;

        let on_beta = format!("projects/{beta}");
        let on_alpha = format!("projects/{alpha}");
        // For each target: whether the owner of alpha, a user manager of alpha, and an owner of both alpha and beta may
        // change it.
        let cases: Vec<Case<'_>> = vec![
            ("below", "observer", None, [true, true, true]),
            ("creator", "creator", None, [true, true, true]),
            ("storage", "object-store:admin", None, [true, true, true]),
            ("coowner", "admin", None, [true, false, true]),
            ("comanager", "identity:user-manage", None, [true, true, true]),
            ("customer", "observer", Some(("custom", &on_alpha)), [true, false, true]),
            ("abroad", "observer", Some(("observer", &on_beta)), [false, false, true]),
            ("abroadadmin", "observer", Some(("admin", &on_beta)), [false, false, true]),
            ("abroadfiles", "observer", Some(("object-store:observer", &on_beta)), [false, false, true]),
            ("abroadcustom", "observer", Some(("custom", &on_beta)), [false, false, false]),
            ("abroaduser", "observer", Some(("identity:default", &on_beta)), [true, true, true]),
            ("indomain", "observer", Some(("observer", "domains/default")), [false, false, false]),
            ("everywhere", "observer", Some(("observer", "system")), [false, false, false]),
            ("operating", "observer", Some(("operator", "system")), [false, false, false]),
            ("serving", "observer", Some(("service", &on_alpha)), [false, false, false]),
        ];
        let mut refused = 0;
        for (name, role, elsewhere, allowed) in &cases {
            let to = target(&cloud, &alpha, name, role, *elsewhere).await;
            for (by, allowed) in [&owner, &manager, &both].into_iter().zip(allowed) {
                let key = OPERATIONS[1];
                let status = attempt(&cloud, by, &to, &alpha, &files, key).await;
                assert_eq!(status, if *allowed { 200 } else { 403 }, "{name}: {}", key.1);
                if *allowed {
                    continue;
                }
                for op in OPERATIONS {
                    let status = attempt(&cloud, by, &to, &alpha, &files, *op).await;
                    let hidden = op.1.contains("/tokens/");
                    assert_eq!(status, if hidden { 404 } else { 403 }, "{name}: {} {} {}", op.0, op.1, op.2);
                    refused += 1;
                }
            }
            // No operation had an effect.
            cloud.get("/v3/auth/projects", &to.token).await.expect(200);
        }
        assert_eq!(refused, OPERATIONS.len() * cases.iter().flat_map(|c| c.3).filter(|may| !may).count());

        // Every operation works on a user with lower rights, so none of the rejections has another cause.
        let mut to = target(&cloud, &alpha, "last", "observer", None).await;
        for op in OPERATIONS {
            let status = attempt(&cloud, &owner, &to, &alpha, &files, *op).await;
            assert!((200..300).contains(&status), "{} {}: {status}", op.0, op.1);
            if op.1.contains("roles/OS-KSADM") || op.1.ends_with("/roles/{role}") || op.1.ends_with("users/{id}") {
                continue;
            }
            if cloud.identity.authenticate(&to.token).await.is_err() {
                let password = if op.2.contains("another one") { "another one" } else { PASSWORD };
                to.token = cloud.token("last", password).await;
            }
        }
        cloud.get(&format!("/v3/users/{}", to.id), &owner).await.expect(404);
    }
}

on_each_engine! {
    async fn a_delegated_token_changes_no_secrets(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, token) = cloud.account("shop", &["admin"]).await;
        let observer = role_id(&cloud, &token, "observer").await;
        let path = format!("/v3/projects/{tenant}/users/{id}/roles/{observer}");
        cloud.send(Method::PUT, &path, &[("x-auth-token", &token)], "").await.expect(204);
        let token = cloud.token("shop", PASSWORD).await;
        let path = format!("/v3/users/{id}/application_credentials");
        let sign_in = async |name: &str, roles: Value, unrestricted: bool| {
            let mut body = json!({"application_credential": {
                "name": name, "secret": "a long secret", "unrestricted": unrestricted}});
            if !roles.is_null() {
                body["application_credential"]["roles"] = roles;
            }
            let made = cloud.json(Method::POST, &path, &token, body).await.expect(201).value();
            let body = json!({"auth": {"identity": {"methods": ["application_credential"],
                "application_credential": {"id": made["application_credential"]["id"], "secret": "a long secret"}}}});
            let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(201);
            reply.header("x-subject-token").to_owned()
        };
        let pair = cloud.json(Method::POST, &format!("/v3/users/{id}/credentials/OS-EC2"), &token,
            json!({"tenant_id": tenant})).await.expect(201).value();
        let to = Target {
            id: id.clone(),
            name: "shop".into(),
            token: token.clone(),
            access: pair["credential"]["access"].as_str().unwrap().to_owned(),
            credential: String::new(),
        };
        let secrets: Vec<_> = OPERATIONS.iter().filter(|op| {
            op.1.contains("OS-EC2") || op.1.contains("apiKeyCredentials") || op.1.ends_with("OS-KSADM/credentials")
                || op.2.contains("password") || op.2.contains("email")
        }).copied().collect();
        assert_eq!(secrets.len(), 13);
        let restricted = sign_in("restricted", Value::Null, false).await;
        let partial = sign_in("partial", json!([{"name": "observer"}]), true).await;
        let restricted_partial = sign_in("both", json!([{"name": "observer"}]), false).await;
        for by in [&restricted, &partial, &restricted_partial] {
            for op in &secrets {
                let status = attempt(&cloud, by, &to, &tenant, &observer, *op).await;
                assert_eq!(status, 403, "{} {} {}", op.0, op.1, op.2);
            }
        }
        // An unrestricted credential with all rights of its user may, until the user gets rights in another scope.
        let full = sign_in("full", Value::Null, true).await;
        let key = OPERATIONS[1];
        assert_eq!(attempt(&cloud, &full, &to, &tenant, &observer, key).await, 200);
        let (beta, _, _) = cloud.account("beta", &[]).await;
        let admin = cloud.admin().await;
        let path = format!("/v3/projects/{beta}/users/{id}/roles/{observer}");
        cloud.send(Method::PUT, &path, &[("x-auth-token", &admin)], "").await.expect(204);
        assert_eq!(attempt(&cloud, &full, &to, &tenant, &observer, key).await, 403);
        assert_eq!(attempt(&cloud, &token, &to, &tenant, &observer, key).await, 200);
        // The old password authorises the change in any case.
        let body = json!({"user": {"original_password": PASSWORD, "password": "a new password"}});
        cloud.json(Method::POST, &format!("/v3/users/{id}/password"), &partial, body).await.expect(204);
    }
}

on_each_engine! {
    async fn a_delegated_token_makes_no_users_and_gives_no_roles(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, token) = cloud.account("shop", &["admin"]).await;
        let (other, _) = cloud.user("jdoe", &tenant, &["observer"]).await;
        let creator = role_id(&cloud, &token, "creator").await;
        let sign_in = async |token: &str, id: &str, name: &str, unrestricted: bool| {
            let body = json!({"application_credential": {"name": name, "unrestricted": unrestricted}});
            let path = format!("/v3/users/{id}/application_credentials");
            let made = cloud.json(Method::POST, &path, token, body).await.expect(201).value();
            let made = &made["application_credential"];
            let body = json!({"auth": {"identity": {"methods": ["application_credential"],
                "application_credential": {"id": made["id"], "secret": made["secret"]}}}});
            let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(201);
            reply.header("x-subject-token").to_owned()
        };
        let admin = cloud.admin().await;
        let admin_id = cloud.identity.authenticate(&admin).await.unwrap().user_id.clone();
        let restricted = sign_in(&token, &id, "restricted", false).await;
        let operator = sign_in(&admin, &admin_id, "restricted", false).await;
        let full = sign_in(&token, &id, "full", true).await;
        let grant = format!("/v3/projects/{tenant}/users/{other}/roles/{creator}");
        let grant_v2 = format!("/v2.0/tenants/{tenant}/users/{other}/roles/OS-KSADM/{creator}");
        for by in [&restricted, &operator] {
            let user = json!({"user": {"name": "new", "password": "long enough"}});
            cloud.json(Method::POST, "/v3/users", by, user).await.expect(403);
            let user = json!({"user": {"username": "new", "enabled": true, "OS-KSADM:password": "Long3nough"}});
            cloud.json(Method::POST, "/v2.0/users", by, user).await.expect(403);
            for path in [&grant, &grant_v2] {
                cloud.send(Method::PUT, path, &[("x-auth-token", by)], "").await.expect(403);
                cloud.delete(path, by).await.expect(403);
            }
        }
        let user = json!({"user": {"name": "new", "password": "long enough"}});
        cloud.json(Method::POST, "/v3/users", &full, user).await.expect(201);
        cloud.send(Method::PUT, &grant, &[("x-auth-token", &full)], "").await.expect(204);
        cloud.delete(&grant, &full).await.expect(204);
    }
}

on_each_engine! {
    async fn an_application_credential_is_void_without_its_roles(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, token) = cloud.account("shop", &["admin"]).await;
        let admin = cloud.admin().await;
        let observer = role_id(&cloud, &admin, "observer").await;
        let path = format!("/v3/projects/{tenant}/users/{id}/roles/{observer}");
        cloud.send(Method::PUT, &path, &[("x-auth-token", &admin)], "").await.expect(204);
        let body = json!({"application_credential": {"name": "a", "secret": "a long secret",
            "roles": [{"name": "observer"}]}});
        let token = { drop(token); cloud.token("shop", PASSWORD).await };
        let made = cloud.json(Method::POST, &format!("/v3/users/{id}/application_credentials"), &token, body)
            .await.expect(201).value();
        let sign_in = async || {
            let body = json!({"auth": {"identity": {"methods": ["application_credential"],
                "application_credential": {"id": made["application_credential"]["id"], "secret": "a long secret"}}}});
            cloud.json(Method::POST, "/v3/auth/tokens", "", body).await
        };
        let delegated = sign_in().await.expect(201).header("x-subject-token").to_owned();
        cloud.delete(&path, &admin).await.expect(204);
        sign_in().await.expect(401);
        assert!(cloud.identity.authenticate(&delegated).await.is_err());
    }
}

on_each_engine! {
    async fn v3_issues_no_project_token_without_a_role(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, _) = cloud.account("shop", &["none"]).await;
        let body = |scope: Value| {
            let mut auth = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
                "id": id, "password": PASSWORD}}}}});
            if !scope.is_null() {
                auth["auth"]["scope"] = scope;
            }
            auth
        };
        let project = json!({"project": {"id": tenant}});
        cloud.json(Method::POST, "/v3/auth/tokens", "", body(project.clone())).await.expect(401);
        // Without a scope in the request it is unscoped, as in Keystone.
        let token = cloud.json(Method::POST, "/v3/auth/tokens", "", body(Value::Null)).await.expect(201).value();
        assert!(token["token"].get("project").is_none() && token["token"].get("roles").is_none(), "{token}");
        // v1.0 and v2.0 issue a token, for what ACLs grant.
        cloud.token("shop", PASSWORD).await;

        let admin = cloud.admin().await;
        let observer = role_id(&cloud, &admin, "observer").await;
        let path = format!("/v3/projects/{tenant}/users/{id}/roles/{observer}");
        cloud.send(Method::PUT, &path, &[("x-auth-token", &admin)], "").await.expect(204);
        let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body(project.clone())).await.expect(201);
        let token = reply.header("x-subject-token").to_owned();
        cloud.get("/v3/auth/catalog", &token).await.expect(200);
        // Revoking the last role revokes the token.
        cloud.delete(&path, &admin).await.expect(204);
        cloud.get("/v3/auth/catalog", &token).await.expect(401);
        cloud.json(Method::POST, "/v3/auth/tokens", "", body(project)).await.expect(401);
    }
}

on_each_engine! {
    async fn a_deleted_project_keeps_its_users(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (tenant, id, token) = cloud.account("shop", &["admin"]).await;
        let admin = cloud.admin().await;
        let domain = cloud.json(Method::POST, "/v3/domains", &admin, json!({"domain": {"name": "other"}}))
            .await.expect(201).value()["domain"]["id"].clone();
        let body = json!({"user": {"name": "foreign", "domain_id": domain, "default_project_id": tenant}});
        let foreign = cloud.json(Method::POST, "/v3/users", &admin, body).await.expect(201).value();
        let foreign = foreign["user"]["id"].as_str().unwrap().to_owned();
        cloud.delete(&format!("/v3/projects/{tenant}"), &admin).await.expect(204);
        for id in [&id, &foreign] {
            let shown = cloud.get(&format!("/v3/users/{id}"), &admin).await.expect(200).value();
            assert!(shown["user"].get("default_project_id").is_none(), "{shown}");
        }
        assert!(cloud.identity.authenticate(&token).await.is_err());
        let unscoped = cloud.token("shop", PASSWORD).await;
        assert!(cloud.identity.authenticate(&unscoped).await.unwrap().tenant.is_none());
    }
}

on_each_engine! {
    async fn ambiguous_names_are_rejected(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (alpha, _, owner) = cloud.account("alpha", &["admin"]).await;
        let (clerk, _) = cloud.user("clerk", &alpha, &["observer"]).await;
        let admin = cloud.admin().await;
        for name in [alpha.as_str(), clerk.as_str(), "100009", "AUTH_100002", "auth_x", ".rlistings", ".x", "*"] {
            let body = json!({"user": {"name": name, "password": "long enough"}});
            let reply = cloud.json(Method::POST, "/v3/users", &owner, body.clone()).await.expect(400);
            assert!(reply.body.contains("name must not look like an id"), "{}", reply.body);
            cloud.json(Method::PATCH, &format!("/v3/users/{clerk}"), &owner, json!({"user": {"name": name}})).await.expect(400);
            let body = json!({"user": {"username": name, "email": "a@b.c", "enabled": true}});
            cloud.json(Method::POST, "/v2.0/users", &owner, body).await.expect(400);
            cloud.json(Method::POST, "/v3/projects", &admin, json!({"project": {"name": name}})).await.expect(400);
            cloud.json(Method::PATCH, &format!("/v3/projects/{alpha}"), &admin, json!({"project": {"name": name}}))
                .await.expect(400);
        }
    }
}

on_each_engine! {
    async fn an_operator_can_create_a_deleted_project_again(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let (first, _, _) = cloud.account("alpha", &["admin"]).await;
        cloud.delete(&format!("/v3/projects/{first}"), &admin).await.expect(204);
        let create = json!({"project": {"name": "alpha"}});
        let made = cloud.json(Method::POST, "/v3/projects", &admin, create).await.expect(201).value();
        assert_ne!(made["project"]["id"], first, "ids are never reused");
    }
}

on_each_engine! {
    async fn the_name_of_a_deleted_user_without_a_tenant_is_no_tenants(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let (_, _, owner) = cloud.account("beta", &["admin"]).await;
        let create = json!({"user": {"name": "loner", "password": "long enough"}});
        let made = cloud.json(Method::POST, "/v3/users", &admin, create.clone()).await.expect(201).value();
        assert!(made["user"]["default_project_id"].is_null(), "{made}");
        cloud.delete(&format!("/v3/users/{}", made["user"]["id"].as_str().unwrap()), &admin).await.expect(204);
        cloud.json(Method::POST, "/v3/users", &owner, create.clone()).await.expect(409);
        cloud.json(Method::POST, "/v3/users", &admin, create).await.expect(201);
    }
}

on_each_engine! {
    async fn a_deleted_users_name_stays_reserved_for_its_tenant(location: &Location) {
        let cloud = Cloud::start(location).await;
        let (alpha, _, alpha_owner) = cloud.account("alpha", &["admin"]).await;
        let (_, _, beta_owner) = cloud.account("beta", &["admin"]).await;
        let (first, _) = cloud.user("jdoe", &alpha, &["observer"]).await;
        let (second, _) = cloud.user("asmith", &alpha, &["observer"]).await;
        cloud.delete(&format!("/v3/users/{first}"), &alpha_owner).await.expect(204);
        let renamed = json!({"user": {"name": "asmith2"}});
        cloud.json(Method::PATCH, &format!("/v3/users/{second}"), &alpha_owner, renamed).await.expect(200);
        let admin = cloud.admin().await;
        let create = |name: &str| json!({"user": {"name": name, "password": "long enough"}});
        for name in ["jdoe", "asmith"] {
            for by in [&beta_owner, &admin] {
                let reply = cloud.json(Method::POST, "/v3/users", by, create(name)).await.expect(409);
                assert!(reply.body.contains("belonged to a user of another project"), "{}", reply.body);
            }
        }
        let other = cloud.json(Method::POST, "/v3/users", &beta_owner, create("other")).await.expect(201).value();
        let path = format!("/v3/users/{}", other["user"]["id"].as_str().unwrap());
        cloud.json(Method::PATCH, &path, &beta_owner, json!({"user": {"name": "jdoe"}})).await.expect(409);
        cloud.json(Method::POST, "/v3/users", &alpha_owner, create("jdoe")).await.expect(201);
        // An operator can release a name.
        let administration = cloud.identity.administration();
        administration.release_user_name("asmith").await.unwrap();
        assert!(administration.release_user_name("asmith").await.is_err());
        cloud.json(Method::POST, "/v3/users", &beta_owner, create("asmith")).await.expect(201);
    }
}
