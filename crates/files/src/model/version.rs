//! Versions of objects: their ids, their delete markers, and where a container keeps old ones (Swift, Object
//! versioning).

use work::Time;

use crate::model::metadata::Metadata;

/// What marks that an object was deleted, among its versions.
pub const MARKER_TYPE: &str = "application/x-deleted;swift_versions_deleted=1";

/// The container's setting for versions in the container itself: `true`, `false`, or [`NEVER`].
pub const ENABLED: &str = "x-versions-enabled";
/// Versions were forbidden where there never were any.
pub const NEVER: &str = "never";
/// The container's setting for old versions in another container, restored by deletion.
pub const STACK: &str = "x-versions-location";
/// The container's setting for old versions in another container, with delete markers.
pub const HISTORY: &str = "x-history-location";

/// What is said to who asks for a version where there are none.
pub const UNVERSIONED: &str = "version-aware operations require that the container is versioned";

/// What a container does with what is replaced or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keeping {
    /// It goes.
    Nothing,
    /// It stays as a version.
    Versions,
    /// It goes to another container; deletion brings the last one back.
    Stack(String),
    /// It goes to another container, and so do delete markers.
    History(String),
}

impl Keeping {
    /// A container's way, by its metadata.
    #[must_use]
    pub fn of(metadata: &Metadata) -> Self {
        if metadata.0.is_empty() {
            return Self::Nothing;
        }
        if metadata.get(ENABLED) == Some("true") {
            return Self::Versions;
        }
        let decoded = |place: &str| {
            let bytes: Vec<u8> = percent_encoding::percent_decode_str(place).collect();
            String::from_utf8_lossy(&bytes).into_owned()
        };
        if let Some(place) = metadata.get(STACK) {
            return Self::Stack(decoded(place));
        }
        metadata.get(HISTORY).map_or(Self::Nothing, |place| Self::History(decoded(place)))
    }
}

/// Whether a container keeps versions or has kept some.
#[must_use]
pub fn is_versioned(metadata: &Metadata) -> bool {
    metadata.get(ENABLED).is_some_and(|enabled| enabled != NEVER)
}

/// The name of an old version in another container.
#[must_use]
pub fn archived_name(name: &str, created: Time) -> String {
    format!("{}{}", archived_prefix(name), crate::model::time::internal(created))
}

/// What the names of an object's old versions in another container begin with.
#[must_use]
pub fn archived_prefix(name: &str) -> String {
    format!("{:03x}{name}/", name.len())
}

/// Which version a request names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionId {
    /// What was stored without versioning.
    Null,
    /// What was stored at that time.
    At(Time),
}

impl VersionId {
    /// Reads `null` or a timestamp; `None` for anything else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == "null" {
            return Some(Self::Null);
        }
        let (text, offset) = text.split_once('_').unwrap_or((text, "0"));
        u64::from_str_radix(offset, 16).ok()?;
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits =
            |text: &str| !text.is_empty() && text.len() <= 12 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(seconds) || !(fraction.is_empty() || digits(fraction)) {
            return None;
        }
        let fraction: String = fraction.chars().chain(std::iter::repeat('0')).take(6).collect();
        let micros = seconds
            .parse::<i64>()
            .ok()?
            .checked_mul(1_000_000)?
            .checked_add(fraction.parse::<i64>().ok()?)?;
        Some(Self::At(Time(micros)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_timestamps() {
        assert_eq!(VersionId::parse("null"), Some(VersionId::Null));
        assert_eq!(VersionId::parse("1389453423.35964"), Some(VersionId::At(Time(1_389_453_423_359_640))));
        assert_eq!(VersionId::parse("1389453423"), Some(VersionId::At(Time(1_389_453_423_000_000))));
        for bad in ["", "abc", "-1", "1.x", "1e9", "99999999999999999999"] {
            assert_eq!(VersionId::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn old_versions_are_named_by_length_and_time() {
        assert_eq!(archived_name("obj", Time(1_389_453_423_359_640)), "003obj/1389453423.35964");
        assert_eq!(archived_prefix("é"), "002é/");
    }
}
