//! Values of the hypervisor interface: machines, disks, networks, addresses and images by digest.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};
use std::pin::Pin;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};
use tokio::io::AsyncRead;
use uuid::Uuid;

/// Bytes that stream into or out of a host, never held whole in memory.
pub type Reader = Pin<Box<dyn AsyncRead + Send>>;

/// A host's total capacity. The caller keeps track of reservations.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Logical processors.
    pub vcpus: u32,
    /// Physical memory, in MiB.
    pub memory_mib: u64,
    /// Size of the file system that holds the disks, in bytes.
    pub disk_bytes: u64,
    /// Its free space, in bytes.
    pub disk_free_bytes: u64,
    /// Name and version of the hypervisor, for operators: `QEMU 7.2.22, libvirt 9.0.0`.
    pub version: String,
}

/// How guest instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the processor, through the kernel's KVM.
    Kvm,
    /// By translation in QEMU.
    Tcg,
    /// Guests do not run: the host is simulated.
    None,
}

/// Content address of an image: lower-case hexadecimal, 32 to 128 digits (MD5 to SHA-512).
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The hexadecimal digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The text is not 32 to 128 lower-case hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a digest must have 32 to 128 lower-case hexadecimal digits")]
pub struct BadDigest;

impl FromStr for Digest {
    type Err = BadDigest;

    fn from_str(text: &str) -> Result<Self, BadDigest> {
        let hexadecimal = text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        if hexadecimal && (32..=128).contains(&text.len()) {
            Ok(Self(text.to_owned()))
        } else {
            Err(BadDigest)
        }
    }
}

impl TryFrom<String> for Digest {
    type Error = BadDigest;

    fn try_from(text: String) -> Result<Self, BadDigest> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Hardware address of a network card, printed in lower case with colons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Mac(pub [u8; 6]);

/// The text is not six hexadecimal octets with colons between them.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a hardware address must be six hexadecimal octets with colons between them")]
pub struct BadMac;

impl FromStr for Mac {
    type Err = BadMac;

    fn from_str(text: &str) -> Result<Self, BadMac> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next().filter(|p| p.len() == 2).ok_or(BadMac)?;
            *octet = u8::from_str_radix(part, 16).map_err(|_| BadMac)?;
        }
        if parts.next().is_some() { Err(BadMac) } else { Ok(Self(octets)) }
    }
}

impl TryFrom<String> for Mac {
    type Error = BadMac;

    fn try_from(text: String) -> Result<Self, BadMac> {
        text.parse()
    }
}

impl From<Mac> for String {
    fn from(mac: Mac) -> Self {
        mac.to_string()
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

/// How a network's traffic leaves the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Forward {
    /// With address translation: guests can reach the outside; only the host can reach guests.
    Nat,
    /// Routed by the host; the surrounding network must have a route back.
    Route,
    /// No outside traffic: guests reach only each other and the host, and DHCP announces no default route.
    Isolated,
    /// A bridge created by the operator (`NetworkSpec::bridge`). The host adds no address and no DHCP to it, so
    /// guests take their addresses from the config drive.
    Bridge,
}

/// A network that machines attach to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkSpec {
    /// Name on the host: letters, digits, `-` and `_`, at most 40.
    pub name: String,
    /// Interface name of the bridge, at most 15 bytes; with [`Forward::Bridge`] it must exist.
    pub bridge: String,
    /// The addresses of the network.
    pub subnet: Ipv4Net,
    /// The host's own address in it, which DHCP announces as the router unless the network is isolated.
    pub gateway: Ipv4Addr,
    /// How traffic leaves the host.
    pub forward: Forward,
}

/// Format of a disk image. Always declared by the caller and never probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU's format: grows as it is written, and disks are layers over it.
    Qcow2,
    /// The disk's bytes as a guest sees them.
    Raw,
}

/// An image on a host. The caller has checked that it is safe (no backing file, no data file, no encryption) and that
/// the digest is correct.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// Its digest, by which machines refer to it.
    pub digest: Digest,
    /// Format of the disk bytes.
    pub format: DiskFormat,
    /// Length of the disk bytes as uploaded.
    pub size_bytes: u64,
    /// Size of the disk that a guest sees.
    pub virtual_bytes: u64,
    /// Lengths of kernel and initial RAM disk, in bytes, when the image can be booted without a boot loader.
    pub kernel_bytes: Option<u64>,
    /// As `kernel_bytes`; not every kernel needs an initial RAM disk.
    pub initrd_bytes: Option<u64>,
}

/// The streams of an image. Their lengths must match its [`ImageSpec`].
pub struct ImageSource {
    /// The disk in the declared format.
    pub disk: Reader,
    /// Present if and only if the spec has its length.
    pub kernel: Option<Reader>,
    /// Present if and only if the spec has its length.
    pub initrd: Option<Reader>,
}

