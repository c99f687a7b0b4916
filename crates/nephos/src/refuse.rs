//! Responds to requests that are rejected before they reach a dialect, because their heads are malformed or not allowed. The
//! dialect of the response follows from the path.

use web::Response;
use web::wire::Refused;

/// First path segments that belong to identity.
const IDENTITY: [&str; 6] = ["identity", "v1.0", "v1.1", "v2.0", "v3", "auth"];

/// Returns the response, in the dialect that the first path segment names.
pub fn refuse(refused: &Refused) -> Response {
    match refused.path().unwrap_or_default().split('/').nth(1).unwrap_or_default() {
        "servers" => compute::api::v1::refuse(refused),
        first if IDENTITY.contains(&first) => identity::refuse(refused),
        _ => files::api::swift::refuse(refused),
    }
}
