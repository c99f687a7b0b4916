//! Servers: list, create, details, update, delete.

use std::net::Ipv4Addr;

use axum::body::Body;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use networks::Label;
use serde_json::{Map, Value, json};
use web::Response;
use web::xml::Element;

use super::Api;
use super::addresses;
use super::body::{Document, Node};
use super::call::{Call, empty};
use super::fault::Fault;
use crate::model::{File, Id, Launch, Server, Task, Vm};
use crate::{Answers, Compute, Pollable};

/// A server's status in the guide's words (List Servers). A machine that does not run shows SUSPENDED, one on a host
/// that does not answer UNKNOWN.
pub(super) fn status(server: &Server, lost: bool) -> &'static str {
    match (server.state.vm, server.state.task) {
        (Vm::Deleted, _) | (_, Some(Task::Deleting)) => "DELETED",
        (_, Some(Task::Spawning)) => "BUILD",
        (_, Some(Task::Rebuilding)) => "REBUILD",
        (_, Some(Task::Rebooting)) => "REBOOT",
        (_, Some(Task::RebootingHard | Task::Starting)) => "HARD_REBOOT",
        (_, Some(Task::UpdatingPassword)) => "PASSWORD",
        (_, Some(Task::ResizeQueued)) => "QUEUE_RESIZE",
        (_, Some(Task::ResizePrep)) => "PREP_RESIZE",
        (_, Some(Task::SharingIp)) => "SHARE_IP",
        (_, Some(Task::SharingIpNoConfig)) => "SHARE_IP_NO_CONFIG",
        (_, Some(Task::RemovingIp)) => "DELETE_IP",
        (Vm::Error, _) => "ERROR",
        _ if lost => "UNKNOWN",
        (Vm::Building, _) => "BUILD",
        (Vm::Resized, _) => "VERIFY_RESIZE",
        (Vm::Suspended | Vm::Stopped, _) => "SUSPENDED",
        (Vm::Active, _) => "ACTIVE",
    }
}

/// Whether the status is one in which progress is shown.
fn moves(server: &Server) -> bool {
    matches!(
        server.state.task,
        Some(Task::Spawning | Task::Rebuilding | Task::ResizeQueued | Task::ResizePrep)
    )
}

/// What both formats are made of.
struct View<'a> {
    server: &'a Server,
    status: &'static str,
    host_id: String,
    progress: Option<u8>,
    password: Option<&'a str>,
}

impl<'a> View<'a> {
    fn of(compute: &Compute, server: &'a Server, password: Option<&'a str>) -> Self {
        let live = compute.settings().answers == Answers::Live;
        // The guide's samples have 32 digits.
        let mut host_id = Compute::host_id(&server.tenant, &server.host);
        host_id.truncate(32);
        let progress = match server.state.task {
            _ if moves(server) => Some(server.progress),
            _ if live => Some(100),
            _ => None,
        };
        Self { server, status: status(server, compute.is_lost(&server.host)), host_id, progress, password }
    }

    fn json(&self) -> Value {
        let server = self.server;
        let metadata: Map<String, Value> =
            server.metadata.iter().map(|(key, value)| (key.clone(), value.as_str().into())).collect();
        let mut out = json!({
            "id": server.number,
            "name": server.name,
            "imageId": server.image_number,
            "flavorId": server.flavor.number,
            "hostId": self.host_id,
            "status": self.status,
            "addresses": addresses::json(server, &Label::ALL),
            "metadata": metadata,
        });
        if let Some(progress) = self.progress {
            out["progress"] = progress.into();
        }
        if let Some(group) = server.group {
            out["sharedIpGroupId"] = group.into();
        }
        if let Some(password) = self.password {
            out["adminPass"] = password.into();
        }
        out
    }

    fn xml(&self) -> Element {
        let server = self.server;
        let meta =
            |(key, value): &(String, String)| Element::new("meta").attr("key", key).text(value.as_str());
        Element::new("server")
            .attr("id", server.number)
            .attr("name", &server.name)
            .attr("imageId", server.image_number)
            .attr("flavorId", server.flavor.number)
            .attr_if("sharedIpGroupId", server.group)
            .attr("hostId", &self.host_id)
            .attr("status", self.status)
            .attr_if("progress", self.progress)
            .attr_if("adminPass", self.password)
            .child(Element::new("metadata").children(server.metadata.iter().map(meta)))
            .child(addresses::xml(server))
    }
}

/// A list, or 304 where nothing changed since the time that was asked for.
fn listed<T>(
    call: &Call,
    name: &'static str,
    list: &Pollable<T>,
    since: bool,
    json: impl Fn(&T) -> Value,
    xml: impl Fn(&T) -> Element,
) -> Response {
    if since && list.items.is_empty() {
        return empty(StatusCode::NOT_MODIFIED);
    }
    call.cached(list.changed, || {
        call.answer(
            StatusCode::OK,
            || json!({ name: list.items.iter().map(&json).collect::<Vec<_>>() }),
            || Element::new(name).children(list.items.iter().map(&xml)),
        )
    })
}

