//! Range requests: which pieces to send, and `multipart/byteranges` responses (RFC 9110, 14).

use axum::body::Body;
use bytes::Bytes;
use http::HeaderMap;
use web::conditional::{Validators, range_applies};
use web::range::{Selection, select};

use crate::service::{Content, Found};
use crate::{Context, Error, Files};

/// Maximum number of ranges out of order; with more, all ranges are ignored (RFC 7233, 6.1; Swift's limits).
const UNORDERED_MAX: usize = 8;
/// Maximum number of overlapping pairs of ranges.
const OVERLAPS_MAX: usize = 2;

/// Returns the requested pieces. The header is parsed as leniently as Swift does.
pub(super) fn asked(headers: &HeaderMap, found: Validators<'_>, size: u64) -> Selection {
    let header = headers.get(http::header::RANGE).and_then(|value| value.to_str().ok());
    let header = header.filter(|_| range_applies(headers, found));
    let plain = header.map(|value| value.replace(' ', "").to_ascii_lowercase());
    if size == 0 && plain.as_deref().is_some_and(is_suffix) {
        return Selection::Whole;
    }
    match select(plain.as_deref(), size) {
        Selection::Pieces(pieces) if is_egregious(&pieces) => Selection::Unsatisfiable,
        selection => selection,
    }
}

/// Returns whether a request asks for ranges.
pub(super) fn any(headers: &HeaderMap) -> bool {
    headers.contains_key(http::header::RANGE)
}

fn is_suffix(header: &str) -> bool {
    header
        .strip_prefix("bytes=-")
        .is_some_and(|number| number.bytes().all(|b| b.is_ascii_digit()) && number != "0")
}

fn is_egregious(pieces: &[std::ops::Range<u64>]) -> bool {
    let strictly_inside = |at: u64, piece: &std::ops::Range<u64>| piece.start < at && at < piece.end;
    let mut overlaps = 0;
    for (index, one) in pieces.iter().enumerate() {
        for other in &pieces[index + 1..] {
            let overlap = strictly_inside(other.start, one)
                || strictly_inside(other.end, one)
                || strictly_inside(one.start, other)
                || strictly_inside(one.end, other);
            overlaps += usize::from(overlap);
        }
    }
    let ordered = pieces.windows(2).all(|pair| pair[0].start <= pair[1].start);
    overlaps > OVERLAPS_MAX || (!ordered && pieces.len() >= UNORDERED_MAX)
}

/// Turns content into a response's body.
pub(super) fn body(content: Content) -> Body {
    match content {
        Content::Whole(bytes) => Body::from(bytes),
        Content::Stream(reader) => stream(reader),
    }
}

/// Streams content. A damaged piece aborts the connection, so that the client does not take the body for complete.
fn stream(reader: Box<dyn crate::service::Body>) -> Body {
    Body::from_stream(futures_util::stream::unfold(Some(reader), |state| async move {
        let mut reader = state?;
        match reader.next().await {
            Ok(Some(piece)) => Some((Ok(piece), Some(reader))),
            Ok(None) => None,
            Err(error) => {
                tracing::error!(%error, "cannot read the object to its end; the response is aborted");
                Some((Err(std::io::Error::other(error)), None))
            }
        }
    }))
}

/// A `multipart/byteranges` response.
pub(super) struct MultiRange {
    boundary: String,
    /// Length of the body, in bytes.
    pub(super) length: u64,
    parts: Vec<(String, std::ops::Range<u64>)>,
}

impl MultiRange {
    pub(super) fn new(content_type: &str, size: u64, pieces: Vec<std::ops::Range<u64>>) -> Self {
        let mut random = [0u8; 16];
        // The boundary need not be random: clients read parts by length, so the content may contain it.
        let _ = aws_lc_rs::rand::fill(&mut random);
        let boundary = hex::encode(random);
        let parts: Vec<_> = pieces
            .into_iter()
            .map(|piece| {
                let head = format!(
                    "--{boundary}\r\nContent-Type: {content_type}\r\nContent-Range: bytes {}-{}/{size}\r\n\r\n",
                    piece.start,
                    piece.end - 1,
                );
                (head, piece)
            })
            .collect();
        let framed: u64 =
            parts.iter().map(|(head, piece)| head.len() as u64 + (piece.end - piece.start) + 2).sum();
        Self { length: framed + boundary.len() as u64 + 4, boundary, parts }
    }

    pub(super) fn content_type(&self) -> String {
        format!("multipart/byteranges;boundary={}", self.boundary)
    }

    pub(super) fn body(self, files: Files, context: Context, found: Found) -> Body {
        let (sender, receiver) = tokio::sync::mpsc::channel::<Result<Bytes, std::io::Error>>(4);
        tokio::spawn(async move {
            let sent = self.send(&files, &context, &found, &sender).await;
            if let Err(error) = sent {
                let _ = sender.send(Err(std::io::Error::other(error))).await;
            }
        });
        Body::from_stream(futures_util::stream::unfold(receiver, |mut receiver| async move {
            Some((receiver.recv().await?, receiver))
        }))
    }

    async fn send(
        self,
        files: &Files,
        context: &Context,
        found: &Found,
        sender: &tokio::sync::mpsc::Sender<Result<Bytes, std::io::Error>>,
    ) -> crate::Result<()> {
        for (head, piece) in self.parts {
            // A closed channel means that the client went away.
            if sender.send(Ok(head.into())).await.is_err() {
                return Ok(());
            }
            let content = files.content(context, found, piece).await?;
            match content.ok_or_else(|| Error::Unavailable("the object was replaced".into()))? {
                Content::Whole(bytes) => drop(sender.send(Ok(bytes)).await),
                Content::Stream(mut reader) => {
                    while let Some(bytes) = reader.next().await? {
                        if sender.send(Ok(bytes)).await.is_err() {
                            return Ok(());
                        }
                    }
                }
            }
            drop(sender.send(Ok(Bytes::from_static(b"\r\n"))).await);
        }
        drop(sender.send(Ok(format!("--{}--", self.boundary).into())).await);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(header: &str, size: u64) -> Selection {
        let mut headers = HeaderMap::new();
        headers.insert(http::header::RANGE, header.parse().unwrap());
        asked(&headers, Validators { etag: None, modified: None }, size)
    }

    #[test]
    fn ranges_are_read_leniently_and_bounded() {
        assert_eq!(selected("BYTES = 0 - 4 ", 10), selected("bytes=0-4", 10));
        assert_eq!(selected("bytes=-5", 0), Selection::Whole);
        assert_eq!(selected("bytes=-0", 0), Selection::Unsatisfiable);
        assert_eq!(selected("bytes=0-", 0), Selection::Unsatisfiable);
        assert_eq!(selected("bytes=0-5,1-6,2-7,3-8", 10), Selection::Unsatisfiable);
        assert!(matches!(selected("bytes=5-6,0-1", 10), Selection::Pieces(_)));
        assert_eq!(selected("bytes=9-9,8-8,7-7,6-6,5-5,4-4,3-3,2-2", 10), Selection::Unsatisfiable);
    }
}
