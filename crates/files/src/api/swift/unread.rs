//! A request's body that has not been read. Handlers receive bodies in this form, so that none reads, decompresses or hashes
//! bytes for a caller without the necessary rights.

use async_trait::async_trait;
use axum::body::Body;
use bytes::Bytes;
use web::body::Pace;

use super::Call;
use super::fault::Fault;
use crate::service;

/// The purpose of a body, which decides the right required.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// To store or change objects.
    Store,
    /// To delete objects and containers.
    Delete,
}

/// A request's body, before the caller was authorised.
pub(super) struct UnreadBody(Body);

impl UnreadBody {
    pub(super) fn new(body: Body) -> Self {
        Self(body)
    }

    /// Authorises the caller on the request's account, or on its container if the path names one, and returns the body.
    /// A missing container is not an error here: errors in the body take precedence, as in Swift.
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

    /// Returns the body for an operation of the service that authorises the caller before reading.
    pub(super) fn into_incoming(self) -> Incoming {
        Incoming { body: self.0, pace: None }
    }

    /// Returns the body of a form, whose signature may be among its fields. The reader limits what it reads before the sender
    /// is authenticated.
    pub(super) fn into_form(self) -> Body {
        self.0
    }
}

/// A request's body as the service reads it.
pub(super) struct Incoming {
    body: Body,
    pace: Option<Pace>,
}

impl Incoming {
    /// Wraps a body that is read whole and must arrive within the limits of a [`Pace`].
    pub(super) fn paced(body: Body) -> Self {
        Self { body, pace: Some(Pace::default()) }
    }
}

#[async_trait]
impl service::Body for Incoming {
    async fn next(&mut self) -> crate::Result<Option<Bytes>> {
        Ok(match &mut self.pace {
            Some(pace) => pace.next(&mut self.body).await?,
            None => web::body::next(&mut self.body).await?,
        })
    }
}
