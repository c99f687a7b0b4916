//! Registration of uploaded objects: a job that survives a crash accepts or rejects them and leaves nothing behind.

use std::sync::Arc;
use std::time::Duration;

use database::on_each_engine;
use hypervisor::DiskFormat;
use images::{Error, Id, Origin, Registration, Status, VaultError};
use tokio::io::AsyncReadExt;

use crate::bed::{GIB, TestBed, qemu_img};

on_each_engine! {
    async fn an_object_is_pinned_at_registration_and_checked_by_a_job(location: &Location) {
        let bed = TestBed::new(location).await;
        let uploads = bed.uploads();
        qemu_img(&uploads, &["create", "-q", "-f", "qcow2", "good", "2G"]);
        let bytes = std::fs::read(uploads.join("good")).unwrap();
        let image = bed.register("good", DiskFormat::Qcow2).await.unwrap();
        assert_eq!((image.owner.as_deref(), image.status, image.progress), (Some("100"), Status::Queued, 0));
        assert_eq!((image.origin, image.server), (Origin::Upload, None));
        // Deleting the object does not affect the image.
        std::fs::remove_file(uploads.join("good")).unwrap();
        let image = bed.finished(image.id).await;
        assert_eq!((image.status, image.reason.clone(), image.min_disk_gib), (Status::Active, None, 2));
        let mut read = Vec::new();
        bed.images.source(&image).await.unwrap().disk.read_to_end(&mut read).await.unwrap();
        assert_eq!(read, bytes);
        assert_eq!(bed.remaining_files(), (1, 0));
        bed.images.delete("100", Id::Uuid(image.id)).await.unwrap();
        assert_eq!(bed.remaining_files(), (0, 0));
    }
}

on_each_engine! {
    async fn the_same_bytes_in_another_format_have_another_digest(location: &Location) {
        let bed = TestBed::new(location).await;
        qemu_img(&bed.uploads(), &["create", "-q", "-f", "qcow2", "gold", "1G"]);
        // A raw image needs whole sectors.
        let mut bytes = std::fs::read(bed.uploads().join("gold")).unwrap();
        bytes.resize(bytes.len().next_multiple_of(512), 0);
        std::fs::write(bed.uploads().join("gold"), bytes).unwrap();
        let mut digests = Vec::new();
        for format in [DiskFormat::Qcow2, DiskFormat::Raw, DiskFormat::Qcow2] {
            let image = bed.register("gold", format).await.unwrap();
            digests.push(bed.finished(image.id).await.content.unwrap().digest);
        }
        assert_ne!(digests[0], digests[1], "hosts would cache both under one key");
        assert_eq!(digests[0], digests[2], "hosts would fetch the same image twice");
    }
}

