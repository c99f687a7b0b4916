//! v3: domains, projects, users, roles, assignments, services, endpoints, regions.

use database::on_each_engine;
use http::Method;
use serde_json::{Value, json};

use crate::cloud::{Cloud, PASSWORD};

async fn create(cloud: &Cloud, token: &str, path: &str, kind: &str, body: Value) -> Value {
    let reply = cloud.json(Method::POST, path, token, json!({kind: body})).await.expect(201);
    reply.value()[kind].clone()
}

fn id(of: &Value) -> String {
    of["id"].as_str().unwrap().to_owned()
}

fn names(list: &Value, name: &str) -> Vec<String> {
    list[name].as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap().to_owned()).collect()
}

on_each_engine! {
    async fn a_name_used_as_an_id_is_404_and_found_by_query(location: &Location) {
        let cloud = Cloud::start(location).await;
        let token = cloud.admin().await;
        let cases = [
            ("/v3/users", "users", "admin"), ("/v3/projects", "projects", "admin"), ("/v3/roles", "roles", "admin"),
            ("/v3/domains", "domains", "Default"), ("/v3/services", "services", "swift"),
        ];
        for (path, list, name) in cases {
            cloud.get(&format!("{path}/{name}"), &token).await.expect(404);
            let found = cloud.get(&format!("{path}?name={name}"), &token).await.expect(200).value();
            assert_eq!(names(&found, list), [name]);
            let shown = cloud.get(&format!("{path}/{}", id(&found[list][0])), &token).await.expect(200);
            assert_eq!(shown.value()[list.trim_end_matches('s')]["name"], name);
            let none = cloud.get(&format!("{path}?name=nonsense"), &token).await.expect(200).value();
            assert_eq!(none[list], json!([]));
            assert_eq!(none["links"]["self"], format!("http://cloud.test:8080/identity{path}?name=nonsense"));
        }
    }
}

on_each_engine! {
    async fn domains_contain_projects_and_users(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let domain = create(&cloud, &admin, "/v3/domains", "domain", json!({"name": "corp", "description": "d"})).await;
        let project =
            create(&cloud, &admin, "/v3/projects", "project", json!({"name": "web", "domain_id": id(&domain)})).await;
        assert_eq!((project["domain_id"].clone(), project["id"].as_str()), (domain["id"].clone(), Some("100002")));
        assert_eq!(project["is_domain"], false);
        let user = create(&cloud, &admin, "/v3/users", "user", json!({"name": "jane", "password": PASSWORD,
            "domain_id": id(&domain), "default_project_id": "100002", "email": "j@example.com"})).await;
        let role = identity::model::builtin_role_id("observer");
        let path = format!("/v3/projects/100002/users/{}/roles/{role}", id(&user));
        cloud.json(Method::PUT, &path, &admin, json!({})).await.expect(204);
        assert_eq!((user["domain_id"].clone(), user["enabled"].as_bool()), (domain["id"].clone(), Some(true)));
        assert_eq!(user["links"]["self"], format!("http://cloud.test:8080/identity/v3/users/{}", id(&user)));
        let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
            "name": "jane", "domain": {"name": "corp"}, "password": PASSWORD}}},
            "scope": {"project": {"name": "web", "domain": {"name": "corp"}}}}});
        let reply = cloud.json(Method::POST, "/v3/auth/tokens", "", body.clone()).await.expect(201);
        let jane = reply.header("x-subject-token").to_owned();
        assert_eq!(reply.value()["token"]["user"]["domain"]["name"], "corp");
        let path = format!("/v3/domains/{}", id(&domain));
        cloud.get(&path, &jane).await.expect(200);
        cloud.get("/v3/domains/default", &jane).await.expect(404);
        assert_eq!(names(&cloud.get("/v3/domains", &jane).await.expect(200).value(), "domains"), ["corp"]);
        let in_domain = format!("/v3/users?domain_id={}", id(&domain));
        assert_eq!(names(&cloud.get(&in_domain, &admin).await.expect(200).value(), "users"), ["jane"]);

        cloud.delete(&path, &admin).await.expect(403);
        let patch = async |body: Value| cloud.json(Method::PATCH, &path, &admin, json!({"domain": body})).await;
        assert_eq!(patch(json!({"name": "corporation"})).await.expect(200).value()["domain"]["name"], "corporation");
        patch(json!({"name": "Default"})).await.expect(409);
        patch(json!({"enabled": false})).await.expect(200);
        cloud.get("/v3/users", &jane).await.expect(401);
        cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(401);
        // A disabled domain is deleted with its projects and users (Keystone).
        cloud.delete(&path, &admin).await.expect(204);
        cloud.get("/v3/projects/100002", &admin).await.expect(404);
        cloud.get(&format!("/v3/users/{}", id(&user)), &admin).await.expect(404);
        cloud.get(&path, &admin).await.expect(404);
        let default = json!({"domain": {"enabled": false}});
        cloud.json(Method::PATCH, "/v3/domains/default", &admin, default).await.expect(403);
    }
}

