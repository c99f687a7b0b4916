//! Orders: one action on one server, checked by the state machine and recorded with its job in one transaction.

use std::net::Ipv4Addr;
use std::time::Duration;

use database::Tx;
use uuid::Uuid;
use work::{Time, jobs};

use super::enqueue::RequestedBy;
use super::limits::absolute_limit;
use super::{Error, Inner};
use crate::model::{Action, Flavor, Id, NewImage, Other, Reboot, Refusal, Server, Task, WorkItem};
use crate::store;
use crate::store::hosts::Size;

/// Time that an order waits for an image's job that only has its cleanup left.
const IMAGE_CLEANUP_TIMEOUT: Duration = Duration::from_secs(10);
/// Time that an order waits for a confirmation in progress, and the interval at which it polls.
const CONFIRMATION_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// An action on a server with its parameters.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Rename(String),
    /// The new password, encrypted, and optionally a new name.
    Password {
        sealed: Vec<u8>,
        name: Option<String>,
    },
    Reboot(Reboot),
    Rebuild {
        image: Uuid,
        number: i64,
    },
    Resize(&'static Flavor),
    Confirm,
    Revert,
    Image(NewImage),
    Share {
        address: Ipv4Addr,
        group: i64,
        configure: bool,
    },
    Unshare(Ipv4Addr),
    Delete {
        during_build: bool,
    },
    Suspend,
    Resume,
    Start,
}

/// Who requests an action. Without a tenant the operator or the cloud itself does, on servers of any tenant.
#[derive(Clone, Debug, Default)]
pub(super) struct Requester {
    pub(super) tenant: Option<String>,
    pub(super) user: String,
    pub(super) request: String,
    pub(super) operator: bool,
}

impl Order {
    fn action(&self) -> Action {
        match self {
            Self::Rename(_) => Action::Rename,
            Self::Password { .. } => Action::ChangePassword,
            Self::Reboot(kind) => Action::Reboot(*kind),
            Self::Rebuild { .. } => Action::Rebuild,
            Self::Resize(_) => Action::Resize,
            Self::Confirm => Action::ConfirmResize,
            Self::Revert => Action::RevertResize,
            Self::Image(_) => Action::CreateImage,
            Self::Share { configure, .. } => Action::ShareIp { configure: *configure },
            Self::Unshare(_) => Action::UnshareIp,
            Self::Delete { during_build } => Action::Delete { during_build: *during_build },
            Self::Suspend => Action::Suspend,
            Self::Resume => Action::Resume,
            Self::Start => Action::Start,
        }
    }

    /// Returns its name in the action log, and its work item; `None` if it needs no job.
    fn work(&self, server: &Server) -> (&'static str, Option<WorkItem>) {
        match self.clone() {
            Self::Rename(_) => ("rename", None),
            Self::Password { sealed, .. } => {
                ("changePassword", Some(WorkItem::Password { sealed: hex::encode(sealed) }))
            }
            Self::Reboot(kind) => ("reboot", Some(WorkItem::Reboot { kind })),
            Self::Rebuild { .. } => ("rebuild", Some(WorkItem::Rebuild)),
            Self::Resize(flavor) => ("resize", {
                let to = server.other.as_ref().map(|other| other.host.clone());
                Some(WorkItem::Resize { flavor: flavor.number, to })
            }),
            Self::Confirm => ("confirmResize", Some(WorkItem::Confirm)),
            Self::Revert => ("revertResize", Some(WorkItem::Revert)),
            Self::Image(image) => ("createImage", Some(WorkItem::Image(image))),
            Self::Share { address, configure, .. } => {
                ("shareIp", Some(WorkItem::Share { address, configure }))
            }
            Self::Unshare(address) => ("unshareIp", Some(WorkItem::Unshare { address })),
            Self::Delete { .. } => ("delete", Some(WorkItem::Delete)),
            Self::Suspend => ("suspend", Some(WorkItem::Suspend)),
            Self::Resume => ("resume", Some(WorkItem::Resume)),
            Self::Start => ("start", Some(WorkItem::Start)),
        }
    }
}

#[derive(Clone)]
struct Accept {
    id: Id,
    order: Order,
    by: Requester,
    now: Time,
    deadline: Time,
    /// Deadline of a resize to another host, which has to copy the disk.
    migration_deadline: Time,
    disk_overcommit: i64,
}

impl Inner {
    /// Accepts an order and returns the changed server, or rejects it and changes nothing.
    pub(super) async fn accept(&self, id: Id, order: Order, by: Requester) -> Result<Server, Error> {
        let deadlines = &self.settings.deadlines;
        let time_limit = match &order {
            Order::Rebuild { .. } | Order::Resize(_) => deadlines.build,
            Order::Image(_) => deadlines.image,
            _ => deadlines.short,
        };
        let now = self.clock.now();
        let disk_overcommit = self.settings.disk_overcommit;
        let deletes = matches!(order, Order::Delete { .. });
        let migration_deadline = now.after(deadlines.build + deadlines.image);
        let deadline = now.after(time_limit);
        let accept = Accept { id, order, by, now, deadline, migration_deadline, disk_overcommit };
        let server = match self.write(accept.clone()).await {
            Err(Error::Refused(Refusal::BackupOrResizeInProgress))
                if self.image_is_done(&accept).await? || self.confirmation_is_done(&accept).await? =>
            {
                self.write(accept).await?
            }
            written => written?,
        };
        if deletes {
            self.machine_lock(server.id).interrupt();
        }
        self.wake();
        Ok(server)
    }

