//! The implementation of [`Hypervisor`] for libvirt hosts.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use tokio::runtime::Handle;
use tokio::sync::{OnceCell, broadcast};
use uuid::Uuid;

use super::error::LibvirtError;
use super::link::{COPY, Link, PROCESS, QUICK};
use super::transfer::Cancellation;
use super::uri::Address;
use super::{accelerator, console, disks, images, machines, names, networks, received, snapshots};
use crate::{
    Accelerator, Capacity, ConfigDrive, ConsoleChunk, Digest, Error, Event, Hypervisor, ImageSource,
    ImageSpec, Mac, MachineSpec, MachineState, NetworkSpec, Progress, Reboot, Result, Snapshot, Usage, iso,
};

/// The label by which cloud-init finds a config drive.
const CONFIG_DRIVE_LABEL: &str = "config-2";

/// A libvirt host.
pub struct LibvirtHost {
    link: Arc<Link>,
    accelerator: Arc<OnceCell<Accelerator>>,
    /// File that stores the result of the accelerator's probe.
    probe_file: Option<PathBuf>,
}

impl LibvirtHost {
    /// Parses the URI. Does not connect yet. [`Error::BadUri`].
    pub fn new(uri: &str, state_dir: Option<&Path>) -> Result<Self> {
        let address = Address::parse(uri)?;
        let file: String =
            address.uri.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).collect();
        let probe_file = state_dir.map(|directory| directory.join(format!("accelerator-{file}.json")));
        Ok(Self { link: Link::new(address), accelerator: Arc::default(), probe_file })
    }

    /// Determines the accelerator. Concurrent and later calls share the result.
    fn find_accelerator(&self) -> impl Future<Output = Result<Accelerator>> + Send + use<> {
        let (link, known, probe_file) =
            (Arc::clone(&self.link), Arc::clone(&self.accelerator), self.probe_file.clone());
        async move {
            let find = || {
                link.run("accelerator", PROCESS, move |session| {
                    accelerator::find(session, probe_file.as_deref())
                })
            };
            known.get_or_try_init(find).await.copied()
        }
    }
}

#[async_trait]
impl Hypervisor for LibvirtHost {
    fn host(&self) -> &str {
        &self.link.address.uri
    }

    async fn capacity(&self) -> Result<Capacity> {
        if !self.accelerator.initialized() {
            // In the background: only definitions need the accelerator, so a host can be chosen before it is known.
            tokio::spawn(self.find_accelerator());
        }
        let read = move |session: &super::link::Session| {
            let (memory_kib, vcpus) = session.connection.node()?;
            let (qemu, libvirt) = session.connection.versions()?;
            session.store()?.refresh();
            let (disk_bytes, disk_free_bytes) = session.store()?.space()?;
            let version = format!("QEMU {}, libvirt {}", dotted(qemu), dotted(libvirt));
            let memory_mib = memory_kib / 1024;
            Ok(Capacity { vcpus, memory_mib, disk_bytes, disk_free_bytes, version })
        };
        self.link.run("capacity", QUICK, read).await
    }

    async fn accelerator(&self) -> Result<Accelerator> {
        self.find_accelerator().await
    }

    fn events(&self) -> broadcast::Receiver<Event> {
        self.link.events()
    }

    async fn ensure_network(&self, network: &NetworkSpec) -> Result<()> {
        let network = network.clone();
        self.link.run("ensure_network", PROCESS, move |session| networks::ensure(session, &network)).await
    }

    async fn remove_network(&self, name: &str) -> Result<()> {
        let name = name.to_owned();
        self.link.run("remove_network", PROCESS, move |session| networks::remove(session, &name)).await
    }

    async fn holds_image(&self, image: &Digest) -> Result<bool> {
        let image = image.clone();
        self.link.run("holds_image", QUICK, move |session| images::holds(session, &image)).await
    }

    async fn images(&self) -> Result<Vec<Digest>> {
        self.link.run("images", QUICK, images::list).await
    }

    async fn upload_image(&self, image: &ImageSpec, source: ImageSource, progress: &Progress) -> Result<()> {
        let (image, progress, runtime) = (image.clone(), progress.clone(), Handle::current());
        self.link
            .run_once("upload_image", COPY, move |session| {
                images::upload(session, &image, source, &progress, &runtime)
            })
            .await
    }

    async fn drop_image(&self, image: &Digest) -> Result<()> {
        let image = image.clone();
        self.link.run("drop_image", QUICK, move |session| images::drop_image(session, &image)).await
    }

    async fn ensure_disk(&self, machine: &MachineSpec) -> Result<()> {
        let machine = machine.clone();
        self.link.run("ensure_disk", PROCESS, move |session| disks::ensure(session, &machine)).await
    }

    async fn replace_disk(&self, machine: &MachineSpec) -> Result<()> {
        let machine = machine.clone();
        self.link.run("replace_disk", PROCESS, move |session| disks::replace(session, &machine)).await
    }

    async fn receive_disk(
        &self,
        machine: &MachineSpec,
        snapshot: Uuid,
        source: Snapshot,
        progress: &Progress,
    ) -> Result<()> {
        let (machine, progress, runtime) = (machine.clone(), progress.clone(), Handle::current());
        let (_guard, cancellation) = Cancellation::on_drop();
        let receive = move |session: &super::link::Session| {
            let source = Snapshot { reader: cancellation.reader(source.reader), ..source };
            received::receive(session, &machine, snapshot, source, &progress, &runtime, &cancellation)
        };
        self.link.run_once("receive_disk", COPY, receive).await
    }