on_each_engine! {
    async fn projects_and_users_are_changed_and_deleted(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let (tenant, user, token) = cloud.account("shop", &[]).await;
        let project = format!("/v3/projects/{tenant}");
        let patch = async |by: &str, path: &str, body: Value| cloud.json(Method::PATCH, path, by, body).await;
        let owner_may = json!({"project": {"description": "ours"}});
        let changed = patch(&token, &project, owner_may).await.expect(200).value();
        assert_eq!(changed["project"]["description"], "ours");
        patch(&token, &project, json!({"project": {"name": "mine"}})).await.expect(403);
        patch(&admin, &project, json!({"project": {"name": "store", "description": null}})).await.expect(200);
        patch(&admin, &project, json!({"project": {"name": "admin"}})).await.expect(409);
        patch(&admin, &project, json!({"project": {"enabled": 3}})).await.expect(400);

        let path = format!("/v3/users/{user}");
        patch(&admin, &path, json!({"user": {"name": "keeper", "email": "k@example.com"}})).await.expect(200);
        let shown = cloud.get(&path, &token).await.expect(200).value();
        assert_eq!((shown["user"]["name"].as_str(), shown["user"]["email"].as_str()), (Some("keeper"), Some("k@example.com")));
        patch(&admin, &path, json!({"user": {"email": null}})).await.expect(200);
        assert!(cloud.get(&path, &token).await.value()["user"].get("email").is_none());
        patch(&token, &path, json!({"user": {"default_project_id": "100001"}})).await.expect(403);
        patch(&admin, &path, json!({"user": {"default_project_id": "nowhere"}})).await.expect(404);
        let projects = cloud.get(&format!("{path}/projects"), &token).await.expect(200).value();
        assert_eq!(names(&projects, "projects"), ["store"]);
        assert_eq!(cloud.get(&format!("{path}/groups"), &token).await.expect(200).value()["groups"], json!([]));

        let change = json!({"user": {"original_password": PASSWORD, "password": "another one"}});
        cloud.json(Method::POST, &format!("{path}/password"), "", change.clone()).await.expect(204);
        cloud.get(&path, &token).await.expect(401);
        cloud.json(Method::POST, &format!("{path}/password"), "", change).await.expect(401);
        let token = cloud.token("keeper", "another one").await;
        cloud.delete(&project, &token).await.expect(403);
        cloud.delete(&path, &admin).await.expect(204);
        cloud.delete(&path, &admin).await.expect(404);
        cloud.delete("/v3/projects/100001", &admin).await.expect(204);
        cloud.get("/v3/projects/100001", &admin).await.expect(401);
    }
}

