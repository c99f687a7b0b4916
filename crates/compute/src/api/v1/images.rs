//! Images: list, create, details, delete.

use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use images::{Id, Image, Page, Status};
use serde_json::{Value, json};
use web::Response;
use web::xml::Element;

use super::Api;
use super::body::{Document, Node};
use super::call::Call;
use super::fault::Fault;
use super::respond::empty;
use crate::model;
use crate::{Error, Upload};

fn status(image: &Image) -> &'static str {
    if image.deleted.is_some() { "DELETED" } else { image.status.as_str() }
}

/// Returns the progress, which is shown only while the image is being created (guide, List Images: "the conditional
/// progress element").
fn progress(image: &Image) -> Option<u8> {
    (image.deleted.is_none() && image.status.in_flight()).then_some(image.progress)
}

/// Returns the server that it was created from. Other tenants do not see it.
fn server(image: &Image, tenant: &str) -> Option<i64> {
    image.server.filter(|_| image.owner.as_deref() == Some(tenant)).map(|(_, number)| number)
}

/// Returns why it failed. Only its owner sees it.
fn reason<'a>(image: &'a Image, tenant: &str) -> Option<&'a str> {
    let failed = image.status == Status::Failed && image.owner.as_deref() == Some(tenant);
    image.reason.as_deref().filter(|_| failed && image.deleted.is_none())
}

/// Returns the owner if it is another tenant, so that a shared image cannot be mistaken for the cloud's.
fn owner<'a>(image: &'a Image, tenant: &str) -> Option<&'a str> {
    image.owner.as_deref().filter(|owner| *owner != tenant)
}

fn json(image: &Image, tenant: &str) -> Value {
    let mut out = json!({
        "id": image.number,
        "name": image.name,
        "updated": image.updated.iso_seconds(),
        "created": image.created.iso_seconds(),
        "status": status(image),
    });
    if let Some(server) = server(image, tenant) {
        out["serverId"] = server.into();
    }
    if let Some(owner) = owner(image, tenant) {
        out["owner"] = owner.into();
    }
    if let Some(progress) = progress(image) {
        out["progress"] = progress.into();
    }
    if let Some(reason) = reason(image, tenant) {
        out["reason"] = reason.into();
    }
    out
}

fn xml(image: &Image, tenant: &str) -> Element {
    Element::new("image")
        .attr("id", image.number)
        .attr("name", &image.name)
        .attr_if("serverId", server(image, tenant))
        .attr_if("owner", owner(image, tenant))
        .attr("updated", image.updated.iso_seconds())
        .attr("created", image.created.iso_seconds())
        .attr("status", status(image))
        .attr_if("progress", progress(image))
        .attr_if("reason", reason(image, tenant))
}

async fn page(api: &Api, call: &Call, detailed: bool) -> Result<Response, Fault> {
    let page = call.page()?;
    // The short list shows no status, so a deleted image would look available.
    let page = Page { offset: page.offset, limit: page.limit, since: page.since, deleted: detailed };
    let of = |error: images::Error| Fault::of(&error.into(), call.now);
    let tenant = call.context.tenant();
    let changed = api.compute.images().latest_change(tenant).await.map_err(of)?;
    let list = api.compute.images().list(tenant, page).await.map_err(of)?;
    let brief = |image: &Image| json!({ "id": image.number, "name": image.name });
    let short = |image: &Image| Element::new("image").attr("id", image.number).attr("name", &image.name);
    Ok(call.cached(changed, || {
        call.answer(
            StatusCode::OK,
            || {
                let images =
                    list.iter().map(|image| if detailed { json(image, tenant) } else { brief(image) });
                json!({ "images": images.collect::<Vec<_>>() })
            },
            || {
                let images =
                    list.iter().map(|image| if detailed { xml(image, tenant) } else { short(image) });
                Element::new("images").children(images)
            },
        )
    }))
}

pub(super) async fn list(State(api): State<Api>, call: Call) -> Response {
    page(&api, &call, false).await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn detail(State(api): State<Api>, call: Call) -> Response {
    page(&api, &call, true).await.unwrap_or_else(|fault| fault.render(call.format))
}

fn answer(call: &Call, status: StatusCode, image: &Image) -> Response {
    let tenant = call.context.tenant();
    call.answer(status, || json!({ "image": json(image, tenant) }), || xml(image, tenant))
}

pub(super) async fn show(State(api): State<Api>, call: Call) -> Response {
    let shown = async {
        let id = Id::Number(call.id("image")?);
        let found = api.compute.images().get(call.context.tenant(), id).await;
        let image = found.map_err(|error| Fault::of(&error.into(), call.now))?;
        Ok::<_, Fault>(call.cached(Some(image.updated), || answer(&call, StatusCode::OK, &image)))
    };
    shown.await.unwrap_or_else(|fault| fault.render(call.format))
}

/// The source of a new image.
enum Source {
    Snapshot(model::Id, String),
    Upload(Upload),
}

/// Returns the source in a request: a server, or an object in Cloud Files.
fn source(new: Node<'_>) -> Result<Source, Fault> {
    let name = new.text("name")?.unwrap_or_default();
    match (new.number("serverId")?, new.text("source")?, new.text("format")?) {
        (Some(server), None, None) => Ok(Source::Snapshot(model::Id::Number(server), name)),
        (None, Some(source), Some(format)) => Ok(Source::Upload(Upload { name, source, format })),
        (Some(_), Some(_), _) => Err(Fault::bad_request("serverId and source exclude each other")),
        (Some(_), None, Some(_)) => Err(Fault::bad_request("format goes with source, not with serverId")),
        (None, Some(_), None) => Err(Fault::bad_request("format is missing: it must be qcow2 or raw")),
        (None, None, _) => Err(Fault::bad_request("serverId or source is missing")),
    }
}

pub(super) async fn create(State(api): State<Api>, call: Call, body: Body) -> Response {
    let created = async {
        let document = Document::read(&call.headers, body).await?;
        let new = document.root("image")?;
        let created = match source(new)? {
            Source::Snapshot(server, name) => api.compute.create_image(&call.context, server, &name).await,
            Source::Upload(upload) => api.compute.register_image(&call.context, upload).await,
        };
        let image = created.map_err(|error: Error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(answer(&call, StatusCode::ACCEPTED, &image))
    };
    created.await.unwrap_or_else(|fault| fault.render(call.format))
}

/// Deletes an image. The guide has no such operation, but all clients use it.
pub(super) async fn delete(State(api): State<Api>, call: Call) -> Response {
    let deleted = async {
        let id = Id::Number(call.id("image")?);
        let deleted = api.compute.delete_image(&call.context, id).await;
        deleted.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(empty(StatusCode::NO_CONTENT))
    };
    deleted.await.unwrap_or_else(|fault| fault.render(call.format))
}
