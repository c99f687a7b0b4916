//! Lists, shows and creates servers.

use std::time::Duration;

use hypervisor::Power;
use identity::Right;
use images::{Image, Status};
use networks::{Port, PublicAddress};
use uuid::Uuid;
use work::Time;

use super::enqueue::RequestedBy;
use super::limits::absolute_limit;
use super::{Compute, Context, Error, Inner, NO_HYPERVISOR, seal};
use crate::model::WorkItem;
use crate::model::{Flavor, Id, Launch, Page, Server, State, launch};
use crate::store;
use crate::store::hosts::Size;

/// Time that a create waits after a start until the hosts' capacities are known.
const CAPACITY_TIMEOUT: Duration = Duration::from_secs(15);

/// A page of a list, with the time of the list's last change.
#[derive(Clone, Debug)]
pub struct Pollable<T> {
    /// The requested page.
    pub items: Vec<T>,
    /// The last change of the whole list, deletions included.
    pub changed: Option<Time>,
}

/// A new server.
#[derive(Clone, Debug)]
pub struct Launched {
    /// The server.
    pub server: Server,
    /// Its administrative password, which is returned only here.
    pub password: String,
}

/// Everything that a new server needs, looked up and checked before anything is written.
struct Plan {
    launch: Launch,
    flavor: &'static Flavor,
    image: Image,
    id: Uuid,
    interfaces: Vec<Port>,
    password: Vec<u8>,
    files: Option<Vec<u8>>,
    tenant: String,
    user: String,
    request: String,
    now: Time,
    deadline: Time,
    disk_overcommit: i64,
}

impl Compute {
    /// Returns a page of a tenant's servers.
    ///
    /// # Errors
    /// [`Error::Forbidden`] and the database's.
    pub async fn list(&self, context: &Context, page: Page) -> Result<Pollable<Server>, Error> {
        context.need(Right::Observe)?;
        let input = (context.tenant().to_owned(), page);
        let list = self.0.db.scan(input, |(tenant, page), tx| {
            Box::pin(async move {
                let changed = store::servers::latest_change(tx, tenant).await?;
                Ok(Pollable { items: store::servers::page(tx, tenant, *page).await?, changed })
            })
        });
        list.await
    }

    /// Returns the numbers and names of a page of a tenant's servers.
    ///
    /// # Errors
    /// As [`Compute::list`].
    pub async fn names(&self, context: &Context, page: Page) -> Result<Pollable<(i64, String)>, Error> {
        context.need(Right::Observe)?;
        let input = (context.tenant().to_owned(), page);
        let list = self.0.db.scan(input, |(tenant, page), tx| {
            Box::pin(async move {
                let changed = store::servers::latest_change(tx, tenant).await?;
                Ok(Pollable { items: store::servers::names(tx, tenant, *page).await?, changed })
            })
        });
        list.await
    }

    /// Returns one of a tenant's servers; a deleted one until its deletion is complete.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn get(&self, context: &Context, id: Id) -> Result<Server, Error> {
        context.need(Right::Observe)?;
        let input = (context.tenant().to_owned(), id);
        let found = self.0.db.read(input, |(tenant, id), tx| {
            Box::pin(async move { Ok::<_, Error>(store::servers::of_tenant(tx, tenant, *id).await?) })
        });
        found.await?.ok_or(Error::NotFound("server"))
    }

    /// Creates a server. Its host and addresses are allocated before this returns; a job does the rest.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::OverLimit`], [`Error::NoCapacity`]; [`Error::Unavailable`] if no host is reachable.
    pub async fn create(&self, context: &Context, launch: Launch) -> Result<Launched, Error> {
        context.need(Right::Create)?;
        let launch = checked(launch)?;
        let flavor =
            Flavor::by_number(launch.flavor).ok_or_else(|| Error::invalid("flavorId", "names no flavor"))?;
        let image = self.0.usable_image(context.tenant(), launch.image, flavor).await?;
        self.0.wait_for_capacities().await?;
        let id = Uuid::new_v4();
        let public = match (launch.group, launch.public) {
            (Some(group), Some(address)) => {
                self.0.check_shared_address(context.tenant(), group, address).await?;
                PublicAddress::Shared(address)
            }
            (None, Some(_)) => {
                return Err(Error::invalid("addresses", "may be given only with sharedIpGroupId"));
            }
            (_, None) => PublicAddress::Own,
        };
        let password = seal::password()?;
        let now = self.0.clock.now();
        let plan = Plan {
            flavor,
            image,
            id,
            interfaces: self.0.networks.allocate(id, public).await?,
            password: self.0.seal.seal(&id.to_string(), password.as_bytes())?,
            files: self.0.sealed_files(id, &launch)?,
            tenant: context.tenant().to_owned(),
            user: context.user().to_owned(),
            request: context.request().to_owned(),
            now,
            deadline: now.after(self.0.settings.deadlines.build),
            disk_overcommit: self.0.settings.disk_overcommit,
            launch,
        };
        let written = self.0.db.write(plan, |plan, tx| Box::pin(insert(plan, tx))).await;
        if written.as_ref().is_err_and(|error| !matches!(error, Error::Unknown(_))) {
            // If the release fails, the sweep releases the addresses. If the outcome is unknown, the server may
            // exist; then only the sweep can tell.
            let _ = self.0.networks.release(id).await;
        }
        let server = written?;
        self.0.wake();
        Ok(Launched { server, password })
    }
}