on_each_engine! {
    async fn a_rejected_object_gives_a_failed_image_with_the_reason_and_leaves_no_file(location: &Location) {
        let bed = TestBed::new(location).await;
        let uploads = bed.uploads();
        std::fs::write(uploads.join("base"), vec![0; 1 << 20]).unwrap();
        std::fs::write(uploads.join("odd"), vec![0; 1000]).unwrap();
        std::fs::write(uploads.join("empty"), []).unwrap();
        qemu_img(&uploads, &["create", "-q", "-f", "qcow2", "-b", "base", "-F", "raw", "backed"]);
        qemu_img(&uploads, &["create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "data", "1G"]);
        qemu_img(&uploads, &["create", "-q", "-f", "qcow2", "--object", "secret,id=s,data=abc",
                             "-o", "encrypt.format=aes,encrypt.key-secret=s", "locked", "1M"]);
        qemu_img(&uploads, &["create", "-q", "-f", "qcow2", "huge", "101G"]);
        qemu_img(&uploads, &["create", "-q", "-f", "qcow2", "short", "1G"]);
        let short = std::fs::read(uploads.join("short")).unwrap();
        std::fs::write(uploads.join("short"), &short[..70_000]).unwrap();
        for (object, format, expected) in [
            ("backed", DiskFormat::Qcow2, "backing file"),
            ("data", DiskFormat::Qcow2, "data file"),
            ("locked", DiskFormat::Qcow2, "encrypted"),
            ("huge", DiskFormat::Qcow2, "virtual size"),
            ("short", DiskFormat::Qcow2, "rejected"),
            ("base", DiskFormat::Qcow2, "not a qcow2"),
            ("odd", DiskFormat::Raw, "whole sectors"),
            ("empty", DiskFormat::Raw, "whole sectors"),
        ] {
            let image = bed.register(object, format).await.unwrap();
            let image = bed.finished(image.id).await;
            let reason = image.reason.clone().unwrap_or_default();
            assert_eq!((image.status, image.content.clone()), (Status::Failed, None), "{object}");
            assert!(reason.contains(expected) && !reason.contains("scratch"), "{object}: {reason}");
            bed.wait_until_clean(object).await;
            bed.images.delete("100", Id::Uuid(image.id)).await.unwrap();
        }
    }
}

on_each_engine! {
    async fn a_request_that_is_rejected_creates_no_image(location: &Location) {
        let bed = TestBed::new(location).await;
        let missing = bed.register("nothing", DiskFormat::Raw).await;
        assert!(matches!(missing, Err(Error::Vault(VaultError::NotFound(_)))), "{missing:?}");
        std::fs::File::create(bed.uploads().join("vast")).unwrap().set_len(512).unwrap();
        let nameless = Registration {
            owner: "100".into(), name: " ".into(), format: DiskFormat::Raw, container: "uploads".into(), object: "vast".into(), images_max: 100,
        };
        assert!(matches!(bed.images.register(nameless).await, Err(Error::Invalid { field: "name", .. })));
        let small = TestBed::with_limit(location, Arc::clone(&bed.dir), bed.clock.clone(), 511).await;
        let over = small.register("vast", DiskFormat::Raw).await;
        assert!(matches!(over, Err(Error::OverLimit(_))), "{over:?}");
        assert_eq!(small.remaining_files(), (0, 0));
        // The number of unfinished registrations is limited: each may need its size in the scratch directory.
        bed.images.stop().await;
        for _ in 0..10 {
            bed.register("vast", DiskFormat::Raw).await.unwrap();
        }
        let refused = bed.register("vast", DiskFormat::Raw).await;
        assert!(matches!(refused, Err(Error::OverLimit(_))), "{refused:?}");
        assert_eq!(bed.remaining_files(), (10, 0));
        assert_eq!(bed.names("100", None).await.len(), 10);
    }
}

on_each_engine! {
    async fn a_registration_continues_after_a_crash(location: &Location) {
        let first = TestBed::new(location).await;
        let (dir, clock) = (Arc::clone(&first.dir), first.clock.clone());
        qemu_img(&first.uploads(), &["create", "-q", "-f", "qcow2", "good", "2G"]);
        drop(first);
        // An incomplete copy, as a crash leaves it.
        std::fs::create_dir_all(dir.path().join("scratch")).unwrap();
        std::fs::write(dir.path().join("scratch/half"), b"half").unwrap();
        let (theirs, at, then) = (location.clone(), Arc::clone(&dir), clock.clone());
        let crashed = std::thread::spawn(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let image = runtime.block_on(async {
                let bed = TestBed::over(&theirs, at, then).await;
                let _blocked = bed.before_read.write().await;
                let image = bed.register("good", DiskFormat::Qcow2).await.unwrap();
                while bed.images.by_id(image.id).await.unwrap().status != Status::Preparing {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                image
            });
            runtime.shutdown_background();
            image
        });
        let image = crashed.join().unwrap();
        // The next process has the database to itself and does not wait for the lease to expire.
        let _lock = database::ExclusiveLock::take(location).await.unwrap().expect("free");
        let second = TestBed::over(location, dir, clock).await;
        let image = second.finished(image.id).await;
        assert_eq!((image.status, image.reason), (Status::Active, None));
        assert_eq!(second.remaining_files(), (1, 0));
    }
}

on_each_engine! {
    async fn stopping_does_not_wait_for_a_registration_and_the_next_process_completes_it(location: &Location) {
        let bed = TestBed::new(location).await;
        std::fs::write(bed.uploads().join("raw"), vec![0; 512]).unwrap();
        let blocked = bed.before_read.write().await;
        let image = bed.register("raw", DiskFormat::Raw).await.unwrap();
        while bed.images.by_id(image.id).await.unwrap().status != Status::Preparing {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        bed.images.stop().await;
        drop(blocked);
        assert_eq!(bed.images.by_id(image.id).await.unwrap().status, Status::Preparing);
        let next = TestBed::over(location, Arc::clone(&bed.dir), bed.clock.clone()).await;
        assert_eq!(next.finished(image.id).await.status, Status::Active);
    }
}

on_each_engine! {
    async fn a_request_that_crashes_between_pin_and_image_leaves_no_pin(location: &Location) {
        let bed = TestBed::new(location).await;
        std::fs::write(bed.uploads().join("raw"), vec![0; 512]).unwrap();
        let blocked = bed.after_pin.write().await;
        {
            let registering = bed.register("raw", DiskFormat::Raw);
            tokio::pin!(registering);
            while bed.remaining_files().0 == 0 {
                tokio::select! {
                    _ = &mut registering => panic!("the vault is blocked"),
                    () = tokio::time::sleep(Duration::from_millis(2)) => {}
                }
            }
        }
        drop(blocked);
        bed.images.unpin_discarded().await.unwrap();
        assert_eq!(bed.remaining_files(), (1, 0), "another process may be about to use the pin");
        bed.clock.advance(Duration::from_secs(601));
        bed.images.unpin_discarded().await.unwrap();
        assert_eq!(bed.remaining_files(), (0, 0));
        assert!(bed.names("100", None).await.is_empty());
    }
}

on_each_engine! {
    async fn a_registration_fails_at_its_deadline(location: &Location) {
        let bed = TestBed::new(location).await;
        std::fs::write(bed.uploads().join("raw"), vec![0; GIB as usize / 1024]).unwrap();
        bed.images.stop().await;
        let image = bed.register("raw", DiskFormat::Raw).await.unwrap();
        let next = TestBed::over(location, Arc::clone(&bed.dir), bed.clock.clone()).await;
        let _blocked = next.before_read.write().await;
        bed.clock.advance(Duration::from_secs(4 * 3600));
        let image = next.finished(image.id).await;
        assert_eq!(image.status, Status::Failed);
        assert!(image.reason.unwrap().contains("4 hours"));
        next.wait_until_clean("after the deadline").await;
    }
}

#[tokio::test]
async fn a_new_upload_replaces_only_its_owners_image_of_the_same_name() {
    let scratch = database::testing::TestLocation::sqlite();
    let bed = TestBed::new(&scratch.location).await;
    std::fs::write(bed.uploads().join("gold"), vec![0; 512]).unwrap();
    let own = bed.snapshot("100", "gold", Origin::Snapshot, uuid::Uuid::new_v4()).await;
    let theirs = bed.snapshot("200", "gold", Origin::Snapshot, uuid::Uuid::new_v4()).await;
    bed.images.add_member("200", Id::Uuid(theirs.id), "100").await.unwrap();
    let new = bed.register("gold", DiskFormat::Raw).await.unwrap();
    assert_eq!(bed.finished(new.id).await.status, Status::Active);
    assert!(matches!(bed.images.by_id(own.id).await, Err(Error::NotFound)));
    assert_eq!(bed.images.get("100", Id::Uuid(theirs.id)).await.unwrap().status, Status::Active);
    // A failed registration replaces nothing.
    std::fs::write(bed.uploads().join("gold"), vec![0; 100]).unwrap();
    let failed = bed.register("gold", DiskFormat::Raw).await.unwrap();
    assert_eq!(bed.finished(failed.id).await.status, Status::Failed);
    assert_eq!(bed.images.by_id(new.id).await.unwrap().status, Status::Active);
}

on_each_engine! {
    async fn a_copy_waits_until_there_is_enough_free_space(location: &Location) {
        let bed = TestBed::new(location).await;
        qemu_img(&bed.uploads(), &["create", "-q", "-f", "qcow2", "good", "1G"]);
        std::fs::write(bed.uploads().join("raw"), vec![0; 1 << 20]).unwrap();
        let length = std::fs::metadata(bed.uploads().join("good")).unwrap().len();
        bed.set_free(2 * length - 1 + 100);
        let waiting = bed.register("good", DiskFormat::Qcow2).await.unwrap();
        bed.wait_for_retries(waiting.id).await;
        // A raw image is not copied.
        let raw = bed.register("raw", DiskFormat::Raw).await.unwrap();
        assert_eq!(bed.finished(raw.id).await.status, Status::Active);
        assert!(bed.images.by_id(waiting.id).await.unwrap().status.in_flight());
        bed.set_free(2 * length + 100);
        assert_eq!(bed.finished(waiting.id).await.status, Status::Active);
    }
}

on_each_engine! {
    async fn the_number_of_a_tenants_registered_images_is_limited(location: &Location) {
        let bed = TestBed::new(location).await;
        for object in ["a", "b", "c", "odd"] {
            std::fs::write(bed.uploads().join(object), vec![0; 512]).unwrap();
        }
        std::fs::write(bed.uploads().join("odd"), [0; 100]).unwrap();
        let register = async |object: &str| {
            let (owner, container) = ("100".into(), "uploads".into());
            let (name, object) = (object.into(), object.into());
            bed.images.register(Registration { owner, name, format: DiskFormat::Raw, container, object, images_max: 2 }).await
        };
        // Failed uploads and snapshots do not count.
        bed.snapshot("100", "snapshot", Origin::Snapshot, uuid::Uuid::new_v4()).await;
        for object in ["odd", "a", "b"] {
            bed.finished(register(object).await.unwrap().id).await;
        }
        let over = register("c").await;
        assert!(matches!(over, Err(Error::OverLimit(_))), "{over:?}");
        assert_eq!(bed.remaining_files().0, 3, "no pin is left of the rejected one");
        // A replacement does not count.
        let again = bed.finished(register("b").await.unwrap().id).await;
        assert_eq!(again.status, Status::Active);
        bed.images.delete("100", Id::Uuid(again.id)).await.unwrap();
        assert_eq!(bed.finished(register("c").await.unwrap().id).await.status, Status::Active);
    }
}

on_each_engine! {
    async fn a_pin_created_after_the_sweep_discarded_it_is_removed(location: &Location) {
        let bed = TestBed::new(location).await;
        std::fs::write(bed.uploads().join("raw"), vec![0; 512]).unwrap();
        let blocked = bed.before_pin.write().await;
        let registering = bed.register("raw", DiskFormat::Raw);
        tokio::pin!(registering);
        tokio::select! {
            _ = &mut registering => panic!("the vault is blocked"),
            () = bed.pin_requested.notified() => {}
        }
        bed.clock.advance(Duration::from_secs(601));
        bed.images.unpin_discarded().await.unwrap();
        drop(blocked);
        let late = registering.await;
        assert!(matches!(late, Err(Error::Vault(VaultError::Failed(_)))), "{late:?}");
        assert_eq!(bed.remaining_files(), (0, 0));
        assert!(bed.names("100", None).await.is_empty());
    }
}
