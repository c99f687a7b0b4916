//! Requests that no dialect gets to see, since their heads cannot be read or must not be: answered in the dialect that the
//! path belongs to.

use web::Response;
use web::wire::Refused;

/// Segments at the root that are identity's.
const IDENTITY: [&str; 6] = ["identity", "v1.0", "v1.1", "v2.0", "v3", "auth"];

/// The answer, by the first segment of the path.
pub fn refuse(refused: &Refused) -> Response {
    match refused.path().unwrap_or_default().split('/').nth(1).unwrap_or_default() {
        "servers" => compute::api::v1::refuse(refused),
        first if IDENTITY.contains(&first) => identity::refuse(refused),
        _ => files::api::swift::refuse(refused),
    }
}
