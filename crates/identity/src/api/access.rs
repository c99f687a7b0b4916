//! The access that each route needs, and the extractor that enforces it.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::HeaderMap;
use http::request::Parts;
use web::Format;
use web::listener::Peer;

use crate::api::{Failure, Shared};
use crate::model::{Product, Right, Session};
use crate::service::accounts::NOT_AUTHORIZED;
use crate::service::error::Error;

/// The access that a route needs. The service then decides which resources the caller reaches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Need {
    /// Nothing.
    Open,
    /// A valid token.
    Token,
    /// This right on the users of the token's own account.
    Account(Right),
    /// The cloud's operator.
    Operator,
}

impl Need {
    /// The need's name, for tests.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Token => "token",
            Self::Account(Right::Observe) => "account:observe",
            Self::Account(_) => "account:administer",
            Self::Operator => "operator",
        }
    }

    /// Whether the session satisfies the need.
    pub(crate) fn is_met_by(self, session: &Session) -> bool {
        let caller = &session.caller;
        match self {
            Self::Open | Self::Token => true,
            Self::Account(right) => {
                caller.operator
                    || caller.tenant.as_ref().is_some_and(|t| caller.may(&t.id, Product::Identity, right))
            }
            Self::Operator => caller.operator,
        }
    }
}

/// A caller that satisfies the route's need.
pub(crate) struct Access {
    pub(crate) session: Arc<Session>,
    pub(crate) format: Format,
}

impl FromRequestParts<Shared> for Access {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, identity: &Shared) -> Result<Self, Failure> {
        // A route that is in no table has no declared need, so only operators may use it.
        let need = parts.extensions.get::<Need>().copied().unwrap_or(Need::Operator);
        let token = header(&parts.headers, "x-auth-token").ok_or(Error::Token)?;
        let session = identity.session(token).await.map_err(Error::from)?;
        web::mark_authenticated();
        if !need.is_met_by(&session) {
            return Err(Error::forbidden(NOT_AUTHORIZED).into());
        }
        let format = parts.extensions.get::<Format>().copied().unwrap_or_default();
        Ok(Self { session, format })
    }
}

/// Returns a header's value if it is ASCII text, as tokens are.
pub(crate) fn header<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    headers.get(name)?.to_str().ok()
}

/// Returns a header's value as text that people chose, such as a name or a password. It is UTF-8, or else ISO 8859-1, which
/// Python's clients send.
pub(crate) fn header_text(headers: &HeaderMap, name: &str) -> Option<String> {
    let bytes = headers.get(name)?.as_bytes();
    Some(match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|byte| char::from(*byte)).collect(),
    })
}

/// Returns the client's address.
pub(crate) fn client_address_of(extensions: &http::Extensions) -> Option<IpAddr> {
    extensions.get::<Peer>().map(|peer| peer.0.ip())
}

/// The client's address, for handlers of routes that need no token.
pub(crate) struct Origin {
    pub(crate) address: Option<IpAddr>,
    pub(crate) format: Format,
}

impl<S: Sync> FromRequestParts<S> for Origin {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        let format = parts.extensions.get::<Format>().copied().unwrap_or_default();
        Ok(Self { address: client_address_of(&parts.extensions), format })
    }
}