on_each_engine! {
    async fn roles_are_created_granted_listed_and_revoked(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let (tenant, owner_id, owner) = cloud.account("shop", &[]).await;
        let (user, token) = cloud.user("jdoe", &tenant, &["none"]).await;
        let (_, stranger_id, stranger) = cloud.account("other", &[]).await;
        let role = id(&create(&cloud, &admin, "/v3/roles", "role", json!({"name": "auditor"})).await);
        cloud.json(Method::POST, "/v3/roles", &admin, json!({"role": {"name": "auditor"}})).await.expect(409);
        cloud.json(Method::POST, "/v3/roles", &owner, json!({"role": {"name": "x"}})).await.expect(403);
        let builtin = identity::model::builtin_role_id("admin");
        let rename = json!({"role": {"name": "boss"}});
        cloud.json(Method::PATCH, &format!("/v3/roles/{builtin}"), &admin, rename.clone()).await.expect(403);
        cloud.delete(&format!("/v3/roles/{builtin}"), &admin).await.expect(403);
        cloud.json(Method::PATCH, &format!("/v3/roles/{role}"), &admin, rename).await.expect(200);

        let on = |user: &str, role: &str| format!("/v3/projects/{tenant}/users/{user}/roles/{role}");
        let put = async |path: &str, by: &str| cloud.json(Method::PUT, path, by, json!({})).await.status.as_u16();
        assert_eq!(put(&on(&user, &role), &owner).await, 204);
        assert_eq!(put(&on(&user, &identity::model::builtin_role_id("nova:admin")), &owner).await, 204);
        assert_eq!(put(&on(&user, &identity::model::builtin_role_id("operator")), &owner).await, 403);
        assert_eq!(put(&on(&stranger_id, &role), &owner).await, 404);
        assert_eq!(put(&on(&stranger_id, &role), &admin).await, 204);
        assert_eq!(put(&on(&user, "nonsense"), &owner).await, 404);
        assert_eq!(put(&on("nonsense", &role), &owner).await, 404);
        assert_eq!(put(&on(&user, &role), &token).await, 403);
        assert_eq!(put(&on(&user, &role), &stranger).await, 404);
        let held = cloud.get(&format!("/v3/projects/{tenant}/users/{user}/roles"), &token).await.expect(200).value();
        assert_eq!(names(&held, "roles"), ["boss", "nova:admin"]);
        let head = [("x-auth-token", owner.as_str())];
        cloud.send(Method::HEAD, &on(&user, &role), &head, "").await.expect(204);
        cloud.get(&on(&user, &builtin), &owner).await.expect(404);

        let system = format!("/v3/system/users/{user}/roles/{}", identity::model::builtin_role_id("operator"));
        assert_eq!(put(&system, &owner).await, 403);
        assert_eq!(put(&system, &admin).await, 204);
        assert!(cloud.identity.authenticate(&token).await.unwrap().operator);
        cloud.get(&system, &admin).await.expect(204);
        cloud.delete(&system, &admin).await.expect(204);
        let domain = format!("/v3/domains/default/users/{user}/roles/{role}");
        assert_eq!(put(&domain, &admin).await, 204);
        assert_eq!(names(&cloud.get(&format!("/v3/domains/default/users/{user}/roles"), &admin).await.value(), "roles"), ["boss"]);

        let list = async |query: &str, by: &str| cloud.get(&format!("/v3/role_assignments{query}"), by).await;
        let named = list(&format!("?user.id={user}&include_names=True"), &admin).await.expect(200).value();
        let found = named["role_assignments"].as_array().unwrap();
        assert_eq!(found.len(), 3);
        let on_project = found.iter().find(|a| a["role"]["name"] == "nova:admin").unwrap();
        assert_eq!(on_project["user"], json!({"id": user, "name": "jdoe", "domain": {"id": "default", "name": "Default"}}));
        assert_eq!(on_project["scope"], json!({"project": {"id": tenant, "name": "shop",
            "domain": {"id": "default", "name": "Default"}}}));
        let plain = list(&format!("?role.id={role}&scope.project.id={tenant}"), &owner).await.expect(200).value();
        assert_eq!(plain["role_assignments"].as_array().unwrap().len(), 2);
        assert!(plain["role_assignments"][0]["user"].get("name").is_none());
        let own = list("", &owner).await.expect(200).value();
        assert!(own["role_assignments"].as_array().unwrap().iter().all(|a| a["scope"]["project"]["id"] == tenant.as_str()));
        list("?scope.project.id=100001", &owner).await.expect(403);
        list(&format!("?user.id={owner_id}"), &token).await.expect(403);
        let mut seen = 0;
        let mut query = "?limit=2".to_owned();
        loop {
            let page = list(&query, &admin).await.expect(200).value();
            seen += page["role_assignments"].as_array().unwrap().len();
            let Some(next) = page["links"]["next"].as_str() else { break };
            query = next.split_once("role_assignments").unwrap().1.to_owned();
        }
        assert_eq!(seen, 9);
        // With a role on the domain, which the owner lacks, the user is out of the owner's reach.
        cloud.delete(&on(&user, &role), &owner).await.expect(403);
        cloud.delete(&domain, &admin).await.expect(204);
        cloud.delete(&on(&user, &role), &owner).await.expect(204);
        cloud.delete(&on(&user, &role), &owner).await.expect(404);
        cloud.delete(&format!("/v3/roles/{role}"), &admin).await.expect(204);
        let left = list(&format!("?user.id={user}"), &admin).await.value();
        assert_eq!(left["role_assignments"].as_array().unwrap().len(), 1);
    }
}

