//! A request's body that nobody has read yet. Handlers get it in this form, so that none reads, unpacks or hashes a byte
//! for a caller who may not do what the body is for.

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;

use super::Call;
use super::fault::Fault;
use crate::service;

/// What a body is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// Objects are stored or changed.
    Store,
    /// Objects and containers are deleted.
    Delete,
}

/// A request's body before the caller was authorised.
pub(super) struct Unread(Body);

impl Unread {
    pub(super) fn new(body: Body) -> Self {
        Self(body)
    }

    /// Authorises the caller on the request's account, or on its container if it names one, and returns the body.
    /// A container that does not exist is no error here: what is wrong with the body comes first, as in Swift.
    ///
    /// # Errors
    /// 401 or 403.
    pub(super) async fn open(
        self,
        call: &Call<'_>,
        (account, container): (&str, Option<&str>),
        purpose: Purpose,
    ) -> Result<Body, Fault> {
        match purpose {
            Purpose::Store => call.files.may_store(call.context, account, container).await?,
            Purpose::Delete => call.files.may_delete(call.context, account, container).await?,
        }
        Ok(self.0)
    }

    /// Hands the body to an operation of the service that authorises the caller before it asks for the first piece.
    pub(super) fn into_incoming(self) -> Incoming {
        Incoming(self.0)
    }

    /// Hands over the body of a form, whose signature may be among its fields. The reader bounds what it takes before
    /// it has found out who sends it.
    pub(super) fn into_form(self) -> Body {
        self.0
    }
}

/// A request's body as the service takes it.
pub(super) struct Incoming(pub(super) Body);

#[async_trait]
impl service::Body for Incoming {
    async fn next(&mut self) -> crate::Result<Option<Bytes>> {
        Ok(web::body::next(&mut self.0).await?)
    }
}
