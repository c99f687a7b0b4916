//! Volumes that are mostly dead are emptied and removed without losing live objects, even if volumes are damaged.

use std::collections::BTreeMap;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use blobs::{Blobs, Local};
use bytes::Bytes;
use database::{Location, on_each_engine};
use files::model::metadata::{Changes, Metadata};
use files::service::{AuditOptions, Content, Incoming, PutRequest, Scrub};
use files::{Context, Files, Settings};
use identity::Caller;
use meter::Meter;
use work::{Clock, Time};

fn operator() -> Context {
    let caller = Caller {
        user_id: "u".into(),
        user_name: "admin".into(),
        domain_id: "default".into(),
        tenant: None,
        roles: Vec::new(),
        grants: Vec::new(),
        operator: true,
        service: false,
        expires: Time(i64::MAX),
        delegation: None,
    };
    Context { caller: Some(Arc::new(caller)), ..Context::default() }
}

struct Bed {
    files: Files,
    blobs: Arc<Local>,
}

const VOLUME_BYTES: u64 = 200_000;

impl Bed {
    async fn open(location: &Location, dir: &Path) -> Self {
        let blobs = Arc::new(Local::with_volumes_of(dir, VOLUME_BYTES).unwrap());
        let clock = Clock::system();
        let meter = Meter::open(location, clock.clone()).await.unwrap();
        // The tests start compaction and the scrub themselves.
        let scrub = Scrub { bytes_per_second: 0, ..Scrub::default() };
        let settings = Settings { scrub, settling: Duration::ZERO, ..Settings::default() };
        let files = Files::open(location, blobs.clone(), clock, meter, settings).await.unwrap();
        files.start();
        files.put_container(&operator(), "AUTH_1", "c", Changes::default(), None).await.unwrap();
        Self { files, blobs }
    }

    async fn try_put(&self, name: &str, content: &[u8], etag: Option<&str>) -> files::Result<()> {
        let request = PutRequest {
            length: Some(content.len() as u64),
            etag: etag.map(str::to_owned),
            content_type: "text/plain".into(),
            metadata: Metadata::default(),
            only_new: false,
            shape: None,
            expires: None,
        };
        let mut body = Incoming::of(Bytes::copy_from_slice(content));
        self.files.put_object(&operator(), "AUTH_1", "c", name, request, &mut body).await.map(|_| ())
    }

    async fn put(&self, name: &str, content: &[u8]) {
        self.try_put(name, content, None).await.unwrap();
    }

    async fn get(&self, name: &str) -> files::Result<Bytes> {
        let (_, found) = self.files.read_whole(&operator(), "AUTH_1", "c", name).await?;
        let Content::Whole(found) = found else { panic!("small objects are returned whole") };
        Ok(found)
    }

    async fn delete(&self, name: &str) {
        self.files
            .delete_object(&operator(), "AUTH_1", "c", name, files::service::Expected::default())
            .await
            .unwrap();
    }

    async fn check(&self, expected: &BTreeMap<String, Vec<u8>>) {
        for (name, content) in expected {
            assert!(self.get(name).await.unwrap() == *content, "{name}");
        }
    }

    async fn assert_sound(&self) {
        let report = self.files.audit(AuditOptions { bytes: true, repair: false }).await.unwrap();
        assert_eq!((report.broken, report.repaired), (vec![], vec![]));
    }

    /// Returns the numbers of the remaining sealed volumes.
    fn sealed(&self) -> Vec<i64> {
        self.blobs.volumes().iter().map(|volume| volume.number).collect()
    }
}

fn flip(dir: &Path, volume: i64, byte: u64) {
    let path = dir.join(format!("volumes/{volume:08}.vol"));
    let file = std::fs::File::options().read(true).write(true).open(path).unwrap();
    let mut found = [0];
    file.read_exact_at(&mut found, byte).unwrap();
    file.write_all_at(&[found[0] ^ 0x10], byte).unwrap();
}

on_each_engine! {
    async fn dead_volumes_are_removed_and_live_objects_kept(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let bed = Bed::open(location, dir.path()).await;
        let mut expected = BTreeMap::new();
        for round in 0..5u32 {
            for n in 0..40u32 {
                // Every eighth object is written once and stays live in an old volume; the others are overwritten each round.
                let name = if n % 8 == 0 { format!("kept-{round}-{n}") } else { format!("same-{n}") };
                let content = format!("{name} {round} ").repeat(300).into_bytes();
                bed.put(&name, &content).await;
                expected.insert(name, content);
            }
        }
        bed.files.compact().await.unwrap();
        let left = bed.sealed();
        let current = bed.blobs.put(blobs::BlobId::new(), Bytes::from_static(b"where are we?")).await.unwrap();
        let current = current.location.volume;
        assert!(current >= 4, "too little was written to fill volumes: now in {current}");
        assert!(!left.contains(&1), "the oldest was mostly dead: {left:?}");
        assert!((left.len() as i64) < current - 1, "of {} sealed volumes {left:?} are left", current - 1);
        bed.check(&expected).await;
        bed.assert_sound().await;
    }
}

