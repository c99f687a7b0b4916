//! `/info`: what this deployment can do and its limits (Swift, discoverability).

use axum::extract::State;
use http::StatusCode;
use web::Response;
use web::listener::ServiceName;

use super::{Swift, answer};

pub(super) async fn show(State(swift): State<Swift>) -> Response {
    let mut limits = serde_json::to_value(swift.files.limits()).unwrap_or_default();
    if let Some(fields) = limits.as_object_mut() {
        fields.insert("version".into(), env!("CARGO_PKG_VERSION").into());
        fields.insert("strict_cors_mode".into(), true.into());
        fields.insert(
            "policies".into(),
            serde_json::json!([{"name": "default", "default": true, "aliases": "default"}]),
        );
    }
    let info = serde_json::json!({ "swift": limits });
    let mut response = answer::with(StatusCode::OK, "application/json; charset=UTF-8", info.to_string());
    response.extensions_mut().insert(ServiceName("files"));
    response
}
