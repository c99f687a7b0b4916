//! Versions of objects: their ids, their delete markers, and where a container keeps old ones (Swift, Object
//! versioning).

use work::Time;

use crate::model::metadata::Metadata;

/// Media type of a delete marker.
pub const MARKER_TYPE: &str = "application/x-deleted;swift_versions_deleted=1";

/// The container's setting for versions within the container: `true`, `false`, or [`NEVER`].
pub const ENABLED: &str = "x-versions-enabled";
/// Versions were disabled before they were ever enabled.
pub const NEVER: &str = "never";
/// The container's setting for old versions in another container, restored by deletion.
pub const STACK: &str = "x-versions-location";
/// The container's setting for old versions in another container, with delete markers.
pub const HISTORY: &str = "x-history-location";

/// Swift's message for a version id in a container without versions.
pub const UNVERSIONED: &str = "version-aware operations require that the container is versioned";

/// What a container does with objects that are replaced or deleted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersioningMode {
    /// Deletes them.
    Nothing,
    /// Keeps them as versions.
    Versions,
    /// Moves them to another container; deletion restores the last one.
    Stack(String),
    /// Moves them to another container and writes delete markers there.
    History(String),
}

impl VersioningMode {
    /// Returns the mode that a container's metadata sets.
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

/// Returns whether a container keeps versions or has kept any.
#[must_use]
pub fn is_versioned(metadata: &Metadata) -> bool {
    metadata.get(ENABLED).is_some_and(|enabled| enabled != NEVER)
}

/// Returns the name of an old version in another container.
#[must_use]
pub fn archived_name(name: &str, created: Time) -> String {
    format!("{}{}", archived_prefix(name), crate::model::time::internal(created))
}

/// Returns the prefix of the names of an object's old versions in another container.
#[must_use]
pub fn archived_prefix(name: &str) -> String {
    format!("{:03x}{name}/", name.len())
}

/// A version named by a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VersionId {
    /// The object stored without versioning.
    Null,
    /// The version stored at that time.
    At(Time),
}

impl VersionId {
    /// Parses `null` or a timestamp; `None` for anything else.
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
    fn names_of_old_versions_contain_length_and_time() {
        assert_eq!(archived_name("obj", Time(1_389_453_423_359_640)), "003obj/1389453423.35964");
        assert_eq!(archived_prefix("é"), "002é/");
    }
}
