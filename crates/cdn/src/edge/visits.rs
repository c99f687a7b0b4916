//! Access-log records of requests. A record is complete once the response was sent or the client went away.

use std::net::IpAddr;
use std::sync::Arc;

use files::model::access::Access;
use http::header::{REFERER, USER_AGENT};
use http::{HeaderName, Request, StatusCode};
use web::observed::ByteObserver;
use work::Time;

use super::spool::Spool;
use crate::model::Site;

/// Maximum length in bytes of a logged path, referrer or user agent, before escaping. Visitors choose these values, and the
/// account pays for its logs.
const TEXT_MAX: usize = 2048;

/// Response extension: the request is logged for this site.
#[derive(Clone)]
pub(super) struct Logged(pub(super) Arc<Site>);

/// Returns the record of a request whose response is about to be sent. The path begins with the host, as in Rackspace's logs.
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

/// Returns at most the first [`TEXT_MAX`] bytes of a text.
fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(TEXT_MAX)]
}

/// Logs a request when its response's body is dropped.
pub(super) struct Visit {
    pub(super) log: Arc<Spool>,
    pub(super) site: Arc<Site>,
    pub(super) access: Access,
}

impl ByteObserver for Visit {
    fn on_bytes(&mut self, bytes: u64) {
        self.access.bytes += bytes;
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        self.log.record(&self.site, &self.access);
    }
}
