//! Carries orders out, through the same services as the APIs.

use identity::NewTenantUser;
use serde::Serialize;
use serde_json::{Value, json};

use super::order::Order;
use crate::cloud::Cloud;

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
        other => Err(format!("not served yet: {other:?}")),
    }
}

fn value<T: Serialize, E: std::fmt::Display>(outcome: Result<T, E>) -> Result<Value, String> {
    let done = outcome.map_err(|e| e.to_string())?;
    serde_json::to_value(done).map_err(|e| e.to_string())
}
