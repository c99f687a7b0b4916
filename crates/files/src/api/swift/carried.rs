//! Requests by which another cloud synchronises a container here (Swift, Container to container synchronisation).

use http::header::WWW_AUTHENTICATE;
use http::request::Parts;
use http::{Method, StatusCode};
use web::query::encode;
use work::Time;

use super::fault::Fault;
use super::headers;
use crate::model::name::Target;
use crate::model::realms::signed_text;
use crate::model::time;
use crate::service::Pass;
use crate::{Error, Files};

/// Returns what a request with `X-Container-Sync-Auth` or with the container's own `X-Container-Sync-Key` may access, and
/// the time of the change that it replicates; `None` for any other request.
pub(super) async fn pass(
    files: &Files,
    head: &Parts,
    target: &Target,
) -> Result<Option<(Pass, Time)>, Fault> {
    let timestamp = headers::get(&head.headers, "x-timestamp");
    let at = timestamp.and_then(time::parse);
    let Some(auth) = headers::get(&head.headers, "x-container-sync-auth") else {
        return with_key(files, head, target, at).await;
    };
    let Target::Object(account, container, object) = target else { return Err(invalid(target)) };
    let words: Vec<_> = auth.split_whitespace().collect();
    let [realm, nonce, signature] = words.as_slice() else { return Err(invalid(target)) };
    let (method, stamp) = (head.method.as_str(), timestamp.unwrap_or("0"));
    let text = |key: &str| {
        let path = format!(
            "/v1/{}/{}/{}",
            encode(account.as_bytes(), false),
            encode(container.as_bytes(), false),
            encode(object.as_bytes(), true)
        );
        signed_text(method, &path, stamp, nonce, key)
    };
    let pass = files.grant_for_realm((account, container), realm, signature, text).await;
    match (pass, at) {
        (Ok(pass), Some(at)) if is_synchronised(&head.method) => Ok(Some((pass, at))),
        (Err(Error::Unauthenticated) | Ok(_), _) => Err(invalid(target)),
        (Err(other), _) => Err(other.into()),
    }
}

/// Checks the container's key itself, which clouds without a common realm send.
async fn with_key(
    files: &Files,
    head: &Parts,
    target: &Target,
    at: Option<Time>,
) -> Result<Option<(Pass, Time)>, Fault> {
    let (Target::Object(account, container, _), Some(at)) = (target, at) else { return Ok(None) };
    match headers::get(&head.headers, "x-container-sync-key") {
        Some(key) if is_synchronised(&head.method) => {
            let pass = files.grant_for_key((account, container), key).await?;
            Ok(pass.map(|pass| (pass, at)))
        }
        _ => Ok(None),
    }
}

/// Returns whether container sync uses this method.
fn is_synchronised(method: &Method) -> bool {
    matches!(*method, Method::HEAD | Method::PUT | Method::DELETE)
}

fn invalid(target: &Target) -> Fault {
    let text = "X-Container-Sync-Auth header not valid; contact cluster operator for support.";
    let realm = encode(target.account().as_bytes(), false);
    Fault::text(StatusCode::UNAUTHORIZED, text)
        .with(WWW_AUTHENTICATE, format!("SwiftContainerSync realm=\"{realm}\""))
}
