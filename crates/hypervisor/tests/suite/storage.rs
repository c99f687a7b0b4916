//! Images, disks and snapshots.

use std::net::{IpAddr, Ipv4Addr};

use hypervisor::{Error, Hypervisor, ImageSource, Power, Progress, Reader, Snapshot};
use tokio::io::AsyncReadExt;
use uuid::Uuid;

use super::config::{Image, SuiteConfig, TestObjects, assert_not_found, assert_refused};
use super::console::wait_for_boot;

pub async fn images(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let spec = config.image_spec(&objects.image);
    assert!(!host.holds_image(&objects.image).await.unwrap());
    let of_length = |length: usize| -> Reader {
        let mut bytes = config.image.disk.clone();
        bytes.resize(length, 0);
        Box::pin(std::io::Cursor::new(bytes))
    };
    let right = config.image.disk.len();
    for wrong in [right - 1, right + 1] {
        let source = ImageSource { disk: of_length(wrong), ..config.image_source() };
        assert_refused(host.upload_image(&spec, source, &Progress::new()).await);
    }
    let broken: Reader = Box::pin(broken_reader());
    let source = ImageSource { disk: broken, ..config.image_source() };
    assert!(matches!(
        host.upload_image(&spec, source, &Progress::new()).await,
        Err(Error::Failed { .. } | Error::Refused { .. })
    ));
    assert!(!host.holds_image(&objects.image).await.unwrap());
    for _ in 0..2 {
        let progress = Progress::new();
        host.upload_image(&spec, config.image_source(), &progress).await.unwrap();
        assert_eq!(progress.percent(), 100);
    }
    assert!(host.holds_image(&objects.image).await.unwrap());
    assert!(host.images().await.unwrap().contains(&objects.image));
}

/// Returns a reader that delivers some bytes and then an error.
fn broken_reader() -> impl tokio::io::AsyncRead + Send {
    let (mut sender, receiver) = tokio::io::duplex(64);
    tokio::spawn(async move {
        let _ = tokio::io::AsyncWriteExt::write_all(&mut sender, b"QFI").await;
    });
    receiver
}

async fn read_snapshot(host: &dyn Hypervisor, snapshot: Uuid, least: u64) -> Vec<u8> {
    let mut opened = host.open_snapshot(snapshot).await.unwrap();
    let mut bytes = Vec::new();
    opened.reader.read_to_end(&mut bytes).await.unwrap();
    assert_eq!(bytes.len() as u64, opened.size_bytes);
    assert!(bytes.starts_with(b"QFI\xfb"), "a qcow2");
    assert_eq!(bytes[8..16], [0; 8], "without a backing file");
    assert!(opened.virtual_bytes >= least);
    bytes
}

async fn take(host: &dyn Hypervisor, machine: Uuid) -> Uuid {
    let snapshot = Uuid::new_v4();
    for _ in 0..2 {
        let progress = Progress::new();
        host.take_snapshot(machine, snapshot, &progress).await.unwrap();
        assert_eq!(progress.percent(), 100);
    }
    assert!(host.snapshots().await.unwrap().contains(&snapshot));
    snapshot
}

async fn drop_snapshot(host: &dyn Hypervisor, snapshot: Uuid) {
    host.drop_snapshot(snapshot).await.unwrap();
    host.drop_snapshot(snapshot).await.unwrap();
    assert!(!host.snapshots().await.unwrap().contains(&snapshot));
    assert_not_found(host.open_snapshot(snapshot).await.map(|_| ()));
}

pub async fn snapshots(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let snapshot = take(host, objects.machine.id).await;
    let bytes = read_snapshot(host, snapshot, objects.machine.disk_bytes).await;
    if config.runs_guests {
        check_with_qemu_img(&bytes);
        machine_from_snapshot(host, config, objects, bytes).await;
    }
    drop_snapshot(host, snapshot).await;
    assert_eq!(host.state(objects.machine.id).await.unwrap().power, Power::Running);
}

const LEASES: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 20), Ipv4Addr::new(203, 0, 114, 20)];

/// A second machine on the networks of the first, without addresses yet.
fn second_machine(config: &SuiteConfig, objects: &TestObjects) -> TestObjects {
    let mut other = TestObjects::new(config);
    for (nic, network) in other.machine.nics.iter_mut().zip([&objects.public, &objects.private]) {
        nic.network = network.name.clone();
        nic.lease = None;
        nic.allowed = vec![];
    }
    other
}

