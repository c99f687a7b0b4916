//! Request bodies that are read whole, within a limit and in time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;

/// How long a sender may pause before it is given up.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Why a body was not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// 413.
    #[error("the body is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// 408: the sender paused too long.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The sender left, or broke the framing.
    #[error("the body broke off: {reason}")]
    Broken {
        /// The reader's words.
        reason: String,
    },
}

/// The next piece of a body; `None` at its end.
///
/// # Errors
/// [`Error::TooSlow`] and [`Error::Broken`].
pub async fn next(body: &mut Body) -> Result<Option<Bytes>, Error> {
    loop {
        let frame = tokio::time::timeout(PAUSE_MAX, body.frame()).await.map_err(|_| Error::TooSlow)?;
        match frame {
            None => return Ok(None),
            Some(Err(error)) => return Err(Error::Broken { reason: error.to_string() }),
            Some(Ok(frame)) => {
                if let Ok(data) = frame.into_data()
                    && !data.is_empty()
                {
                    return Ok(Some(data));
                }
            }
        }
    }
}

/// Refuses a body whose `Content-Length` says that it is too long, before any of it is asked for: without a look at the
/// body the sender is not told to go on (`Expect: 100-continue`).
///
/// # Errors
/// [`Error::TooLong`].
pub fn announced(headers: &HeaderMap, limit: usize) -> Result<(), Error> {
    let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    match length.and_then(|text| text.parse::<u64>().ok()) {
        Some(length) if length > limit as u64 => Err(Error::TooLong { limit }),
        _ => Ok(()),
    }
}

/// The whole body, of at most `limit` bytes.
///
/// # Errors
/// [`Error`] of all kinds.
pub async fn read(mut body: Body, limit: usize) -> Result<Bytes, Error> {
    let Some(first) = next(&mut body).await? else { return Ok(Bytes::new()) };
    let mut all = BytesMut::from(first);
    while all.len() <= limit {
        match next(&mut body).await? {
            Some(more) => all.extend_from_slice(&more),
            None => return Ok(all.freeze()),
        }
    }
    Err(Error::TooLong { limit })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_is_read_up_to_its_limit() {
        assert_eq!(read(Body::from("12345"), 5).await.unwrap(), "12345");
        assert_eq!(read(Body::from("123456"), 5).await, Err(Error::TooLong { limit: 5 }));
        assert_eq!(read(Body::empty(), 5).await.unwrap(), "");
    }
}
