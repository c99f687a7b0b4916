//! Images: who may use them, which ones a new one replaces, and which are rejected.

use std::time::Duration;

use database::on_each_engine;
use hypervisor::DiskFormat;
use images::{Error, Files, Id, Import, NewImage, Origin, Status, UnsafeImage};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use crate::bed::{GIB, TestBed, qemu_img};

on_each_engine! {
    async fn a_tenant_sees_its_own_the_operators_and_what_is_shared(location: &Location) {
        let bed = TestBed::new(location).await;
        let base = bed.images.ensure_simulated_image().await.unwrap();
        assert_eq!(bed.images.ensure_simulated_image().await.unwrap(), base);
        assert_eq!((base.number, base.status, base.owner.clone()), (1, Status::Active, None));
        let own = bed.snapshot("100", "gold", Origin::Snapshot, Uuid::new_v4()).await;
        assert_eq!(own.number, 2);
        assert_eq!(own.min_disk_gib, 10);
        assert_eq!(bed.names("100", None).await, [("Simulated".into(), false), ("gold".into(), false)]);
        assert_eq!(bed.names("200", None).await, [("Simulated".into(), false)]);
        assert!(matches!(bed.images.get("200", Id::Number(2)).await, Err(Error::NotFound)));
        assert!(matches!(bed.images.delete("200", Id::Number(2)).await, Err(Error::NotFound)));
        assert!(matches!(bed.images.delete("200", Id::Number(1)).await, Err(Error::OwnedByCloud)));

        bed.images.add_member("100", Id::Number(2), "200").await.unwrap();
        assert_eq!(bed.images.access("100", Id::Uuid(own.id)).await.unwrap().tenants, ["200"]);
        assert_eq!(bed.images.get("200", Id::Number(2)).await.unwrap().id, own.id);
        assert!(matches!(bed.images.delete("200", Id::Number(2)).await, Err(Error::NotOwner)));
        bed.images.remove_member("100", Id::Number(2), "200").await.unwrap();
        assert!(matches!(bed.images.get("200", Id::Number(2)).await, Err(Error::NotFound)));
        bed.images.publish("100", Id::Number(2), true).await.unwrap();
        assert_eq!(bed.names("300", None).await.len(), 2);
    }
}

on_each_engine! {
    async fn a_new_image_replaces_the_one_of_the_same_name_and_lists_show_the_deletion(location: &Location) {
        let bed = TestBed::new(location).await;
        let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
        let first = bed.snapshot("100", "gold", Origin::Snapshot, one).await;
        bed.snapshot("200", "gold", Origin::Snapshot, two).await;
        bed.snapshot("100", "daily", Origin::Daily, one).await;
        bed.snapshot("100", "daily", Origin::Daily, two).await;
        bed.clock.advance(Duration::from_secs(60));
        let since = bed.clock.now();
        let pins = || std::fs::read_dir(bed.dir.path().join("vault/pins")).unwrap().count();
        assert_eq!(pins(), 4);
        bed.snapshot("100", "gold", Origin::Snapshot, two).await;
        bed.snapshot("100", "daily", Origin::Daily, one).await;
        assert_eq!(pins(), 4);
        assert!(matches!(bed.images.by_id(first.id).await, Err(Error::NotFound)));
        let changed = bed.names("100", Some(since)).await;
        assert_eq!(changed, [("gold".into(), true), ("daily".into(), true), ("gold".into(), false), ("daily".into(), false)]);
        assert_eq!(bed.names("100", None).await.len(), 3);
        assert_eq!(bed.images.latest_change("100").await.unwrap(), Some(since));
        assert_eq!(bed.images.latest_change("300").await.unwrap(), None);

        bed.images.delete_of_server(one).await.unwrap();
        assert_eq!(bed.names("100", None).await, [("daily".into(), false), ("gold".into(), false)]);
        assert_eq!(pins(), 3);
    }
}

