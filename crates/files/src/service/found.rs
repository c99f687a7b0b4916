//! The result of looking up an object.

use work::Time;

use super::segments::Segments;
use crate::model::entry::{Container, Object};
use crate::model::shape::Shape;
use crate::model::version::VersionId;

/// Which representation of an object to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReadOptions {
    /// Whether to read a link itself instead of its target.
    pub link: bool,
    /// Whether to read a large object's manifest instead of its segments.
    pub manifest: bool,
    /// Whether the segments of a large object are needed; a HEAD may not need them.
    pub segments: bool,
    /// The version, if not the current one.
    pub version: Option<VersionId>,
    /// Maximum number of segments of a dynamic large object, if lower than the general maximum.
    pub dynamic_max: Option<usize>,
}

/// An object and its location.
#[derive(Clone)]
pub struct Found {
    /// The object.
    pub object: Object,
    /// The container that it is in.
    pub container: Container,
    /// The names of its account and container, and its own.
    pub place: (String, String, String),
    /// Whether it was reached by links.
    pub linked: bool,
    /// The version that was read, in a container that keeps versions.
    pub version: Option<VersionId>,
    /// The segments, if it is a large object and they were requested.
    pub segments: Option<Segments>,
    /// Whether it is shown as the content that it represents.
    pub(super) whole: bool,
}

impl Found {
    /// Returns the ETag of what is shown.
    #[must_use]
    pub fn etag(&self) -> &str {
        match (&self.object.shape, &self.segments) {
            (Some(Shape::Manifest { etag, .. }), _) if self.whole => etag,
            (_, Some(segments)) => &segments.etag,
            _ => &self.object.etag,
        }
    }

    /// Returns the length of what is shown, in bytes.
    #[must_use]
    pub fn size(&self) -> u64 {
        match (&self.object.shape, &self.segments) {
            (Some(Shape::Manifest { size, .. }), _) if self.whole => *size,
            (_, Some(segments)) => segments.size,
            _ => self.object.size,
        }
    }

    /// Returns whether what is shown is assembled from segments.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.whole && (matches!(self.object.shape, Some(Shape::Manifest { .. })) || self.segments.is_some())
    }

    /// Returns whether it is a dynamic large object that is shown as its segments.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.is_large() && self.object.shape.is_none()
    }

    /// Returns when what is shown was stored.
    #[must_use]
    pub fn changed(&self) -> Time {
        self.object.changed
    }
}
