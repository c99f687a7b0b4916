//! Carries orders out, through the same services as the APIs.

use compute::model::server::Id;
use hypervisor::DiskFormat;
use identity::NewTenantUser;
use images::{Image, Import, Page, Source};
use serde::Serialize;
use serde_json::{Value, json};

use super::order::Order;
use crate::cloud::Cloud;

/// Images asked for at once.
const PAGE: i64 = 1000;

/// Carries an order out; the answer is what is printed.
///
/// # Errors
/// The service's refusal, in one line.
pub async fn execute(cloud: &Cloud, order: Order) -> Result<Value, String> {
    let users = cloud.identity.administration();
    match order {
        Order::CreateTenant { name } => value(users.create_tenant(&name, "").await),
        Order::ListTenants {} => {
            let mut all = Vec::new();
            loop {
                let page =
                    users.tenants(all.last().map(|last: &identity::TenantView| last.id.as_str())).await;
                let page = page.map_err(|e| e.to_string())?;
                if page.is_empty() {
                    return Ok(json!(all));
                }
                all.extend(page);
            }
        }
        Order::CreateUser { name, tenant, password, api_key, roles } => value(
            users.create_user(NewTenantUser { name, tenant, password, api_key, email: None, roles }).await,
        ),
        Order::ListUsers {} => {
            let mut all = Vec::new();
            loop {
                let page = users.users(all.last().map(|last: &identity::UserView| last.id.as_str())).await;
                let page = page.map_err(|e| e.to_string())?;
                if page.is_empty() {
                    return Ok(json!(all));
                }
                all.extend(page);
            }
        }
        Order::ShowUsage { tenant, days } => {
            let today = cloud.clock.now().seconds().div_euclid(86_400);
            value(cloud.meter.usage(tenant.as_deref(), today - days).await)
        }
        Order::ImportImage { file, format, name, kernel, initrd, cmdline } => {
            let format = match format.as_str() {
                "qcow2" => DiskFormat::Qcow2,
                "raw" => DiskFormat::Raw,
                other => return Err(format!("{other}: an image is qcow2 or raw")),
            };
            let source = Source::Files { disk: file, kernel, initrd, command_line: cmdline };
            cloud
                .images
                .import(Import { name, format, source })
                .await
                .map(|image| shown(&image))
                .map_err(text)
        }
        Order::ListImages {} => {
            let (mut all, mut offset) = (Vec::new(), 0);
            loop {
                let page = Page { offset, limit: PAGE, since: None };
                let found = cloud.images.list("", page).await.map_err(text)?;
                all.extend(found.iter().map(shown));
                if i64::try_from(found.len()).unwrap_or(0) < PAGE {
                    return Ok(Value::Array(all));
                }
                offset += PAGE;
            }
        }
        Order::SuspendServer { id } => {
            cloud.compute.suspend(server(&id)?).await.map(|_| Value::Null).map_err(text)
        }
        Order::ResumeServer { id } => {
            cloud.compute.resume(server(&id)?).await.map(|_| Value::Null).map_err(text)
        }
        Order::ListHosts {} => {
            let hosts = cloud.compute.hosts().await.map_err(text)?;
            let shown = hosts.iter().map(|host| {
                json!({
                    "name": host.name, "up": host.up, "drained": host.drained,
                    "memory_mib": host.memory_mib, "used_memory_mib": host.used_memory_mib,
                    "disk_gib": host.disk_gib, "used_disk_gib": host.used_disk_gib,
                })
            });
            Ok(shown.collect())
        }
    }
}

fn shown(image: &Image) -> Value {
    json!({
        "id": image.number, "uuid": image.id, "name": image.name, "status": image.status,
        "progress": image.progress,
    })
}

/// A server by its UUID or v1.0's number.
fn server(id: &str) -> Result<Id, String> {
    if let Ok(number) = id.parse() {
        return Ok(Id::Number(number));
    }
    id.parse().map(Id::Uuid).map_err(|_| format!("{id}: a server has a number or a UUID"))
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn value<T: Serialize, E: std::fmt::Display>(outcome: Result<T, E>) -> Result<Value, String> {
    let done = outcome.map_err(|e| e.to_string())?;
    serde_json::to_value(done).map_err(|e| e.to_string())
}
