//! Which tenant traffic counts for: rejected requests of strangers count for nobody.

use database::on_each_engine;

use crate::harness::{Cloud, cloud};

impl Cloud {
    /// Returns the meter's totals of a tenant, per measure.
    async fn usage(&self, tenant: &str) -> Vec<(meter::Measure, u64)> {
        let found = self.files.meter().usage(Some(tenant), 0).await.unwrap();
        found.iter().map(|usage| (usage.measure, usage.total)).collect()
    }
}

on_each_engine! {
    async fn rejected_requests_of_strangers_count_for_nobody(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.owner("PUT", "/v1/AUTH_1/public", &[("x-container-read", ".r:*")]).await;
        cloud.put("/v1/AUTH_1/c/o", "private").await;
        cloud.put("/v1/AUTH_1/public/o", "public").await;
        let (owners, strangers) = (cloud.usage("1").await, cloud.usage("2").await);
        assert!(!owners.is_empty());
        let form = "--B\r\nContent-Disposition: form-data; name=\"f\"; filename=\"a\"\r\n\r\ndata\r\n--B--\r\n";
        let kinds = [("content-type", "multipart/form-data; boundary=B")];
        for token in ["", "stranger", "bogus"] {
            for (method, path, headers, body) in [
                ("PUT", "/v1/AUTH_1/c/new", &[][..], "bytes"),
                ("PUT", "/v1/AUTH_1/public/o", &[][..], "bytes"),
                ("POST", "/v1/AUTH_1/c/o", &[][..], ""),
                ("POST", "/v1/AUTH_1/c", &kinds[..], form),
                ("GET", "/v1/AUTH_1/c/o", &[][..], ""),
                ("GET", "/v1/AUTH_1/c", &[][..], ""),
                ("GET", "/v1/AUTH_1/public/none", &[][..], ""),
                ("GET", "/v1/AUTH_1", &[][..], ""),
                ("HEAD", "/v1/AUTH_1/c/o", &[][..], ""),
                ("DELETE", "/v1/AUTH_1/c/o", &[][..], ""),
                ("COPY", "/v1/AUTH_1/c/o", &[("destination", "c/p")][..], ""),
                ("POST", "/v1/AUTH_1?bulk-delete", &[("content-type", "text/plain")][..], "c/o"),
                ("PUT", "/v1/AUTH_1?extract-archive=tar", &[][..], "no archive"),
                ("PATCH", "/v1/AUTH_1/c/o", &[][..], ""),
            ] {
                let answer = cloud.call(token, method, path, headers, body).await;
                assert!(!answer.status.is_success(), "{token:?} {method} {path}: {}", answer.status);
            }
        }
        assert_eq!((cloud.usage("1").await, cloud.usage("2").await), (owners.clone(), strangers));
        // Downloads of published objects count for the owner, and so do the owner's own failed requests.
        assert_eq!(cloud.call("", "GET", "/v1/AUTH_1/public/o", &[], "").await.text(), "public");
        let published = cloud.usage("1").await;
        assert_ne!(published, owners);
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/none", &[]).await.status, 404);
        assert_ne!(cloud.usage("1").await, published);
    }
}