on_each_engine! {
    async fn operators_add_to_the_catalog_but_cannot_change_built_in_entries(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let region = create(&cloud, &admin, "/v3/regions", "region", json!({"id": "ORD", "description": "Chicago"})).await;
        assert_eq!(region["id"], "ORD");
        cloud.json(Method::POST, "/v3/regions", &admin, json!({"region": {"id": "ORD"}})).await.expect(409);
        cloud.json(Method::POST, "/v3/regions", &admin, json!({"region": {"id": "DFW"}})).await.expect(409);
        let service = create(&cloud, &admin, "/v3/services", "service", json!({"type": "dns", "name": "designate"})).await;
        let endpoint = create(&cloud, &admin, "/v3/endpoints", "endpoint", json!({"service_id": id(&service),
            "interface": "public", "region_id": "ORD", "url": "https://dns.example/v2/$(project_id)s"})).await;
        let bad = [
            (json!({"service_id": id(&service), "interface": "public", "url": "ftp://x"}), 400),
            (json!({"service_id": id(&service), "interface": "none", "url": "http://x"}), 400),
            (json!({"service_id": "nonsense", "interface": "public", "url": "http://x"}), 404),
        ];
        for (body, status) in bad {
            cloud.json(Method::POST, "/v3/endpoints", &admin, json!({"endpoint": body})).await.expect(status);
        }
        // A region is created with its first endpoint, and by PUT.
        let body = json!({"service_id": id(&service), "interface": "public", "url": "http://x", "region_id": "MOON"});
        let made = create(&cloud, &admin, "/v3/endpoints", "endpoint", body).await;
        cloud.get("/v3/regions/MOON", &admin).await.expect(200);
        cloud.delete(&format!("/v3/endpoints/{}", id(&made)), &admin).await.expect(204);
        cloud.delete("/v3/regions/MOON", &admin).await.expect(204);
        let put = async |body: Value| cloud.json(Method::PUT, "/v3/regions/MARS", &admin, json!({"region": body})).await;
        assert_eq!(put(json!({"description": "red"})).await.expect(201).value()["region"]["id"], "MARS");
        put(json!({})).await.expect(409);
        put(json!({"id": "VENUS"})).await.expect(400);
        let catalog = cloud.get("/v3/auth/catalog", &admin).await.expect(200).value();
        let dns = catalog["catalog"].as_array().unwrap().iter().find(|s| s["type"] == "dns").unwrap();
        assert_eq!(dns["endpoints"][0]["url"], "https://dns.example/v2/100001");
        assert_eq!(dns["endpoints"][0]["region"], "ORD");
        let v2 = cloud.sign_in("admin", PASSWORD).await.expect(200);
        assert!(v2.body.contains("https://dns.example/v2/100001"));

        let path = format!("/v3/endpoints/{}", id(&endpoint));
        cloud.delete("/v3/regions/ORD", &admin).await.expect(409);
        let off = json!({"endpoint": {"enabled": false}});
        cloud.json(Method::PATCH, &path, &admin, off).await.expect(200);
        let catalog = cloud.get("/v3/auth/catalog", &admin).await.expect(200);
        assert!(!catalog.body.contains("dns.example"));
        let filtered = cloud.get(&format!("/v3/endpoints?service_id={}", id(&service)), &admin).await.value();
        assert_eq!(filtered["endpoints"].as_array().unwrap().len(), 1);
        let renamed = json!({"service": {"name": "names"}});
        let changed = cloud.json(Method::PATCH, &format!("/v3/services/{}", id(&service)), &admin, renamed).await;
        assert_eq!(changed.expect(200).value()["service"]["name"], "names");
        cloud.delete(&path, &admin).await.expect(204);
        cloud.delete(&path, &admin).await.expect(404);
        // A service without endpoints is in the catalog nevertheless.
        let catalog = cloud.get("/v3/auth/catalog", &admin).await.expect(200).value();
        let dns = catalog["catalog"].as_array().unwrap().iter().find(|s| s["type"] == "dns").unwrap();
        assert_eq!(dns["endpoints"], json!([]));
        cloud.delete("/v3/regions/ORD", &admin).await.expect(204);
        cloud.delete(&format!("/v3/services/{}", id(&service)), &admin).await.expect(204);

        let swift = cloud.get("/v3/services?name=swift", &admin).await.value();
        let own = format!("/v3/services/{}", id(&swift["services"][0]));
        cloud.json(Method::PATCH, &own, &admin, json!({"service": {"name": "x"}})).await.expect(403);
        cloud.delete(&own, &admin).await.expect(403);
        cloud.delete("/v3/regions/DFW", &admin).await.expect(403);
        let endpoints = cloud.get("/v3/endpoints?interface=public", &admin).await.value();
        let first = format!("/v3/endpoints/{}", id(&endpoints["endpoints"][0]));
        cloud.delete(&first, &admin).await.expect(403);
        cloud.json(Method::PATCH, &first, &admin, json!({"endpoint": {"url": "http://x"}})).await.expect(403);
    }
}

