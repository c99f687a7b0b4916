//! Hosts that run virtual machines.
//!
//! A [`Hypervisor`] is one host. It knows machines, disks, networks, addresses, packet filters and images by digest;
//! it knows nothing of tenants, flavors or HTTP. Two kinds exist: libvirt hosts, reached by any libvirt URI, and
//! simulated ones, which behave alike and run nothing. A third stands for a host that is given up.
//!
//! Everything that changes a host is a small step that may be repeated: a job that died between two steps, or in the
//! middle of one, asks again and ends where it would have ended. A machine is built by `ensure_disk`,
//! `ensure_config_drive`, `define` and `start`, in that order, after its networks and its image are there.

mod error;
pub mod faulty;
mod gone;
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
pub use gone::GoneHost;
pub use model::{
    Accelerator, BadDigest, BadMac, Boot, Capacity, ConfigDrive, ConsoleChunk, Digest, DiskFormat, Event,
    Forward, ImageSource, ImageSpec, Mac, MachineSpec, MachineState, NetworkSpec, Nic, NicUsage, Power,
    Progress, Reader, Reboot, Snapshot, Usage,
};
pub use open::{Options, open};

/// One host that runs machines.
///
/// Every call may answer [`Error::Unreachable`], [`Error::Timeout`] and [`Error::Failed`]; further errors are named
/// at each. Calls for different machines run side by side; calls for one machine must come one after the other.
#[async_trait]
pub trait Hypervisor: Send + Sync + 'static {
    /// The host's name, unique in this cloud and stable: its URI without our own query keys, or `simulated-1`.
    fn host(&self) -> &str;

    /// What the host can carry.
    async fn capacity(&self) -> Result<Capacity>;

    /// How guests run here. Waits, at most some seconds, until that is known; so does [`Hypervisor::define`].
    async fn accelerator(&self) -> Result<Accelerator>;

    /// What happens from now on, once any other call has been made. A receiver that lags misses events, and must
    /// look at [`Hypervisor::machines`]. An event is a reason to ask [`Hypervisor::state`], not the truth itself.
    fn events(&self) -> broadcast::Receiver<Event>;

    /// Makes a network and starts it, now and with the host. [`Error::Refused`] if one of that name exists with
    /// another bridge, subnet, gateway or forwarding, or if the bridge or subnet is taken.
    async fn ensure_network(&self, network: &NetworkSpec) -> Result<()>;

    /// Removes a network; well if it is absent. [`Error::Refused`] while machines are attached.
    async fn remove_network(&self, name: &str) -> Result<()>;

    /// Whether the host holds an image completely.
    async fn holds_image(&self, image: &Digest) -> Result<bool>;

    /// Every image held completely.
    async fn images(&self) -> Result<Vec<Digest>>;

    /// Brings an image to the host; done at once if it is held. `progress` counts bytes of disk, kernel and initrd.
    /// [`Error::Refused`] if a stream is shorter or longer than stated, [`Error::NoCapacity`] if it does not fit.
    /// Nothing is held unless this ends well.
    async fn upload_image(&self, image: &ImageSpec, source: ImageSource, progress: &Progress) -> Result<()>;

    /// Forgets an image, or what an upload left of it; well if it is absent. [`Error::Refused`] while a disk is
    /// based on it or a machine boots its kernel.
    async fn drop_image(&self, image: &Digest) -> Result<()>;

    /// Makes the machine's disk from its image; keeps a disk that is there. [`Error::NotFound`] if the image is not
    /// held, [`Error::NoCapacity`].
    async fn ensure_disk(&self, machine: &MachineSpec) -> Result<()>;

    /// Makes the machine's disk anew from its (other) image. [`Error::Refused`] while the machine runs,
    /// [`Error::NotFound`] if the image is not held. Call [`Hypervisor::define`] next: kernel and size may differ.
    async fn replace_disk(&self, machine: &MachineSpec) -> Result<()>;

    /// Makes the machine's disk from a snapshot of another host, enlarged to what the machine is to have, instead of all
    /// that this host has of the machine; done at once if it was made from that `snapshot`. It depends on no image.
    /// `progress` counts bytes. [`Error::Refused`] while the machine runs or if the stream is shorter or longer than
    /// stated, [`Error::NoCapacity`]. The disk is there once this ends well, and not before.
    async fn receive_disk(
        &self,
        machine: &MachineSpec,
        snapshot: Uuid,
        source: Snapshot,
        progress: &Progress,
    ) -> Result<()>;

    /// Writes the machine's config drive (label `config-2`), replacing one that is there. A running guest may go
    /// on seeing the old content until it is power-cycled. [`Error::Refused`] for a bad path.
    async fn ensure_config_drive(&self, machine: Uuid, files: &ConfigDrive) -> Result<()>;

    /// Defines the machine and its packet filters, or brings those that exist to this value; memory, processors and boot
    /// of a running machine change at its next start. DHCP reservations that it is not to have any more are gone then;
    /// those that it is to have are there once it is started. [`Error::NotFound`] if a network,
    /// the disk, the config drive or the image's kernel is missing.
    async fn define(&self, machine: &MachineSpec) -> Result<()>;

    /// Starts a defined machine; well if it runs already. Waits until the accelerator is known.
    /// [`Error::NoMachine`], [`Error::NoCapacity`].
    async fn start(&self, machine: Uuid) -> Result<()>;

    /// Cuts the power; well if the machine does not run. [`Error::NoMachine`].
    async fn stop(&self, machine: Uuid) -> Result<()>;

    /// Asks the guest to shut down and returns at once; that it did is seen by its state or event. Well if the
    /// machine does not run. [`Error::NoMachine`], [`Error::Refused`] while it is paused.
    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()>;

    /// Restarts the machine. `Soft` returns once the guest was asked; `Hard` returns once it runs anew, with the
    /// last defined memory and processors, and also starts a machine that does not run. [`Error::NoMachine`],
    /// [`Error::Refused`] for `Soft` when it is not running.
    async fn reboot(&self, machine: Uuid, kind: Reboot) -> Result<()>;

    /// Holds a running machine in memory; well if it is held. [`Error::NoMachine`], [`Error::Refused`] if it does
    /// not run.
    async fn pause(&self, machine: Uuid) -> Result<()>;

    /// Lets a held machine go on; well if it runs. [`Error::NoMachine`], [`Error::Refused`] if it is shut off.
    async fn resume(&self, machine: Uuid) -> Result<()>;

    /// The machine's power state; [`Power::Absent`] is an answer, not an error.
    async fn state(&self, machine: Uuid) -> Result<MachineState>;

    /// Every machine that this crate defined on the host.
    async fn machines(&self) -> Result<Vec<MachineState>>;

    /// What the machine's processors and cards have done; zeros while it does not run. [`Error::NoMachine`].
    async fn usage(&self, machine: Uuid) -> Result<Usage>;

    /// Reads the console log from `offset`, at most `limit` bytes; empty at the end. [`Error::NoMachine`].
    async fn console(&self, machine: Uuid, offset: u64, limit: usize) -> Result<ConsoleChunk>;

    /// Sets a user's password in the running guest through its agent. [`Error::GuestSilent`] if there is no agent
    /// or it does not answer in time, [`Error::Refused`] if the machine does not run or the guest refuses.
    async fn set_password(&self, machine: Uuid, user: &str, password: &str) -> Result<()>;

    /// Gives a card exactly these addresses, at once if the machine runs. They last until the machine is defined
    /// anew with others. [`Error::NoMachine`], [`Error::NotFound`] if it has no such card.
    async fn set_addresses(&self, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Result<()>;

    /// Gives a machine that is shut off other memory, processors and a larger disk, keeping what is needed to go
    /// back; the disk never shrinks. [`Error::NoMachine`], [`Error::Refused`] while it runs, [`Error::NoCapacity`].
    async fn begin_resize(&self, resized: &MachineSpec) -> Result<()>;

    /// Goes back: the machine, shut off, is as it was before `begin_resize`, what the guest wrote since included in
    /// what is lost. Well if nothing was begun. [`Error::NoMachine`], [`Error::Refused`] while it runs.
    async fn revert_resize(&self, original: &MachineSpec) -> Result<()>;

    /// Keeps the resized machine for good, running or not, and frees what was kept to go back. Well if nothing was
    /// begun. [`Error::NoMachine`].
    async fn confirm_resize(&self, machine: Uuid) -> Result<()>;

    /// Takes a snapshot of the machine's disk as it is now, running (file systems frozen by the agent if there is
    /// one) or not, and keeps it on the host under `snapshot`; done at once if that is there. `progress` counts
    /// bytes. [`Error::NoMachine`], [`Error::NoCapacity`].
    async fn take_snapshot(&self, machine: Uuid, snapshot: Uuid, progress: &Progress) -> Result<()>;

    /// How many bytes a snapshot of the machine's disk takes at most, as the disk is now. [`Error::NoMachine`].
    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64>;

    /// Opens a snapshot to be read from its beginning: a qcow2 without a backing file. [`Error::NotFound`].
    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot>;

    /// Removes a snapshot, or what is left of one; well if it is absent.
    async fn drop_snapshot(&self, snapshot: Uuid) -> Result<()>;

    /// Every snapshot on the host, complete or not, for sweeping.
    async fn snapshots(&self) -> Result<Vec<Uuid>>;

    /// Removes the machine with its disks, config drive, console log, filters and reservations; well if it, or part
    /// of it, is absent.
    async fn delete(&self, machine: Uuid) -> Result<()>;
}
