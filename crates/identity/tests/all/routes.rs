//! Every route of every dialect, requested as every role. A route that is missing in these tables fails the test.

use std::collections::BTreeMap;

use http::Method;
use serde_json::json;

use crate::cloud::Cloud;

/// Routes that need no token.
const OPEN: &[&str] = &[
    "GET /v1.1",
    "POST /v1.1/auth",
    "GET /v2.0",
    "POST /v2.0/tokens",
    "GET /v2.0/extensions",
    "GET /v2.0/extensions/{alias}",
    "POST /v2.0/users/RAX-AUTH/change-pwd",
    "POST /v2.0/users/RAX-AUTH/forgot-pwd",
    "POST /v2.0/users/RAX-AUTH/pwd-reset",
    "GET /v3",
    "POST /v3/auth/tokens",
    "POST /v3/users/{user_id}/password",
];

/// Routes for callers who may observe the account's users.
const OBSERVE: &[&str] = &["GET /v2.0/tenants/{tenant_id}/users"];

/// Routes for callers who manage the account's users.
const MANAGE: &[&str] = &[
    "POST /v2.0/users",
    "POST /v2.0/users/{user_id}",
    "PUT /v2.0/users/{user_id}",
    "DELETE /v2.0/users/{user_id}",
    "GET /v2.0/OS-KSADM/roles/{role_id}/RAX-AUTH/users",
    "PUT /v2.0/users/{user_id}/roles/OS-KSADM/{role_id}",
    "DELETE /v2.0/users/{user_id}/roles/OS-KSADM/{role_id}",
    "PUT /v2.0/tenants/{tenant_id}/users/{user_id}/roles/OS-KSADM/{role_id}",
    "DELETE /v2.0/tenants/{tenant_id}/users/{user_id}/roles/OS-KSADM/{role_id}",
    "PUT /v2.0/users/{user_id}/RAX-AUTH/roles",
    "PUT /v2.0/RAX-AUTH/domains/{domain_id}",
    "GET /v2.0/RAX-AUTH/domains/{domain_id}/password-policy",
    "PUT /v2.0/RAX-AUTH/domains/{domain_id}/password-policy",
    "DELETE /v2.0/RAX-AUTH/domains/{domain_id}/password-policy",
    "POST /v3/users",
    "PATCH /v3/users/{user_id}",
    "DELETE /v3/users/{user_id}",
    "PATCH /v3/projects/{project_id}",
    "PUT /v3/projects/{place}/users/{user_id}/roles/{role_id}",
    "DELETE /v3/projects/{place}/users/{user_id}/roles/{role_id}",
];

/// Routes for the cloud's operator alone.
const OPERATOR: &[&str] = &[
    "POST /v2.0/tenants",
    "POST /v2.0/tenants/{tenant_id}",
    "PUT /v2.0/tenants/{tenant_id}",
    "DELETE /v2.0/tenants/{tenant_id}",
    "POST /v3/projects",
    "DELETE /v3/projects/{project_id}",
    "POST /v3/domains",
    "PATCH /v3/domains/{domain_id}",
    "DELETE /v3/domains/{domain_id}",
    "POST /v3/roles",
    "PATCH /v3/roles/{role_id}",
    "DELETE /v3/roles/{role_id}",
    "PUT /v3/domains/{place}/users/{user_id}/roles/{role_id}",
    "DELETE /v3/domains/{place}/users/{user_id}/roles/{role_id}",
    "PUT /v3/system/users/{user_id}/roles/{role_id}",
    "DELETE /v3/system/users/{user_id}/roles/{role_id}",
    "POST /v3/services",
    "PATCH /v3/services/{service_id}",
    "DELETE /v3/services/{service_id}",
    "POST /v3/endpoints",
    "PATCH /v3/endpoints/{endpoint_id}",
    "DELETE /v3/endpoints/{endpoint_id}",
    "POST /v3/regions",
    "PATCH /v3/regions/{region_id}",
    "PUT /v3/regions/{region_id}",
    "DELETE /v3/regions/{region_id}",
];

