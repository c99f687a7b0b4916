//! The suite's parameters and the objects that it creates.

use std::future::Future;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use hypervisor::{
    Boot, ConfigDrive, Digest, DiskFormat, Error, Forward, Hypervisor, ImageSource, ImageSpec, Mac,
    MachineSpec, NetworkSpec, Nic, Reader,
};
use tokio::time::Instant;
use uuid::Uuid;

pub struct Image {
    pub disk: Vec<u8>,
    pub kernel: Vec<u8>,
    pub initrd: Vec<u8>,
}

pub struct SuiteConfig {
    pub image: Image,
    pub virtual_bytes: u64,
    pub boot: Boot,
    /// Whether guests run, so that their consoles and agents can be tested.
    pub runs_guests: bool,
    /// Network namespace of the host, from which guests can be reached.
    pub namespace: Option<String>,
}

impl SuiteConfig {
    pub fn simulated() -> Self {
        let image = Image { disk: vec![1; 300_000], kernel: vec![2; 1000], initrd: vec![3; 2000] };
        let boot = Boot::Kernel { command_line: "quiet".to_owned() };
        Self { image, virtual_bytes: 128 << 20, boot, runs_guests: false, namespace: None }
    }

    pub fn image_spec(&self, digest: &Digest) -> ImageSpec {
        ImageSpec {
            digest: digest.clone(),
            format: DiskFormat::Qcow2,
            size_bytes: self.image.disk.len() as u64,
            virtual_bytes: self.virtual_bytes,
            kernel_bytes: Some(self.image.kernel.len() as u64),
            initrd_bytes: Some(self.image.initrd.len() as u64),
        }
    }

    pub fn image_source(&self) -> ImageSource {
        let reader = |bytes: &Vec<u8>| -> Reader { Box::pin(std::io::Cursor::new(bytes.clone())) };
        ImageSource {
            disk: reader(&self.image.disk),
            kernel: Some(reader(&self.image.kernel)),
            initrd: Some(reader(&self.image.initrd)),
        }
    }
}

/// The objects of one run, with unique names.
pub struct TestObjects {
    pub public: NetworkSpec,
    pub private: NetworkSpec,
    pub image: Digest,
    pub machine: MachineSpec,
}

/// An address that the guest configures without being allowed to use it.
pub const FORBIDDEN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
/// Run in the guest once DHCP has assigned its address.
const ADD_FORBIDDEN_ADDRESS: &str = "#!/bin/sh
(until ip addr show dev eth0 | grep -q 203.0.113.10; do sleep 1; done
ip addr add 203.0.113.77/24 dev eth0) >/dev/null 2>&1 &
";
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

impl TestObjects {
    pub fn new(config: &SuiteConfig) -> Self {
        let id = Uuid::new_v4();
        let unique = id.simple().to_string();
        let network = |name: &str, third, forward| NetworkSpec {
            name: format!("{name}-{}", &unique[..8]),
            bridge: format!("{}{}", &name[..3], &unique[..8]),
            subnet: format!("203.0.{third}.0/24").parse().unwrap(),
            gateway: Ipv4Addr::new(203, 0, third, 1),
            forward,
        };
        let (public, private) =
            (network("public", 113, Forward::Nat), network("private", 114, Forward::Isolated));
        let card = |last, network: &NetworkSpec, lease: Ipv4Addr| Nic {
            mac: Mac([0x52, 0x54, 0, id.as_bytes()[0], id.as_bytes()[1], last]),
            network: network.name.clone(),
            lease: Some(lease),
            allowed: vec![IpAddr::V4(lease)],
        };
        let nics = vec![card(1, &public, ADDRESS), card(2, &private, Ipv4Addr::new(203, 0, 114, 10))];
        let image: Digest = unique.parse().unwrap();
        let machine = MachineSpec {
            id,
            name: "a <web> & \"server\"".to_owned(),
            memory_mib: 256,
            vcpus: 1,
            cpu_shares: 512,
            disk_bytes: 256 << 20,
            image: image.clone(),
            boot: config.boot.clone(),
            nics,
        };
        Self { public, private, image, machine }
    }

    pub fn config_drive(&self) -> ConfigDrive {
        let id = self.machine.id;
        let data = format!(
            r#"{{"uuid":"{id}","name":"web","hostname":"web","admin_pass":"first-Secret1",
            "files":[{{"path":"/etc/banner.txt","content_path":"/content/0000"}}]}}"#
        );
        vec![
            ("openstack/latest/meta_data.json".to_owned(), data.into_bytes()),
            ("openstack/latest/user_data".to_owned(), ADD_FORBIDDEN_ADDRESS.as_bytes().to_vec()),
            ("openstack/content/0000".to_owned(), b"a banner\n".to_vec()),
        ]
    }

    /// The machine after a resize.
    pub fn resized(&self) -> MachineSpec {
        MachineSpec { memory_mib: 320, disk_bytes: 384 << 20, ..self.machine.clone() }
    }
}

pub async fn networks(host: &dyn Hypervisor, objects: &TestObjects) {
    let capacity = host.capacity().await.unwrap();
    assert!(
        capacity.vcpus > 0 && capacity.memory_mib > 512 && capacity.disk_free_bytes <= capacity.disk_bytes
    );
    for network in [&objects.public, &objects.private, &objects.public] {
        host.ensure_network(network).await.unwrap();
    }
    let other = NetworkSpec { subnet: "203.0.115.0/24".parse().unwrap(), ..objects.public.clone() };
    let other = NetworkSpec { gateway: Ipv4Addr::new(203, 0, 115, 1), ..other };
    assert_refused(host.ensure_network(&other).await);
}

pub fn assert_refused<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert!(matches!(answer, Err(Error::Refused { .. })), "{answer:?}");
}

pub fn assert_not_found<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert!(matches!(answer, Err(Error::NotFound { .. })), "{answer:?}");
}

pub fn assert_no_machine<T: std::fmt::Debug>(answer: Result<T, Error>) {
    assert!(matches!(answer, Err(Error::NoMachine { .. })), "{answer:?}");
}

const TIMEOUT: Duration = Duration::from_secs(240);

/// Waits until the condition returns a value.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begin.elapsed() < TIMEOUT, "{what} did not happen within {TIMEOUT:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
