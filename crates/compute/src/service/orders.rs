//! Orders: one action on one server, admitted by the state machine and accepted in one unit with its job.

use std::net::Ipv4Addr;
use std::time::Duration;

use database::Tx;
use uuid::Uuid;
use work::{Time, jobs};

use super::limits::absolute;
use super::{Error, Inner};
use crate::model::WorkItem;
use crate::model::{Action, Flavor, Id, NewImage, Other, Reboot, Refusal, Server, Task};
use crate::store;

/// How long an order waits for a job that only has to tidy up after an image.
const IMAGE_ENDS_WITHIN: Duration = Duration::from_secs(10);
/// How long an order waits for a confirmation that is under way, and how often it looks.
const CONFIRMED_WITHIN: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// What is to be done to a server, with all that it needs.
#[derive(Clone, Debug)]
pub(super) enum Order {
    Rename(String),
    /// The new password, sealed, and perhaps a new name with it.
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

/// Who orders, and of whose servers: no tenant where the cloud itself or its operator does.
#[derive(Clone, Debug, Default)]
pub(super) struct Orderer {
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

    /// Its name in the log of actions, and the work that it comes to; none for what is done at once.
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
    by: Orderer,
    now: Time,
    deadline: Time,
    /// The deadline of what has to copy a disk to another host.
    deadline_across: Time,
    disk_overcommit: i64,
}

impl Inner {
    /// Accepts an order, or refuses it and changes nothing. Answers the server as it is then.
    pub(super) async fn accept(&self, id: Id, order: Order, by: Orderer) -> Result<Server, Error> {
        let deadlines = &self.settings.deadlines;
        let within = match &order {
            Order::Rebuild { .. } | Order::Resize(_) => deadlines.build,
            Order::Image(_) => deadlines.image,
            _ => deadlines.short,
        };
        let now = self.clock.now();
        let disk_overcommit = self.settings.disk_overcommit;
        let deletes = matches!(order, Order::Delete { .. });
        let deadline_across = now.after(deadlines.build + deadlines.image);
        let deadline = now.after(within);
        let accept = Accept { id, order, by, now, deadline, deadline_across, disk_overcommit };
        let server = match self.write(accept.clone()).await {
            Err(Error::Refused(Refusal::BackupOrResizeInProgress))
                if self.image_ends(&accept).await? || self.confirmation_ends(&accept).await? =>
            {
                self.write(accept).await?
            }
            written => written?,
        };
        if deletes {
            self.turn(server.id).interrupt();
        }
        self.wake();
        Ok(server)
    }

    async fn write(&self, accept: Accept) -> Result<Server, Error> {
        self.db.write(accept, |accept, tx| Box::pin(write(accept, tx))).await
    }

    /// Whether an order that an image kept out may be written after all: the image's job ended since, or has only to tidy
    /// up, which is waited for. Whoever sees an image ACTIVE may order on, and is not to be told that it is still being
    /// made.
    async fn image_ends(&self, accept: &Accept) -> Result<bool, Error> {
        let found = self.db.read(accept.clone(), |accept, tx| Box::pin(named(accept, tx)));
        let server = found.await?;
        match server.state.task {
            None => return Ok(true),
            Some(Task::Imaging) if !self.images.has_image_in_flight(server.id).await? => {}
            Some(_) => return Ok(false),
        }
        // The job has the machine's turn until all of it is written.
        let turn = self.turn(server.id);
        Ok(tokio::time::timeout(IMAGE_ENDS_WITHIN, turn.take()).await.is_ok())
    }

    /// Whether an order that a confirmation kept out may be written after all, once that ended: its answer was 204, and
    /// whoever got that may order on.
    async fn confirmation_ends(&self, accept: &Accept) -> Result<bool, Error> {
        // The cloud's own orders come from jobs, which have the turn that a confirmation may wait for.
        if accept.by.tenant.is_none() || matches!(accept.order, Order::Confirm | Order::Revert) {
            return Ok(false);
        }
        let found = self.db.read(accept.clone(), |accept, tx| Box::pin(named(accept, tx)));
        self.is_confirmed(&found.await?).await
    }

