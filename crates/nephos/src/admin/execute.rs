//! Runs orders through the same services as the APIs.

use std::time::Duration;

use ::images::Files;
use compute::model::limits::Limits;
use compute::model::server::Id;
use identity::{NewTenantUser, TenantChange, TenantView, UserChange, UserView};
use serde::Serialize;
use serde_json::{Value, json};

use super::order::Order;
use super::{images, text};
use crate::cloud::Cloud;

/// Name of the limit on CDN purges per UTC day.
const CDN_PURGES_LIMIT: &str = "cdn-purges";

/// Maximum number of damaged blobs that the doctor lists.
const DAMAGE_SHOWN: usize = 20;

/// Runs an order and returns what is printed.
///
/// # Errors
/// The service's error, in one line.
pub async fn execute(cloud: &Cloud, order: Order) -> Result<Value, String> {
    let users = cloud.identity.administration();
    match order {
        Order::CreateTenant { name, description } => value(users.create_tenant(&name, &description).await),
        Order::ListTenants {} => {
            let mut all: Vec<TenantView> = Vec::new();
            loop {
                let page = users.tenants(all.last().map(|last| last.id.as_str())).await.map_err(text)?;
                if page.is_empty() {
                    return Ok(json!(all));
                }
                all.extend(page);
            }
        }
        Order::ShowTenant { tenant } => value(users.tenant(&tenant).await),
        Order::SetTenant { tenant, name, description, enabled } => {
            value(users.set_tenant(&tenant, TenantChange { name, description, enabled }).await)
        }
        Order::DeleteTenant { tenant } => value(users.delete_tenant(&tenant).await),
        Order::TenantLimits { tenant, set } => {
            let tenant = users.tenant(&tenant).await.map_err(text)?.id;
            for (name, limit) in set {
                if name == CDN_PURGES_LIMIT {
                    cloud.cdn.set_purge_limit(&tenant, limit).await.map_err(text)?;
                } else {
                    cloud.compute.set_limit(&tenant, &name, limit).await.map_err(text)?;
                }
            }
            let limits = cloud.compute.limits_of(&tenant).await.map_err(text)?;
            let purges = cloud.cdn.limits(&tenant).await.map_err(text)?;
            Ok(shown_limits(&limits, purges))
        }
        Order::CreateUser { name, tenant, password, api_key, email, roles } => {
            value(users.create_user(NewTenantUser { name, tenant, password, api_key, email, roles }).await)
        }
        Order::ListUsers {} => {
            let mut all: Vec<UserView> = Vec::new();
            loop {
                let page = users.users(all.last().map(|last| last.id.as_str())).await.map_err(text)?;
                if page.is_empty() {
                    return Ok(json!(all));
                }
                all.extend(page);
            }
        }
        Order::ShowUser { user } => value(users.user(&user).await),
        Order::SetUser { user, name, password, api_key, email, enabled } => {
            let change = UserChange { name, email, password, api_key, tenant: None, enabled };
            value(users.set_user(&user, change).await)
        }
        Order::DeleteUser { user } => value(users.delete_user(&user).await),
        Order::ReleaseUserName { name } => value(users.release_user_name(&name).await),
        Order::ListRoles {} => {
            let roles = users.roles().await.map_err(text)?;
            Ok(roles.iter().map(|(name, about)| json!({ "name": name, "description": about })).collect())
        }
        Order::ChangeRole { role, user, tenant, grant } => {
            let tenant = tenant.as_deref();
            value(if grant {
                users.grant_role(&user, &role, tenant).await
            } else {
                users.revoke_role(&user, &role, tenant).await
            })
        }
        Order::ShowAudit { subject, limit } => value(users.audit(subject.as_deref(), limit).await),
        Order::DrainHost { host, drained } => {
            cloud.compute.drain(&host, drained).await.map(|()| Value::Null).map_err(text)
        }
        Order::DeclareHostLost { host, powered_off } => {
            cloud.compute.evacuate(&host, powered_off).await.map(|()| Value::Null).map_err(text)
        }
        Order::ReinstateHost { host } => {
            cloud.compute.reinstate(&host).await.map(|()| Value::Null).map_err(text)
        }
        Order::ShowUsage { tenant, days, servers } => {
            let today = cloud.clock.now().seconds().div_euclid(86_400);
            cloud.compute.read_meters().await.map_err(text)?;
            if servers {
                return value(cloud.compute.usage(tenant.as_deref(), today - days).await);
            }
            value(cloud.meter.usage(tenant.as_deref(), today - days).await)
        }
        Order::ImportImage { file, format, name, kernel, initrd, cmdline } => {
            let files = Files { disk: file, kernel, initrd, command_line: cmdline };
            images::import(cloud, name, &format, files).await
        }
        Order::RegisterImage { tenant, container, object, format, name } => {
            images::register(cloud, &tenant, (container, object), &format, name).await
        }
        Order::ListImages { tenant } => images::list(cloud, tenant.as_deref()).await,
        Order::ShareImage { id, tenant, shared } => {
            images::share(cloud, &id, tenant.as_deref(), shared).await
        }
        Order::SuspendServer { id } => {
            cloud.compute.suspend(server(&id)?).await.map(|_| Value::Null).map_err(text)
        }
        Order::ResumeServer { id } => {
            cloud.compute.resume(server(&id)?).await.map(|_| Value::Null).map_err(text)
        }
        Order::ListDamage {} => {
            let damage = cloud.files.damage(DAMAGE_SHOWN).await.map_err(text)?;
            let shown = damage.iter().map(|found| {
                json!({ "blob": found.blob.to_string(), "found": found.found.iso_seconds(), "what": found.what })
            });
            Ok(shown.collect())
        }
        Order::CheckStorage {} => {
            let options = files::service::AuditOptions { bytes: true, repair: true };
            let report = cloud.files.audit(options).await.map_err(text)?;
            Ok(json!({
                "containers": report.containers, "blobs": report.blobs,
                "repaired": report.repaired, "broken": report.broken,
            }))
        }
        Order::MoveClock { seconds } => {
            if seconds > 0 && !cloud.clock_moves {
                return Err("the clock can be moved in a rehearsal only (NEPHOS_CLOCK)".into());
            }
            cloud.clock.advance(Duration::from_secs(seconds));
            Ok(json!({ "now": cloud.clock.now().iso_seconds() }))
        }
        Order::ListHosts {} => {
            let hosts = cloud.compute.hosts().await.map_err(text)?;
            let shown = hosts.iter().map(|host| {
                json!({
                    "name": host.name, "up": host.up, "drained": host.drained, "given_up": host.evacuated,
                    "memory_mib": host.memory_mib, "used_memory_mib": host.used_memory_mib,
                    "disk_gib": host.disk_gib, "used_disk_gib": host.used_disk_gib,
                })
            });
            Ok(shown.collect())
        }
    }
}

fn shown_limits(limits: &Limits, cdn: cdn::service::Limits) -> Value {
    let rates = limits
        .rates
        .iter()
        .map(|rate| json!({ "name": rate.rule.name, "value": rate.value, "remaining": rate.remaining }));
    json!({
        "rates": rates.collect::<Value>(),
        "ram-mib": limits.ram_mib_max, "ip-groups": limits.groups_max, "ip-group-members": limits.members_max,
        "registered-images": limits.images_max,
        CDN_PURGES_LIMIT: cdn.purges, "cdn-purges-left": cdn.purges_left,
    })
}

/// Parses a server's UUID or v1.0 number.
fn server(id: &str) -> Result<Id, String> {
    if let Ok(number) = id.parse() {
        return Ok(Id::Number(number));
    }
    id.parse().map(Id::Uuid).map_err(|_| format!("{id}: expected a server's number or UUID"))
}

fn value<T: Serialize, E: std::fmt::Display>(outcome: Result<T, E>) -> Result<Value, String> {
    let done = outcome.map_err(|e| e.to_string())?;
    serde_json::to_value(done).map_err(|e| e.to_string())
}
