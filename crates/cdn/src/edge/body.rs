//! Bodies of responses: ranges of objects, from the cache or while they are fetched from the origin.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::Stream;
use futures_util::stream::try_unfold;

use super::Edge;
use super::cache::Value;
use super::fill::{Filled, chunk_key};
use super::growing::Growing;
use super::head::CHUNK;
use crate::model::Site;

/// Reads a range of an object piece by piece.
struct Reader {
    edge: Arc<Edge>,
    site: Arc<Site>,
    path: Arc<str>,
    filled: Filled,
    left: Range<u64>,
    /// The body being fetched: the number of its next piece, and the offset of that piece in the object.
    coming: Option<(Arc<Growing>, usize, u64)>,
}

/// Returns a range of what was filled as a body. A failure closes the connection, so that no visitor mistakes a part for the
/// whole.
pub(super) fn of_range(
    edge: Arc<Edge>,
    site: Arc<Site>,
    path: Arc<str>,
    filled: Filled,
    range: Range<u64>,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
    let reader = Reader { edge, site, path, filled, left: range, coming: None };
    try_unfold(reader, |mut reader| async move { Ok(reader.next().await?.map(|piece| (piece, reader))) })
}

impl Reader {
    async fn next(&mut self) -> io::Result<Option<Bytes>> {
        while self.left.start < self.left.end {
            if let Some((growing, number, at)) = &mut self.coming {
                match growing.piece(*number).await {
                    Ok(Some(piece)) => {
                        let begins = *at;
                        *number += 1;
                        *at += piece.len() as u64;
                        if let Some(part) = self.take(&piece, begins) {
                            return Ok(Some(part));
                        }
                    }
                    Ok(None) => self.coming = None,
                    Err(_) => return Err(io::Error::other("the origin broke off")),
                }
                continue;
            }
            if let Some(part) = self.begin().await? {
                return Ok(Some(part));
            }
        }
        Ok(None)
    }

    /// Opens the piece that holds the next byte.
    async fn begin(&mut self) -> io::Result<Option<Bytes>> {
        let head = Arc::clone(&self.filled.head);
        if let Some(body) = &head.body {
            return Ok(self.take(body, 0));
        }
        let number =
            if head.is_chunked() { u32::try_from(self.left.start / CHUNK).unwrap_or(u32::MAX) } else { 0 };
        let begins = u64::from(number) * CHUNK;
        if let Some((_, growing)) = self.filled.growing.take_if(|(coming, _)| *coming == number) {
            self.coming = Some((growing, 0, begins));
            return Ok(None);
        }
        if !head.is_chunked() {
            return Err(io::Error::other("a body ended early"));
        }
        let key = chunk_key(&self.site, &self.path, &head, number);
        if let Some(Value::Chunk(chunk)) = self.edge.cache.get(&key).await {
            let part = self.take(&chunk, begins);
            return part.map(Some).ok_or_else(|| io::Error::other("a piece of an object is too short"));
        }
        let fill = |number| self.edge.fill_chunk(&self.site, &self.path, &head, number);
        self.coming = Some((fill(number), 0, begins));
        let next = begins + CHUNK;
        if next < self.left.end
            && self.edge.cache.in_memory(&chunk_key(&self.site, &self.path, &head, number + 1)).is_none()
        {
            // Prefetch the next piece while this one is sent.
            fill(number + 1);
        }
        Ok(None)
    }

    /// Returns the wanted part of a piece that begins at the offset `begins`.
    fn take(&mut self, piece: &Bytes, begins: u64) -> Option<Bytes> {
        let from = self.left.start.max(begins);
        let to = self.left.end.min(begins + piece.len() as u64);
        if from != self.left.start || from >= to {
            return None;
        }
        self.left.start = to;
        let index = |offset: u64| usize::try_from(offset - begins).unwrap_or(usize::MAX);
        Some(piece.slice(index(from)..index(to)))
    }
}