on_each_engine! {
    async fn lists_come_in_pages_with_a_link_to_the_next(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        for n in 0..5 {
            create(&cloud, &admin, "/v3/projects", "project", json!({"name": format!("p{n}")})).await;
        }
        let mut seen = Vec::new();
        let mut path = "/v3/projects?limit=2".to_owned();
        loop {
            let page = cloud.get(&path, &admin).await.expect(200).value();
            assert!(page["projects"].as_array().unwrap().len() <= 2);
            seen.extend(names(&page, "projects"));
            let Some(next) = page["links"]["next"].as_str() else { break };
            assert_eq!(page["truncated"], true);
            path = next.strip_prefix("http://cloud.test:8080/identity").unwrap().to_owned();
        }
        assert_eq!(seen, ["admin", "p0", "p1", "p2", "p3", "p4"]);
        cloud.get("/v3/projects?limit=-1", &admin).await.expect(400);
    }
}

on_each_engine! {
    async fn names_are_unique_in_their_domain(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let mut made = Vec::new();
        for domain in ["default", "other"] {
            let domain_id = match domain {
                "default" => "default".to_owned(),
                name => id(&create(&cloud, &admin, "/v3/domains", "domain", json!({"name": name})).await),
            };
            let project = json!({"name": "web", "domain_id": domain_id});
            let project = create(&cloud, &admin, "/v3/projects", "project", project.clone()).await;
            let user = json!({"name": "jane", "domain_id": domain_id, "password": format!("password of {domain}")});
            let user = create(&cloud, &admin, "/v3/users", "user", user).await;
            assert_eq!((project["name"].as_str(), user["name"].as_str()), (Some("web"), Some("jane")));
            let again = json!({"project": {"name": "web", "domain_id": domain_id}});
            cloud.json(Method::POST, "/v3/projects", &admin, again).await.expect(409);
            let again = json!({"user": {"name": "jane", "domain_id": domain_id}});
            cloud.json(Method::POST, "/v3/users", &admin, again).await.expect(409);
            let role = identity::model::builtin_role_id("member");
            let path = format!("/v3/projects/{}/users/{}/roles/{role}", id(&project), id(&user));
            cloud.json(Method::PUT, &path, &admin, json!({})).await.expect(204);
            made.push((domain_id, id(&project), id(&user)));
        }
        for (path, list, name) in [("/v3/projects", "projects", "web"), ("/v3/users", "users", "jane")] {
            let all = cloud.get(&format!("{path}?name={name}"), &admin).await.expect(200).value();
            assert_eq!(names(&all, list), [name, name]);
            for (domain, project, user) in &made {
                let found = cloud.get(&format!("{path}?name={name}&domain_id={domain}"), &admin).await.expect(200).value();
                assert_eq!(names(&found, list), [name]);
                assert!([project, user].contains(&&id(&found[list][0])));
            }
        }
        // Each user signs in with its own domain, and without a domain in `default`.
        for (domain, project, user) in &made {
            let password = format!("password of {}", if domain == "default" { "default" } else { "other" });
            let body = json!({"auth": {"identity": {"methods": ["password"], "password": {"user": {
                "name": "jane", "domain": {"id": domain}, "password": password}}},
                "scope": {"project": {"name": "web", "domain": {"id": domain}}}}});
            let token = cloud.json(Method::POST, "/v3/auth/tokens", "", body).await.expect(201).value();
            assert_eq!(token["token"]["user"]["id"], user.as_str());
            assert_eq!(token["token"]["project"]["id"], project.as_str());
        }
        cloud.sign_in("jane", "password of default").await.expect(200);
        cloud.sign_in("jane", "password of other").await.expect(401);
        // Renaming respects the domain, too.
        let spare = create(&cloud, &admin, "/v3/users", "user", json!({"name": "june", "domain_id": made[1].0})).await;
        let rename = json!({"user": {"name": "jane"}});
        cloud.json(Method::PATCH, &format!("/v3/users/{}", id(&spare)), &admin, rename).await.expect(409);
    }
}

