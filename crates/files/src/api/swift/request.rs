//! Parses what all requests of the dialect have: target, caller, and the query's parameters for the handler.

use std::sync::Arc;

use async_trait::async_trait;
use http::HeaderMap;
use http::request::Parts;
use identity::Caller;
use percent_encoding::percent_decode_str;
use web::query::Query;

use super::fault::Fault;
use super::{Swift, Tokens, carried, headers, tempurl};
use crate::model::name::Target;
use crate::service::{ContainerObserver, Pass, Recheck};
use crate::{Context, Error};

/// Marks a request of this process's own CDN, which reads a published container for a visitor: an extension, which nothing
/// can bring along from outside. It is authorised for that container's objects alone, whatever the container's ACL says,
/// and neither counted nor logged.
#[derive(Clone, Debug)]
pub struct Published {
    /// The account.
    pub account: String,
    /// The container.
    pub container: String,
    /// The path that the visitor asked for.
    pub path: String,
}

pub(super) struct Parsed {
    pub(super) context: Context,
    pub(super) query: Query,
}

/// Parses a path.
pub(super) fn target_of(path: &str) -> Result<Target, Fault> {
    let path = path.strip_prefix("/v1/").or_else(|| path.strip_prefix("/v1.0/")).unwrap_or_default();
    // Decode first and then split, as Swift does: an encoded slash separates too.
    let path: Vec<u8> = percent_decode_str(path).collect();
    let mut segments = path.splitn(3, |byte| *byte == b'/').map(<[u8]>::to_vec);
    let account = segments.next().unwrap_or_default();
    if account.is_empty() {
        return Err(Error::NotFound.into());
    }
    let (container, object) = (segments.next(), segments.next());
    if container.as_ref().is_some_and(Vec::is_empty) && object.is_some() {
        return Err(Error::NotFound.into());
    }
    Ok(Target::from_path(account, container, object)?)
}

impl Parsed {
    pub(super) async fn read(
        swift: &Swift,
        target: &Target,
        head: &mut Parts,
        query: Query,
    ) -> Result<Self, Fault> {
        if let Some(Published { account, container, path }) = head.extensions.remove::<Published>() {
            let pass = Some(Pass { account, container: Some(container) });
            let context = Context { pass, published: Some(path.into()), ..Context::default() };
            return Ok(Self { context, query });
        }
        if let Some(signed) = tempurl::Signed::of(&query) {
            let pass = signed?.check(&swift.files, head, target).await?;
            tempurl::clean(head)?;
            web::mark_authenticated();
            let watch = head.extensions.get::<Arc<ContainerObserver>>().cloned();
            let context = Context { pass: Some(pass), watch, ..Context::default() };
            return Ok(Self { context, query: tempurl::kept(&query) });
        }
        let watch = head.extensions.get::<Arc<ContainerObserver>>().cloned();
        if let Some((pass, at)) = carried::pass(&swift.files, head, target).await? {
            web::mark_authenticated();
            let context = Context { pass: Some(pass), carried: Some(at), watch, ..Context::default() };
            return Ok(Self { context, query });
        }
        let context = Context { watch, ..context(swift, &head.headers).await? };
        Ok(Self { context, query })
    }
}

/// Authenticates the caller if there is a token. An invalid token is rejected even if anonymous access is allowed.
async fn context(swift: &Swift, headers: &HeaderMap) -> Result<Context, Fault> {
    let caller = caller(swift, headers).await?;
    // An invalid service token grants nothing, but does not fail the request.
    let service = caller_of(swift, headers, "x-service-token").await;
    let referrer =
        headers.get(http::header::REFERER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let open_expired = headers::is_true_header(headers, "x-open-expired");
    let recheck = token_of(headers)?.map(|token| {
        Arc::new(Token { tokens: Arc::clone(&swift.tokens), token: token.to_owned() }) as Arc<dyn Recheck>
    });
    Ok(Context { caller, service, referrer, open_expired, recheck, ..Context::default() })
}

/// A request's token, kept for a second look-up.
struct Token {
    tokens: Arc<dyn Tokens>,
    token: String,
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token")
    }
}

#[async_trait]
impl Recheck for Token {
    async fn caller(&self) -> Option<Arc<Caller>> {
        self.tokens.caller(&self.token).await
    }
}

pub(super) async fn caller(swift: &Swift, headers: &HeaderMap) -> Result<Option<Arc<Caller>>, Fault> {
    let Some(token) = token_of(headers)? else { return Ok(None) };
    swift.tokens.caller(token).await.map(Some).ok_or_else(refused)
}

/// Returns the caller's token, if there is one.
fn token_of(headers: &HeaderMap) -> Result<Option<&str>, Fault> {
    let found = ["x-auth-token", "x-storage-token"].iter().find_map(|name| headers.get(*name));
    found.map(|value| value.to_str().map_err(|_| refused())).transpose()
}

fn refused() -> Fault {
    Fault::from(Error::Unauthenticated).withheld()
}

async fn caller_of(swift: &Swift, headers: &HeaderMap, name: &str) -> Option<Arc<Caller>> {
    let token = headers.get(name)?.to_str().ok()?;
    swift.tokens.caller(token).await
}