async fn page(api: &Api, call: &Call, detailed: bool) -> Result<Response, Fault> {
    let page = call.page()?;
    let list = api.compute.list(&call.context, page).await.map_err(|error| Fault::of(&error, call.now))?;
    let since = page.since.is_some();
    if detailed {
        let json = |server: &Server| View::of(&api.compute, server, None).json();
        let xml = |server: &Server| View::of(&api.compute, server, None).xml();
        return Ok(listed(call, "servers", &list, since, json, xml));
    }
    let json = |server: &Server| json!({ "id": server.number, "name": server.name });
    let xml = |server: &Server| Element::new("server").attr("id", server.number).attr("name", &server.name);
    Ok(listed(call, "servers", &list, since, json, xml))
}

pub(super) async fn list(State(api): State<Api>, call: Call) -> Response {
    page(&api, &call, false).await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn detail(State(api): State<Api>, call: Call) -> Response {
    page(&api, &call, true).await.unwrap_or_else(|fault| fault.render(call.format))
}

/// The server that a path names.
pub(super) async fn named(api: &Api, call: &Call) -> Result<Server, Fault> {
    let id = Id::Number(call.id("server")?);
    api.compute.get(&call.context, id).await.map_err(|error| Fault::of(&error, call.now))
}

pub(super) async fn show(State(api): State<Api>, call: Call) -> Response {
    let shown = async {
        let server = named(&api, &call).await?;
        if call.changes_since()?.is_some_and(|since| server.updated < since) {
            return Ok(empty(StatusCode::NOT_MODIFIED));
        }
        let view = View::of(&api.compute, &server, None);
        Ok::<_, Fault>(call.cached(Some(server.updated), || {
            call.answer(StatusCode::OK, || json!({ "server": view.json() }), || view.xml())
        }))
    };
    shown.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn create(State(api): State<Api>, call: Call, body: Body) -> Response {
    let created = async {
        let document = Document::read(&call.headers, body).await?;
        let launch = launch(document.root("server")?)?;
        let launched = api.compute.create(&call.context, launch).await;
        let launched = launched.map_err(|error| Fault::of(&error, call.now))?;
        let view = View::of(&api.compute, &launched.server, Some(&launched.password));
        Ok::<_, Fault>(call.answer(StatusCode::ACCEPTED, || json!({ "server": view.json() }), || view.xml()))
    };
    created.await.unwrap_or_else(|fault| fault.render(call.format))
}

fn launch(server: Node<'_>) -> Result<Launch, Fault> {
    let files = server.personality()?.into_iter().map(|(path, encoded)| {
        let contents = decoded(&encoded).map_err(|reason| {
            Fault::bad_request(format!("personality file {path:.80}: contents are not base64: {reason}"))
        })?;
        Ok(File { path, contents })
    });
    let public: Vec<Ipv4Addr> = server
        .public_addresses()?
        .iter()
        .map(|text| text.parse().map_err(|_| Fault::bad_request(format!("{text:.80} is no address"))))
        .collect::<Result<_, _>>()?;
    if public.len() > 1 {
        return Err(Fault::bad_request("addresses may hold one public address"));
    }
    Ok(Launch {
        name: server.text("name")?.unwrap_or_default(),
        image: images::Id::Number(server.required("imageId")?),
        flavor: server.required("flavorId")?,
        metadata: server.metadata()?,
        files: files.collect::<Result<_, Fault>>()?,
        group: server.number("sharedIpGroupId")?,
        public: public.first().copied(),
    })
}

/// Decodes base64 with white space in it, as the guide's XML sample has it.
fn decoded(text: &str) -> Result<Vec<u8>, base64::DecodeError> {
    let dense: String = text.chars().filter(|c| !c.is_ascii_whitespace()).collect();
    STANDARD.decode(dense)
}

pub(super) async fn update(State(api): State<Api>, call: Call, body: Body) -> Response {
    let updated = async {
        let id = Id::Number(call.id("server")?);
        let document = Document::read(&call.headers, body).await?;
        let server = document.root("server")?;
        let (name, password) = (server.text("name")?, server.text("adminPass")?);
        let updated = api.compute.update(&call.context, id, name.as_deref(), password.as_deref()).await;
        updated.map_err(|error| Fault::of(&error, call.now))?;
        // The live service's clients insist on 204.
        Ok::<_, Fault>(empty(match api.compute.settings().answers {
            Answers::Guide => StatusCode::ACCEPTED,
            Answers::Live => StatusCode::NO_CONTENT,
        }))
    };
    updated.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn delete(State(api): State<Api>, call: Call) -> Response {
    let deleted = async {
        let id = Id::Number(call.id("server")?);
        let deleted = api.compute.delete(&call.context, id, false).await;
        deleted.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(empty(StatusCode::ACCEPTED))
    };
    deleted.await.unwrap_or_else(|fault| fault.render(call.format))
}