fn give_addresses(other: &mut TestObjects) {
    for (nic, lease) in other.machine.nics.iter_mut().zip(LEASES) {
        nic.lease = Some(lease);
        nic.allowed = vec![IpAddr::V4(lease)];
    }
}

/// Checks that a second machine created from the first one's disk finds the data of the first one.
async fn machine_from_snapshot(
    host: &dyn Hypervisor,
    config: &SuiteConfig,
    objects: &TestObjects,
    bytes: Vec<u8>,
) {
    let mut other = second_machine(config, objects);
    let image =
        Image { disk: bytes, kernel: config.image.kernel.clone(), initrd: config.image.initrd.clone() };
    let config = SuiteConfig {
        image,
        virtual_bytes: objects.machine.disk_bytes,
        boot: config.boot.clone(),
        runs_guests: true,
        namespace: None,
    };
    let spec = config.image_spec(&other.image);
    host.upload_image(&spec, config.image_source(), &Progress::new()).await.unwrap();
    host.ensure_disk(&other.machine).await.unwrap();
    host.ensure_config_drive(other.machine.id, &other.config_drive()).await.unwrap();
    host.define(&other.machine).await.unwrap();
    // Without addresses its DHCP client would wait for a long time.
    give_addresses(&mut other);
    host.define(&other.machine).await.unwrap();
    host.start(other.machine.id).await.unwrap();
    let report = wait_for_boot(host, other.machine.id, 1).await;
    assert!(report.contains("personality=applied"), "a new instance: {report}");
    for lease in LEASES {
        assert!(
            report.contains(&format!(":{lease}")),
            "with the addresses of its second definition: {report}"
        );
    }
    assert!(report.contains("backup=/etc/banner.txt.bak."), "with the first one's file: {report}");
    host.delete(other.machine.id).await.unwrap();
    host.drop_image(&other.image).await.unwrap();
}

fn check_with_qemu_img(bytes: &[u8]) {
    let path = std::env::temp_dir().join(format!("snapshot-{}.qcow2", std::process::id()));
    std::fs::write(&path, bytes).unwrap();
    let check =
        std::process::Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&path).output().unwrap();
    assert!(check.status.success(), "{}", String::from_utf8_lossy(&check.stderr));
    std::fs::remove_file(path).unwrap();
}

pub async fn snapshot_of_machine_that_is_off(host: &dyn Hypervisor, objects: &TestObjects) {
    let snapshot = take(host, objects.machine.id).await;
    read_snapshot(host, snapshot, objects.machine.disk_bytes).await;
    drop_snapshot(host, snapshot).await;
}

/// Receives a disk from another host, as a migration does: the snapshot becomes the larger disk of a second machine.
pub async fn disk_from_another_host(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let snapshot = take(host, objects.machine.id).await;
    let mut other = second_machine(config, objects);
    give_addresses(&mut other);
    other.machine.disk_bytes = 384 << 20;
    let id = other.machine.id;
    let image = config.image_spec(&other.image);
    host.upload_image(&image, config.image_source(), &Progress::new()).await.unwrap();
    host.ensure_config_drive(id, &other.config_drive()).await.unwrap();
    // A stream that is too short, too long or broken creates no disk.
    let received =
        async |source: Snapshot| host.receive_disk(&other.machine, snapshot, source, &Progress::new()).await;
    for wrong in [-1, 1] {
        let whole = host.open_snapshot(snapshot).await.unwrap();
        let size_bytes = whole.size_bytes.checked_add_signed(wrong).unwrap();
        assert_refused(received(Snapshot { size_bytes, ..whole }).await);
    }
    let whole = host.open_snapshot(snapshot).await.unwrap();
    let broken = received(Snapshot { reader: Box::pin(broken_reader()), ..whole }).await;
    assert!(matches!(broken, Err(Error::Failed { .. } | Error::Refused { .. })), "{broken:?}");
    host.ensure_config_drive(id, &other.config_drive()).await.unwrap();
    assert_not_found(host.define(&other.machine).await);

    let progress = Progress::new();
    let whole = host.open_snapshot(snapshot).await.unwrap();
    let (size_bytes, virtual_bytes) = (whole.size_bytes, whole.virtual_bytes);
    host.receive_disk(&other.machine, snapshot, whole, &progress).await.unwrap();
    assert_eq!(progress.percent(), 100);
    // The disk exists already, so nothing is read.
    let empty = || Snapshot { size_bytes, virtual_bytes, reader: Box::pin(tokio::io::empty()) };
    received(empty()).await.unwrap();
    host.ensure_config_drive(id, &other.config_drive()).await.unwrap();
    host.define(&other.machine).await.unwrap();
    received(empty()).await.unwrap();
    if let Some(report) = boot(host, config, id, 1).await {
        assert!(fact(&report, "root-size") > 300 << 20, "{report}");
        assert!(report.contains("backup=/etc/banner.txt.bak."), "with the first one's file: {report}");
    } else {
        host.start(id).await.unwrap();
    }
    assert_refused(received(empty()).await);
    // Its disk has no image, but it boots the image's kernel.
    assert_refused(host.drop_image(&other.image).await);
    // A resize on this host adds a layer and merges it.
    host.stop(id).await.unwrap();
    host.begin_resize(&other.machine).await.unwrap();
    host.confirm_resize(id).await.unwrap();
    // Another snapshot replaces the disk.
    let again = Uuid::new_v4();
    let answer = host.receive_disk(&other.machine, again, empty(), &Progress::new()).await;
    assert_refused(answer);
    host.delete(id).await.unwrap();
    host.drop_image(&other.image).await.unwrap();
    drop_snapshot(host, snapshot).await;
}

