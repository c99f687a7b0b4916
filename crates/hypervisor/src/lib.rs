//! Hosts that run virtual machines.
//!
//! A [`Hypervisor`] is one host. It manages machines, disks, networks, addresses, packet filters and images by
//! digest. It does not know tenants, flavors or HTTP. There are libvirt hosts, reached by any libvirt URI, and
//! simulated hosts, which behave the same but run nothing. A third implementation stands in for a host that was
//! declared lost.
//!
//! Every call that changes a host is small and idempotent: a job that crashed between two calls, or during one,
//! repeats the call and continues. A machine is built by `ensure_disk`, `ensure_config_drive`, `define` and `start`,
//! in that order, after its networks and its image exist.

mod error;
mod evacuated;
pub mod faulty;
mod iso;
pub mod libvirt;
mod model;
mod open;
pub mod simulated;

use std::net::IpAddr;

use async_trait::async_trait;
use tokio::sync::broadcast;
use uuid::Uuid;

pub use error::{Error, Result};
pub use evacuated::EvacuatedHost;
pub use model::{
    Accelerator, BadDigest, BadMac, Boot, Capacity, ConfigDrive, ConsoleChunk, Digest, DiskFormat, Event,
    Forward, ImageSource, ImageSpec, Mac, MachineSpec, MachineState, NetworkSpec, Nic, NicUsage, Power,
    Progress, Reader, Reboot, Snapshot, Usage,
};
pub use open::{Options, open};