on_each_engine! {
    /// Attributes beyond a resource's own are stored and returned, or rejected; never dropped silently.
    async fn further_attributes_are_kept(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        let service = create(&cloud, &admin, "/v3/services", "service", json!({"type": "dns"})).await;
        let cases = [
            ("/v3/users", "user", json!({"name": "jane"})),
            ("/v3/projects", "project", json!({"name": "web", "tags": ["a", "b"]})),
            ("/v3/domains", "domain", json!({"name": "corp", "tags": ["a"]})),
            ("/v3/roles", "role", json!({"name": "auditor"})),
            ("/v3/services", "service", json!({"type": "key-manager"})),
            ("/v3/endpoints", "endpoint", json!({"service_id": service["id"], "interface": "public",
                "url": "http://x", "name": "its own"})),
            ("/v3/regions", "region", json!({"id": "ORD"})),
        ];
        for (path, one, mut body) in cases {
            body["colour"] = json!("red");
            body["nested"] = json!({"a": [1, null]});
            let made = create(&cloud, &admin, path, one, body.clone()).await;
            for (name, value) in body.as_object().unwrap() {
                assert_eq!(made[name], *value, "{path} {name}");
            }
            let own = format!("{path}/{}", id(&made));
            assert_eq!(cloud.get(&own, &admin).await.expect(200).value()[one], made, "{path}");
            let change = json!({one: {"colour": null, "shape": "square", "id": "ignored"}});
            let changed = cloud.json(Method::PATCH, &own, &admin, change).await.expect(200).value()[one].clone();
            assert_eq!((&changed["shape"], &changed["colour"], &changed["id"]), (&json!("square"), &Value::Null, &made["id"]));
            assert_eq!(changed["nested"], json!({"a": [1, null]}), "{path}");
            let long = json!({one: {"x": "y".repeat(20_000)}});
            cloud.json(Method::PATCH, &own, &admin, long).await.expect(400);
            let option = json!({one: {"options": {"immutable": true}}});
            cloud.json(Method::PATCH, &own, &admin, option).await.expect(400);
        }
        let project = cloud.get("/v3/projects?name=web", &admin).await.expect(200).value();
        let own = format!("/v3/projects/{}", id(&project["projects"][0]));
        for (body, status) in [
            (json!({"tags": ["a", "a"]}), 400), (json!({"tags": ["a/b"]}), 400), (json!({"tags": "a"}), 400),
            (json!({}), 400), (json!({"parent_id": "100001"}), 403), (json!({"domain_id": "other"}), 400), (json!({"is_domain": true}), 403),
            (json!({"parent_id": "default", "domain_id": "default", "is_domain": false, "tags": ["c"]}), 200),
        ] {
            cloud.json(Method::PATCH, &own, &admin, json!({"project": body})).await.expect(status);
        }
        for (path, one, body) in [
            ("/v3/projects", "project", json!({"name": "x", "parent_id": "100001"})),
            ("/v3/projects", "project", json!({"name": "x", "is_domain": true})),
            ("/v3/projects", "project", json!({"name": "x", "domain_id": "missing"})),
            ("/v3/roles", "role", json!({"name": "x", "domain_id": "default"})),
            ("/v3/users", "user", json!({"name": 5})),
            ("/v3/projects", "project", json!({"name": "x".repeat(65)})),
            ("/v3/domains", "domain", json!({"name": "x".repeat(65)})),
        ] {
            let mut wrapped = serde_json::Map::new();
            wrapped.insert(one.to_owned(), body);
            cloud.json(Method::POST, path, &admin, Value::Object(wrapped)).await.expect(400);
        }
    }
}

