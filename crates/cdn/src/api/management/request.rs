//! The caller and the target of a request.

use std::sync::Arc;

use files::api::swift::Tokens;
use http::{HeaderMap, Method, StatusCode};
use identity::Caller;
use percent_encoding::percent_decode_str;

use super::fault::Fault;

/// What a path names, by the account's tenant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Target {
    /// `/v1/{account}`
    Account(String),
    /// `/v1/{account}/{container}`
    Container(String, String),
    /// `/v1/{account}/{container}/{object}`
    Object(String, String, String),
}

impl Target {
    /// The methods that it has.
    pub(super) fn methods(&self) -> &'static str {
        match self {
            Self::Account(_) => "GET, HEAD",
            Self::Container(..) => "DELETE, HEAD, POST, PUT",
            Self::Object(..) => "DELETE",
        }
    }
}

/// Parses `/cdn/v1/AUTH_{tenant}[/{container}[/{object}]]`. A final slash is accepted except for DELETE, where an empty object
/// name must not stand for the whole container.
pub(super) fn target_of(method: &Method, path: &str) -> Result<Target, Fault> {
    let rest = path.strip_prefix("/cdn/v1/").ok_or_else(Fault::no_such_path)?;
    // Decoded before it is split, as the Swift dialect does: an encoded slash separates too.
    let bytes: Vec<u8> = percent_decode_str(rest).collect();
    let decoded = String::from_utf8(bytes).ok().filter(|text| !text.contains('\0'));
    let decoded = decoded
        .ok_or_else(|| Fault::page(StatusCode::PRECONDITION_FAILED, "Invalid UTF8 or contains NULL"))?;
    let mut segments = decoded.splitn(3, '/');
    let tenant = segments.next().and_then(|account| account.strip_prefix("AUTH_"));
    let tenant = tenant.filter(|tenant| !tenant.is_empty()).ok_or_else(Fault::no_such_path)?.to_owned();
    let container = segments.next().unwrap_or_default().to_owned();
    let object = segments.next();
    let lacks_name = object == Some("") && *method == Method::DELETE;
    let object = object.unwrap_or_default().to_owned();
    match (container.is_empty(), object.is_empty()) {
        (true, true) => Ok(Target::Account(tenant)),
        (true, false) => Err(Fault::no_such_path()),
        (false, true) if lacks_name => Err(Fault::no_such_path()),
        (false, true) => Ok(Target::Container(tenant, container)),
        (false, false) => Ok(Target::Object(tenant, container, object)),
    }
}

/// Returns the caller of the request's token.
pub(super) async fn caller(tokens: &dyn Tokens, headers: &HeaderMap) -> Result<Arc<Caller>, Fault> {
    let token = ["x-auth-token", "x-storage-token"].iter().find_map(|name| headers.get(*name));
    let token = token.and_then(|token| token.to_str().ok()).ok_or_else(Fault::unauthenticated)?;
    tokens.caller(token).await.ok_or_else(Fault::unauthenticated)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_accounts_containers_and_objects() {
        let by = |method, path: &str| target_of(&method, path).map_err(|fault| fault.status().as_u16());
        let of = |path: &str| by(Method::PUT, path);
        let container = || Ok(Target::Container("1".into(), "a b".into()));
        assert_eq!(of("/cdn/v1/AUTH_1"), Ok(Target::Account("1".into())));
        assert_eq!(of("/cdn/v1/AUTH_1/"), Ok(Target::Account("1".into())));
        assert_eq!(of("/cdn/v1/AUTH_1/a%20b"), container());
        assert_eq!(of("/cdn/v1/AUTH_1/a%20b/"), container());
        assert_eq!(by(Method::DELETE, "/cdn/v1/AUTH_1/a%20b"), container());
        assert_eq!(by(Method::DELETE, "/cdn/v1/AUTH_1/a%20b/"), Err(404));
        let object = Ok(Target::Object("1".into(), "c".into(), "d/e".into()));
        assert_eq!(of("/cdn/v1/AUTH_1/c/d/e"), object);
        assert_eq!(of("/cdn/v1/AUTH_1%2Fc%2Fd%2Fe"), object);
        for path in ["/cdn/v1/1/c", "/cdn/v1/AUTH_/c", "/cdn/v2/AUTH_1", "/cdn/v1/AUTH_1//o", "/cdn/v1/"] {
            assert_eq!(of(path), Err(404), "{path}");
        }
        for path in ["/cdn/v1/AUTH_1/%ff", "/cdn/v1/AUTH_1/a%00b", "/cdn/v1/AUTH_1/c/%c3%28"] {
            assert_eq!(of(path), Err(412), "{path}");
        }
    }
}
