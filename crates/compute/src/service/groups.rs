//! Shared IP groups: servers that may use each other's public addresses.

use std::net::Ipv4Addr;

use identity::Right;
use networks::Label;
use uuid::Uuid;

use super::limits::absolute_limit;
use super::{Compute, Context, Error, Inner, Pollable};
use crate::model::{Group, Id, Page, launch};
use crate::store;

impl Compute {
    /// Returns a page of a tenant's groups.
    ///
    /// # Errors
    /// The database's.
    pub async fn groups(&self, context: &Context, page: Page) -> Result<Pollable<Group>, Error> {
        context.need(Right::Observe)?;
        let list = self.0.db.scan((context.tenant().to_owned(), page), |(tenant, page), tx| {
            Box::pin(async move {
                let changed = store::groups::latest_change(tx, tenant).await?;
                Ok(Pollable { items: store::groups::page(tx, tenant, *page).await?, changed })
            })
        });
        list.await
    }

    /// Returns one of a tenant's groups.
    ///
    /// # Errors
    /// [`Error::NotFound`].
    pub async fn group(&self, context: &Context, number: i64) -> Result<Group, Error> {
        context.need(Right::Observe)?;
        self.0.group(context.tenant(), number).await
    }

    /// Creates a group, empty or with its first server. Other servers join only when they are created.
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::OverLimit`].
    pub async fn create_group(
        &self,
        context: &Context,
        name: &str,
        first: Option<i64>,
    ) -> Result<Group, Error> {
        context.need(Right::Create)?;
        let name = launch::name(name)?;
        let input = (context.tenant().to_owned(), name, first, self.0.clock.now());
        let created = self.0.db.write(input, |(tenant, name, first, now), tx| {
            Box::pin(async move {
                let overrides = store::limits::overrides(tx, tenant).await?;
                let limit = absolute_limit(&overrides, "ip-groups");
                if store::groups::count(tx, tenant).await? >= limit {
                    let reason = format!("the account may have at most {limit} shared IP groups");
                    return Err(Error::OverLimit { reason, retry_at: None });
                }
                let number = store::next_number(tx, "ip_group").await?;
                let mut group = Group {
                    id: Uuid::new_v4(),
                    number,
                    name: name.clone(),
                    servers: Vec::new(),
                    updated: *now,
                    deleted: None,
                };
                store::groups::insert(tx, tenant, &group).await?;
                if let Some(first) = first {
                    join(tx, tenant, *first, number, *now).await?;
                    group.servers.push(*first);
                }
                Ok(group)
            })
        });
        created.await
    }

    /// Deletes a group that is empty or whose servers share no addresses (guide, Delete Shared IP Group).
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::Invalid`] while addresses are shared.
    pub async fn delete_group(&self, context: &Context, number: i64) -> Result<(), Error> {
        context.need(Right::Administer)?;
        let input = (context.tenant().to_owned(), number, self.0.clock.now());
        let deleted = self.0.db.write(input, |(tenant, number, now), tx| {
            Box::pin(async move {
                let missing = Error::NotFound("shared IP group");
                store::groups::get(tx, tenant, *number).await?.ok_or(missing)?;
                let members = store::servers::in_group(tx, *number).await?;
                if let Some(sharing) = members.iter().find(|server| server.uses_shared_address()) {
                    let reason = format!("has a server ({}) that uses a shared address", sharing.number);
                    return Err(Error::invalid("sharedIpGroup", reason));
                }
                Ok(store::groups::delete(tx, *number, *now).await?)
            })
        });
        deleted.await
    }
}

async fn join(
    tx: &mut database::Tx,
    tenant: &str,
    number: i64,
    group: i64,
    now: work::Time,
) -> Result<(), Error> {
    let found = store::servers::of_tenant(tx, tenant, Id::Number(number)).await?;
    let mut server = found
        .filter(|server| server.deleted.is_none())
        .ok_or_else(|| Error::invalid("server", format!("{number} does not exist")))?;
    if let Some(other) = server.group {
        return Err(Error::invalid("server", format!("{number} is in shared IP group {other} already")));
    }
    server.group = Some(group);
    server.updated = now;
    Ok(store::servers::update(tx, &server).await?)
}

impl Inner {
    async fn group(&self, tenant: &str, number: i64) -> Result<Group, Error> {
        let found = self.db.read((tenant.to_owned(), number), |(tenant, number), tx| {
            Box::pin(async move { Ok::<_, Error>(store::groups::get(tx, tenant, *number).await?) })
        });
        found.await?.ok_or(Error::NotFound("shared IP group"))
    }

    /// Checks that a new server may use `address` as its public one: a server of the group must have it.
    pub(super) async fn check_shared_address(
        &self,
        tenant: &str,
        group: i64,
        address: Ipv4Addr,
    ) -> Result<(), Error> {
        let invalid = |_| Error::invalid("sharedIpGroupId", "names no shared IP group");
        let group = self.group(tenant, group).await.map_err(invalid)?;
        let members = self.db.read(group.number, |number, tx| {
            Box::pin(async move { Ok::<_, Error>(store::servers::in_group(tx, *number).await?) })
        });
        let members = members.await?;
        if members.iter().any(|server| server.addresses(Label::Public).any(|held| held == address)) {
            Ok(())
        } else {
            Err(Error::invalid("addresses", format!("{address} belongs to no server of the group")))
        }
    }
}
