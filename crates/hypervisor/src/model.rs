//! What a host knows: machines, disks, networks, addresses and images by digest. Plain values without behaviour
//! beyond their own invariants.

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

/// What a host can carry. Allocation is the caller's book-keeping: these are the host's own totals.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capacity {
    /// Logical processors.
    pub vcpus: u32,
    /// Physical memory, in MiB.
    pub memory_mib: u64,
    /// Size of the file system that holds the disks, in bytes.
    pub disk_bytes: u64,
    /// What of it is free now, in bytes.
    pub disk_free_bytes: u64,
    /// Name and version of what runs them, for operators: `QEMU 7.2.22, libvirt 9.0.0`.
    pub version: String,
}

/// How guest instructions are executed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// By the processor, through the kernel.
    Kvm,
    /// By translation in QEMU.
    Tcg,
    /// Not at all: the host is simulated.
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
#[error("a digest is 32 to 128 lower-case hexadecimal digits")]
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
#[error("a hardware address is six hexadecimal octets with colons between them")]
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
    /// Behind the host's own address; guests reach out, nobody reaches in but the host.
    Nat,
    /// Routed by the host; the surrounding network must know the way back.
    Route,
    /// Not at all: guests and the host only, and DHCP announces no default route.
    Isolated,
    /// A bridge that the operator made (`NetworkSpec::bridge`); the host adds no address and no DHCP to it, so
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

/// Format of a disk image, always stated by the caller and never probed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DiskFormat {
    /// QEMU's own: grows as it is written, and disks are made as layers over it.
    Qcow2,
    /// The disk's bytes as a guest sees them.
    Raw,
}

/// An image to be held by a host. The caller has checked that it is harmless (no backing file, no data file, no
/// encryption) and that the digest is right.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageSpec {
    /// Content address; the name under which machines refer to it.
    pub digest: Digest,
    /// Format of the disk bytes.
    pub format: DiskFormat,
    /// Length of the disk bytes as uploaded.
    pub size_bytes: u64,
    /// Size of the disk that a guest sees.
    pub virtual_bytes: u64,
    /// Lengths of kernel and initial RAM disk, in bytes, when the image can be booted without a boot loader.
    pub kernel_bytes: Option<u64>,
    /// As `kernel_bytes`; a kernel may do without one.
    pub initrd_bytes: Option<u64>,
}

/// The streams of an image: exactly as long as its [`ImageSpec`] says.
pub struct ImageSource {
    /// In the format that the spec states.
    pub disk: Reader,
    /// There exactly if the spec states its length.
    pub kernel: Option<Reader>,
    /// There exactly if the spec states its length.
    pub initrd: Option<Reader>,
}

/// How a machine starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Boot {
    /// By the boot loader on its disk.
    Disk,
    /// By the kernel and initial RAM disk held with its image, with this command line.
    Kernel {
        /// Handed to the kernel as it is, so it names the root device, as in `root=/dev/vda1`.
        command_line: String,
    },
}

/// A network card of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Nic {
    /// Unique in the network; names the card in every later call.
    pub mac: Mac,
    /// Name of a network that [`crate::Hypervisor::ensure_network`] made.
    pub network: String,
    /// The address that DHCP hands to this card, if any. Ignored on [`Forward::Bridge`].
    pub lease: Option<Ipv4Addr>,
    /// Every address the guest may use here, the leased one included; packets from any other are dropped.
    pub allowed: Vec<IpAddr>,
}

/// A machine as it shall be. Every call that takes one may be repeated with the same value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct MachineSpec {
    /// Unique in the cloud; names the domain, the disks and the filters, so never reused.
    pub id: Uuid,
    /// Shown to operators as the domain's title; any text, not unique.
    pub name: String,
    /// What the guest sees, in MiB; QEMU's own need comes on top.
    pub memory_mib: u64,
    /// Processors that the guest sees.
    pub vcpus: u32,
    /// Weight against other machines when processors are contended, 2 to 10,000 (beyond counts as
    /// the bound); 1024 is usual.
    pub cpu_shares: u32,
    /// Size of the disk that the guest sees; the image's own size if that is larger.
    pub disk_bytes: u64,
    /// The image that the disk starts from.
    pub image: Digest,
    /// Takes effect at the next start.
    pub boot: Boot,
    /// Network cards in the guest's order.
    pub nics: Vec<Nic>,
}

