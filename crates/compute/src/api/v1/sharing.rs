//! Sharing of images: an image is public, or its access group names tenants (guide, Cloud Servers API Roadmap: Image
//! Sharing, which announces the feature without a wire format).

use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use images::{Access, Id};
use serde_json::{Value, json};
use web::Response;
use web::xml::Element;

use super::Api;
use super::body::Document;
use super::call::Call;
use super::fault::Fault;
use super::respond::empty;

fn json(access: &Access) -> Value {
    json!({ "access": { "public": access.public, "tenants": access.tenants } })
}

fn xml(access: &Access) -> Element {
    let tenant = |id: &String| Element::new("tenant").attr("id", id);
    Element::new("access").attr("public", access.public).children(access.tenants.iter().map(tenant))
}

fn done(call: &Call, outcome: Result<(), crate::Error>) -> Result<Response, Fault> {
    outcome.map_err(|error| Fault::of(&error, call.now))?;
    Ok(empty(StatusCode::NO_CONTENT))
}

pub(super) async fn publish(State(api): State<Api>, call: Call, body: Body) -> Response {
    let published = async {
        let document = Document::read(&call.headers, body).await?;
        let id = Id::Number(call.id("image")?);
        let public = document.root("image")?.flag("public")?;
        let public = public.ok_or_else(|| Fault::bad_request("public is missing"))?;
        done(&call, api.compute.publish_image(&call.context, id, public).await)
    };
    published.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn show(State(api): State<Api>, call: Call) -> Response {
    let shown = async {
        let found = api.compute.image_access(&call.context, Id::Number(call.id("image")?)).await;
        let access = found.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(call.answer(StatusCode::OK, || json(&access), || xml(&access)))
    };
    shown.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn share(State(api): State<Api>, call: Call) -> Response {
    let shared = async {
        let id = Id::Number(call.id("image")?);
        done(&call, api.compute.share_image(&call.context, id, call.param("member")).await)
    };
    shared.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn unshare(State(api): State<Api>, call: Call) -> Response {
    let unshared = async {
        let id = Id::Number(call.id("image")?);
        done(&call, api.compute.unshare_image(&call.context, id, call.param("member")).await)
    };
    unshared.await.unwrap_or_else(|fault| fault.render(call.format))
}
