//! Clients that disconnect while their upload is being synced.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use blobs::{Blobs, Local, PACKED_BYTES_MAX};
use database::on_each_engine;
use files::Settings;

use crate::faulty::Faulty;
use crate::harness::cloud_on;

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let waiting = async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), waiting)
        .await
        .unwrap_or_else(|_| panic!("waited for {what}"));
}

on_each_engine! {
    async fn a_large_object_is_stored_if_its_client_disconnects_during_the_sync(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let store = Faulty::over(Local::open(dir.path()).unwrap());
        store.holds_finish.store(true, Ordering::SeqCst);
        let stores = vec![Arc::clone(&store) as Arc<dyn Blobs>];
        let cloud = Arc::new(cloud_on(location, Settings::default(), dir, stores).await);
        cloud.owner("PUT", "/v1/AUTH_1/c", &[]).await;
        let upload = tokio::spawn({
            let cloud = Arc::clone(&cloud);
            async move { cloud.put("/v1/AUTH_1/c/large", &"x".repeat(PACKED_BYTES_MAX + 1)).await.status }
        });
        until("the sync to begin", async || store.finishing.load(Ordering::SeqCst) == 1).await;
        upload.abort();
        assert!(upload.await.unwrap_err().is_cancelled());
        store.may_finish.notify_one();
        until("the object to exist", async || cloud.owner("HEAD", "/v1/AUTH_1/c/large", &[]).await.status == 200).await;
        assert_eq!(cloud.owner("GET", "/v1/AUTH_1/c/large", &[]).await.body.len(), PACKED_BYTES_MAX + 1);
        until("the memory to be released", async || cloud.files.upload_memory().used == 0).await;
    }
}
