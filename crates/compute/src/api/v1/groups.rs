//! Shared IP groups.

use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};
use web::Response;
use web::xml::Element;

use super::Api;
use super::body::Document;
use super::call::Call;
use super::fault::Fault;
use super::respond::empty;
use crate::model::Group;

fn json(group: &Group, detailed: bool) -> Value {
    if detailed {
        json!({ "id": group.number, "name": group.name, "servers": group.servers })
    } else {
        json!({ "id": group.number, "name": group.name })
    }
}

fn xml(group: &Group, detailed: bool) -> Element {
    let out = Element::new("sharedIpGroup").attr("id", group.number).attr("name", &group.name);
    if !detailed {
        return out;
    }
    let server = |number: &i64| Element::new("server").attr("id", number);
    out.child(Element::new("servers").children(group.servers.iter().map(server)))
}

async fn page(api: &Api, call: &Call, detailed: bool) -> Result<Response, Fault> {
    let page = call.page()?;
    let list = api.compute.groups(&call.context, page).await.map_err(|error| Fault::of(&error, call.now))?;
    Ok(call.cached(list.changed, || {
        call.answer(
            StatusCode::OK,
            || json!({ "sharedIpGroups": list.items.iter().map(|g| json(g, detailed)).collect::<Vec<_>>() }),
            || Element::new("sharedIpGroups").children(list.items.iter().map(|g| xml(g, detailed))),
        )
    }))
}

pub(super) async fn list(State(api): State<Api>, call: Call) -> Response {
    page(&api, &call, false).await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn detail(State(api): State<Api>, call: Call) -> Response {
    page(&api, &call, true).await.unwrap_or_else(|fault| fault.render(call.format))
}

fn answer(call: &Call, status: StatusCode, group: &Group) -> Response {
    call.answer(status, || json!({ "sharedIpGroup": json(group, true) }), || xml(group, true))
}

pub(super) async fn show(State(api): State<Api>, call: Call) -> Response {
    let shown = async {
        let found = api.compute.group(&call.context, call.id("shared IP group")?).await;
        let group = found.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(call.cached(Some(group.updated), || answer(&call, StatusCode::OK, &group)))
    };
    shown.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn create(State(api): State<Api>, call: Call, body: Body) -> Response {
    let created = async {
        let document = Document::read(&call.headers, body).await?;
        let new = document.root("sharedIpGroup")?;
        let (name, first) = (new.text("name")?.unwrap_or_default(), new.first_server()?);
        let created = api.compute.create_group(&call.context, &name, first).await;
        let group = created.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(answer(&call, StatusCode::CREATED, &group))
    };
    created.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn delete(State(api): State<Api>, call: Call) -> Response {
    let deleted = async {
        let deleted = api.compute.delete_group(&call.context, call.id("shared IP group")?).await;
        deleted.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(empty(StatusCode::NO_CONTENT))
    };
    deleted.await.unwrap_or_else(|fault| fault.render(call.format))
}
