use database::on_each_engine;

use crate::harness::cloud;

on_each_engine! {
    async fn a_copy_with_a_heartbeat_responds_before_it_is_done(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        cloud.send("PUT", "/v1/AUTH_1/c/o", &[("x-object-meta-colour", "red")], "bytes").await;
        let missing = cloud.owner("COPY", "/v1/AUTH_1/c/none?heartbeat=on", &[("destination", "c/copy")]).await;
        assert_eq!(missing.status, 404, "the source is looked up first");
        let json = [("destination", "c/copy"), ("accept", "application/json")];
        let copied = cloud.owner("COPY", "/v1/AUTH_1/c/o?heartbeat=on", &json).await;
        assert_eq!((copied.status.as_u16(), copied.header("content-type")), (202, "application/json"));
        assert!(copied.text().starts_with(' '), "a space is sent at once");
        let report: serde_json::Value = serde_json::from_str(copied.text()).unwrap();
        assert_eq!(report["Response Status"], "201 Created");
        assert_eq!(report["Etag"], hex::encode(fast_md5::digest(b"bytes")));
        assert_eq!((&report["X-Copied-From"], &report["X-Object-Meta-Colour"]), (&"c/o".into(), &"red".into()));
        assert_eq!(report["Errors"], serde_json::json!([]));
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/copy", &[]).await.text(), "bytes");
        let refused = cloud.owner("PUT", "/v1/AUTH_1/gone/copy?heartbeat=on", &[("x-copy-from", "c/o")]).await;
        assert_eq!((refused.status.as_u16(), refused.header("content-type")), (202, "text/plain"));
        assert!(refused.text().contains("Response Status: 404 Not Found\n"), "{}", refused.text());
        assert!(refused.text().ends_with("Errors:\nc/o, 404 Not Found\n"), "{}", refused.text());
    }
}
