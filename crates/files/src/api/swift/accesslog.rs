//! What is noted of a request for its container's access log.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use axum::body::Body;
use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use web::listener::Peer;
use web::{Request, Response};

use super::{headers, request};
use crate::Files;
use crate::model::access::Access;
use crate::model::name::Target;
use crate::service::Watch;

/// A request that may have to be logged.
pub(super) struct Visit {
    watch: Arc<Watch>,
    access: Access,
}

impl Visit {
    /// What is known of a request before it is answered; `None` for one that concerns no container.
    pub(super) fn begin(files: &Files, asked: &mut Request) -> Option<Self> {
        let watch = match request::target_of(asked.uri().path()).ok()? {
            Target::Account(_) => return None,
            Target::Container(account, container) | Target::Object(account, container, _) => {
                Arc::new(Watch::of(&account, &container))
            }
        };
        asked.extensions_mut().insert(Arc::clone(&watch));
        let text = |name: &str| headers::get(asked.headers(), name).map(str::to_owned);
        let peer = asked.extensions().get::<Peer>();
        let access = Access {
            at: files.now(),
            client: peer.map_or_else(|| "-".into(), |peer| peer.0.ip().to_canonical().to_string()),
            method: asked.method().to_string(),
            path: asked.uri().path().to_owned(),
            version: format!("{:?}", asked.version()),
            status: 0,
            bytes: 0,
            referrer: text("referer"),
            agent: text("user-agent"),
        };
        Some(Self { watch, access })
    }

    /// Sees to it that the request is logged once its answer has gone, if its container wants that.
    pub(super) async fn end(self, files: &Files, response: Response) -> Response {
        match files.is_logged(&self.watch).await {
            Ok(true) => {}
            Ok(false) => return response,
            Err(error) => {
                tracing::warn!(%error, "not known whether a request is to be logged");
                return response;
            }
        }
        let access = Access { status: response.status().as_u16(), ..self.access };
        let (files, watch) = (files.clone(), self.watch);
        response.map(|inner| Body::new(Logged { inner, files, watch, access }))
    }
}

/// A body whose request is logged when it has gone, or its reader has.
struct Logged {
    inner: Body,
    files: Files,
    watch: Arc<Watch>,
    access: Access,
}

impl http_body::Body for Logged {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let poll = Pin::new(&mut self.inner).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &poll {
            self.access.bytes += frame.data_ref().map_or(0, Buf::remaining) as u64;
        }
        poll
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.files.log_access(&self.watch, &self.access);
    }
}
