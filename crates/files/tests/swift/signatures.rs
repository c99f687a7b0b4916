use aws_lc_rs::hmac;
use database::on_each_engine;

use crate::harness::{Cloud, cloud};

const ENDS: &str = "1389453500";

pub fn signed(algorithm: hmac::Algorithm, key: &str, text: &str) -> String {
    hex::encode(hmac::sign(&hmac::Key::new(algorithm, key.as_bytes()), text.as_bytes()))
}

fn url(method: &str, path: &str, key: &str) -> String {
    let signature = signed(hmac::HMAC_SHA256, key, &format!("{method}\n{ENDS}\n{path}"));
    format!("{path}?temp_url_sig={signature}&temp_url_expires={ENDS}")
}

async fn with_keys(location: &database::Location) -> Cloud {
    let cloud = cloud(location).await;
    cloud.owner("POST", "/v1/AUTH_1", &[("x-account-meta-temp-url-key-2", "account")]).await;
    cloud.owner("PUT", "/v1/AUTH_1/c", &[("x-container-meta-temp-url-key", "container")]).await;
    cloud.owner("PUT", "/v1/AUTH_1/d", &[]).await;
    let items = [("x-object-meta-secret", "1"), ("x-object-meta-public-a", "2")];
    cloud.send("PUT", "/v1/AUTH_1/c/dir/o.txt", &items, "data").await;
    cloud
}

on_each_engine! {
    async fn a_signed_url_grants_what_was_signed(location: &Location) {
        let cloud = with_keys(location).await;
        let path = "/v1/AUTH_1/c/dir/o.txt";
        for key in ["account", "container"] {
            let get = cloud.call("", "GET", &url("GET", path, key), &[], "").await;
            assert_eq!((get.status.as_u16(), get.text()), (200, "data"), "{key}");
            assert_eq!(get.header("content-disposition"), "attachment; filename=\"o.txt\"; filename*=UTF-8''o.txt");
            assert_eq!(get.header("expires"), "Sat, 11 Jan 2014 15:18:20 GMT");
            assert_eq!((get.header("x-object-meta-secret"), get.header("x-object-meta-public-a")), ("", "2"));
        }
        assert_eq!(cloud.call("", "HEAD", &url("PUT", path, "account"), &[], "").await.status, 200);
        let inline = cloud.call("", "GET", &format!("{}&inline&filename=a%20b", url("GET", path, "account")), &[], "").await;
        assert_eq!(inline.header("content-disposition"), "inline; filename=\"a b\"; filename*=UTF-8''a%20b");
        for (digest, text) in [(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, "GET"), (hmac::HMAC_SHA512, "GET")] {
            let signature = signed(digest, "account", &format!("{text}\n{ENDS}\n{path}"));
            let get = cloud.call("", "GET", &format!("{path}?temp_url_sig={signature}&temp_url_expires={ENDS}"), &[], "").await;
            assert_eq!(get.text(), "data");
        }
        let prefix = signed(hmac::HMAC_SHA256, "account", &format!("GET\n{ENDS}\nprefix:/v1/AUTH_1/c/dir/"));
        let by_prefix = |path: &str| format!("{path}?temp_url_sig={prefix}&temp_url_expires=2014-01-11T15:18:20Z&temp_url_prefix=dir/");
        assert_eq!(cloud.call("", "GET", &by_prefix(path), &[], "").await.text(), "data");
        assert_eq!(cloud.call("", "GET", &by_prefix("/v1/AUTH_1/c/other"), &[], "").await.status, 401);
        let put = cloud.call("", "PUT", &url("PUT", "/v1/AUTH_1/c/new", "account"), &[("content-length", "1")], "n").await;
        assert_eq!(put.status, 201);
        assert_eq!(cloud.call("", "DELETE", &url("DELETE", "/v1/AUTH_1/c/new", "account"), &[], "").await.status, 204);
    }
}

