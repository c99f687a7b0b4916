//! A server's addresses: list, share, unshare.

use std::net::Ipv4Addr;

use axum::body::Body;
use axum::extract::State;
use http::StatusCode;
use networks::Label;
use serde::{Serialize, Serializer};
use serde_json::json;
use web::Response;
use web::xml::Element;

use super::Api;
use super::body::Document;
use super::call::Call;
use super::fault::Fault;
use super::respond::empty;
use crate::model::{Id, Server};

/// A server's addresses by network, serialised as JSON.
pub(super) struct Addresses<'a>(pub(super) &'a Server, pub(super) &'static [Label]);

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let of = |label: &Label| self.0.addresses(*label).collect::<Vec<_>>();
        serializer.collect_map(self.1.iter().map(|label| (label.as_str(), of(label))))
    }
}

fn network(server: &Server, label: Label) -> Element {
    let ip = |address: Ipv4Addr| Element::new("ip").attr("addr", address);
    Element::new(label.as_str()).children(server.addresses(label).map(ip))
}

/// Returns a server's addresses by network as an XML element.
pub(super) fn xml(server: &Server) -> Element {
    Element::new("addresses").children(Label::ALL.iter().map(|label| network(server, *label)))
}

pub(super) async fn list(State(api): State<Api>, call: Call) -> Response {
    match call.server(&api).await {
        Err(fault) => fault.render(call.format),
        Ok(server) => call.cached(Some(server.updated), || {
            call.answer(
                StatusCode::OK,
                || json!({ "addresses": Addresses(&server, &Label::ALL) }),
                || xml(&server),
            )
        }),
    }
}

fn only(label: Label) -> &'static [Label] {
    match label {
        Label::Public => &[Label::Public],
        Label::Private => &[Label::Private],
    }
}

async fn one(api: &Api, call: &Call, label: Label) -> Response {
    match call.server(api).await {
        Err(fault) => fault.render(call.format),
        Ok(server) => call.cached(Some(server.updated), || {
            call.answer(StatusCode::OK, || Addresses(&server, only(label)), || network(&server, label))
        }),
    }
}

pub(super) async fn public(State(api): State<Api>, call: Call) -> Response {
    one(&api, &call, Label::Public).await
}

pub(super) async fn private(State(api): State<Api>, call: Call) -> Response {
    one(&api, &call, Label::Private).await
}

fn address(call: &Call) -> Result<Ipv4Addr, Fault> {
    let missing = crate::Error::NotFound("address");
    call.param("address").parse().map_err(|_| Fault::of(&missing, call.now))
}

pub(super) async fn share(State(api): State<Api>, call: Call, body: Body) -> Response {
    let shared = async {
        let (id, address) = (Id::Number(call.id("server")?), address(&call)?);
        let document = Document::read(&call.headers, body).await?;
        let order = document.root("shareIp")?;
        let group = order.required("sharedIpGroupId")?;
        let configure = order.flag("configureServer")?.unwrap_or(false);
        let shared = api.compute.share_ip(&call.context, id, address, group, configure).await;
        shared.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(empty(StatusCode::ACCEPTED))
    };
    shared.await.unwrap_or_else(|fault| fault.render(call.format))
}

pub(super) async fn unshare(State(api): State<Api>, call: Call) -> Response {
    let unshared = async {
        let (id, address) = (Id::Number(call.id("server")?), address(&call)?);
        let unshared = api.compute.unshare_ip(&call.context, id, address).await;
        unshared.map_err(|error| Fault::of(&error, call.now))?;
        Ok::<_, Fault>(empty(StatusCode::ACCEPTED))
    };
    unshared.await.unwrap_or_else(|fault| fault.render(call.format))
}
