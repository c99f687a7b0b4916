//! The operator's commands for images.

use hypervisor::DiskFormat;
use images::{Access, Files, Id, Image, Import, Page, Registration, Visibility};
use serde_json::{Value, json};

use super::text;
use crate::cloud::Cloud;

/// Images fetched per query.
const PAGE: i64 = 1000;

/// Imports local files as an image for all tenants.
pub async fn import(cloud: &Cloud, name: String, format: &str, files: Files) -> Result<Value, String> {
    let import = Import { name, format: disk_format(format)?, files };
    let image = cloud.images.import(import).await.map_err(text)?;
    shown(cloud, &image).await
}

/// Registers one of a tenant's objects as an image, and waits until it is accepted or rejected.
pub async fn register(
    cloud: &Cloud,
    tenant: &str,
    (container, object): (String, String),
    format: &str,
    name: String,
) -> Result<Value, String> {
    let owner = tenant_id(cloud, tenant).await?;
    let images_max = cloud.compute.limits_of(&owner).await.map_err(text)?.images_max;
    let new = Registration { owner, name, format: disk_format(format)?, container, object, images_max };
    let image = cloud.images.register_and_wait(new).await.map_err(text)?;
    shown(cloud, &image).await
}

/// Returns the images that a tenant may use; without a tenant, the public ones and the operator's own.
pub async fn list(cloud: &Cloud, tenant: Option<&str>) -> Result<Value, String> {
    let tenant = match tenant {
        Some(tenant) => tenant_id(cloud, tenant).await?,
        None => String::new(),
    };
    let (mut all, mut offset) = (Vec::new(), 0);
    loop {
        let page = Page { offset, limit: PAGE, since: None, deleted: false };
        let found = cloud.images.list(&tenant, page).await.map_err(text)?;
        for image in &found {
            all.push(shown(cloud, image).await?);
        }
        if i64::try_from(found.len()).unwrap_or(0) < PAGE {
            return Ok(Value::Array(all));
        }
        offset += PAGE;
    }
}

/// Shares an image with a tenant or with everyone, or stops sharing it, whoever owns it.
pub async fn share(cloud: &Cloud, id: &str, tenant: Option<&str>, shared: bool) -> Result<Value, String> {
    let image = cloud.images.find(named(id)?).await.map_err(text)?;
    let (images, owner, id) = (&cloud.images, image.owner.as_deref().unwrap_or_default(), Id::Uuid(image.id));
    let done = match tenant {
        None => images.publish(owner, id, shared).await,
        Some(tenant) => {
            let tenant = tenant_id(cloud, tenant).await?;
            if shared {
                images.add_member(owner, id, &tenant).await
            } else {
                images.remove_member(owner, id, &tenant).await
            }
        }
    };
    done.map_err(text)?;
    shown(cloud, &cloud.images.by_id(image.id).await.map_err(text)?).await
}

async fn tenant_id(cloud: &Cloud, tenant: &str) -> Result<String, String> {
    Ok(cloud.identity.administration().tenant(tenant).await.map_err(text)?.id)
}

fn disk_format(format: &str) -> Result<DiskFormat, String> {
    match format {
        "qcow2" => Ok(DiskFormat::Qcow2),
        "raw" => Ok(DiskFormat::Raw),
        other => Err(format!("{other}: expected the format qcow2 or raw")),
    }
}

/// Parses an image's UUID or v1.0 number.
fn named(id: &str) -> Result<Id, String> {
    if let Ok(number) = id.parse() {
        return Ok(Id::Number(number));
    }
    id.parse().map(Id::Uuid).map_err(|_| format!("{id}: expected an image's number or UUID"))
}

async fn shown(cloud: &Cloud, image: &Image) -> Result<Value, String> {
    let owner = image.owner.as_deref();
    let access = cloud.images.access(owner.unwrap_or_default(), Id::Uuid(image.id)).await;
    // The image may have been deleted since it was found.
    let access =
        access.unwrap_or(Access { public: image.visibility == Visibility::Public, tenants: Vec::new() });
    Ok(json!({
        "id": image.number, "uuid": image.id, "name": image.name, "status": image.status,
        "progress": image.progress, "owner": owner, "public": access.public, "tenants": access.tenants,
    }))
}
