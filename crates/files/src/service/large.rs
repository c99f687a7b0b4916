//! Large objects: reads the segments of a manifest or prefix one after another (Swift, Large objects).

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use work::Time;

use super::content::{Body, Content};
use super::found::{Found, ReadOptions};
use super::segments::{DYNAMIC_SEGMENTS_MAX, Segment, Segments};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::listing::{Line, Query};
use crate::model::manifest::{SegmentObject, StoredSegment, part_of};
use crate::model::shape::Shape;

/// Maximum nesting depth of manifests (Swift, SLO: `max_slo_recursion_depth`).
const DEPTH_MAX: usize = 10;

impl Files {
    /// Returns the segments of an object; `None` if it is not a large object. Lists at most `dynamic_max` of a dynamic one.
    pub(super) async fn segments_of(
        &self,
        context: &Context,
        found: &Found,
        dynamic_max: usize,
    ) -> Result<Option<Segments>> {
        if let Some(Shape::Manifest { etag, size }) = &found.object.shape {
            let kept = self.manifest(found).await?;
            let list = Arc::new(kept.into_iter().map(segment_of).collect());
            let (etag, size, account) = (etag.clone(), *size, found.place.0.clone());
            return Ok(Some(Segments { etag, size, account, list }));
        }
        let Some(pointer) = found.object.metadata.get("x-object-manifest") else { return Ok(None) };
        self.dynamic(context, &found.place.0, pointer, dynamic_max).await.map(Some)
    }

    /// Returns a static large object's manifest in its stored form.
    ///
    /// # Errors
    /// [`Error::Internal`] if it cannot be parsed.
    pub async fn manifest(&self, found: &Found) -> Result<Vec<StoredSegment>> {
        let replaced = || Error::Unavailable("the manifest was replaced".into());
        let content = self.open_object(&found.object, 0..found.object.size).await?.ok_or_else(replaced)?;
        let mut json = Vec::new();
        match content {
            Content::Whole(bytes) => json.extend_from_slice(&bytes),
            Content::Stream(mut body) => {
                while let Some(piece) = body.next().await? {
                    json.extend_from_slice(&piece);
                }
            }
        }
        serde_json::from_slice(&json).map_err(|e| Error::Internal(format!("a manifest cannot be read: {e}")))
    }

    /// # Errors
    /// [`Error::Conflict`] if there are more than `most` segments.
    async fn dynamic(
        &self,
        context: &Context,
        account: &str,
        pointer: &str,
        most: usize,
    ) -> Result<Segments> {
        let decoded: Vec<u8> = percent_encoding::percent_decode_str(pointer).collect();
        let decoded = String::from_utf8_lossy(&decoded);
        let (container, prefix) = decoded.split_once('/').unwrap_or((&decoded, ""));
        let mut query = Query { prefix: prefix.into(), ..Query::default() };
        let (mut list, mut md5, mut size) = (Vec::new(), fast_md5::Md5::new(), 0);
        loop {
            // One more than allowed, to detect that there are more.
            let limit = self.limits().container_listing_limit.min((most - list.len()).saturating_add(1));
            query.limit = limit;
            let page = self.list_container(context, account, container, query.clone()).await;
            let page = page.map_err(|error| Error::Segments(Box::new(error)))?;
            let fetched = page.lines.len();
            for line in page.lines {
                let Line::Object(entry) = line else { continue };
                query.marker = entry.name.clone().into_bytes();
                md5.update(entry.etag.as_bytes());
                let (length, is_manifest) = match entry.shape.as_deref() {
                    Some(Shape::Manifest { size, .. }) => (*size, true),
                    _ => (entry.size, false),
                };
                size += length;
                list.push(Segment::Object {
                    container: container.to_owned(),
                    name: entry.name,
                    etag: None,
                    part: 0..length,
                    size: length,
                    is_manifest,
                });
            }
            if list.len() > most {
                return Err(Error::Conflict(format!("more than {most} segments")));
            }
            if fetched < limit {
                break;
            }
        }
        Ok(Segments {
            etag: hex::encode(md5.finalize()),
            size,
            account: account.to_owned(),
            list: Arc::new(list),
        })
    }

    /// Opens a part of the assembled segments. The first piece is read before this returns.
    pub(super) async fn open_segments(
        &self,
        context: &Context,
        segments: &Segments,
        range: Range<u64>,
    ) -> Result<Content> {
        let mut reader = Assembled {
            files: self.clone(),
            context: context.clone(),
            account: segments.account.clone(),
            ahead: slices(&segments.list, range.clone(), 0),
            open: None,
            left: range.end - range.start,
            last: None,
            small: 0,
            next_small: self.0.clock.now(),
        };
        let first = reader.next().await.map_err(|error| match error {
            Error::NotFound | Error::Forbidden | Error::Unauthenticated => Error::Conflict(String::new()),
            Error::Conflict(_) | Error::Beyond(..) | Error::Segments(_) | Error::BrokenLink { .. } => {
                Error::Conflict(String::new())
            }
            other => other,
        })?;
        match first {
            None => Ok(Content::Whole(Bytes::new())),
            Some(first) if reader.left == 0 => Ok(Content::Whole(first)),
            Some(first) => Ok(Content::Stream(Box::new(Ahead { first: Some(first), rest: reader }))),
        }
    }
}

fn segment_of(kept: StoredSegment) -> Segment {
    match kept {
        StoredSegment::Data { data } => Segment::Data(STANDARD.decode(data).unwrap_or_default().into()),
        StoredSegment::Object(object) => {
            let part = part_of(&object);
            let SegmentObject { name, bytes, hash, sub_slo, .. } = object;
            let (container, name) = name.trim_start_matches('/').split_once('/').unwrap_or_default();
            Segment::Object {
                container: container.to_owned(),
                name: name.to_owned(),
                etag: Some(hash),
                part,
                size: bytes,
                is_manifest: sub_slo,
            }
        }
    }
}