on_each_engine! {
    async fn an_image_in_flight_cannot_be_deleted_and_a_failed_one_stays_failed(location: &Location) {
        let bed = TestBed::new(location).await;
        let new = NewImage { id: Uuid::new_v4(), owner: "100".into(), name: "x".into(), server: (Uuid::new_v4(), 1), origin: Origin::Snapshot };
        let image = bed.images.begin(new).await.unwrap();
        assert!(matches!(bed.images.delete("100", Id::Number(image.number)).await, Err(Error::InFlight)));
        assert_eq!(bed.images.in_flight().await.unwrap().len(), 1);
        bed.images.fail(image.id, "no room").await.unwrap();
        bed.images.advance(image.id, Status::Saving, 10).await.unwrap();
        let failed = bed.images.by_id(image.id).await.unwrap();
        assert_eq!((failed.status, failed.reason.as_deref()), (Status::Failed, Some("no room")));
        bed.images.delete("100", Id::Number(image.number)).await.unwrap();
        assert!(bed.images.in_flight().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn valid_images_are_imported_and_read_back() {
    let scratch = database::testing::TestLocation::sqlite();
    let bed = TestBed::new(&scratch.location).await;
    let dir = bed.dir.path();
    qemu_img(dir, &["create", "-q", "-f", "qcow2", "a,b.qcow2", "3G"]);
    std::fs::write(dir.join("kernel"), b"kernel").unwrap();
    std::fs::write(dir.join("initrd"), b"initrd").unwrap();
    let image = bed.import(&dir.join("a,b.qcow2"), DiskFormat::Qcow2).await.unwrap();
    let content = image.content.clone().unwrap();
    assert_eq!((content.virtual_bytes, image.min_disk_gib, image.origin), (3 * GIB, 3, Origin::Base));
    let files = Files {
        disk: dir.join("a,b.qcow2"),
        kernel: Some(dir.join("kernel")),
        initrd: Some(dir.join("initrd")),
        command_line: Some("quiet".into()),
    };
    let import = Import { name: "direct".into(), format: DiskFormat::Qcow2, files };
    let direct = bed.images.import(import).await.unwrap();
    let with_kernel = direct.content.clone().unwrap();
    assert_ne!(with_kernel.digest, content.digest);
    assert_eq!(with_kernel.spec().kernel_bytes, Some(6));
    let mut read = Vec::new();
    bed.images.source(&direct).await.unwrap().initrd.unwrap().read_to_end(&mut read).await.unwrap();
    assert_eq!(read, b"initrd");
}

#[tokio::test]
async fn unsafe_images_are_rejected_with_their_reason() {
    let scratch = database::testing::TestLocation::sqlite();
    let bed = TestBed::new(&scratch.location).await;
    let dir = bed.dir.path();
    std::fs::write(dir.join("base.raw"), vec![0; 1 << 20]).unwrap();
    let rejection = async |file: &str| match bed.import(&dir.join(file), DiskFormat::Qcow2).await {
        Err(Error::Unsafe(why)) => why,
        other => panic!("{file}: {other:?}"),
    };
    qemu_img(dir, &["create", "-q", "-f", "qcow2", "-b", "base.raw", "-F", "raw", "backed.qcow2"]);
    assert_eq!(rejection("backed.qcow2").await, UnsafeImage::BackingFile);
    qemu_img(dir, &["create", "-q", "-f", "qcow2", "-o", "data_file=data.raw", "data.qcow2", "1G"]);
    assert_eq!(rejection("data.qcow2").await, UnsafeImage::DataFile);
    let secret = "secret,id=s,data=abc";
    let locked = "encrypt.format=aes,encrypt.key-secret=s";
    qemu_img(dir, &["create", "-q", "-f", "qcow2", "--object", secret, "-o", locked, "locked.qcow2", "1M"]);
    assert_eq!(rejection("locked.qcow2").await, UnsafeImage::Encrypted);
    qemu_img(dir, &["create", "-q", "-f", "qcow2", "huge.qcow2", "101G"]);
    assert_eq!(rejection("huge.qcow2").await, UnsafeImage::TooLarge { found: 101 * GIB, limit: 100 * GIB });
    assert_eq!(rejection("base.raw").await, UnsafeImage::NotOfFormat("qcow2"));
    // Truncated: its tables are beyond the end of the file.
    qemu_img(dir, &["create", "-q", "-f", "qcow2", "short.qcow2", "1G"]);
    let short = std::fs::read(dir.join("short.qcow2")).unwrap();
    std::fs::write(dir.join("short.qcow2"), &short[..70_000]).unwrap();
    let short = rejection("short.qcow2").await;
    assert!(matches!(short, UnsafeImage::Rejected(_)), "{short:?}");
    assert!(bed.names("100", None).await.is_empty());
    // A qcow2 with a backing file that is declared as raw is stored as plain bytes; the backing file is never opened.
    let mut bytes = std::fs::read(dir.join("backed.qcow2")).unwrap();
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    std::fs::write(dir.join("backed.qcow2"), bytes).unwrap();
    let raw = bed.import(&dir.join("backed.qcow2"), DiskFormat::Raw).await.unwrap();
    assert_eq!(raw.content.unwrap().format, DiskFormat::Raw);
}
