//! What every request of the dialect begins with: its target, its caller, its query.

use http::HeaderMap;
use http::request::Parts;
use percent_encoding::percent_decode_str;
use web::query::Query;

use super::Swift;
use super::fault::Fault;
use crate::model::name::Target;
use crate::{Context, Error};

pub(super) struct Parsed {
    pub(super) target: Target,
    pub(super) context: Context,
    pub(super) query: Query,
}

impl Parsed {
    pub(super) async fn read(swift: &Swift, head: &Parts) -> Result<Self, Fault> {
        let path = head.uri.path().strip_prefix("/v1/").unwrap_or_default();
        let mut segments =
            path.splitn(3, '/').map(|segment| percent_decode_str(segment).collect::<Vec<u8>>());
        let account = segments.next().unwrap_or_default();
        if account.is_empty() {
            return Err(Error::NotFound.into());
        }
        let (container, object) = (segments.next(), segments.next());
        if container.as_ref().is_some_and(Vec::is_empty) && object.as_ref().is_some_and(|o| !o.is_empty()) {
            return Err(Error::NotFound.into());
        }
        let target = Target::from_path(account, container, object)?;
        let context = context(swift, &head.headers).await?;
        Ok(Self { target, context, query: Query::parse(head.uri.query()) })
    }
}

/// The caller of a token, if one came along. A token that is no good is refused even where nobody need sign in.
async fn context(swift: &Swift, headers: &HeaderMap) -> Result<Context, Fault> {
    let token = headers.get("x-auth-token").or_else(|| headers.get("x-storage-token"));
    let caller = match token {
        None => None,
        Some(token) => {
            let token = token.to_str().map_err(|_| Error::Unauthenticated)?;
            Some(swift.tokens.caller(token).await.ok_or(Error::Unauthenticated)?)
        }
    };
    let referrer =
        headers.get(http::header::REFERER).and_then(|value| value.to_str().ok()).map(str::to_owned);
    Ok(Context { caller, referrer })
}