/// A part of a segment, and the depth of manifests that led to it.
struct Slice {
    segment: Segment,
    range: Range<u64>,
    depth: usize,
}

/// Returns the parts of segments that a range of the whole requires.
fn slices(list: &[Segment], range: Range<u64>, depth: usize) -> VecDeque<Slice> {
    let mut at = 0;
    let mut found: VecDeque<Slice> = VecDeque::new();
    for segment in list {
        let (start, end) = (at, at + segment.length());
        at = end;
        if end <= range.start || start >= range.end {
            continue;
        }
        let within = range.start.max(start) - start..range.end.min(end) - start;
        if let Some(Slice { segment: before, range, .. }) = found.back_mut()
            && before.continues_with(segment)
        {
            // Merge adjacent parts of one object into one read.
            range.end += within.end - within.start;
            continue;
        }
        found.push_back(Slice { segment: segment.clone(), range: within, depth });
    }
    found
}

/// Reads segments one after another.
struct Assembled {
    files: Files,
    context: Context,
    account: String,
    ahead: VecDeque<Slice>,
    open: Option<Box<dyn Body>>,
    left: u64,
    /// The object that was looked up last, since consecutive segments are often parts of one object.
    last: Option<(String, String, Found)>,
    /// Number of small segments opened so far.
    small: u64,
    /// When the next small segment may be opened, once the limit applies.
    next_small: Time,
}

#[async_trait]
impl Body for Assembled {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        loop {
            if let Some(open) = &mut self.open {
                if let Some(piece) = open.next().await? {
                    return Ok(Some(self.give(piece)));
                }
                self.open = None;
            }
            let Some(slice) = self.ahead.pop_front() else {
                return if self.left == 0 {
                    Ok(None)
                } else {
                    Err(Error::Conflict("segments are missing".into()))
                };
            };
            match self.begin(slice).await? {
                Some(Content::Whole(piece)) => return Ok(Some(self.give(piece))),
                Some(Content::Stream(body)) => self.open = Some(body),
                None => {}
            }
        }
    }
}

impl Assembled {
    fn give(&mut self, piece: Bytes) -> Bytes {
        self.left = self.left.saturating_sub(piece.len() as u64);
        piece
    }

    /// Delays a reader of many small segments, each of which costs as much as a large one (Swift, SLO rate limit).
    async fn pace(&mut self, length: u64) {
        let rates = &self.files.settings().rates;
        let rate = rates.rate_limit_segments_per_sec;
        if length >= rates.rate_limit_under_size || rate <= 0.0 {
            return;
        }
        self.small += 1;
        if self.small <= rates.rate_limit_after_segment {
            return;
        }
        let clock = &self.files.0.clock;
        let at = self.next_small.max(clock.now());
        self.next_small = at.after(Duration::from_secs_f64(1.0 / rate));
        if at > clock.now() {
            clock.until(at).await;
        }
    }

    /// Opens a slice; returns `None` if it was a manifest, whose own slices come next.
    async fn begin(&mut self, slice: Slice) -> Result<Option<Content>> {
        let (container, name, etag, part, size, is_manifest) = match slice.segment {
            Segment::Data(data) => {
                let (start, end) = (index(slice.range.start), index(slice.range.end));
                return Ok(Some(Content::Whole(data.slice(start..end))));
            }
            Segment::Object { container, name, etag, part, size, is_manifest } => {
                (container, name, etag, part, size, is_manifest)
            }
        };
        let range = part.start + slice.range.start..part.start + slice.range.end;
        self.pace(range.end - range.start).await;
        let found = match self.last.take() {
            Some((c, n, found)) if (&c, &n) == (&container, &name) && !is_manifest => found,
            _ => {
                let look = ReadOptions { manifest: !is_manifest && etag.is_none(), ..ReadOptions::default() };
                let context = if etag.is_some() { self.context.for_segments() } else { self.context.clone() };
                self.files.look(&context, &self.account, &container, &name, look).await?
            }
        };
        let changed = etag.is_some_and(|etag| etag != found.etag())
            || (found.size() != size && range.end > found.size());
        if changed || found.size() != size {
            return Err(Error::Conflict(format!("segment {container}/{name} has changed")));
        }
        if !found.is_large() {
            let replaced = || Error::Conflict(format!("segment {container}/{name} was replaced"));
            let opened = self.files.open_object(&found.object, range).await?.ok_or_else(replaced)?;
            self.last = Some((container, name, found));
            return Ok(Some(opened));
        }
        if slice.depth + 1 >= DEPTH_MAX {
            return Err(Error::Conflict("manifests are nested too deeply".into()));
        }
        let inner = Box::pin(self.files.segments_of(&self.context, &found, DYNAMIC_SEGMENTS_MAX)).await?;
        let inner = inner.ok_or_else(|| Error::Conflict("a manifest is missing".into()))?;
        let mut nested = slices(&inner.list, range, slice.depth + 1);
        nested.append(&mut self.ahead);
        self.ahead = nested;
        Ok(None)
    }
}

fn index(offset: u64) -> usize {
    usize::try_from(offset).unwrap_or(usize::MAX)
}

struct Ahead {
    first: Option<Bytes>,
    rest: Assembled,
}

#[async_trait]
impl Body for Ahead {
    async fn next(&mut self) -> Result<Option<Bytes>> {
        match self.first.take() {
            Some(first) => Ok(Some(first)),
            None => self.rest.next().await,
        }
    }
}