/// How a machine boots.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// By the boot loader on its disk.
    Disk,
    /// By the kernel and initial RAM disk of its image, with this command line.
    Kernel {
        /// Passed to the kernel unchanged; it must name the root device, for example `root=/dev/vda1`.
        command_line: String,
    },
}

/// A network card of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Unique in the network; identifies the card in every later call.
    pub mac: Mac,
    /// Name of a network created by [`crate::Hypervisor::ensure_network`].
    pub network: String,
    /// The address that DHCP assigns to this card, if any. Ignored on [`Forward::Bridge`].
    pub lease: Option<Ipv4Addr>,
    /// All addresses that the guest may use on this card, including the leased one. Packets from any other address are dropped.
    pub allowed: Vec<IpAddr>,
}

/// The desired state of a machine. Every call that takes one may be repeated with the same value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Unique in the cloud and never reused: domain, disks and filters are named after it.
    pub id: Uuid,
    /// Shown to operators as the domain's title; any text, not unique.
    pub name: String,
    /// Memory of the guest in MiB, without QEMU's overhead.
    pub memory_mib: u64,
    /// Number of virtual processors.
    pub vcpus: u32,
    /// CPU weight relative to other machines, clamped to 2 to 10,000; 1024 is usual.
    pub cpu_shares: u32,
    /// Size of the disk that the guest sees; the image's own size if that is larger.
    pub disk_bytes: u64,
    /// The image that the disk is created from.
    pub image: Digest,
    /// Takes effect at the next start.
    pub boot: Boot,
    /// Network cards in the guest's order.
    pub nics: Vec<Nic>,
}

/// Files of the config drive by path from its root (`openstack/latest/meta_data.json`), with `/` between parts.
pub type ConfigDrive = Vec<(String, Vec<u8>)>;

/// How a machine is rebooted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reboot {
    /// The guest is asked, by its agent or else by the power button, and reboots itself.
    Soft,
    /// The machine is powered off and on.
    Hard,
}

/// The power state of a machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// No such machine on this host.
    Absent,
    /// Defined and not running: shut down or powered off.
    ShutOff,
    /// Running, or shutting down.
    Running,
    /// Paused by [`crate::Hypervisor::pause`], or by the host after a disk error (see the reason).
    Paused,
    /// Stopped unexpectedly: QEMU was killed or the guest panicked.
    Crashed,
}

/// The actual state of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    /// [`MachineSpec::id`].
    pub id: Uuid,
    /// The power state when it was read; it may have changed since.
    pub power: Power,
    /// The host's reason for it (`booted`, `destroyed`, `shutdown`, `crashed`, `ioerror`, …).
    pub reason: String,
}

/// A part of a machine's console log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsoleChunk {
    /// Position of the first byte of `bytes`: the requested one, or 0 if the log is shorter than that, because it was
    /// truncated.
    pub offset: u64,
    /// The bytes as the guest wrote them, with lines ending in CR LF. A multi-byte character may be split at either end.
    pub bytes: Vec<u8>,
    /// Current length of the whole log.
    pub end: u64,
}

/// A disk snapshot opened for reading: a qcow2 without a backing file.
pub struct Snapshot {
    /// Length of the stream in bytes.
    pub size_bytes: u64,
    /// Size of the disk that a guest sees.
    pub virtual_bytes: u64,
    /// Returns an error, never an early end, if the host fails during the transfer.
    pub reader: Reader,
}

/// A machine's usage since it was last started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time, in nanoseconds.
    pub cpu_ns: u64,
    /// Traffic of each network card, in the machine's order.
    pub nics: Vec<NicUsage>,
}

/// Traffic of one network card, from the guest's point of view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicUsage {
    /// [`Nic::mac`].
    pub mac: Mac,
    /// Counted since the machine was last started.
    pub received_bytes: u64,
    /// Counted since the machine was last started.
    pub sent_bytes: u64,
}

/// An event on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A machine changed its power state.
    Machine(MachineState),
    /// The host became unreachable.
    HostLost,
    /// The host is reachable again. Events may have been missed, so check every machine.
    HostBack,
}

/// Progress of a transfer, shared between the task that transfers and those that display it. Clones share the counters.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Returns a progress of 0 % with an unknown total.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the total number of bytes and resets the count to 0.
    pub fn begin(&self, total: u64) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// Adds transferred bytes.
    pub fn advance(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Sets the number of transferred bytes.
    pub fn set(&self, done: u64) {
        self.0.done.store(done, Ordering::Relaxed);
    }

    /// Returns the progress in percent, 0 to 100; 0 while the total is unknown.
    pub fn percent(&self) -> u8 {
        let total = self.0.total.load(Ordering::Relaxed);
        let done = self.0.done.load(Ordering::Relaxed).min(total);
        if total == 0 { 0 } else { (u128::from(done) * 100 / u128::from(total)) as u8 }
    }
}