    async fn ensure_config_drive(&self, machine: Uuid, files: &ConfigDrive) -> Result<()> {
        let refused =
            |bad: iso::BadPath| Error::Refused { operation: "ensure_config_drive", reason: bad.to_string() };
        let image = iso::image(CONFIG_DRIVE_LABEL, files).map_err(refused)?;
        let write = move |session: &super::link::Session| {
            session.store()?.write(&names::config_drive(machine), &image)
        };
        self.link.run("ensure_config_drive", QUICK, write).await
    }

    async fn define(&self, machine: &MachineSpec) -> Result<()> {
        let accelerator = self.find_accelerator().await?;
        let machine = machine.clone();
        self.link.run("define", QUICK, move |session| machines::define(session, &machine, accelerator)).await
    }

    async fn start(&self, machine: Uuid) -> Result<()> {
        self.link.run("start", PROCESS, move |session| machines::start(session, machine)).await
    }

    async fn stop(&self, machine: Uuid) -> Result<()> {
        self.link.run("stop", PROCESS, move |session| machines::stop(session, machine)).await
    }

    async fn ask_to_shut_down(&self, machine: Uuid) -> Result<()> {
        let ask = move |session: &super::link::Session| machines::ask_to_shut_down(session, machine);
        self.link.run("ask_to_shut_down", QUICK, ask).await
    }

    async fn reboot(&self, machine: Uuid, kind: Reboot) -> Result<()> {
        self.link.run("reboot", PROCESS, move |session| machines::reboot(session, machine, kind)).await
    }

    async fn pause(&self, machine: Uuid) -> Result<()> {
        self.link.run("pause", QUICK, move |session| machines::pause(session, machine)).await
    }

    async fn resume(&self, machine: Uuid) -> Result<()> {
        self.link.run("resume", QUICK, move |session| machines::resume(session, machine)).await
    }

    async fn state(&self, machine: Uuid) -> Result<MachineState> {
        self.link.run("state", QUICK, move |session| machines::state(session, machine)).await
    }

    async fn machines(&self) -> Result<Vec<MachineState>> {
        self.link.run("machines", QUICK, machines::list).await
    }

    async fn usage(&self, machine: Uuid) -> Result<Usage> {
        self.link.run("usage", QUICK, move |session| machines::usage(session, machine)).await
    }

    async fn console(&self, machine: Uuid, offset: u64, limit: usize) -> Result<ConsoleChunk> {
        self.link.run("console", QUICK, move |session| console::read(session, machine, offset, limit)).await
    }

    async fn set_password(&self, machine: Uuid, user: &str, password: &str) -> Result<()> {
        let (user, password) = (user.to_owned(), password.to_owned());
        let set =
            move |session: &super::link::Session| machines::set_password(session, machine, &user, &password);
        match self.link.run("set_password", QUICK, set).await {
            Err(Error::Timeout { operation, .. }) => {
                Err(LibvirtError::GuestSilent(machine).into_error(operation))
            }
            result => result,
        }
    }

    async fn set_addresses(&self, machine: Uuid, card: Mac, allowed: &[IpAddr]) -> Result<()> {
        let allowed = allowed.to_vec();
        let set =
            move |session: &super::link::Session| machines::set_addresses(session, machine, card, &allowed);
        self.link.run("set_addresses", QUICK, set).await
    }

    async fn begin_resize(&self, resized: &MachineSpec) -> Result<()> {
        let resized = resized.clone();
        self.link.run("begin_resize", PROCESS, move |session| disks::begin_resize(session, &resized)).await
    }

    async fn revert_resize(&self, original: &MachineSpec) -> Result<()> {
        let original = original.clone();
        self.link.run("revert_resize", PROCESS, move |session| disks::revert_resize(session, &original)).await
    }

    async fn confirm_resize(&self, machine: Uuid) -> Result<()> {
        self.link.run("confirm_resize", COPY, move |session| disks::confirm_resize(session, machine)).await
    }

    async fn take_snapshot(&self, machine: Uuid, snapshot: Uuid, progress: &Progress) -> Result<()> {
        let progress = progress.clone();
        let (_guard, cancellation) = Cancellation::on_drop();
        let take = move |session: &super::link::Session| {
            snapshots::take(session, machine, snapshot, &progress, &cancellation)
        };
        self.link.run("take_snapshot", COPY, take).await
    }

    async fn snapshot_bytes(&self, machine: Uuid) -> Result<u64> {
        self.link.run("snapshot_bytes", QUICK, move |session| snapshots::bytes(session, machine)).await
    }

    async fn open_snapshot(&self, snapshot: Uuid) -> Result<Snapshot> {
        let runtime = Handle::current();
        let open = move |session: &super::link::Session| {
            let _guard = runtime.enter();
            snapshots::open(session, snapshot)
        };
        self.link.run("open_snapshot", QUICK, open).await
    }

    async fn drop_snapshot(&self, snapshot: Uuid) -> Result<()> {
        let drop = move |session: &super::link::Session| snapshots::drop_snapshot(session, snapshot);
        self.link.run("drop_snapshot", QUICK, drop).await
    }

    async fn snapshots(&self) -> Result<Vec<Uuid>> {
        self.link.run("snapshots", QUICK, snapshots::list).await
    }

    async fn delete(&self, machine: Uuid) -> Result<()> {
        self.link.run("delete", PROCESS, move |session| machines::delete(session, machine)).await
    }
}

fn dotted(version: u64) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}
