//! What the suite is given, and the things that it makes.

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

pub struct Setting {
    pub image: Image,
    pub virtual_bytes: u64,
    pub boot: Boot,
    /// Whether guests really run, so that their consoles and agents can be asked.
    pub runs_guests: bool,
    /// Network namespace of the host, from which guests can be dialled.
    pub namespace: Option<String>,
}

impl Setting {
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

/// The things of one run, named apart from other runs'.
pub struct Cast {
    pub public: NetworkSpec,
    pub private: NetworkSpec,
    pub image: Digest,
    pub machine: MachineSpec,
}

/// An address that the guest takes without having been given it.
pub const TAKEN: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 77);
/// Once DHCP has given the guest its own.
const TAKES_AN_ADDRESS: &str = "#!/bin/sh
(until ip addr show dev eth0 | grep -q 203.0.113.10; do sleep 1; done
ip addr add 203.0.113.77/24 dev eth0) >/dev/null 2>&1 &
";
pub const ADDRESS: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);

impl Cast {
    pub fn new(setting: &Setting) -> Self {
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
            boot: setting.boot.clone(),
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
            ("openstack/latest/user_data".to_owned(), TAKES_AN_ADDRESS.as_bytes().to_vec()),
            ("openstack/content/0000".to_owned(), b"a banner\n".to_vec()),
        ]
    }

    /// The machine after a resize.
    pub fn resized(&self) -> MachineSpec {
        MachineSpec { memory_mib: 320, disk_bytes: 384 << 20, ..self.machine.clone() }
    }
}

pub async fn networks(host: &dyn Hypervisor, cast: &Cast) {
    let capacity = host.capacity().await.unwrap();
    assert!(
        capacity.vcpus > 0 && capacity.memory_mib > 512 && capacity.disk_free_bytes <= capacity.disk_bytes
    );
    for network in [&cast.public, &cast.private, &cast.public] {
        host.ensure_network(network).await.unwrap();
    }
    let other = NetworkSpec { subnet: "203.0.115.0/24".parse().unwrap(), ..cast.public.clone() };
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

const PATIENCE: Duration = Duration::from_secs(240);

/// Waits until the condition gives something.
pub async fn eventually<T, F: Future<Output = Option<T>>>(what: &str, mut condition: impl FnMut() -> F) -> T {
    let begin = Instant::now();
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(begin.elapsed() < PATIENCE, "{what} did not come about in {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