on_each_engine! {
    async fn a_flipped_bit_damages_only_its_own_object(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let bed = Bed::open(location, dir.path()).await;
        let mut expected = BTreeMap::new();
        for n in 0..200u32 {
            let (name, content) = (format!("o-{n:03}"), format!("{n} ").repeat(200).into_bytes());
            bed.put(&name, &content).await;
            expected.insert(name, content);
        }
        drop(bed);
        // Damage the header of the first record, the data of the second, the checksums of the third: "0 " is 400 bytes.
        let record = blobs::record_bytes(400);
        flip(dir.path(), 1, 4);
        flip(dir.path(), 1, record + 40 + 100);
        flip(dir.path(), 1, 2 * record + 40 + 400);
        // Neither a restart nor compaction of the damaged volume loses anything else.
        let bed = Bed::open(location, dir.path()).await;
        for compacted in [false, true] {
            if compacted {
                for n in 10..190u32 {
                    bed.delete(&format!("o-{n:03}")).await;
                    expected.remove(&format!("o-{n:03}"));
                }
                bed.files.compact().await.unwrap();
                assert!(!bed.sealed().contains(&1), "damage does not block compaction: {:?}", bed.sealed());
            }
            let mut lost = Vec::new();
            for (name, content) in &expected {
                match bed.get(name).await {
                    Ok(found) => assert!(found == *content, "{name}: wrong bytes"),
                    Err(_) => lost.push(name.as_str()),
                }
            }
            assert_eq!(lost, ["o-001", "o-002"], "compacted: {compacted}");
        }
        // Damage found by reading is reported; the scrub finds the rest, and nothing more.
        let before = bed.files.damage(10).await.unwrap();
        assert_eq!(before.len(), 2, "{before:?}");
        let report = bed.files.audit(AuditOptions { bytes: true, repair: true }).await.unwrap();
        assert_eq!((report.broken.len(), report.repaired.len()), (2, 0), "{report:?}");
        bed.delete("o-001").await;
        bed.put("o-002", b"written anew").await;
        assert_eq!(bed.files.damage(10).await.unwrap(), vec![]);
    }
}

on_each_engine! {
    async fn space_of_tiny_and_of_unreferenced_blobs_is_reclaimed(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let bed = Bed::open(location, dir.path()).await;
        // The record of one byte occupies 48 bytes.
        for n in 0..6000u32 {
            bed.put(&format!("tiny-{}", n % 10), b"x").await;
        }
        for _ in 0..100 {
            let refused = bed.try_put("refused", &[7; 4000], Some("00000000000000000000000000000000")).await;
            assert_eq!(refused, Err(files::Error::WrongEtag));
        }
        bed.files.compact().await.unwrap();
        let left = bed.sealed();
        assert!(left.len() <= 1, "{left:?}");
        for n in 0..10 {
            assert_eq!(bed.get(&format!("tiny-{n}")).await.unwrap(), "x");
        }
        bed.assert_sound().await;
    }
}

on_each_engine! {
    async fn blobs_left_by_a_crash_are_measured_and_reclaimed(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let bed = Bed::open(location, dir.path()).await;
        bed.put("kept", &[1; 3000]).await;
        // Upload as a process does that dies before it commits the row.
        for _ in 0..60 {
            bed.blobs.put(blobs::BlobId::new(), Bytes::from(vec![2; 4000])).await.unwrap();
        }
        drop(bed);
        let bed = Bed::open(location, dir.path()).await;
        bed.files.compact().await.unwrap();
        assert!(bed.sealed().contains(&1), "nothing is known to be dead yet");
        bed.files.measure_volumes().await.unwrap();
        bed.files.compact().await.unwrap();
        assert!(!bed.sealed().contains(&1));
        assert!(bed.get("kept").await.unwrap() == vec![1; 3000]);
        bed.assert_sound().await;
    }
}

on_each_engine! {
    async fn a_volume_is_not_removed_while_an_upload_may_commit_its_row(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let bed = Bed::open(location, dir.path()).await;
        let placed = bed.blobs.put(blobs::BlobId::new(), Bytes::from(vec![2; 4000])).await.unwrap();
        bed.blobs.seal(1).await.unwrap();
        bed.files.compact().await.unwrap();
        assert_eq!(bed.sealed(), [1], "its row may still be committed");
        drop(placed);
        bed.files.compact().await.unwrap();
        assert_eq!(bed.sealed(), Vec::<i64>::new());
    }
}

on_each_engine! {
    async fn many_small_volumes_are_merged(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let mut expected = BTreeMap::new();
        for n in 0..20u32 {
            // Each start creates a volume.
            let bed = Bed::open(location, dir.path()).await;
            bed.put(&format!("o-{n}"), format!("{n}").as_bytes()).await;
            expected.insert(format!("o-{n}"), format!("{n}").into_bytes());
            bed.files.stop().await;
        }
        let bed = Bed::open(location, dir.path()).await;
        bed.files.compact().await.unwrap();
        // The service also merges on its own once there are too many.
        assert!(bed.sealed().len() <= 4, "{:?}", bed.sealed());
        bed.check(&expected).await;
        bed.assert_sound().await;
    }
}

on_each_engine! {
    async fn orphaned_files_are_kept_for_a_day(location: &Location) {
        let dir = tempfile::tempdir().unwrap();
        let bed = Bed::open(location, dir.path()).await;
        bed.put("named", &[3; 2_000_000]).await;
        let orphan = blobs::BlobId::new();
        let mut writer = bed.blobs.create(orphan).await.unwrap();
        writer.write(Bytes::from(vec![9; 2_000_000])).await.unwrap();
        writer.finish().await.unwrap();
        drop(bed);
        let bed = Bed::open(location, dir.path()).await;
        let aside = dir.path().join(format!("aside/{orphan}"));
        let waited = tokio::time::timeout(Duration::from_secs(60), async {
            while !aside.exists() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        waited.await.expect("the orphan is set aside");
        bed.files.delete_old_orphans(Duration::from_secs(86_400)).await.unwrap();
        assert!(aside.exists(), "it is kept for a day");
        bed.files.delete_old_orphans(Duration::ZERO).await.unwrap();
        assert!(!aside.exists());
        let (_, content) = bed.files.read_whole(&operator(), "AUTH_1", "c", "named").await.unwrap();
        assert!(matches!(content, Content::Stream(_)));
    }
}