    /// Waits for the end of a server's confirmation, if one is under way and ends soon.
    pub(super) async fn is_confirmed(&self, server: &Server) -> Result<bool, Error> {
        if server.state.task != Some(Task::ResizeConfirming) {
            return Ok(false);
        }
        let ended = async {
            loop {
                // The job has the turn from its first step to its last; it may not have begun.
                drop(self.turn(server.id).take().await);
                let found = self
                    .db
                    .read(server.id, |id, tx| Box::pin(async move { store::servers::by_id(tx, *id).await }));
                match found.await? {
                    Some(server) if server.state.task == Some(Task::ResizeConfirming) => {
                        tokio::time::sleep(LOOK_EVERY).await;
                    }
                    _ => return Ok(true),
                }
            }
        };
        tokio::time::timeout(CONFIRMED_WITHIN, ended).await.unwrap_or(Ok(false))
    }
}

/// The server that an order is for.
async fn named(accept: &Accept, tx: &mut Tx) -> Result<Server, Error> {
    let found = match (&accept.by.tenant, accept.id) {
        (Some(tenant), id) => store::servers::of_tenant(tx, tenant, id).await?,
        (None, Id::Uuid(id)) => store::servers::by_id(tx, id).await?,
        (None, Id::Number(number)) => store::servers::by_number(tx, number).await?,
    };
    found.ok_or(Error::NotFound("server"))
}

async fn write(accept: &Accept, tx: &mut Tx) -> Result<Server, Error> {
    let Accept { order, by, now, .. } = accept;
    let mut server = named(accept, tx).await?;
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
            let across = matches!(work, WorkItem::Resize { to: Some(_), .. });
            let deadline = if across { accept.deadline_across } else { accept.deadline };
            work.enqueue(tx, &server, name, (&by.request, &by.user), *now, deadline).await?;
        }
        None => {
            let entry = store::actions::begin(tx, server.id, name, &by.request, &by.user, *now).await?;
            store::actions::finish(tx, &entry, None, *now).await?;
        }
    }
    Ok(server)
}

/// What an order must check and book beside the state machine.
async fn prepare(accept: &Accept, tx: &mut Tx, server: &mut Server) -> Result<(), Error> {
    match &accept.order {
        Order::Rename(name) | Order::Password { name: Some(name), .. } => server.name.clone_from(name),
        Order::Rebuild { image, number } => {
            (server.image, server.image_number, server.progress) = (*image, *number, 0);
            server.fault = None;
        }
        Order::Resize(flavor) => {
            server.progress = 0;
            book_resize(accept, tx, server, flavor).await?;
        }
        Order::Share { address, group, .. } => share(tx, server, *address, *group).await?,
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
            store::actions::abandon(tx, server.id, "the server was deleted", accept.now).await?;
            server.deleted = Some(accept.now);
            let memory = store::servers::held_memory(tx, server.id).await?;
            store::servers::add_ram(tx, &server.tenant, -memory).await?;
            if let Some(group) = server.group {
                store::groups::touch(tx, group, accept.now).await?;
            }
        }
        Order::Image(NewImage { cadence: Some(cadence), window_end: Some(end), .. }) => {
            // In this unit, so that a window never has two images, whenever its job dies.
            store::schedules::serve(tx, server.id, *cadence, Time(*end)).await?;
        }
        Order::Confirm | Order::Revert => {
            jobs::cancel_all(tx, &WorkItem::confirm_subject(server.id)).await?;
        }
        _ => {}
    }
    Ok(())
}

/// A resize holds the larger of both sizes until it is decided, or each on its host where the server's own has no room;
/// limits apply as to a create (guide, Absolute Limits).
async fn book_resize(
    accept: &Accept,
    tx: &mut Tx,
    server: &mut Server,
    to: &'static Flavor,
) -> Result<(), Error> {
    if to.number == server.flavor.number {
        return Err(Error::ResizeNotAllowed("the server has that flavor already".into()));
    }
    if server.other.is_some() {
        // An earlier one is not undone as a whole yet.
        return Err(Refusal::BackupOrResizeInProgress.into());
    }
    let (old, new) = (i64::from(server.flavor.memory_mib), i64::from(to.memory_mib));
    let overrides = store::limits::overrides(tx, &server.tenant).await?;
    let (used, limit) = (store::servers::ram_of(tx, &server.tenant).await?, absolute(&overrides, "ram-mib"));
    if new > old && used - old + new > limit {
        let reason =
            format!("the account has {used} of {limit} MB RAM in use: {} more are too many", new - old);
        return Err(Error::OverLimit { reason, retry_at: None });
    }
    let (old_disk, new_disk) = (i64::from(server.flavor.disk_gib), i64::from(to.disk_gib));
    let (memory, disk) = ((new - old).max(0), (new_disk - old_disk).max(0));
    if store::hosts::has_room(tx, &server.host, memory, disk, accept.disk_overcommit).await? {
        let larger = (old.max(new), old_disk.max(new_disk));
        store::servers::hold_room(tx, server.id, &server.host, larger.0, larger.1).await?;
    } else {
        let found = store::hosts::place(tx, &server.tenant, (new, new_disk), accept.disk_overcommit).await?;
        let no_room = || Error::NoCapacity(format!("no host has {new} MB RAM and {new_disk} GB disk free"));
        let (host, snapshot) = (found.ok_or_else(no_room)?, Uuid::new_v4());
        store::crossing::begin(tx, server.id, &host, snapshot, (new, new_disk)).await?;
        server.other = Some(Other { host, snapshot: Some(snapshot) });
    }
    Ok(store::servers::add_ram(tx, &server.tenant, (new - old).max(0)).await?)
}

/// Any server of a group may use any public address of the others (guide, Shared IP Groups): also one that they share
/// themselves, and whose own server is gone.
async fn share(tx: &mut Tx, server: &Server, address: Ipv4Addr, group: i64) -> Result<(), Error> {
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