/// Routes for any valid token. The service shows each caller its own resources.
const TOKEN: &[&str] = &[
    "DELETE /v2.0/tokens",
    "GET /v2.0/tokens/{token_id}",
    "DELETE /v2.0/tokens/{token_id}",
    "GET /v2.0/tokens/{token_id}/endpoints",
    "GET /v2.0/users",
    "GET /v2.0/users/{user_id}",
    "GET /v2.0/users/{user_id}/RAX-AUTH/admins",
    "GET /v2.0/users/{user_id}/OS-KSADM/credentials",
    "POST /v2.0/users/{user_id}/OS-KSADM/credentials",
    "GET /v2.0/users/{user_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials",
    "POST /v2.0/users/{user_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials",
    "DELETE /v2.0/users/{user_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials",
    "POST /v2.0/users/{user_id}/OS-KSADM/credentials/RAX-KSKEY:apiKeyCredentials/RAX-AUTH/reset",
    "GET /v2.0/OS-KSADM/roles",
    "GET /v2.0/OS-KSADM/roles/{role_id}",
    "GET /v2.0/users/{user_id}/roles",
    "GET /v2.0/tenants/{tenant_id}/users/{user_id}/roles",
    "GET /v2.0/users/{user_id}/RAX-AUTH/roles",
    "GET /v2.0/tenants",
    "GET /v2.0/tenants/{tenant_id}",
    "GET /v2.0/RAX-AUTH/domains",
    "GET /v2.0/RAX-AUTH/domains/{domain_id}",
    "GET /v2.0/users/{user_id}/RAX-AUTH/domains",
    "GET /v3/auth/tokens",
    "DELETE /v3/auth/tokens",
    "GET /v3/auth/catalog",
    "GET /v3/auth/projects",
    "GET /v3/auth/domains",
    "GET /v3/auth/system",
    "GET /v3/users",
    "GET /v3/users/{user_id}",
    "GET /v3/users/{user_id}/projects",
    "GET /v3/users/{user_id}/groups",
    "GET /v3/projects",
    "GET /v3/projects/{project_id}",
    "GET /v3/domains",
    "GET /v3/domains/{domain_id}",
    "GET /v3/roles",
    "GET /v3/roles/{role_id}",
    "GET /v3/role_assignments",
    "GET /v3/projects/{place}/users/{user_id}/roles",
    "GET /v3/projects/{place}/users/{user_id}/roles/{role_id}",
    "GET /v3/domains/{place}/users/{user_id}/roles",
    "GET /v3/domains/{place}/users/{user_id}/roles/{role_id}",
    "GET /v3/system/users/{user_id}/roles",
    "GET /v3/system/users/{user_id}/roles/{role_id}",
    "GET /v3/services",
    "GET /v3/services/{service_id}",
    "GET /v3/endpoints",
    "GET /v3/endpoints/{endpoint_id}",
    "GET /v3/regions",
    "GET /v3/regions/{region_id}",
    "GET /v3/users/{user_id}/application_credentials",
    "POST /v3/users/{user_id}/application_credentials",
    "GET /v3/users/{user_id}/application_credentials/{credential_id}",
    "DELETE /v3/users/{user_id}/application_credentials/{credential_id}",
    "GET /v3/users/{user_id}/credentials/OS-EC2",
    "POST /v3/users/{user_id}/credentials/OS-EC2",
    "GET /v3/users/{user_id}/credentials/OS-EC2/{access}",
    "DELETE /v3/users/{user_id}/credentials/OS-EC2/{access}",
];

/// How far a request got: the access checks before a route's own rules.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Met {
    /// 401.
    NoToken,
    /// 403, whatever resource the path names.
    Wall,
    /// The route's own response.
    In,
}

fn expected() -> BTreeMap<String, usize> {
    let tables = [OPEN, TOKEN, OBSERVE, MANAGE, OPERATOR];
    let mut expected = BTreeMap::new();
    for (level, table) in tables.iter().enumerate() {
        for route in *table {
            assert!(expected.insert((*route).to_owned(), level).is_none(), "{route} is listed twice");
        }
    }
    expected
}

