//! Servers: listed, looked at, launched.

use std::time::Duration;

use hypervisor::Power;
use identity::Right;
use images::{Image, Status};
use networks::{Port, PublicAddress};
use uuid::Uuid;
use work::Time;

use super::limits::absolute;
use super::{Compute, Context, Error, Inner, NO_HYPERVISOR, seal};
use crate::model::WorkItem;
use crate::model::{Flavor, Id, Launch, Page, Server, State, launch};
use crate::store;

/// How long a create waits for the hosts to say what they can carry, after a start.
const SURVEY_WITHIN: Duration = Duration::from_secs(15);

/// A list, and when anything in it changed last.
#[derive(Clone, Debug)]
pub struct Pollable<T> {
    /// The part that was asked for.
    pub items: Vec<T>,
    /// The last change of all of it, deletions included.
    pub changed: Option<Time>,
}

/// A server that was just launched.
#[derive(Clone, Debug)]
pub struct Launched {
    /// It.
    pub server: Server,
    /// Its administrative password, told this once.
    pub password: String,
}

/// What a server is made of, found and checked before anything is written.
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
    /// A tenant's servers.
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

    /// The numbers and names alone of a tenant's servers.
    ///
    /// # Errors
    /// As of [`Compute::list`].
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

    /// One of a tenant's servers; a deleted one until nothing is left of it.
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

    /// Launches a server: its host and addresses are decided before this answers, the rest follows.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::OverLimit`], [`Error::NoCapacity`], [`Error::Unavailable`] without hypervisor.
    pub async fn create(&self, context: &Context, launch: Launch) -> Result<Launched, Error> {
        context.need(Right::Create)?;
        let launch = checked(launch)?;
        let flavor =
            Flavor::by_number(launch.flavor).ok_or_else(|| Error::invalid("flavorId", "names no flavor"))?;
        let image = self.0.usable_image(context.tenant(), launch.image, flavor).await?;
        self.0.hosts_are_known().await?;
        let id = Uuid::new_v4();
        let public = match (launch.group, launch.public) {
            (Some(group), Some(address)) => {
                self.0.shareable(context.tenant(), group, address).await?;
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
        let written = self.0.db.write(plan, |plan, tx| Box::pin(write(plan, tx))).await;
        if written.as_ref().is_err_and(|error| !matches!(error, Error::Unknown(_))) {
            // Addresses that cannot be released now, or whose server may exist, are left to the sweep, which looks at
            // the servers' rows.
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

/// The unit that makes a server: limits, place, numbers, row, job.
async fn write(plan: &Plan, tx: &mut database::Tx) -> Result<Server, Error> {
    let (tenant, flavor) = (&plan.tenant, plan.flavor);
    let overrides = store::limits::overrides(tx, tenant).await?;
    let (used, limit) = (store::servers::ram_of(tx, tenant).await?, absolute(&overrides, "ram-mib"));
    if used + i64::from(flavor.memory_mib) > limit {
        let reason = format!(
            "the account has {used} of {limit} MB RAM in use: {} more are too many",
            flavor.memory_mib
        );
        return Err(Error::OverLimit { reason, retry_at: None });
    }
    if let Some(group) = plan.launch.group {
        let invalid = || Error::invalid("sharedIpGroupId", "names no shared IP group");
        let found = store::groups::get(tx, tenant, group).await?.ok_or_else(invalid)?;
        let limit = absolute(&overrides, "ip-group-members");
        if i64::try_from(found.servers.len()).unwrap_or(i64::MAX) >= limit {
            let reason = format!("a shared IP group has at most {limit} members");
            return Err(Error::OverLimit { reason, retry_at: None });
        }
        store::groups::touch(tx, group, plan.now).await?;
    }
    let (memory, disk) = (i64::from(flavor.memory_mib), i64::from(flavor.disk_gib));
    let host = store::hosts::place(tx, tenant, (memory, disk), plan.disk_overcommit)
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
    store::servers::keep_secret(tx, plan.id, "password", &plan.password).await?;
    if let Some(files) = &plan.files {
        store::servers::keep_secret(tx, plan.id, "files", files).await?;
    }
    WorkItem::Build
        .enqueue(tx, &server, "create", (&plan.request, &plan.user), plan.now, plan.deadline)
        .await?;
    Ok(server)
}

impl Inner {
    /// An image that a server of this flavor can be made of.
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

    /// Why an image is not found: there is none of that id, or none at all, as in a cloud that was just set up.
    async fn no_such_image(&self, tenant: &str) -> Result<Error, Error> {
        let first = images::Page { offset: 0, limit: 1, since: None, deleted: false };
        let reason = if self.images.list(tenant, first).await?.is_empty() {
            "names no image: this cloud has none yet; its operator brings one with `nephos image import`, or you register \
             an object of yours in Cloud Files as one"
        } else {
            "names no image"
        };
        Ok(Error::invalid("imageId", reason))
    }

    /// The image that a server was made of, to make it anew. Its owner may have deleted it since: its bytes are on the
    /// server's host as long as the server's disk is based on them.
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
                // What another account shared and deleted is not to be had of a host either.
                let others = image.owner.as_deref().is_some_and(|owner| owner != tenant);
                if others || !self.is_held(&image, &server.host).await? {
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

    /// Whether a host has an image's bytes.
    async fn is_held(&self, image: &Image, host: &str) -> Result<bool, Error> {
        let (Some(content), Some(host)) = (&image.content, self.host_named(host)) else { return Ok(false) };
        let held = host.holds_image(&content.digest).await;
        held.map_err(|error| Error::Unavailable(error.to_string()))
    }

    /// The files of a launch, sealed until the build is done.
    fn sealed_files(&self, id: Uuid, launch: &Launch) -> Result<Option<Vec<u8>>, Error> {
        if launch.files.is_empty() {
            return Ok(None);
        }
        let files: Vec<(&str, &[u8])> =
            launch.files.iter().map(|file| (file.path.as_str(), file.contents.as_slice())).collect();
        let plain = serde_json::to_vec(&files).map_err(|error| Error::Internal(error.to_string()))?;
        self.seal.seal(&id.to_string(), &plain).map(Some)
    }

    /// Waits, some seconds at most, until every host has said what it can carry or that it cannot be reached.
    async fn hosts_are_known(&self) -> Result<(), Error> {
        if self.hosts.is_empty() {
            return Err(Error::Unavailable(NO_HYPERVISOR.into()));
        }
        let mut unsurveyed = self.unsurveyed.subscribe();
        let _ = tokio::time::timeout(SURVEY_WITHIN, unsurveyed.wait_for(|left| *left == 0)).await;
        if self.hosts.keys().all(|host| self.is_lost(host) || self.is_given_up(host)) {
            let names: Vec<&str> = self.hosts.keys().map(String::as_str).take(3).collect();
            let reason = format!("no host answers ({}): {NO_HYPERVISOR}", names.join(", "));
            return Err(Error::Unavailable(reason));
        }
        Ok(())
    }
}