    async fn write(&self, accept: Accept) -> Result<Server, Error> {
        self.db.write(accept, |accept, tx| Box::pin(write(accept, tx))).await
    }

    /// Returns whether an order that was rejected because of an image may be retried: the image's job has ended, or
    /// has only its cleanup left, which this waits for. A client that sees the image ACTIVE must be able to request
    /// the next action.
    async fn image_is_done(&self, accept: &Accept) -> Result<bool, Error> {
        let found = self.db.read(accept.clone(), |accept, tx| Box::pin(find_server(accept, tx)));
        let server = found.await?;
        match server.state.task {
            None => return Ok(true),
            Some(Task::Imaging) if !self.images.has_image_in_flight(server.id).await? => {}
            Some(_) => return Ok(false),
        }
        // The job holds the machine's lock until its outcome is committed.
        let lock = self.machine_lock(server.id);
        Ok(tokio::time::timeout(IMAGE_CLEANUP_TIMEOUT, lock.acquire()).await.is_ok())
    }

    /// Returns whether an order that was rejected because of a confirmation may be retried, after waiting for the
    /// confirmation. A client that got its 204 must be able to request the next action.
    async fn confirmation_is_done(&self, accept: &Accept) -> Result<bool, Error> {
        // Orders of the cloud itself come from jobs, which hold the machine's lock that the confirmation may be waiting for.
        if accept.by.tenant.is_none() || matches!(accept.order, Order::Confirm | Order::Revert) {
            return Ok(false);
        }
        let found = self.db.read(accept.clone(), |accept, tx| Box::pin(find_server(accept, tx)));
        self.wait_for_confirmation(&found.await?).await
    }

    /// Waits for a confirmation in progress. Returns `false` if there is none or it does not end in time.
    pub(super) async fn wait_for_confirmation(&self, server: &Server) -> Result<bool, Error> {
        if server.state.task != Some(Task::ResizeConfirming) {
            return Ok(false);
        }
        let ended = async {
            loop {
                // The job holds the lock while it runs, but it may not have started.
                drop(self.machine_lock(server.id).acquire().await);
                let found = self
                    .db
                    .read(server.id, |id, tx| Box::pin(async move { store::servers::by_id(tx, *id).await }));
                match found.await? {
                    Some(server) if server.state.task == Some(Task::ResizeConfirming) => {
                        tokio::time::sleep(POLL_INTERVAL).await;
                    }
                    _ => return Ok(true),
                }
            }
        };
        tokio::time::timeout(CONFIRMATION_TIMEOUT, ended).await.unwrap_or(Ok(false))
    }
}

/// Returns the server that an order is for.
async fn find_server(accept: &Accept, tx: &mut Tx) -> Result<Server, Error> {
    let found = match (&accept.by.tenant, accept.id) {
        (Some(tenant), id) => store::servers::of_tenant(tx, tenant, id).await?,
        (None, Id::Uuid(id)) => store::servers::by_id(tx, id).await?,
        (None, Id::Number(number)) => store::servers::by_number(tx, number).await?,
    };
    found.ok_or(Error::NotFound("server"))
}

async fn write(accept: &Accept, tx: &mut Tx) -> Result<Server, Error> {
    let Accept { order, by, now, .. } = accept;
    let mut server = find_server(accept, tx).await?;
    if server.locked && !by.operator {
        return Err(Error::Conflict("the server is locked".into()));
    }
    if server.state.task == Some(Task::Deleting) && matches!(order, Order::Delete { .. }) {
        return Ok(server);
    }
    let state = server.state.admit(order.action())?;
    prepare(accept, tx, &mut server).await?;
    server.state = state;
    server.updated = *now;
    store::servers::update(tx, &server).await?;
    let (name, work) = order.work(&server);
    match work {
        Some(work) => {
            let migrates = matches!(work, WorkItem::Resize { to: Some(_), .. });
            let deadline = if migrates { accept.migration_deadline } else { accept.deadline };
            let by = RequestedBy { request: &by.request, user: &by.user };
            work.enqueue(tx, &server, name, by, *now, deadline).await?;
        }
        None => {
            let entry = store::actions::begin(tx, server.id, name, &by.request, &by.user, *now).await?;
            store::actions::finish(tx, &entry, None, *now).await?;
        }
    }
    Ok(server)
}