/// Returns the value of a line like `NEPHOS-GUEST root-size=…`.
fn fact(report: &str, name: &str) -> u64 {
    let line = report.lines().rev().find_map(|line| line.split_once(&format!("NEPHOS-GUEST {name}=")));
    line.unwrap_or_else(|| panic!("{name} in {report}")).1.trim().parse().unwrap()
}

/// Starts the machine and returns its report.
async fn boot(host: &dyn Hypervisor, config: &SuiteConfig, machine: Uuid, boots: usize) -> Option<String> {
    host.start(machine).await.unwrap();
    if config.runs_guests { Some(wait_for_boot(host, machine, boots).await) } else { None }
}

pub async fn resize_and_revert(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let id = objects.machine.id;
    host.revert_resize(&objects.machine).await.unwrap();
    for _ in 0..2 {
        host.begin_resize(&objects.resized()).await.unwrap();
    }
    if let Some(report) = boot(host, config, id, 4).await {
        assert!(fact(&report, "memory") > 256 << 20, "{report}");
        assert!(fact(&report, "root-size") > 300 << 20, "{report}");
        assert!(report.contains("personality=kept"), "{report}");
    }
    assert_refused(host.begin_resize(&objects.resized()).await);
    assert_refused(host.revert_resize(&objects.machine).await);
    host.stop(id).await.unwrap();
    for _ in 0..2 {
        host.revert_resize(&objects.machine).await.unwrap();
    }
    if let Some(report) = boot(host, config, id, 5).await {
        assert!(fact(&report, "memory") < 256 << 20, "{report}");
        assert!(fact(&report, "root-size") < 256 << 20, "{report}");
    }
    host.stop(id).await.unwrap();
}

pub async fn resize_and_confirm(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let id = objects.machine.id;
    host.begin_resize(&objects.resized()).await.unwrap();
    boot(host, config, id, 6).await;
    for _ in 0..2 {
        host.confirm_resize(id).await.unwrap();
    }
    assert_eq!(host.state(id).await.unwrap().power, Power::Running);
    host.stop(id).await.unwrap();
    host.define(&objects.resized()).await.unwrap();
    host.begin_resize(&objects.resized()).await.unwrap();
    host.confirm_resize(id).await.unwrap();
    assert_eq!(host.state(id).await.unwrap().power, Power::ShutOff);
    if let Some(report) = boot(host, config, id, 7).await {
        assert!(fact(&report, "root-size") > 300 << 20, "{report}");
        assert!(report.contains("personality=kept"), "{report}");
    }
}

pub async fn rebuild(host: &dyn Hypervisor, config: &SuiteConfig, objects: &TestObjects) {
    let id = objects.machine.id;
    assert_refused(host.replace_disk(&objects.machine).await);
    assert_refused(host.drop_image(&objects.image).await);
    host.stop(id).await.unwrap();
    for _ in 0..2 {
        host.replace_disk(&objects.machine).await.unwrap();
    }
    host.define(&objects.machine).await.unwrap();
    if let Some(report) = boot(host, config, id, 8).await {
        assert!(report.contains("personality=applied"), "{report}");
        assert!(fact(&report, "root-size") < 256 << 20, "{report}");
    }
}
