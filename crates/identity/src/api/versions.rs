//! The list of versions at `/identity`, and each dialect's description of itself.

use axum::extract::State;
use http::StatusCode;
use serde_json::{Value, json};
use web::Response;

use crate::api::{Shared, json as answer};
use crate::service::Identity;

/// Description of one version.
pub(crate) struct Version {
    pub(crate) id: &'static str,
    path: &'static str,
    status: &'static str,
    updated: &'static str,
}

/// The versions, newest first. Keystone's clients take `v3.14` to mean that everything in this dialect is supported.
pub(crate) const VERSIONS: [Version; 4] = [
    Version { id: "v3.14", path: "v3", status: "stable", updated: "2020-04-07T00:00:00Z" },
    Version { id: "v2.0", path: "v2.0", status: "stable", updated: "2014-04-17T00:00:00Z" },
    Version { id: "v1.1", path: "v1.1", status: "deprecated", updated: "2011-01-21T11:33:21Z" },
    Version { id: "v1.0", path: "v1.0", status: "deprecated", updated: "2010-11-09T00:00:00Z" },
];

impl Version {
    pub(crate) fn url(&self, identity: &Identity) -> String {
        format!("{}/identity/{}/", identity.settings().public_url, self.path)
    }

    pub(crate) fn json(&self, identity: &Identity) -> Value {
        json!({
            "id": self.id,
            "status": self.status,
            "updated": self.updated,
            "links": [{"rel": "self", "href": self.url(identity)}],
            "media-types": [{
                "base": "application/json",
                "type": format!("application/vnd.openstack.identity-{}+json", self.path),
            }],
        })
    }
}

impl Identity {
    /// Returns all versions, in the form that Keystone's clients expect at `/identity` and at the root.
    #[must_use]
    pub fn versions(&self) -> Value {
        let values: Vec<Value> = VERSIONS.iter().map(|version| version.json(self)).collect();
        json!({"versions": {"values": values}})
    }
}

/// `GET /identity`: status 300 with all versions (Keystone).
pub(crate) async fn list(State(identity): State<Shared>) -> Response {
    answer(StatusCode::MULTIPLE_CHOICES, &identity.versions())
}