on_each_engine! {
    async fn lists_are_filtered_by_rendered_attributes(location: &Location) {
        let cloud = Cloud::start(location).await;
        let admin = cloud.admin().await;
        for (name, tags) in [("web", json!(["a", "b"])), ("Webshop", json!(["b"])), ("mail", json!([]))] {
            create(&cloud, &admin, "/v3/projects", "project", json!({"name": name, "tags": tags})).await;
        }
        for (query, expected) in [
            ("name__contains=eb", vec!["web", "Webshop"]), ("name__startswith=web", vec!["web"]),
            ("name__istartswith=WEB", vec!["web", "Webshop"]), ("name__endswith=op", vec!["Webshop"]),
            ("name__iendswith=OP", vec!["Webshop"]), ("name__icontains=AI", vec!["mail"]),
            ("name__contains=zzz", vec![]), ("tags=a,b", vec!["web"]), ("tags-any=a,b", vec!["web", "Webshop"]),
            ("not-tags=a,b", vec!["admin", "Webshop", "mail"]), ("not-tags-any=b", vec!["admin", "mail"]),
            ("is_domain=true", vec![]), ("is_domain=false&name__contains=w", vec!["web"]),
            ("parent_id=other", vec![]), ("parent_id=default&tags=b", vec!["web", "Webshop"]),
            // Filters by unknown attributes are ignored, as in Keystone.
            ("nonsense=1&tags=a", vec!["web"]), ("nonsense__contains=1&tags=a", vec!["web"]),
            // With a page size of one, the link leads to the rest.
            ("name__icontains=web&limit=1", vec!["web", "Webshop"]),
        ] {
            let (mut path, mut found) = (format!("/v3/projects?{query}"), Vec::new());
            loop {
                let page = cloud.get(&path, &admin).await.expect(200).value();
                found.extend(names(&page, "projects").iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
                let Some(next) = page["links"]["next"].as_str() else { break };
                path = next.strip_prefix("http://cloud.test:8080/identity").unwrap().to_owned();
            }
            assert_eq!(found, expected, "{query}");
        }
        for (path, list, expected) in [
            ("/v3/users?name__contains=dmi", "users", vec!["admin"]), ("/v3/users?name__contains=zzz", "users", vec![]),
            ("/v3/domains?name__startswith=Def", "domains", vec!["Default"]),
            ("/v3/roles?name__contains=embe", "roles", vec!["member"]),
            ("/v3/services?name__endswith=ift", "services", vec!["swift"]),
        ] {
            let page = cloud.get(path, &admin).await.expect(200).value();
            assert_eq!(names(&page, list), expected, "{path}");
        }
        let none = cloud.get("/v3/regions?parent_region_id=other", &admin).await.expect(200).value();
        assert_eq!(none["regions"], json!([]));
    }
}
