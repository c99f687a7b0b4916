//! Actions: reboot, rebuild, resize, confirm, revert.

use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use web::Response;

use super::Api;
use super::body::Document;
use super::call::Call;
use super::fault::Fault;
use super::respond::empty;
use crate::model::{Id, Reboot};

pub(super) async fn act(State(api): State<Api>, call: Call, body: Body) -> Response {
    acted(&api, &call, body).await.unwrap_or_else(|fault| fault.render(call.format))
}

async fn acted(api: &Api, call: &Call, body: Body) -> Result<Response, Fault> {
    let id = Id::Number(call.id("server")?);
    let document = Document::read(&call.headers, body).await?;
    let (action, node) = document.only()?;
    let (compute, context) = (&api.compute, &call.context);
    let (accepted, status) = match action {
        "reboot" => {
            let kind = match node.text("type")?.as_deref() {
                Some("SOFT") => Reboot::Soft,
                Some("HARD") => Reboot::Hard,
                _ => return Err(Fault::bad_request("reboot: type must be SOFT or HARD")),
            };
            (compute.reboot(context, id, kind).await, StatusCode::ACCEPTED)
        }
        "rebuild" => {
            let image = node.number("imageId")?.map(images::Id::Number);
            (compute.rebuild(context, id, image).await, StatusCode::ACCEPTED)
        }
        "resize" => (compute.resize(context, id, node.required("flavorId")?).await, StatusCode::ACCEPTED),
        "confirmResize" => (compute.confirm_resize(context, id).await, StatusCode::NO_CONTENT),
        "revertResize" => (compute.revert_resize(context, id).await, StatusCode::ACCEPTED),
        other => {
            return Err(Fault::new("notImplemented", 501, format!("the action {other:.80} does not exist")));
        }
    };
    accepted.map_err(|error| Fault::of(&error, call.now))?;
    Ok(empty(status))
}