on_each_engine! {
    async fn an_invalid_signature_grants_nothing(location: &Location) {
        let cloud = with_keys(location).await;
        let path = "/v1/AUTH_1/c/dir/o.txt";
        let good = url("GET", path, "account");
        let ranged = signed(hmac::HMAC_SHA256, "account", &format!("ip=127.0.0.1\nGET\n{ENDS}\n{path}"));
        for (method, bad) in [
            ("PUT", good.clone()), ("DELETE", good.clone()), ("GET", url("GET", path, "wrong")),
            ("GET", good.replace("temp_url_sig=", "temp_url_sig=0")), ("GET", good.replace(ENDS, "1389453501")),
            ("GET", url("GET", path, "account").replace(&format!("&temp_url_expires={ENDS}"), "")),
            ("GET", good.replace("/dir/o.txt", "/dir/p.txt")), ("GET", url("GET", "/v1/AUTH_1/c", "account")),
            ("GET", url("GET", "/v1/AUTH_1/d/o", "container")),
            // The address of an in-process request is unknown.
            ("GET", format!("{path}?temp_url_sig={ranged}&temp_url_expires={ENDS}&temp_url_ip_range=127.0.0.1")),
        ] {
            let answer = cloud.call("", method, &bad, &[("content-length", "0")], "").await;
            assert_eq!((answer.status.as_u16(), answer.text()), (401, "401 Unauthorized: Temp URL invalid\n"), "{method} {bad}");
        }
        for name in ["x-object-manifest", "x-symlink-target", "x-copy-from"] {
            let target = url("PUT", "/v1/AUTH_1/c/new", "account");
            let answer = cloud.call("", "PUT", &target, &[(name, "c/dir/o.txt"), ("content-length", "0")], "").await;
            assert_eq!(answer.status, 400, "{name}");
        }
        cloud.clock.advance(std::time::Duration::from_secs(78));
        assert_eq!(cloud.call("", "GET", &good, &[], "").await.status, 401, "it has expired");
    }
}

on_each_engine! {
    async fn a_containers_key_grants_access_to_no_other_container(location: &Location) {
        let cloud = with_keys(location).await;
        cloud.put("/v1/AUTH_1/d/o", "other").await;
        cloud.owner("PUT", "/v1/AUTH_1/c/link", &[("x-symlink-target", "d/o")]).await;
        assert_eq!(cloud.call("", "GET", &url("GET", "/v1/AUTH_1/c/link", "container"), &[], "").await.status, 401);
        assert_eq!(cloud.call("", "GET", &url("GET", "/v1/AUTH_1/c/link", "account"), &[], "").await.text(), "other");
    }
}

on_each_engine! {
    async fn a_signed_form_stores_files_as_signed(location: &Location) {
        let cloud = with_keys(location).await;
        let path = "/v1/AUTH_1/c/up_";
        let form = |max_size: &str, max_count: &str, expires: &str, key: &str, redirect: &str| {
            let text = format!("{path}\n{redirect}\n{max_size}\n{max_count}\n{expires}");
            let signature = signed(hmac::HMAC_SHA256, key, &text);
            let mut body = String::new();
            for (name, value) in [("redirect", redirect), ("max_file_size", max_size), ("max_file_count", max_count),
                ("expires", expires), ("signature", &signature), ("x_delete_after", "100")] {
                if !value.is_empty() {
                    body.push_str(&format!("--B\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n"));
                }
            }
            for (name, data) in [("a.txt", "one"), ("b.txt", "two")] {
                body.push_str(&format!("--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"{name}\"\r\n\r\n{data}\r\n"));
            }
            body + "--B--\r\n"
        };
        let headers = [("content-type", "multipart/form-data; boundary=B")];
        for (body, status, text) in [
            (form("10", "2", ENDS, "wrong", ""), 401, "FormPost: Invalid Signature"),
            (form("10", "2", "1", "account", ""), 401, "FormPost: Form Expired"),
            (form("2", "2", ENDS, "account", ""), 400, "FormPost: max_file_size exceeded"),
            (form("10", "1", ENDS, "account", ""), 400, "400 Bad Request\r\nFormPost: Max File Count Exceeded"),
            (form("10", "2", ENDS, "container", ""), 201, "201 Created"),
        ] {
            let answer = cloud.call("", "POST", path, &headers, body).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (status, text));
        }
        let stored = cloud.owner("GET", "/v1/AUTH_1/c/up_b.txt", &[]).await;
        assert_eq!((stored.text(), stored.header("x-delete-at")), ("two", "1389453523"));
        let sent_on = cloud.call("", "POST", path, &headers, form("10", "2", ENDS, "account", "http://localhost/done")).await;
        assert_eq!((sent_on.status.as_u16(), sent_on.header("location")), (303, "http://localhost/done?status=201&message="));
    }
}
