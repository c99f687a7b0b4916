//! What is logged of a request: it is known once its response was sent, or its client went away.

use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use files::model::access::Access;
use http::header::{REFERER, USER_AGENT};
use http::{HeaderName, Request, StatusCode};
use http_body::{Frame, SizeHint};
use work::Time;

use super::spool::Spool;
use crate::model::Site;

/// Bytes of a path, a referrer and an agent at most that are logged, before they are escaped: a visitor decides how long they
/// are, and the account pays for its logs.
const TEXT_MAX: usize = 2048;

/// Marks a response to be logged for this site.
#[derive(Clone)]
pub(super) struct Logged(pub(super) Arc<Site>);

/// What is known of a request before its response is sent. The path begins with the host, as the service of the day had it.
pub(super) fn access<B>(
    request: &Request<B>,
    host: &str,
    client: IpAddr,
    status: StatusCode,
    at: Time,
) -> Access {
    let text = |name: HeaderName| {
        let value = request.headers().get(name)?;
        std::str::from_utf8(value.as_bytes()).ok().map(|text| cut(text).to_owned())
    };
    let host = host.split(':').next().unwrap_or_default();
    Access {
        at,
        client: client.to_string(),
        method: request.method().to_string(),
        path: cut(&format!("/{host}{}", request.uri().path())).to_owned(),
        version: format!("{:?}", request.version()),
        status: status.as_u16(),
        bytes: 0,
        referrer: text(REFERER),
        agent: text(USER_AGENT),
    }
}

/// The beginning of a text that is not too long to be logged.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

/// A response's body that is logged when it is dropped.
pub(super) struct Visited {
    body: Body,
    log: Arc<Spool>,
    site: Arc<Site>,
    access: Access,
}

impl Visited {
    pub(super) fn new(body: Body, log: Arc<Spool>, site: Arc<Site>, access: Access) -> Self {
        Self { body, log, site, access }
    }
}

impl Drop for Visited {
    fn drop(&mut self) {
        self.log.record(&self.site, &self.access);
    }
}

impl http_body::Body for Visited {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            self.access.bytes += frame.data_ref().map_or(0, Buf::remaining) as u64;
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
