//! Volumes that are mostly dead are emptied and removed, and nothing that lives is lost.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use blobs::{Blobs, Local};
use bytes::Bytes;
use database::on_each_engine;
use files::model::metadata::{Changes, Metadata};
use files::service::{Body, Content, PutRequest};
use files::{Context, Files, Settings};
use identity::Caller;
use meter::Meter;
use work::{Clock, Time};

struct Once(Option<Bytes>);

#[async_trait]
impl Body for Once {
    async fn next(&mut self) -> files::Result<Option<Bytes>> {
        Ok(self.0.take())
    }
}

fn operator() -> Context {
    let caller = Caller {
        user_id: "u".into(),
        user_name: "admin".into(),
        tenant: None,
        roles: Vec::new(),
        grants: Vec::new(),
        operator: true,
        service: false,
        expires: Time(i64::MAX),
    };
    Context { caller: Some(Arc::new(caller)), ..Context::default() }
}

async fn put(files: &Files, name: &str, content: &[u8]) {
    let request = PutRequest {
        length: Some(content.len() as u64),
        etag: None,
        content_type: "text/plain".into(),
        metadata: Metadata::default(),
        only_new: false,
        shape: None,
        expires: None,
    };
    let mut body = Once(Some(Bytes::copy_from_slice(content)));
    files.put_object(&operator(), "AUTH_1", "c", name, request, &mut body).await.unwrap();
}

on_each_engine! {
    async fn dead_volumes_go_and_living_objects_stay(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let blobs = Arc::new(Local::with_volumes_of(dir.path(), 200_000).unwrap());
        let clock = Clock::system();
        let meter = Meter::open(location, clock.clone()).await.unwrap();
        let files = Files::open(location, blobs.clone(), clock, meter, Settings::default()).await.unwrap();
        files.put_container(&operator(), "AUTH_1", "c", Changes::default(), None).await.unwrap();
        let mut expected = BTreeMap::new();
        for round in 0..5u32 {
            for n in 0..40u32 {
                // Every eighth is written once and lives in an old volume; the others are overwritten each round.
                let name = if n % 8 == 0 { format!("kept-{round}-{n}") } else { format!("same-{n}") };
                let content = format!("{name} {round} ").repeat(300).into_bytes();
                put(&files, &name, &content).await;
                expected.insert(name, content);
            }
        }
        // The sweep compacts by itself as blobs are let go; this round is surely behind all of them.
        files.compact().await.unwrap();
        let left = blobs.sealed_volumes();
        let current = blobs.put(blobs::BlobId::new(), Bytes::from_static(b"where are we?")).await.unwrap().volume;
        assert!(current >= 4, "too little was written to fill volumes: now in {current}");
        assert!(left.iter().all(|volume| volume.number != 1), "the oldest was mostly dead: {left:?}");
        assert!((left.len() as i64) < current - 1, "of {} sealed volumes {left:?} are left", current - 1);
        for (name, content) in &expected {
            let (_, found) = files.read_whole(&operator(), "AUTH_1", "c", name).await.unwrap();
            let Content::Whole(found) = found else { panic!("small objects come whole") };
            assert!(found == *content, "{name}");
        }
        files.compact().await.unwrap();
    }
}