/// Returns a path whose ids do not exist, so that the requests change nothing.
fn concrete(path: &str) -> String {
    let mut concrete = String::new();
    let mut rest = path;
    while let Some((before, after)) = rest.split_once('{') {
        concrete.push_str(before);
        concrete.push_str("00000000000000000000000000000000");
        rest = after.split_once('}').unwrap().1;
    }
    concrete + rest
}

#[tokio::test]
async fn every_route_admits_exactly_the_intended_roles() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let expected = expected();
    let routes = identity::routes();
    let listed: Vec<String> = routes.iter().map(|route| format!("{} {}", route.method, route.path)).collect();
    for route in &listed {
        assert!(expected.contains_key(route), "{route} is missing in the tables of this test");
    }
    for route in expected.keys() {
        assert!(listed.contains(route), "{route} is no longer a route");
    }

    // The highest level of each role: 0 open, 1 token, 2 observe users, 3 manage users, 4 operator.
    let roles: &[(&str, usize)] = &[
        ("admin", 3),
        ("manager", 3),
        ("member", 2),
        ("reader", 2),
        ("identity:user-admin", 3),
        ("identity:user-manage", 3),
        ("creator", 2),
        ("observer", 2),
        ("identity:default", 1),
        ("nova:admin", 1),
        ("nova:creator", 1),
        ("nova:observer", 1),
        ("object-store:admin", 1),
        ("object-store:creator", 1),
        ("object-store:observer", 1),
        ("cbs:admin", 1),
        ("cbs:creator", 1),
        ("cbs:observer", 1),
        ("cloudimages:admin", 1),
        ("cloudimages:creator", 1),
        ("cloudimages:observer", 1),
        ("neutron:admin", 1),
        ("neutron:creator", 1),
        ("neutron:observer", 1),
        ("cloudfeeds:observer", 1),
        ("service", 1),
        ("operator", 4),
        ("none", 1),
    ];
    let mut known: Vec<&str> = roles.iter().map(|(role, _)| *role).filter(|role| *role != "none").collect();
    let mut all: Vec<&str> = identity::model::BUILTIN_ROLES.iter().map(|role| role.name).collect();
    known.sort_unstable();
    all.sort_unstable();
    assert_eq!(known, all, "every role is tested");

    let tenant = cloud.identity.administration().create_tenant("shop", "").await.unwrap();
    let mut walked = 0;
    for (index, (role, level)) in roles.iter().enumerate() {
        let name = format!("user{index}");
        let (_, mut token) = cloud.user(&name, &tenant.id, &[role]).await;
        for (route, shown) in routes.iter().zip(&listed) {
            let needed = expected[shown];
            let path = concrete(&route.path);
            let should = if needed <= *level { Met::In } else { Met::Wall };
            let met = visit(&cloud, &route.method, &path, &token).await;
            assert_eq!(met, should, "{shown} as {role}");
            walked += 1;
            if cloud.identity.authenticate(&token).await.is_err() {
                token = cloud.token(&name, crate::cloud::PASSWORD).await;
            }
        }
    }
    for (route, shown) in routes.iter().zip(&listed) {
        for token in ["", "nonsense"] {
            let should = if expected[shown] == 0 { Met::In } else { Met::NoToken };
            let path = concrete(&route.path);
            assert_eq!(visit(&cloud, &route.method, &path, token).await, should, "{shown} without a token");
            walked += 1;
        }
    }
    assert_eq!(walked, routes.len() * (roles.len() + 2));
}

/// Sends an invalid body. An admitted caller gets 400, 404 or a list, but never 403 with the access check's message.
async fn visit(cloud: &Cloud, method: &Method, path: &str, token: &str) -> Met {
    let reply = match *method {
        Method::GET | Method::DELETE => {
            cloud.send(method.clone(), path, &[("x-auth-token", token)], "").await
        }
        _ => cloud.json(method.clone(), path, token, json!({})).await,
    };
    assert!(reply.status.as_u16() < 500, "{method} {path}: {} {}", reply.status, reply.body);
    match reply.status.as_u16() {
        401 => Met::NoToken,
        403 if reply.body.contains("You are not authorized to perform the requested action.") => Met::Wall,
        _ => Met::In,
    }
}
