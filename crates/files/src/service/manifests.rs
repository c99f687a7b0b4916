//! Stores the manifests of static large objects, and lists what to delete with one.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use bytes::Bytes;

use super::authorise::Action;
use super::content::{Body, Incoming};
use super::found::ReadOptions;
use super::segments::{DYNAMIC_SEGMENTS_MAX, Segments};
use super::upload::{PutRequest, Stored};
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::manifest::{self, Asked, SegmentObject, StoredSegment};
use crate::model::shape::Shape;
use crate::model::time;
use crate::model::version::VersionId;

/// An invalid segment: its path as sent, and the reason.
pub type Problem = (String, String);

/// The outcome of storing a manifest.
pub enum ManifestPut {
    /// It was stored; the text is the ETag of the whole.
    Stored(Box<Stored>, String),
    /// Nothing was stored because of these segments.
    Refused(Vec<Problem>),
}

/// The segments of one manifest that were looked up so far.
#[derive(Default)]
struct SegmentLookups {
    /// By container and name: the segment, or the status that the look-up failed with.
    by_name: HashMap<(String, String), std::result::Result<SegmentInfo, &'static str>>,
    /// How many more objects may be listed for segments that are dynamic large objects.
    left: usize,
}

/// What a manifest stores of a segment.
struct SegmentInfo {
    size: u64,
    etag: String,
    content_type: String,
    last_modified: String,
    is_manifest: bool,
}

impl Files {
    /// Stores a static large object: checks every segment, then stores the manifest. `request.etag` is the ETag of the whole.
    ///
    /// # Errors
    /// [`Error::Page`] if it is not a manifest, [`Error::TooMany`], and as [`Files::put_object`].
    pub async fn put_manifest(
        &self,
        context: &Context,
        (account, container, name): (&str, &str, &str),
        request: PutRequest,
        body: &mut dyn Body,
    ) -> Result<ManifestPut> {
        // Authorise the caller before reading the body. Whether the container exists is checked when the manifest is stored, since
        // errors in the manifest take precedence, as in Swift.
        self.may_store(context, account, Some(container)).await?;
        // Held until all segments were checked, which costs more than reading the manifest.
        let _share = self.bulk_share(context, account).await?;
        let sent = self.read_manifest(body).await?;
        let asked = manifest::parse(&sent, (container, name), self.limits().max_manifest_segments)?;
        drop(sent);
        let (mut kept, mut problems, mut size) = (Vec::with_capacity(asked.len()), Vec::new(), 0u64);
        let mut lookups = SegmentLookups { left: DYNAMIC_SEGMENTS_MAX, ..SegmentLookups::default() };
        let count = asked.len();
        for (index, asked) in asked.into_iter().enumerate() {
            let (segment, length) =
                self.keep((context, account), asked, index + 1 == count, &mut lookups, &mut problems).await?;
            size = size.saturating_add(length);
            kept.extend(segment);
            if problems.len() >= manifest::FAULTS_MAX {
                break;
            }
        }
        if !problems.is_empty() {
            return Ok(ManifestPut::Refused(problems));
        }
        let etag = manifest::etag(&kept);
        if request.etag.as_ref().is_some_and(|wanted| *wanted != etag) {
            return Err(Error::WrongEtag);
        }
        let json = Bytes::from(manifest::to_json(&kept));
        let request = PutRequest {
            length: Some(json.len() as u64),
            etag: None,
            shape: Some(Shape::Manifest { etag: etag.clone(), size }),
            ..request
        };
        let stored =
            self.put_object(context, account, container, name, request, &mut Incoming::of(json)).await?;
        Ok(ManifestPut::Stored(Box::new(stored), etag))
    }

    /// Stores a manifest in the stored form, as another cloud sends it. Its segments need not exist yet.
    ///
    /// # Errors
    /// [`Error::Page`] if it is not a manifest, and as [`Files::put_object`].
    pub async fn put_kept_manifest(
        &self,
        context: &Context,
        (account, container, name): (&str, &str, &str),
        request: PutRequest,
        body: &mut dyn Body,
    ) -> Result<Stored> {
        self.container_for(context, account, container, Action::WriteObject).await?;
        let _share = self.bulk_share(context, account).await?;
        let sent = self.read_manifest(body).await?;
        let (kept, size) = manifest::parse_kept(&sent)?;
        let shape = Some(Shape::Manifest { etag: manifest::etag(&kept), size });
        let request = PutRequest { length: Some(sent.len() as u64), shape, ..request };
        self.put_object(context, account, container, name, request, &mut Incoming::of(sent.into())).await
    }

    async fn read_manifest(&self, body: &mut dyn Body) -> Result<Vec<u8>> {
        let max = self.limits().max_manifest_size;
        let mut sent = Vec::new();
        while let Some(piece) = body.next().await? {
            sent.extend_from_slice(&piece);
            if sent.len() > max {
                return Err(Error::TooMany(format!("Manifest File > {max} bytes")));
            }
        }
        Ok(sent)
    }

