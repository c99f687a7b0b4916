//! Access rights in the built program.

use tests::cloud::Cloud;
use tests::http::curl;

/// A disabled tenant's public objects are closed with it, and nothing exists for tenants that do not exist.
#[test]
fn an_account_is_closed_with_its_tenant() {
    let cloud = Cloud::start();
    let user = format!("X-Auth-User: {}", cloud.openrc()["OS_USERNAME"]);
    let key = format!("X-Auth-Key: {}", cloud.openrc()["OS_PASSWORD"]);
    let signed_in = curl(&["-H", &user, "-H", &key, &format!("{}/v1.0", cloud.url)]);
    let admin = format!("X-Auth-Token: {}", signed_in.header("x-auth-token"));
    let made = cloud.admin_json(&["tenant", "create", "shop"]);
    assert_eq!(made["id"], "100002", "{made}");
    let container = format!("{}/v1/AUTH_100002/public", cloud.url);
    let object = format!("{container}/o");
    let put = |url: &str, headers: &[&str]| {
        let mut words = vec!["-X", "PUT", "-H", &admin];
        words.extend(headers.iter().flat_map(|header| ["-H", header]));
        words.extend(["-d", "x", url]);
        curl(&words).status
    };
    assert_eq!(put(&container, &["X-Container-Read: .r:*"]), 201);
    assert_eq!(put(&object, &[]), 201);
    assert_eq!(curl(&[&object]).status, 200);
    assert_eq!(cloud.admin_json(&["tenant", "disable", "shop"])["enabled"], false);
    assert_eq!(curl(&[&object]).status, 401);
    assert_eq!(curl(&["-H", &admin, &object]).status, 200, "the operator still has access");
    assert_eq!(cloud.admin_json(&["tenant", "enable", "shop"])["enabled"], true);
    assert_eq!(curl(&[&object]).status, 200);
    for path in ["AUTH_999999", "AUTH_999999/c", "AUTH_999999/c/o"] {
        let url = format!("{}/v1/{path}", cloud.url);
        assert_eq!(curl(&["-H", &admin, &url]).status, 404, "{path}");
        assert_eq!(put(&url, &[]), 404, "{path}");
    }
}
