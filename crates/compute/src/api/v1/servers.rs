//! Servers: list, create, details, update, delete.

use std::net::Ipv4Addr;

use axum::body::Body;
use axum::extract::State;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use networks::Label;
use serde::{Serialize, Serializer};
use web::Response;
use web::xml::Element;

use super::Api;
use super::addresses::{self, Addresses};
use super::body::{Document, Node};
use super::call::Call;
use super::fault::Fault;
use super::respond::empty;
use crate::model::{File, Id, Launch, Server, Task, Vm};
use crate::{Compute, Pollable, ResponseStyle};

/// Returns a server's status (guide, List Servers). A machine that is off shows SUSPENDED, one on an unreachable host UNKNOWN.
pub(super) fn status(server: &Server, unreachable: bool) -> &'static str {
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
        _ if unreachable => "UNKNOWN",
        (Vm::Building, _) => "BUILD",
        (Vm::Resized, _) => "VERIFY_RESIZE",
        (Vm::Suspended | Vm::Stopped, _) => "SUSPENDED",
        (Vm::Active, _) => "ACTIVE",
    }
}

/// All statuses, including the guide's RESCUE, which no operation sets.
pub(super) const STATUSES: [&str; 17] = [
    "ACTIVE",
    "BUILD",
    "REBUILD",
    "SUSPENDED",
    "QUEUE_RESIZE",
    "PREP_RESIZE",
    "VERIFY_RESIZE",
    "PASSWORD",
    "RESCUE",
    "REBOOT",
    "HARD_REBOOT",
    "SHARE_IP",
    "SHARE_IP_NO_CONFIG",
    "DELETE_IP",
    "ERROR",
    "DELETED",
    "UNKNOWN",
];

/// Returns whether progress is shown in the current status.
fn shows_progress(server: &Server) -> bool {
    matches!(
        server.state.task,
        Some(Task::Spawning | Task::Rebuilding | Task::ResizeQueued | Task::ResizePrep)
    )
}

/// A server's representation: serialised as JSON, and the source of the XML.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct View<'a> {
    id: i64,
    name: &'a str,
    image_id: i64,
    flavor_id: i64,
    host_id: String,
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    progress: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    shared_ip_group_id: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    admin_pass: Option<&'a str>,
    addresses: Addresses<'a>,
    #[serde(serialize_with = "as_map")]
    metadata: &'a [(String, String)],
}

fn as_map<S: Serializer>(pairs: &[(String, String)], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_map(pairs.iter().map(|(key, value)| (key, value)))
}

/// An object with one member.
struct Only<T>(&'static str, T);

impl<T: Serialize> Serialize for Only<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, &self.1)])
    }
}

impl<'a> View<'a> {
    fn of(compute: &Compute, server: &'a Server, admin_pass: Option<&'a str>) -> Self {
        let live = compute.settings().response_style == ResponseStyle::Live;
        // The guide's samples have 32 digits.
        let mut host_id = Compute::host_id(&server.tenant, &server.host);
        host_id.truncate(32);
        let progress = match server.state.task {
            _ if shows_progress(server) => Some(server.progress),
            _ if live => Some(100),
            _ => None,
        };
        Self {
            id: server.number,
            name: &server.name,
            image_id: server.image_number,
            flavor_id: server.flavor.number,
            host_id,
            status: status(server, compute.is_unreachable(&server.host)),
            progress,
            shared_ip_group_id: server.group,
            admin_pass,
            addresses: Addresses(server, &Label::ALL),
            metadata: &server.metadata,
        }
    }

    fn xml(&self) -> Element {
        let meta =
            |(key, value): &(String, String)| Element::new("meta").attr("key", key).text(value.as_str());
        Element::new("server")
            .attr("id", self.id)
            .attr("name", self.name)
            .attr("imageId", self.image_id)
            .attr("flavorId", self.flavor_id)
            .attr_if("sharedIpGroupId", self.shared_ip_group_id)
            .attr("hostId", &self.host_id)
            .attr("status", self.status)
            .attr_if("progress", self.progress)
            .attr_if("adminPass", self.admin_pass)
            .child(Element::new("metadata").children(self.metadata.iter().map(meta)))
            .child(addresses::xml(self.addresses.0))
    }
}

/// Returns a list, or 304 if nothing changed.
fn listed<'a, T, J: Serialize>(
    call: &Call,
    list: &'a Pollable<T>,
    json: impl Fn(&'a T) -> J,
    xml: impl Fn(&'a T) -> Element,
) -> Response {
    call.cached(list.changed, || {
        call.answer(
            StatusCode::OK,
            || Only("servers", list.items.iter().map(&json).collect::<Vec<_>>()),
            || Element::new("servers").children(list.items.iter().map(&xml)),
        )
    })
}

pub(super) async fn list(State(api): State<Api>, call: Call) -> Response {
    let listed = async {
        let list = api.compute.names(&call.context, call.page()?).await;
        let list = list.map_err(|error| Fault::of(&error, call.now))?;
        let xml =
            |(id, name): &(i64, String)| Element::new("server").attr("id", id).attr("name", name.as_str());
        Ok::<_, Fault>(listed(&call, &list, |(id, name)| Brief { id: *id, name }, xml))
    };
    listed.await.unwrap_or_else(|fault| fault.render(call.format))
}

/// A server in the short list.
#[derive(Serialize)]
struct Brief<'a> {
    id: i64,
    name: &'a str,
}

pub(super) async fn detail(State(api): State<Api>, call: Call) -> Response {
    let listed = async {
        let list = api.compute.list(&call.context, call.page()?).await;
        let list = list.map_err(|error| Fault::of(&error, call.now))?;
        let view = |server| View::of(&api.compute, server, None);
        Ok::<_, Fault>(listed(&call, &list, view, |server| view(server).xml()))
    };
    listed.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn show(State(api): State<Api>, call: Call) -> Response {
    let shown = async {
        let server = call.server(&api).await?;
        let view = View::of(&api.compute, &server, None);
        Ok::<_, Fault>(call.cached(Some(server.updated), || {
            call.answer(StatusCode::OK, || Only("server", &view), || view.xml())
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
        Ok::<_, Fault>(call.answer(StatusCode::ACCEPTED, || Only("server", &view), || view.xml()))
    };
    created.await.unwrap_or_else(|fault| fault.render(call.format))
}

fn launch(server: Node<'_>) -> Result<Launch, Fault> {
    let files = server.personality()?.into_iter().map(|(path, encoded)| {
        let contents = decoded(&encoded).map_err(|reason| {
            Fault::bad_request(format!("personality file {path:.80}: its contents are not base64: {reason}"))
        })?;
        Ok(File { path, contents })
    });
    let public: Vec<Ipv4Addr> = server
        .public_addresses()?
        .iter()
        .map(|text| text.parse().map_err(|_| Fault::bad_request(format!("{text:.80} is not an address"))))
        .collect::<Result<_, _>>()?;
    if public.len() > 1 {
        return Err(Fault::bad_request("addresses may contain at most one public address"));
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

/// Decodes base64 that may contain white space, as in the guide's XML sample.
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
        // Clients of the live service require 204.
        Ok::<_, Fault>(empty(match api.compute.settings().response_style {
            ResponseStyle::Guide => StatusCode::ACCEPTED,
            ResponseStyle::Live => StatusCode::NO_CONTENT,
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
