//! v1.0 (guide, Authentication) and TempAuth's form.

use database::on_each_engine;
use http::Method;

use crate::cloud::{API_KEY, Cloud, PASSWORD, settings};

on_each_engine! {
    async fn the_guides_sign_in_returns_a_token_and_three_urls(location: &Location) {
        let cloud = Cloud::start(location).await;
        let headers = [("x-auth-user", "admin"), ("x-auth-key", API_KEY)];
        for path in ["/v1.0", "/v1.0/", "/v1", "/auth", "/auth/", "/identity/v1.0", "/identity/v1.0/"] {
            let reply = cloud.send(Method::GET, path, &headers, "").await.expect(204);
            assert_eq!(reply.body, "", "{path}");
            assert_eq!(reply.header("x-storage-url"), "http://cloud.test:8080/v1/AUTH_100001");
            assert_eq!(reply.header("x-cdn-management-url"), "http://cloud.test:8080/cdn/v1/AUTH_100001");
            assert_eq!(reply.header("x-server-management-url"), "http://cloud.test:8080/servers/v1.0/100001");
            assert_eq!(reply.header("x-auth-token-expires"), "86400");
            assert_eq!(reply.header("content-type"), "text/plain; charset=UTF-8");
            let token = reply.header("x-auth-token");
            assert_eq!(token.len(), 32);
            assert_eq!(token, reply.header("x-storage-token"));
            let caller = cloud.identity.authenticate(token).await.unwrap();
            assert_eq!((caller.user_name.as_str(), caller.operator), ("admin", true));
            assert_eq!(caller.tenant.as_ref().unwrap().id, "100001");
        }
    }
}

on_each_engine! {
    async fn tempauths_form_accepts_tenant_and_password(location: &Location) {
        let cloud = Cloud::start(location).await;
        for path in ["/auth/v1.0", "/auth/v1", "/auth/v1.0/"] {
            for (user, key) in [("admin:admin", PASSWORD), ("100001:admin", API_KEY), ("admin", PASSWORD)] {
                let headers = [("x-storage-user", user), ("x-storage-pass", key)];
                let reply = cloud.send(Method::GET, path, &headers, "").await.expect(200);
                assert!(reply.header("x-auth-token").starts_with("AUTH_tk"), "{user}");
                assert_eq!(reply.header("x-storage-url"), "http://cloud.test:8080/v1/AUTH_100001");
                cloud.identity.authenticate(reply.header("x-auth-token")).await.unwrap();
            }
        }
    }
}

#[tokio::test]
async fn wrong_credentials_are_401() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    cloud.identity.administration().create_tenant("other", "").await.unwrap();
    let cases: &[&[(&str, &str)]] = &[
        &[("x-auth-user", "admin"), ("x-auth-key", "wrong")],
        &[("x-auth-user", "nobody"), ("x-auth-key", API_KEY)],
        &[("x-auth-user", "other:admin2"), ("x-auth-key", API_KEY)],
        &[("x-auth-user", "nowhere:admin"), ("x-auth-key", API_KEY)],
        &[("x-auth-user", "admin")],
        &[],
    ];
    for headers in cases {
        for path in ["/v1.0", "/auth/v1.0", "/v1"] {
            let reply = cloud.send(Method::GET, path, headers, "").await.expect(401);
            assert_eq!(reply.body, "Unable to authenticate user with credentials provided.\n");
            assert_eq!(reply.header("www-authenticate"), "Nephos realm=\"identity\"");
            assert!(!reply.headers.contains_key("x-auth-token"));
        }
    }
    let reply = cloud.send(Method::POST, "/v1.0", &[], "").await.expect(405);
    assert_eq!(reply.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn only_deployed_services_have_urls() {
    let scratch = database::testing::TestLocation::sqlite();
    let mut only_files = settings();
    only_files.services = [identity::Service::Files].into();
    let cloud = Cloud::start_with(&scratch.location, only_files).await;
    let headers = [("x-auth-user", "admin"), ("x-auth-key", API_KEY)];
    let reply = cloud.send(Method::GET, "/v1.0", &headers, "").await.expect(204);
    assert!(reply.headers.contains_key("x-storage-url"));
    assert!(!reply.headers.contains_key("x-server-management-url"));
    assert!(!reply.headers.contains_key("x-cdn-management-url"));
}

#[tokio::test]
async fn names_and_passwords_need_not_be_ascii() {
    let scratch = database::testing::TestLocation::sqlite();
    let cloud = Cloud::start(&scratch.location).await;
    let administration = cloud.identity.administration();
    administration.create_tenant("café", "").await.unwrap();
    let new = identity::NewTenantUser {
        name: "zoë".into(),
        tenant: "café".into(),
        password: Some("schön ❤".into()),
        ..identity::NewTenantUser::default()
    };
    administration.create_user(new).await.unwrap();
    let sign_in = async |user: &[u8], key: &[u8]| {
        let request = http::Request::get("/auth/v1.0").header("x-auth-user", user).header("x-auth-key", key);
        let request = request.body(axum::body::Body::empty()).unwrap();
        tower::ServiceExt::oneshot(cloud.router.clone(), request).await.unwrap().status().as_u16()
    };
    assert_eq!(sign_in("café:zoë".as_bytes(), "schön ❤".as_bytes()).await, 200);
    assert_eq!(sign_in("zoë".as_bytes(), "schön ❤".as_bytes()).await, 200);
    assert_eq!(sign_in("zoë".as_bytes(), b"sch\xf6n").await, 401);
    let latin = identity::UserChange { password: Some("schön".into()), ..identity::UserChange::default() };
    administration.set_user("zoë", latin).await.unwrap();
    // Encoded as ISO 8859-1, as Python's clients send it.
    assert_eq!(sign_in(b"zo\xeb", b"sch\xf6n").await, 200);
}
