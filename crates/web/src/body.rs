//! Reads request bodies whole, within a limit of bytes and time.

use std::time::Duration;

use axum::body::Body;
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::CONTENT_LENGTH;
use http_body_util::BodyExt;
use tokio::time::Instant;

/// Longest pause of a sender before its request fails.
pub const PAUSE_MAX: Duration = Duration::from_secs(60);
/// Longest total wait for a body that is read whole.
pub const WHOLE_WITHIN: Duration = Duration::from_secs(60);
/// Bytes for which a sender gets one second more than [`WHOLE_WITHIN`].
const SLOWEST_BYTES: u64 = 4096;

/// The total time that a sender may take: a minute, and a second per 4 KiB received. Only time spent waiting counts, not
/// processing. Without this limit a sender could keep a request open with one byte a minute.
#[derive(Clone, Debug, Default)]
pub struct Pace {
    waited: Duration,
    bytes: u64,
}

impl Pace {
    /// Waits for `piece`, but not longer than the sender may take.
    ///
    /// # Errors
    /// [`Error::TooSlow`].
    pub async fn wait<T>(&mut self, piece: impl Future<Output = T>) -> Result<T, Error> {
        let all = WHOLE_WITHIN + Duration::from_millis(self.bytes.saturating_mul(1000) / SLOWEST_BYTES);
        let left = all.saturating_sub(self.waited).min(PAUSE_MAX);
        let began = Instant::now();
        let waited = tokio::time::timeout(left, piece).await;
        self.waited += began.elapsed();
        waited.map_err(|_| Error::TooSlow)
    }

    /// Records received bytes.
    pub fn got(&mut self, bytes: usize) {
        self.bytes = self.bytes.saturating_add(bytes as u64);
    }

    /// Returns the next piece of a body, or `None` at its end.
    ///
    /// # Errors
    /// [`Error::TooSlow`] and [`Error::Broken`].
    pub async fn next(&mut self, body: &mut Body) -> Result<Option<Bytes>, Error> {
        let piece = self.wait(next(body)).await??;
        self.got(piece.as_ref().map_or(0, Bytes::len));
        Ok(piece)
    }
}

/// Why a body could not be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Responded to with 413.
    #[error("the body is longer than {limit} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit: usize,
    },
    /// Responded to with 408: the sender paused too long.
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The sender closed the connection or broke the framing.
    #[error("the body is incomplete: {reason}")]
    Broken {
        /// The reader's message.
        reason: String,
    },
}

/// Returns the next piece of a body, or `None` at its end.
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

/// Rejects a body whose `Content-Length` exceeds `limit` before reading any of it. Since reading is what makes hyper send
/// `100 Continue`, a sender that waits for it does not start sending.
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

/// Reads a whole body of at most `limit` bytes within the time of a [`Pace`].
///
/// # Errors
/// Any [`Error`].
pub async fn read(mut body: Body, limit: usize) -> Result<Bytes, Error> {
    let mut pace = Pace::default();
    let Some(first) = pace.next(&mut body).await? else { return Ok(Bytes::new()) };
    let mut all = BytesMut::from(first);
    while all.len() <= limit {
        match pace.next(&mut body).await? {
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

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_trickles_bytes_times_out() {
        let (send, mut receive) = tokio::sync::mpsc::channel::<&'static [u8]>(1);
        let pieces = futures_util::stream::poll_fn(move |context| {
            receive.poll_recv(context).map(|piece| piece.map(Ok::<_, std::convert::Infallible>))
        });
        let sender = tokio::spawn(async move {
            while send.send(b"x").await.is_ok() {
                tokio::time::sleep(Duration::from_secs(20)).await;
            }
        });
        let began = Instant::now();
        assert_eq!(read(Body::from_stream(pieces), 1000).await, Err(Error::TooSlow));
        assert_eq!(began.elapsed(), WHOLE_WITHIN);
        sender.await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn a_sender_that_keeps_the_pace_may_take_longer() {
        let pieces = futures_util::stream::unfold(0, |sent| async move {
            tokio::time::sleep(Duration::from_secs(1)).await;
            (sent < 200).then(|| (Ok::<_, std::convert::Infallible>(vec![b'x'; 4096]), sent + 1))
        });
        assert_eq!(read(Body::from_stream(pieces), 1 << 20).await.map(|all| all.len()), Ok(200 * 4096));
    }
}
