//! The segments of a large object.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

/// Maximum number of segments of a dynamic large object, and of all those in one manifest: ten pages of a listing.
pub(super) const DYNAMIC_SEGMENTS_MAX: usize = 100_000;

/// The segments that a large object consists of.
#[derive(Clone, Debug)]
pub struct Segments {
    /// The MD5 of the segments' ETags.
    pub etag: String,
    /// Their total length, in bytes.
    pub size: u64,
    pub(super) account: String,
    pub(super) list: Arc<Vec<Segment>>,
}

#[derive(Clone, Debug)]
pub(super) enum Segment {
    Data(Bytes),
    Object {
        container: String,
        name: String,
        /// The ETag that the object must still have, if any.
        etag: Option<String>,
        /// The part of the object that belongs to the segment.
        part: Range<u64>,
        /// The object's whole length when it was listed, in bytes.
        size: u64,
        is_manifest: bool,
    },
}

impl Segment {
    /// Extends this part by `next` if that is the adjacent part of the same object; returns whether it was.
    pub(super) fn continues_with(&mut self, next: &Self) -> bool {
        match (self, next) {
            (
                Self::Object { container, name, etag, part, size, is_manifest: false },
                Self::Object { container: c, name: n, etag: e, part: p, size: s, is_manifest: false },
            ) if (&*container, &*name, &*etag, *size, part.end) == (c, n, e, *s, p.start) => {
                part.end = p.end;
                true
            }
            _ => false,
        }
    }

    pub(super) fn length(&self) -> u64 {
        match self {
            Self::Data(data) => data.len() as u64,
            Self::Object { part, .. } => part.end - part.start,
        }
    }
}

impl Segments {
    /// Returns the number of segments.
    #[must_use]
    pub fn count(&self) -> usize {
        self.list.len()
    }

    /// Returns the range of the whole that a segment occupies, by its number from 1.
    #[must_use]
    pub fn part(&self, number: usize) -> Option<Range<u64>> {
        let index = number.checked_sub(1)?;
        let length = self.list.get(index)?.length();
        let start: u64 = self.list[..index].iter().map(Segment::length).sum();
        Some(start..start + length)
    }
}