fn checked(mut launch: Launch) -> Result<Launch, Error> {
    launch.name = launch::name(&launch.name)?;
    launch::metadata(&launch.metadata)?;
    launch::files(&launch.files)?;
    Ok(launch)
}

/// The transaction that creates a server: checks limits, chooses a host, inserts the row and enqueues the job.
async fn insert(plan: &Plan, tx: &mut database::Tx) -> Result<Server, Error> {
    let (tenant, flavor) = (&plan.tenant, plan.flavor);
    let overrides = store::limits::overrides(tx, tenant).await?;
    let (used, limit) = (store::servers::used_ram(tx, tenant).await?, absolute_limit(&overrides, "ram-mib"));
    if used + i64::from(flavor.memory_mib) > limit {
        let reason = format!(
            "the account uses {used} of {limit} MB RAM; {} MB more would exceed the limit",
            flavor.memory_mib
        );
        return Err(Error::OverLimit { reason, retry_at: None });
    }
    if let Some(group) = plan.launch.group {
        let invalid = || Error::invalid("sharedIpGroupId", "names no shared IP group");
        let found = store::groups::get(tx, tenant, group).await?.ok_or_else(invalid)?;
        let limit = absolute_limit(&overrides, "ip-group-members");
        if i64::try_from(found.servers.len()).unwrap_or(i64::MAX) >= limit {
            let reason = format!("a shared IP group has at most {limit} members");
            return Err(Error::OverLimit { reason, retry_at: None });
        }
        store::groups::touch(tx, group, plan.now).await?;
    }
    let size = Size::of(flavor);
    let Size { memory_mib: memory, disk_gib: disk } = size;
    let host = store::hosts::choose_host(tx, tenant, size, plan.disk_overcommit)
        .await?
        .ok_or_else(|| Error::NoCapacity(format!("no host has {memory} MB RAM and {disk} GB disk free")))?;
    let server = Server {
        id: plan.id,
        number: store::next_number(tx, "server").await?,
        tenant: tenant.clone(),
        user: plan.user.clone(),
        name: plan.launch.name.clone(),
        hostname: plan.launch.name.clone(),
        host,
        flavor,
        image: plan.image.id,
        image_number: plan.image.number,
        state: State::NEW,
        power: Power::Absent,
        progress: 0,
        metadata: plan.launch.metadata.clone(),
        interfaces: plan.interfaces.clone(),
        key_name: None,
        locked: false,
        group: plan.launch.group,
        fault: None,
        resize: None,
        other: None,
        created: plan.now,
        updated: plan.now,
        deleted: None,
    };
    store::servers::insert(tx, &server).await?;
    store::servers::add_ram(tx, tenant, memory).await?;
    store::servers::set_secret(tx, plan.id, "password", &plan.password).await?;
    if let Some(files) = &plan.files {
        store::servers::set_secret(tx, plan.id, "files", files).await?;
    }
    let by = RequestedBy { request: &plan.request, user: &plan.user };
    WorkItem::Build.enqueue(tx, &server, "create", by, plan.now, plan.deadline).await?;
    Ok(server)
}

