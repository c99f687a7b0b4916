//! Records requests for their containers' access logs.

use std::net::IpAddr;
use std::sync::Arc;

use http::header::{REFERER, USER_AGENT};
use http::{HeaderValue, Method, Uri, Version};
use web::listener::Peer;
use web::observed::{ByteObserver, observed};
use web::{Request, Response};
use work::Time;

use crate::Files;
use crate::model::access::Access;
use crate::model::name::Target;
use crate::service::ContainerObserver;

/// A request that may have to be logged. Few are, so this only copies what is cheap to copy.
pub(super) struct AccessRecord {
    watch: Arc<ContainerObserver>,
    at: Time,
    client: Option<IpAddr>,
    method: Method,
    uri: Uri,
    version: Version,
    referrer: Option<HeaderValue>,
    agent: Option<HeaderValue>,
}

impl AccessRecord {
    /// Records what is known of a request before it is handled; `None` if it concerns no container.
    pub(super) fn begin(files: &Files, asked: &mut Request, target: &Target) -> Option<Self> {
        let watch = match target {
            Target::Account(_) => return None,
            Target::Container(account, container) | Target::Object(account, container, _) => {
                Arc::new(ContainerObserver::of(account, container))
            }
        };
        asked.extensions_mut().insert(Arc::clone(&watch));
        Some(Self {
            watch,
            at: files.now(),
            client: asked.extensions().get::<Peer>().map(|peer| peer.0.ip().to_canonical()),
            method: asked.method().clone(),
            uri: asked.uri().clone(),
            version: asked.version(),
            referrer: asked.headers().get(REFERER).cloned(),
            agent: asked.headers().get(USER_AGENT).cloned(),
        })
    }

    /// Arranges for the request to be logged once its response was sent, if its container wants logs.
    pub(super) async fn end(self, files: &Files, response: Response) -> Response {
        match files.is_logged(&self.watch).await {
            Ok(true) => {}
            Ok(false) => return response,
            Err(error) => {
                tracing::warn!(%error, "cannot read whether the container wants access logs; the request is not logged");
                return response;
            }
        }
        let text = |value: Option<&HeaderValue>| {
            value.and_then(|v| std::str::from_utf8(v.as_bytes()).ok()).map(str::to_owned)
        };
        let access = Access {
            at: self.at,
            client: self.client.map_or_else(|| "-".into(), |client| client.to_string()),
            method: self.method.to_string(),
            path: self.uri.path().to_owned(),
            version: format!("{:?}", self.version),
            status: response.status().as_u16(),
            bytes: 0,
            referrer: text(self.referrer.as_ref()),
            agent: text(self.agent.as_ref()),
        };
        let logged = Logged { files: files.clone(), watch: self.watch, access };
        response.map(|inner| observed(inner, logged))
    }
}

/// Logs a request when its response's body was sent or its reader went away.
struct Logged {
    files: Files,
    watch: Arc<ContainerObserver>,
    access: Access,
}

impl ByteObserver for Logged {
    fn on_bytes(&mut self, bytes: u64) {
        self.access.bytes += bytes;
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        self.files.log_access(&self.watch, &self.access);
    }
}
