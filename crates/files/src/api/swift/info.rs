//! `/info`: what this deployment can do and its limits (Swift, discoverability).

use axum::extract::State;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::Response;
use web::listener::ServiceName;

use super::{Swift, answer, cors};
use crate::Settings;
use crate::service::LINKS_MAX;

pub(super) async fn show(State(swift): State<Swift>, request: web::Request) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => {
            let mut response = answer::html(StatusCode::OK, String::new());
            answer::set(response.headers_mut(), "allow", "GET, HEAD, OPTIONS");
            response
        }
        Method::GET | Method::HEAD => {
            let info = describe(swift.files.settings());
            let mut response =
                answer::with(StatusCode::OK, "application/json; charset=UTF-8", info.to_string());
            cors::open(request.headers(), &mut response);
            response
        }
        _ => super::fault::Fault::method("GET, HEAD, OPTIONS").into_response("unknown", false),
    };
    response.extensions_mut().insert(ServiceName("files"));
    response
}

fn describe(settings: &Settings) -> Value {
    let limits = &settings.limits;
    let policies: Vec<_> = settings
        .policies
        .0
        .iter()
        .enumerate()
        .filter(|(_, policy)| !policy.deprecated)
        .map(|(index, policy)| {
            let names: Vec<_> =
                std::iter::once(&policy.name).chain(&policy.aliases).map(String::as_str).collect();
            let mut shown = json!({"name": policy.name, "aliases": names.join(", ")});
            if index == 0 {
                shown["default"] = true.into();
            }
            shown
        })
        .collect();
    let mut info = json!({
        "swift": {
            "version": env!("CARGO_PKG_VERSION"),
            "strict_cors_mode": true,
            "policies": policies,
            "allow_account_management": true,
            "account_autocreate": true,
            "allow_open_expired": settings.allow_open_expired,
            "max_file_size": limits.max_file_size,
            "max_meta_name_length": limits.max_meta_name_length,
            "max_meta_value_length": limits.max_meta_value_length,
            "max_meta_count": limits.max_meta_count,
            "max_meta_overall_size": limits.max_meta_overall_size,
            "max_header_size": limits.max_header_size,
            "max_object_name_length": limits.max_object_name_length,
            "max_container_name_length": limits.max_container_name_length,
            "max_account_name_length": limits.max_account_name_length,
            "account_listing_limit": limits.account_listing_limit,
            "container_listing_limit": limits.container_listing_limit,
            "extra_header_count": 0,
            "valid_api_versions": ["v1", "v1.0"],
        },
        "tempauth": {"account_acls": true},
        "account_quotas": {},
        "container_quotas": {},
        "bulk_delete": {
            "max_deletes_per_request": limits.max_deletes_per_request,
            "max_failed_deletes": limits.max_failed,
        },
        "bulk_upload": {
            "max_containers_per_extraction": limits.max_containers_per_extraction,
            "max_failed_extractions": limits.max_failed,
        },
        "slo": {
            "max_manifest_segments": limits.max_manifest_segments,
            "max_manifest_size": limits.max_manifest_size,
            "min_segment_size": 1,
            "yield_frequency": 10,
            "allow_async_delete": true,
        },
        "dlo": {"max_segments": 100_000},
        "symlink": {"symloop_max": LINKS_MAX, "static_links": true},
        "object_versioning": {},
        "versioned_writes": {
            "allowed_flags": ["x-versions-location", "x-history-location"],
        },
        "staticweb": {},
        "formpost": {
            "allowed_digests": ["sha1", "sha256", "sha512"],
            "deprecated_digests": ["sha1"],
        },
        "tempurl": {
            "methods": ["GET", "HEAD", "PUT", "POST", "DELETE"],
            "incoming_remove_headers": ["x-timestamp", "x-open-expired"],
            "incoming_allow_headers": [],
            "outgoing_remove_headers": ["x-object-meta-*"],
            "outgoing_allow_headers": ["x-object-meta-public-*"],
            "allowed_digests": ["sha1", "sha256", "sha512"],
            "deprecated_digests": ["sha1"],
        },
        "etag_quoter": {"enable_by_default": false},
    });
    if !settings.storage_domains.is_empty() {
        info["domain_remap"] = json!({"default_reseller_prefix": null});
    }
    info
}