    /// Returns a segment in the stored form, and its length in bytes.
    async fn keep(
        &self,
        (context, account): (&Context, &str),
        asked: Asked,
        is_last: bool,
        lookups: &mut SegmentLookups,
        problems: &mut Vec<Problem>,
    ) -> Result<(Option<StoredSegment>, u64)> {
        let (path, container, name, etag, size, range) = match asked {
            Asked::Data(data) => {
                use base64::Engine;
                let length = data.len() as u64;
                let data = base64::engine::general_purpose::STANDARD.encode(data);
                return Ok((Some(StoredSegment::Data { data }), length));
            }
            Asked::Object { path, container, name, etag, size, range } => {
                (path, container, name, etag, size, range)
            }
        };
        let found = match self.look_up_segment(context, (account, container, name), lookups).await? {
            Ok(found) => found,
            Err(status) => {
                problems.push((path, (*status).into()));
                return Ok((None, 0));
            }
        };
        let (mut length, mut range_kept) = (found.size, None);
        if let Some(range) = range {
            match manifest::part(&range, found.size) {
                None => problems.push((path.clone(), "Unsatisfiable Range".into())),
                Some(part) if part == (0..found.size) => {}
                Some(part) => {
                    length = part.end - part.start;
                    range_kept = Some(format!("{}-{}", part.start, part.end - 1));
                }
            }
        }
        if length == 0 && !is_last {
            problems.push((path.clone(), "Too small; each segment must be at least 1 byte.".into()));
        }
        if size.is_some_and(|size| u64::try_from(size) != Ok(found.size)) {
            problems.push((path.clone(), "Size Mismatch".into()));
        }
        if etag.is_some_and(|etag| etag != found.etag) {
            problems.push((path.clone(), "Etag Mismatch".into()));
        }
        let kept = SegmentObject {
            name: format!("/{}", path.trim_start_matches('/')),
            bytes: found.size,
            hash: found.etag.clone(),
            content_type: found.content_type.clone(),
            last_modified: found.last_modified.clone(),
            range: range_kept,
            sub_slo: found.is_manifest,
        };
        Ok((Some(StoredSegment::Object(kept)), length))
    }

    /// Looks up a segment, once for all entries of a manifest that refer to it, as Swift does. The inner `Err` is the status of
    /// a failed look-up.
    ///
    /// # Errors
    /// Errors that fail the whole request.
    async fn look_up_segment<'a>(
        &self,
        context: &Context,
        (account, container, name): (&str, String, String),
        lookups: &'a mut SegmentLookups,
    ) -> Result<&'a std::result::Result<SegmentInfo, &'static str>> {
        let vacant = match lookups.by_name.entry((container, name)) {
            Entry::Occupied(known) => return Ok(known.into_mut()),
            Entry::Vacant(vacant) => vacant,
        };
        let look = ReadOptions { dynamic_max: Some(lookups.left), ..ReadOptions::default() };
        let (container, name) = vacant.key();
        let outcome = match self.look(context, account, container, name, look).await {
            Ok(found) => {
                lookups.left -= found.segments.as_ref().map_or(0, Segments::count).min(lookups.left);
                Ok(SegmentInfo {
                    size: found.size(),
                    etag: found.etag().to_owned(),
                    content_type: found.object.content_type.split(';').next().unwrap_or_default().to_owned(),
                    last_modified: time::listing(work::Time::from_seconds(time::last_modified(
                        found.changed(),
                    ))),
                    is_manifest: matches!(found.object.shape, Some(Shape::Manifest { .. })),
                })
            }
            Err(error) => {
                let error = match error {
                    Error::Beyond(error, _) | Error::Segments(error) => *error,
                    other => other,
                };
                Err(match error {
                    Error::NotFound => "404 Not Found",
                    Error::Forbidden => "403 Forbidden",
                    Error::Unauthenticated => "401 Unauthorized",
                    Error::Conflict(_) | Error::BrokenLink { .. } => "409 Conflict",
                    other => return Err(other),
                })
            }
        };
        Ok(vacant.insert(outcome))
    }

    /// What a manifest names, itself last: the objects to delete with it, as container and name.
    ///
    /// # Errors
    /// [`Error::Page`] if it is not a manifest, [`Error::NotFound`].
    pub async fn segment_names(
        &self,
        context: &Context,
        account: &str,
        container: &str,
        name: &str,
        version: Option<VersionId>,
    ) -> Result<Vec<SegmentObject>> {
        let look = ReadOptions { manifest: true, version, ..ReadOptions::default() };
        let found = self.look(context, account, container, name, look).await?;
        if !matches!(found.object.shape, Some(Shape::Manifest { .. })) {
            return Err(Error::Page("Not an SLO manifest".into()));
        }
        let kept = self.manifest(&found).await?;
        Ok(kept
            .into_iter()
            .filter_map(|kept| match kept {
                StoredSegment::Object(object) => Some(object),
                StoredSegment::Data { .. } => None,
            })
            .collect())
    }
}