/// One host that runs machines.
///
/// Every call may return [`Error::Unreachable`], [`Error::Timeout`] and [`Error::Failed`]; each call lists its
/// further errors. Calls for different machines may run concurrently. The caller must not make two calls for one
/// machine at the same time.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// The host's name, unique in this cloud and stable: its URI without Nephos' own query keys, or `simulated-1`.
    fn host(&self) -> &str;

    /// Returns the host's capacity.
    async fn capacity(&self) -> Result<Capacity>;

    /// Returns how guests run on this host. Waits a few seconds at most until that is known; so does [`Hypervisor::define`].
    async fn accelerator(&self) -> Result<Accelerator>;

    /// Subscribes to the host's events. They are sent only after any other call has been made. A receiver that lags
    /// misses events and must read [`Hypervisor::machines`]. The state in an event may be outdated: read
    /// [`Hypervisor::state`].
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Creates and starts a network, and lets it start with the host. [`Error::Refused`] if a network with this name
    /// has another bridge, subnet, gateway or forwarding, or if the bridge or subnet is in use.
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<()>;

    /// Removes a network. Succeeds if absent. [`Error::Refused`] while machines are attached.
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// Returns whether the host has a complete image.
    async fn holds_image(&self, image: &Digest) -> Result<bool>;

    /// Returns all complete images.
    async fn images(&self) -> Result<Vec<Digest>>;

    /// Copies an image to the host; returns at once if the host has it. `progress` counts bytes of disk, kernel and
    /// initrd. [`Error::Refused`] if a stream is shorter or longer than declared, [`Error::NoCapacity`] if it does
    /// not fit. After an error the image does not count as complete.
    async fn upload_image(&self, image: &ImageSpec, source: ImageSource, progress: &Progress) -> Result<()>;

    /// Removes an image, complete or not. Succeeds if absent. [`Error::Refused`] while a disk is based on it or a
    /// machine boots its kernel.
    async fn drop_image(&self, image: &Digest) -> Result<()>;

    /// Creates the machine's disk from its image; keeps an existing disk. [`Error::NotFound`] if the host lacks the image,
    /// [`Error::NoCapacity`].
    async fn ensure_disk(&self, machine: &MachineSpec) -> Result<()>;

    /// Replaces the machine's disk by a new one from its image, which may have changed. [`Error::Refused`] while the
    /// machine runs, [`Error::NotFound`] if the host lacks the image. Call [`Hypervisor::define`] next: kernel and
    /// size may differ.
    async fn replace_disk(&self, machine: &MachineSpec) -> Result<()>;

    /// Creates the machine's disk from a snapshot of another host, enlarged to the machine's disk size. Replaces
    /// everything that this host has of the machine; returns at once if the disk was created from this `snapshot`.
    /// The disk depends on no image. `progress` counts bytes. [`Error::Refused`] while the machine runs or if the
    /// stream is shorter or longer than declared, [`Error::NoCapacity`]. After an error there is no disk.
    async fn receive_disk(
        &self,
        machine: &MachineSpec,
        snapshot: Uuid,
        source: Snapshot,
        progress: &Progress,
    ) -> Result<()>;

    /// Writes or replaces the machine's config drive (label `config-2`). A running guest may see the old content until it is
    /// power-cycled. [`Error::Refused`] for an invalid path.
    async fn ensure_config_drive(&self, machine: Uuid, files: &ConfigDrive) -> Result<()>;

    /// Creates or updates the machine's definition and its packet filters. Memory, processors and boot settings of a
    /// running machine change at its next start. Obsolete DHCP reservations are removed at once; new ones exist once
    /// the machine is started. [`Error::NotFound`] if a network, the disk, the config drive or the image's kernel is
    /// missing.
    async fn define(&self, machine: &MachineSpec) -> Result<()>;

    /// Starts a defined machine. Succeeds if it runs already.
    /// [`Error::NoMachine`], [`Error::NoCapacity`].
    async fn start(&self, machine: Uuid) -> Result<()>;

    /// Powers the machine off. Succeeds if it does not run. [`Error::NoMachine`].
    async fn stop(&self, machine: Uuid) -> Result<()>;

    /// Asks the guest to shut down and returns at once. Watch its state or events to see whether it does. Succeeds if
    /// the machine does not run. [`Error::NoMachine`], [`Error::Refused`] while it is paused.
    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()>;

    /// Reboots the machine. `Soft` returns once the guest was asked. `Hard` returns once the machine runs again, with
    /// the last defined memory and processors, and also starts a machine that is off. [`Error::NoMachine`],
    /// [`Error::Refused`] for `Soft` if it does not run.
    async fn reboot(&self, machine: Uuid, kind: Reboot) -> Result<()>;

    /// Pauses a running machine. Succeeds if it is paused already. [`Error::NoMachine`], [`Error::Refused`] if it is off.
    async fn pause(&self, machine: Uuid) -> Result<()>;

    /// Resumes a paused machine. Succeeds if it runs already. [`Error::NoMachine`], [`Error::Refused`] if it is off.
    async fn resume(&self, machine: Uuid) -> Result<()>;

    /// Returns the machine's power state; [`Power::Absent`] if there is no such machine, which is not an error.
    async fn state(&self, machine: Uuid) -> Result<MachineState>;

    /// Returns every machine on the host that this crate defined.
    async fn machines(&self) -> Result<Vec<MachineState>>;

    /// Returns the machine's processor time and traffic; zeros while it does not run. [`Error::NoMachine`].
    async fn usage(&self, machine: Uuid) -> Result<Usage>;

    /// Reads the console log from `offset`, at most `limit` bytes; empty at the end. [`Error::NoMachine`].
    async fn console(&self, machine: Uuid, offset: u64, limit: usize) -> Result<ConsoleChunk>;

    /// Sets a user's password in the running guest through its agent. [`Error::GuestSilent`] if there is no agent
    /// or it does not respond in time, [`Error::Refused`] if the machine does not run or the guest rejects the password.
    async fn set_password(&self, machine: Uuid, user: &str, password: &str) -> Result<()>;

    /// Sets the allowed addresses of a network card, at once if the machine runs. They stay until the machine is
    /// defined with others. [`Error::NoMachine`], [`Error::NotFound`] if it has no such card.
    async fn set_addresses(&self, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Result<()>;

    /// Changes memory, processors and disk size of a machine that is off, and keeps what
    /// [`Hypervisor::revert_resize`] needs. The disk never shrinks. [`Error::NoMachine`], [`Error::Refused`] while it
    /// runs, [`Error::NoCapacity`].
    async fn begin_resize(&self, resized: &MachineSpec) -> Result<()>;

    /// Restores a machine that is off to its state before `begin_resize`. Data that the guest wrote since is lost.
    /// Succeeds if no resize is in progress. [`Error::NoMachine`], [`Error::Refused`] while it runs.
    async fn revert_resize(&self, original: &MachineSpec) -> Result<()>;

    /// Confirms a resize, whether the machine runs or not, and deletes what was kept for a revert. Succeeds if no resize is in
    /// progress. [`Error::NoMachine`].
    async fn confirm_resize(&self, machine: Uuid) -> Result<()>;

    /// Takes a snapshot of the machine's disk and stores it on the host under the id `snapshot`; returns at once if
    /// it exists. The machine may run; then the agent, if there is one, freezes its file systems. `progress` counts
    /// bytes. [`Error::NoMachine`], [`Error::NoCapacity`].
    async fn take_snapshot(&self, machine: Uuid, snapshot: Uuid, progress: &Progress) -> Result<()>;

    /// Returns the maximum size in bytes of a snapshot of the machine's disk taken now. [`Error::NoMachine`].
    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64>;

    /// Opens a snapshot for reading: a qcow2 without a backing file. [`Error::NotFound`].
    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot>;

    /// Removes a snapshot, complete or not. Succeeds if absent.
    async fn drop_snapshot(&self, snapshot: Uuid) -> Result<()>;

    /// Returns every snapshot on the host, complete or not.
    async fn snapshots(&self) -> Result<Vec<Uuid>>;

    /// Removes the machine with its disks, config drive, console log, filters and reservations. Succeeds if it, or a
    /// part of it, is absent.
    async fn delete(&self, machine: Uuid) -> Result<()>;
}
