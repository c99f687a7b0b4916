//! What each service does when a tenant is deleted. Identity's job repeats until every service has succeeded.

use std::sync::Arc;

use async_trait::async_trait;
use cdn::Cdn;
use compute::Compute;
use compute::model::server::Id;
use files::Files;
use identity::{Caller, TenantDataOwner};
use images::{Images, Page};

/// Maximum number of items processed in one step.
const PAGE: i64 = 200;

/// Returns every service that keeps data for tenants. Servers come before the images and networks that they use.
pub fn services(
    compute: &Compute,
    images: &Arc<Images>,
    cdn: &Cdn,
    files: &Files,
) -> Vec<Arc<dyn TenantDataOwner>> {
    vec![
        Arc::new(Servers(compute.clone())),
        Arc::new(OwnImages(Arc::clone(images))),
        Arc::new(Publications(cdn.clone())),
        Arc::new(Objects(files.clone())),
    ]
}

struct Servers(Compute);

#[async_trait]
impl TenantDataOwner for Servers {
    fn service(&self) -> &'static str {
        "servers"
    }

    async fn delete_tenant_data(&self, tenant_id: &str) -> Result<(), String> {
        let caller = Arc::new(Caller::console());
        let context =
            compute::Context::new(caller, tenant_id, "tenant-deleted").map_err(|e| e.to_string())?;
        let page = compute::model::server::Page { offset: 0, limit: PAGE, since: None };
        let found = self.0.list(&context, page).await.map_err(|e| e.to_string())?;
        for server in &found.items {
            self.0.remove(Id::Uuid(server.id)).await.map_err(|e| e.to_string())?;
        }
        if found.items.is_empty() {
            Ok(())
        } else {
            Err(format!("{} servers are still being deleted", found.items.len()))
        }
    }
}

struct OwnImages(Arc<Images>);

#[async_trait]
impl TenantDataOwner for OwnImages {
    fn service(&self) -> &'static str {
        "images"
    }

    async fn delete_tenant_data(&self, tenant_id: &str) -> Result<(), String> {
        let mut offset = 0;
        loop {
            let page = Page { offset, limit: PAGE, since: None, deleted: false };
            let found = self.0.list(tenant_id, page).await.map_err(|e| e.to_string())?;
            let seen = i64::try_from(found.len()).unwrap_or(PAGE);
            let own = found.iter().filter(|image| image.owner.as_deref() == Some(tenant_id));
            let mut deleted = 0;
            for image in own {
                self.0.delete(tenant_id, images::Id::Uuid(image.id)).await.map_err(|e| e.to_string())?;
                deleted += 1;
            }
            if seen < PAGE {
                return self.0.delete_tenant_access(tenant_id).await.map_err(|e| e.to_string());
            }
            offset += seen - deleted;
        }
    }
}

struct Publications(Cdn);

#[async_trait]
impl TenantDataOwner for Publications {
    fn service(&self) -> &'static str {
        "cdn"
    }

    async fn delete_tenant_data(&self, tenant_id: &str) -> Result<(), String> {
        self.0.delete_tenant(tenant_id).await.map_err(|e| e.to_string())
    }
}

struct Objects(Files);

#[async_trait]
impl TenantDataOwner for Objects {
    fn service(&self) -> &'static str {
        "files"
    }

    async fn delete_tenant_data(&self, tenant_id: &str) -> Result<(), String> {
        let context = files::Context {
            caller: Some(Arc::new(Caller::console())),
            internal: true,
            ..files::Context::default()
        };
        for prefix in ["AUTH", "SERVICE"] {
            match self.0.delete_account(&context, &format!("{prefix}_{tenant_id}")).await {
                Ok(()) | Err(files::Error::NotFound) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}