impl Inner {
    /// Returns an image that a server of this flavor can be created from.
    pub(super) async fn usable_image(
        &self,
        tenant: &str,
        id: images::Id,
        flavor: &Flavor,
    ) -> Result<Image, Error> {
        let image = match self.images.get(tenant, id).await {
            Err(images::Error::NotFound) => return Err(self.no_such_image(tenant).await?),
            other => other?,
        };
        if image.status != Status::Active {
            return Err(Error::invalid(
                "imageId",
                format!("names an image that is {}", image.status.as_str()),
            ));
        }
        if image.min_disk_gib > flavor.disk_gib {
            let reason = format!("names an image that needs a disk of {} GB", image.min_disk_gib);
            return Err(Error::invalid("imageId", reason));
        }
        Ok(image)
    }

    /// Returns the error for an unknown image id. In a new cloud without any image it explains how to add one.
    async fn no_such_image(&self, tenant: &str) -> Result<Error, Error> {
        let first = images::Page { offset: 0, limit: 1, since: None, deleted: false };
        let reason = if self.images.list(tenant, first).await?.is_empty() {
            "names no image: this cloud has none yet; its operator can add one with `nephos image import`, or you can \
             register an object in Cloud Files"
        } else {
            "names no image"
        };
        Ok(Error::invalid("imageId", reason))
    }

    /// Returns the image that a server was created from, for a rebuild. It may have been deleted: its bytes stay on
    /// the server's host as long as the server's disk is based on them.
    pub(super) async fn own_image(&self, tenant: &str, server: &Server) -> Result<Image, Error> {
        let unusable = |reason: String| Error::invalid("rebuild", format!("names no imageId, and {reason}"));
        let number = server.image_number;
        let image = match self.images.get(tenant, images::Id::Uuid(server.image)).await {
            Err(images::Error::NotFound) => {
                let image = self.images.by_id_or_tombstone(server.image).await?;
                if image.deleted.is_none() {
                    return Err(unusable(format!(
                        "the server's own image ({number}) is not shared any more"
                    )));
                }
                // A deleted image of another account must not be used, even if the host still has it.
                let others = image.owner.as_deref().is_some_and(|owner| owner != tenant);
                if others || !self.host_has_image(&image, &server.host).await? {
                    return Err(unusable(format!("the server's own image ({number}) was deleted")));
                }
                image
            }
            other => other?,
        };
        if image.status != Status::Active {
            return Err(unusable(format!("the server's own image ({number}) is {}", image.status.as_str())));
        }
        if image.min_disk_gib > server.flavor.disk_gib {
            let (needs, has) = (image.min_disk_gib, server.flavor.disk_gib);
            let reason = format!(
                "the server's own image ({number}) needs a disk of {needs} GB, where its flavor has {has} GB"
            );
            return Err(unusable(reason));
        }
        Ok(image)
    }

    /// Returns whether a host has an image's bytes.
    async fn host_has_image(&self, image: &Image, host: &str) -> Result<bool, Error> {
        let (Some(content), Some(host)) = (&image.content, self.host_named(host)) else { return Ok(false) };
        let found = host.holds_image(&content.digest).await;
        found.map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// Returns the encrypted personality files, which are stored until the build is done.
    fn sealed_files(&self, id: Uuid, launch: &Launch) -> Result<Option<Vec<u8>>, Error> {
        if launch.files.is_empty() {
            return Ok(None);
        }
        let files: Vec<(&str, &[u8])> =
            launch.files.iter().map(|file| (file.path.as_str(), file.contents.as_slice())).collect();
        let plain = serde_json::to_vec(&files).map_err(|error| Error::Internal(error.to_string()))?;
        self.seal.seal(&id.to_string(), &plain).map(Some)
    }

    /// Waits a limited time until the capacity of every host was read or the host was found unreachable.
    async fn wait_for_capacities(&self) -> Result<(), Error> {
        if self.hosts.is_empty() {
            return Err(Error::Unavailable(NO_HYPERVISOR.into()));
        }
        let mut unknown = self.unknown_capacities.subscribe();
        let _ = tokio::time::timeout(CAPACITY_TIMEOUT, unknown.wait_for(|left| *left == 0)).await;
        if self.hosts.keys().all(|host| self.is_unreachable(host) || self.is_evacuated(host)) {
            let names: Vec<&str> = self.hosts.keys().map(String::as_str).take(3).collect();
            let reason = format!("no host is reachable ({}): {NO_HYPERVISOR}", names.join(", "));
            return Err(Error::Unavailable(reason));
        }
        Ok(())
    }
}
