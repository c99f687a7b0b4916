//! `/info`: the deployment's features and limits (Swift, discoverability).

use axum::extract::State;
use http::{Method, StatusCode};
use serde_json::{Value, json};
use web::Response;
use web::listener::ServiceName;
use web::query::Query;

use super::{Swift, answer, cors};
use crate::Settings;
use crate::model::realms::Realms;
use crate::model::signature::{Digest, is_signed};
use crate::service::LINKS_MAX;

/// The Swift release whose API this is. Clients compare it to find out what they can use.
const SWIFT_VERSION: &str = "2.38.0";

pub(super) async fn show(State(swift): State<Swift>, request: web::Request) -> Response {
    let mut response = match *request.method() {
        Method::OPTIONS => {
            let mut response = answer::html(StatusCode::OK, String::new());
            answer::set(response.headers_mut(), "allow", "GET, HEAD, OPTIONS");
            response
        }
        Method::GET | Method::HEAD => {
            let settings = swift.files.settings();
            let mut info = describe(settings);
            match signed(&request, settings.info_key.as_deref(), swift.files.now().seconds()) {
                Ok(false) => {}
                Ok(true) => info["admin"] = for_operators(settings),
                Err(status) => {
                    return super::fault::Fault::status(status).into_response("unknown", false);
                }
            }
            let mut response =
                answer::with(StatusCode::OK, "application/json; charset=UTF-8", info.to_string());
            cors::open(request.headers(), &mut response);
            super::packing::packed(request.headers(), response).await
        }
        _ => super::fault::Fault::method("GET, HEAD, OPTIONS").into_response("unknown", false),
    };
    response.extensions_mut().insert(ServiceName("files"));
    response
}

/// Returns whether a request for `/info` is signed with the operators' key: `swiftinfo_sig` is the HMAC of method,
/// `swiftinfo_expires` and path (Swift, discoverability).
fn signed(request: &web::Request, key: Option<&str>, now: i64) -> Result<bool, StatusCode> {
    let query = Query::parse(request.uri().query());
    let text = |name: &str| query.text(name).unwrap_or_default().into_owned();
    let (signature, expires) = (text("swiftinfo_sig"), text("swiftinfo_expires"));
    if signature.is_empty() && expires.is_empty() {
        return Ok(false);
    }
    let key = key.ok_or(StatusCode::FORBIDDEN)?;
    let until: i64 = expires.parse().map_err(|_| StatusCode::UNAUTHORIZED)?;
    let signature = hex::decode(&signature).map_err(|_| StatusCode::UNAUTHORIZED)?;
    let methods: &[&str] = if request.method() == Method::HEAD { &["HEAD", "GET"] } else { &["GET"] };
    let digests = [Digest::Sha256, Digest::Sha1, Digest::Sha512];
    let is_good = methods.iter().any(|method| {
        let text = format!("{method}\n{until}\n/info");
        digests.into_iter().any(|digest| is_signed(digest, key, &text, &signature))
    });
    if is_good && until >= now { Ok(true) } else { Err(StatusCode::UNAUTHORIZED) }
}

/// Returns the section that only operators get.
fn for_operators(settings: &Settings) -> Value {
    let by_policy = settings.policies.0.iter().filter_map(|policy| policy.encryption);
    let enabled = settings.encryption || by_policy.clone().any(|encrypts| encrypts);
    let shown = enabled || by_policy.count() > 0;
    let mut admin = json!({"disallowed_sections": []});
    if shown {
        admin["encryption"] = json!({"enabled": enabled});
    }
    admin
}

/// Returns the realms and their clusters, with this cloud's cluster marked.
fn realms(realms: &Realms) -> Value {
    let known = realms.realms.iter().filter(|(_, realm)| !realm.clusters.is_empty());
    let shown = known.map(|(name, realm)| {
        let clusters = realm.clusters.keys().map(|cluster| {
            let is_current = realms.current.as_ref().is_some_and(|(r, c)| r == name && c == cluster);
            (cluster.clone(), if is_current { json!({"current": true}) } else { json!({}) })
        });
        (name.clone(), json!({"clusters": clusters.collect::<serde_json::Map<_, _>>()}))
    });
    Value::Object(shown.collect())
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
            "version": SWIFT_VERSION,
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
    if let Some(lookup) = &settings.cname {
        info["cname_lookup"] = json!({"lookup_depth": lookup.depth});
    }
    if settings.read_only {
        info["read_only"] = json!({});
    }
    let rates = &settings.rates;
    if rates.is_on() {
        info["ratelimit"] = json!({
            "account_ratelimit": rates.account_ratelimit,
            "max_sleep_time_seconds": rates.max_sleep_time_seconds,
            "container_ratelimits": rates.container_ratelimits,
            "container_listing_ratelimits": rates.container_listing_ratelimits,
        });
    }
    info["container_sync"] = json!({"realms": realms(&settings.realms)});
    info
}