/// Checks and reserves what an order needs in addition to the state machine's check.
async fn prepare(accept: &Accept, tx: &mut Tx, server: &mut Server) -> Result<(), Error> {
    match &accept.order {
        Order::Rename(name) | Order::Password { name: Some(name), .. } => server.name.clone_from(name),
        Order::Rebuild { image, number } => {
            (server.image, server.image_number, server.progress) = (*image, *number, 0);
            server.fault = None;
        }
        Order::Resize(flavor) => {
            server.progress = 0;
            reserve_resize(accept, tx, server, flavor).await?;
        }
        Order::Share { address, group, .. } => check_share(tx, server, *address, *group).await?,
        Order::Unshare(address) => {
            let held = server.interfaces.iter().flat_map(|port| &port.addresses);
            match held.into_iter().find(|held| held.address == *address) {
                None => return Err(Error::NotFound("address")),
                Some(held) if !held.shared => {
                    return Err(Error::invalid("address", "is the server's own, not a shared one"));
                }
                Some(_) => {}
            }
        }
        Order::Delete { .. } => {
            jobs::cancel_all(tx, &server.id.to_string()).await?;
            jobs::cancel_all(tx, &WorkItem::confirm_subject(server.id)).await?;
            for cadence in crate::model::Cadence::ALL {
                jobs::cancel_all(tx, &WorkItem::backup_subject(server.id, cadence)).await?;
            }
            store::actions::finish_all(tx, server.id, "the server was deleted", accept.now).await?;
            server.deleted = Some(accept.now);
            let memory = store::servers::reserved_memory(tx, server.id).await?;
            store::servers::add_ram(tx, &server.tenant, -memory).await?;
            if let Some(group) = server.group {
                store::groups::touch(tx, group, accept.now).await?;
            }
        }
        Order::Image(NewImage { cadence: Some(cadence), window_end: Some(end), .. }) => {
            // In this transaction, so that a window never gets two images even if its job crashes.
            store::schedules::set_served_until(tx, server.id, *cadence, Time(*end)).await?;
        }
        Order::Confirm | Order::Revert => {
            jobs::cancel_all(tx, &WorkItem::confirm_subject(server.id)).await?;
        }
        _ => {}
    }
    Ok(())
}

/// Reserves the larger of both sizes on the server's host until the resize is confirmed or reverted. If the host
/// lacks capacity, reserves the new size on another host. Limits apply as for a create (guide, Absolute Limits).
async fn reserve_resize(
    accept: &Accept,
    tx: &mut Tx,
    server: &mut Server,
    to: &'static Flavor,
) -> Result<(), Error> {
    if to.number == server.flavor.number {
        return Err(Error::ResizeNotAllowed("the server has that flavor already".into()));
    }
    if server.other.is_some() {
        // The rollback of an earlier resize is not complete yet.
        return Err(Refusal::BackupOrResizeInProgress.into());
    }
    let (old, new) = (Size::of(server.flavor), Size::of(to));
    let added = Size {
        memory_mib: (new.memory_mib - old.memory_mib).max(0),
        disk_gib: (new.disk_gib - old.disk_gib).max(0),
    };
    let overrides = store::limits::overrides(tx, &server.tenant).await?;
    let (used, limit) =
        (store::servers::used_ram(tx, &server.tenant).await?, absolute_limit(&overrides, "ram-mib"));
    if added.memory_mib > 0 && used + added.memory_mib > limit {
        let reason = format!(
            "the account uses {used} of {limit} MB RAM; {} MB more would exceed the limit",
            added.memory_mib
        );
        return Err(Error::OverLimit { reason, retry_at: None });
    }
    if store::hosts::has_capacity(tx, &server.host, added, accept.disk_overcommit).await? {
        let larger =
            Size { memory_mib: old.memory_mib.max(new.memory_mib), disk_gib: old.disk_gib.max(new.disk_gib) };
        store::servers::reserve(tx, server.id, &server.host, larger).await?;
    } else {
        let found = store::hosts::choose_host(tx, &server.tenant, new, accept.disk_overcommit).await?;
        let Size { memory_mib, disk_gib } = new;
        let no_capacity =
            || Error::NoCapacity(format!("no host has {memory_mib} MB RAM and {disk_gib} GB disk free"));
        let (host, snapshot) = (found.ok_or_else(no_capacity)?, Uuid::new_v4());
        store::migration::begin(tx, server.id, &host, snapshot, new).await?;
        server.other = Some(Other { host, snapshot: Some(snapshot) });
    }
    Ok(store::servers::add_ram(tx, &server.tenant, added.memory_mib).await?)
}

/// Checks that a server may use an address: any server of a group may use any public address of the others (guide,
/// Shared IP Groups), including a shared one whose owner was deleted.
async fn check_share(tx: &mut Tx, server: &Server, address: Ipv4Addr, group: i64) -> Result<(), Error> {
    if server.group != Some(group) {
        return Err(Error::invalid("sharedIpGroupId", "names no shared IP group that the server is in"));
    }
    if server.interfaces.iter().flat_map(|port| &port.addresses).any(|h| h.address == address && !h.shared) {
        return Err(Error::invalid("address", "is the server's own"));
    }
    let members = store::servers::in_group(tx, group).await?;
    let mut others = members.iter().filter(|member| member.id != server.id);
    if others.any(|member| member.addresses(networks::Label::Public).any(|held| held == address)) {
        Ok(())
    } else {
        Err(Error::invalid("address", "belongs to no other server of the group"))
    }
}
