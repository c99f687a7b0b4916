//! API versions; no token needed (guide, API Version).

use axum::Extension;
use axum::extract::State;
use http::StatusCode;
use serde_json::json;
use web::xml::Element;
use web::{Format, Response};

use super::respond::respond;
use super::{Api, NAMESPACE};

const ID: &str = "v1.0";
const STATUS: &str = "CURRENT";

pub(super) async fn list(Extension(format): Extension<Format>) -> Response {
    let body = match format {
        Format::Json => json!({ "versions": [{ "status": STATUS, "id": ID }] }).to_string(),
        Format::Xml => Element::new("versions")
            .attr("xmlns", NAMESPACE)
            .child(Element::new("version").attr("status", STATUS).attr("id", ID))
            .to_document(),
    };
    respond(StatusCode::OK, format, body)
}

pub(super) async fn show(State(api): State<Api>, Extension(format): Extension<Format>) -> Response {
    let base = &api.compute.settings().public_url;
    let (guide, wadl) = (format!("{base}/v1.0/docs/guide.html"), format!("{base}/v1.0/application.wadl"));
    let body = match format {
        Format::Json => {
            json!({ "version": { "status": STATUS, "id": ID, "docURL": guide, "wadl": wadl } }).to_string()
        }
        Format::Xml => Element::new("version")
            .attr("xmlns", NAMESPACE)
            .attr("id", ID)
            .attr("status", STATUS)
            .attr("docURL", guide)
            .attr("wadl", wadl)
            .to_document(),
    };
    respond(StatusCode::OK, format, body)
}
