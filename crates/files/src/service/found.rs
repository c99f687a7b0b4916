//! What a look-up of an object finds.

use work::Time;

use super::segments::Segments;
use crate::model::entry::{Container, Object};
use crate::model::shape::Shape;
use crate::model::version::VersionId;

/// Which representation of an object is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// A link itself, not what it leads to.
    pub link: bool,
    /// A large object's manifest, not its segments.
    pub manifest: bool,
    /// The segments of a large object, which a HEAD may do without.
    pub segments: bool,
    /// A version, not what the name points at.
    pub version: Option<VersionId>,
    /// At most so many segments of a dynamic large object, fewer than there may be otherwise.
    pub dynamic_max: Option<usize>,
}

/// An object and where it is.
#[derive(Clone)]
pub struct Found {
    /// The object.
    pub object: Object,
    /// The container that it is in.
    pub container: Container,
    /// Its account's, container's and own name.
    pub place: (String, String, String),
    /// Whether links led to it.
    pub linked: bool,
    /// The version that was read, in a container that keeps versions.
    pub version: Option<VersionId>,
    /// The segments that it stands for, if it is a large object and they were asked for.
    pub segments: Option<Segments>,
    /// Whether it is shown as what it stands for.
    pub(super) whole: bool,
}

impl Found {
    /// The ETag of what is shown.
    #[must_use]
    pub fn etag(&self) -> &str {
        match (&self.object.shape, &self.segments) {
            (Some(Shape::Manifest { etag, .. }), _) if self.whole => etag,
            (_, Some(segments)) => &segments.etag,
            _ => &self.object.etag,
        }
    }

    /// The length of what is shown.
    #[must_use]
    pub fn size(&self) -> u64 {
        match (&self.object.shape, &self.segments) {
            (Some(Shape::Manifest { size, .. }), _) if self.whole => *size,
            (_, Some(segments)) => segments.size,
            _ => self.object.size,
        }
    }

    /// Whether what is shown is put together from segments.
    #[must_use]
    pub fn is_large(&self) -> bool {
        self.whole && (matches!(self.object.shape, Some(Shape::Manifest { .. })) || self.segments.is_some())
    }

    /// Whether it is a dynamic large object, shown as what its segments make.
    #[must_use]
    pub fn is_dynamic(&self) -> bool {
        self.is_large() && self.object.shape.is_none()
    }

    /// When what is shown was stored.
    #[must_use]
    pub fn changed(&self) -> Time {
        self.object.changed
    }
}