/// Files of the config drive by path from its root (`openstack/latest/meta_data.json`), with `/` between parts.
pub type ConfigDrive = Vec<(String, Vec<u8>)>;

/// How a machine is restarted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reboot {
    /// The guest is asked, by its agent or else by the power button, and restarts itself.
    Soft,
    /// The power is cut and comes back.
    Hard,
}

/// Whether a machine runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Power {
    /// No such machine on this host.
    Absent,
    /// Defined and not running, by its own or anyone's wish.
    ShutOff,
    /// Its processors run, or it is being shut down and has not ended yet.
    Running,
    /// Held by [`crate::Hypervisor::pause`], or by the host after a disk error (see the reason).
    Paused,
    /// Ended without being asked: QEMU was killed or the guest panicked.
    Crashed,
}

/// A machine as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineState {
    /// [`MachineSpec::id`].
    pub id: Uuid,
    /// When the host was asked; it may have changed since.
    pub power: Power,
    /// The host's own word for how it came there (`booted`, `destroyed`, `shutdown`, `crashed`, `ioerror`, …).
    pub reason: String,
}

/// A piece of a machine's console log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConsoleChunk {
    /// Position of the first byte of `bytes`: as asked for, or 0 when the log is shorter than that, since it then
    /// began anew.
    pub offset: u64,
    /// As the guest wrote them: any bytes, lines ending in CR LF, characters cut at either end.
    pub bytes: Vec<u8>,
    /// Length of the whole log now.
    pub end: u64,
}

/// A disk snapshot ready to be read: a self-contained qcow2.
pub struct Snapshot {
    /// Length of the stream in bytes.
    pub size_bytes: u64,
    /// Size of the disk that a guest sees.
    pub virtual_bytes: u64,
    /// Ends in an error, never early, if the host fails in the middle.
    pub reader: Reader,
}

/// What a machine has used since it was last started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Usage {
    /// Processor time, in nanoseconds.
    pub cpu_ns: u64,
    /// Counters of each card, in the machine's order.
    pub nics: Vec<NicUsage>,
}

/// Bytes through one card, as the guest sees them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NicUsage {
    /// [`Nic::mac`].
    pub mac: Mac,
    /// Counted since the machine was last started.
    pub received_bytes: u64,
    /// Counted since the machine was last started.
    pub sent_bytes: u64,
}

/// Something happened on a host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// A machine changed its power state.
    Machine(MachineState),
    /// The host stopped answering.
    HostLost,
    /// The host answers again; events may have been missed, so look at every machine.
    HostBack,
}

/// How far a transfer is; shared between the one who moves bytes and those who show it.
#[derive(Debug, Clone, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    done: AtomicU64,
    total: AtomicU64,
}

impl Progress {
    /// Of an unknown total, so at 0 %.
    pub fn new() -> Self {
        Self::default()
    }

    /// States how many bytes there will be, and begins at none.
    pub fn begin(&self, total: u64) {
        self.0.done.store(0, Ordering::Relaxed);
        self.0.total.store(total, Ordering::Relaxed);
    }

    /// Counts bytes moved.
    pub fn advance(&self, bytes: u64) {
        self.0.done.fetch_add(bytes, Ordering::Relaxed);
    }

    /// States how many bytes have been moved.
    pub fn set(&self, done: u64) {
        self.0.done.store(done, Ordering::Relaxed);
    }

    /// Hundredths done, 0 to 100; 0 before the total is known.
    pub fn percent(&self) -> u8 {
        let total = self.0.total.load(Ordering::Relaxed);
        let done = self.0.done.load(Ordering::Relaxed).min(total);
        if total == 0 { 0 } else { (u128::from(done) * 100 / u128::from(total)) as u8 }
    }
}
