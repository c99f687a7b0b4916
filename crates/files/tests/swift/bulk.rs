use std::io::Write;

use database::on_each_engine;

use crate::harness::cloud;

/// Builds a tar archive of files.
fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, data) in files {
        let mut block = vec![0u8; 512];
        block[..name.len()].copy_from_slice(name.as_bytes());
        block[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
        block[156] = b'0';
        block[257..263].copy_from_slice(b"ustar\0");
        block[148..156].fill(b' ');
        let sum: u64 = block.iter().map(|byte| u64::from(*byte)).sum();
        block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        out.extend(block);
        out.extend_from_slice(data.as_bytes());
        out.resize(out.len().div_ceil(512) * 512, 0);
    }
    out.resize(out.len() + 1024, 0);
    out
}

on_each_engine! {
    async fn archives_are_extracted_into_objects(location: &Location) {
        let cloud = cloud(location).await;
        let plain = tar(&[("./c/a.txt", "one"), ("c/d/b.txt", "two"), ("top", "ignored")]);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(&plain).unwrap();
        let mut bzip2 = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::default());
        bzip2.write_all(&plain).unwrap();
        let forms = [("tar", plain), ("tar.gz", gzip.finish().unwrap()), ("tar.bz2", bzip2.finish().unwrap())];
        for (kind, bytes) in forms {
            let length = bytes.len().to_string();
            let headers = [("content-length", length.as_str()), ("accept", "application/json"), ("x-object-meta-a", "1")];
            let put = cloud.call("owner", "PUT", &format!("/v1/AUTH_1?extract-archive={kind}"), &headers, bytes).await;
            let report: serde_json::Value = serde_json::from_str(put.text()).unwrap();
            assert_eq!((&report["Response Status"], &report["Number Files Created"]), (&"201 Created".into(), &2.into()), "{kind}");
            let stored = cloud.owner("GET", "/v1/AUTH_1/c/d/b.txt", &[]).await;
            assert_eq!((stored.text(), stored.header("x-object-meta-a"), stored.header("content-type")), ("two", "1", "text/plain"));
            cloud.owner("DELETE", "/v1/AUTH_1/c/d/b.txt", &[]).await;
        }
        let below = tar(&[("x.txt", "x")]);
        let length = below.len().to_string();
        cloud.call("owner", "PUT", "/v1/AUTH_1/c/pre?extract-archive=tar", &[("content-length", &length)], below).await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/pre/x.txt", &[]).await.text(), "x");
    }
}

on_each_engine! {
    async fn malformed_archives_are_reported(location: &Location) {
        let cloud = cloud(location).await;
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let unknown = cloud.send("PUT", "/v1/AUTH_1/c?extract-archive=zip", &[], "x").await;
        assert_eq!((unknown.status.as_u16(), unknown.text()), (400, "Unsupported archive format"));
        for (kind, body) in [("tar", "x".repeat(600)), ("tar.gz", "not gzip".into()), ("tar.bz2", "not bzip2".into())] {
            let put = cloud.send("PUT", &format!("/v1/AUTH_1/c?extract-archive={kind}"), &[], &body).await;
            assert_eq!(put.status, 200);
            assert!(put.text().contains("Response Status: 400 Bad Request\n"), "{}", put.text());
            assert!(put.text().contains("Response Body: Invalid Tar File: "), "{}", put.text());
        }
        let bytes = tar(&[("c/ok", "x")]);
        let length = bytes.len().to_string();
        let refused = cloud.call("observer", "PUT", "/v1/AUTH_1?extract-archive=tar", &[("content-length", &length)], bytes).await;
        assert_eq!(refused.status, 403);
    }
}

on_each_engine! {
    async fn many_objects_are_deleted_in_one_request(location: &Location) {
        let cloud = cloud(location).await;
        for container in ["c", "full"] {
            cloud.owner("PUT", &format!("/v1/AUTH_1/{container}"), &[]).await;
        }
        for path in ["c/a", "c/b%20b", "full/x"] {
            cloud.put(&format!("/v1/AUTH_1/{path}"), "x").await;
        }
        let names = "c/a\n/c/b%20b\nc/absent\nc\nfull\n";
        let headers = [("content-type", "text/plain")];
        let answer = cloud.send("POST", "/v1/AUTH_1?bulk-delete", &headers, names).await;
        assert_eq!(
            answer.text(),
            "Number Deleted: 3\nNumber Not Found: 1\nResponse Body: \nResponse Status: 400 Bad Request\nErrors:\nfull, 409 Conflict\n"
        );
        let empty = cloud.send("POST", "/v1/AUTH_1?bulk-delete", &headers, "").await;
        assert!(empty.text().contains("Response Body: Invalid bulk delete.\n"));
        let wrong = cloud.send("POST", "/v1/AUTH_1?bulk-delete", &[("content-type", "text/html")], "c").await;
        assert!(wrong.text().contains("Response Status: 406 Not Acceptable\n"));
        assert_eq!(cloud.call("", "POST", "/v1/AUTH_1?bulk-delete", &[("content-length", "4")], "full").await.status, 401);
        assert_eq!(cloud.owner("HEAD", "/v1/AUTH_1/full", &[]).await.status, 204);
    }
}
