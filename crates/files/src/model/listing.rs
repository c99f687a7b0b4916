//! Listings: decides which names of an ordered scan a page shows. Delimiters are handled by skipping ranges of names.

use work::Time;

use crate::model::shape::Shape;

/// The parameters of a listing. Names are compared as bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query {
    /// Maximum number of names in the page.
    pub limit: usize,
    /// Only names after it (before it, in reverse).
    pub marker: Vec<u8>,
    /// Only names before it (after it, in reverse).
    pub end_marker: Vec<u8>,
    /// Only names with this prefix.
    pub prefix: Vec<u8>,
    /// Names that contain it after the prefix are shown as one subdirectory.
    pub delimiter: Vec<u8>,
    /// Only names directly below this path, without subdirectories; overrides prefix and delimiter.
    pub path: Option<Vec<u8>>,
    /// In descending order.
    pub reverse: bool,
}

/// An object in a container's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEntry {
    /// Its name.
    pub name: String,
    /// Its length, in bytes.
    pub size: u64,
    /// The MD5 of its bytes, in hex.
    pub etag: String,
    /// Its media type.
    pub content_type: String,
    /// When it was last changed.
    pub changed: Time,
    /// What its bytes represent if not its own content.
    pub shape: Option<Box<Shape>>,
    /// Its version id, in a container with versions.
    pub version: Option<Time>,
}

/// A version in the listing of a versioned container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionEntry {
    /// The version as an object.
    pub object: ObjectEntry,
    /// Its id; `None` for the null version.
    pub version: Option<Time>,
    /// Whether it is the current version or the delete marker that hides the object.
    pub is_latest: bool,
}

/// A line of a listing of versions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionLine {
    /// A version.
    Version(Box<VersionEntry>),
    /// All names with this prefix, which ends in the delimiter.
    Subdirectory(String),
}

/// A line of a container's listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Line {
    /// An object.
    Object(ObjectEntry),
    /// All names with this prefix, which ends in the delimiter.
    Subdirectory(String),
}

/// Longer than any name, so that a prefix followed by it sorts after all names with that prefix.
const AFTER_ALL_NAMES: [u8; 1100] = [0xff; 1100];

/// A scan of ordered names between two bounds. Skipping moves a bound.
#[derive(Clone, Debug)]
pub struct Scan {
    query: Query,
    /// Lower bound of the names still to scan, inclusive.
    pub lower: Vec<u8>,
    /// Upper bound of the names still to scan, exclusive.
    pub upper: Vec<u8>,
    /// A subdirectory that the marker names is not shown again.
    marker: Vec<u8>,
}

/// What to do with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Show the name.
    Show,
    /// Show this subdirectory and continue at the moved bound.
    Subdirectory(Vec<u8>),
    /// Show nothing and continue at the moved bound.
    Skip,
}

impl Scan {
    /// Starts a scan.
    #[must_use]
    pub fn new(mut query: Query) -> Self {
        if let Some(path) = &query.path {
            query.prefix.clone_from(path);
            while query.prefix.last() == Some(&b'/') {
                query.prefix.pop();
            }
            if !path.is_empty() {
                query.prefix.push(b'/');
            }
            query.delimiter = b"/".to_vec();
        }
        let (behind, before) = if query.reverse {
            (&query.end_marker, &query.marker)
        } else {
            (&query.marker, &query.end_marker)
        };
        let mut lower = query.prefix.clone();
        if !behind.is_empty() {
            lower = lower.max([behind.as_slice(), b"\0"].concat());
        }
        let mut upper = successor(&query.prefix).unwrap_or_else(|| AFTER_ALL_NAMES.to_vec());
        if !before.is_empty() {
            upper = upper.min(before.clone());
        }
        // The name that the page starts after is not shown again (Swift: the lower bound, in both directions).
        let marker = behind.clone();
        Self { query, lower, upper, marker }
    }

    /// Returns whether the scan may skip names. If not, a page is a single range of rows.
    #[must_use]
    pub fn skips(&self) -> bool {
        !self.query.delimiter.is_empty()
    }

    /// Returns whether the scan is in descending order.
    #[must_use]
    pub fn reverse(&self) -> bool {
        self.query.reverse
    }

    /// Returns whether `name` is still within the bounds.
    #[must_use]
    pub fn wants(&self, name: &[u8]) -> bool {
        name >= self.lower.as_slice() && name < self.upper.as_slice()
    }

    /// Processes the next name, in order and within the bounds, and moves the bound past it or past the names that it
    /// represents.
    pub fn take(&mut self, name: &[u8]) -> Step {
        let delimiter = &self.query.delimiter;
        let found = (!delimiter.is_empty())
            .then(|| find(&name[self.query.prefix.len().min(name.len())..], delimiter))
            .flatten()
            .map(|at| self.query.prefix.len() + at + delimiter.len());
        let in_path = self.query.path.is_some();
        match found {
            Some(end) if !in_path || end < name.len() => {
                let directory = name[..end].to_vec();
                self.pass(&directory, true);
                if in_path || directory == self.marker { Step::Skip } else { Step::Subdirectory(directory) }
            }
            _ => {
                self.pass(name, false);
                if in_path && name == self.query.prefix { Step::Skip } else { Step::Show }
            }
        }
    }

    fn pass(&mut self, name: &[u8], all_below: bool) {
        if self.query.reverse {
            self.upper = name.to_vec();
        } else if all_below {
            self.lower = successor(name).unwrap_or_else(|| AFTER_ALL_NAMES.to_vec());
        } else {
            self.lower = [name, b"\0"].concat();
        }
    }
}

/// Returns the first name after all names with `prefix`; `None` if there is none.
fn successor(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < 0xff {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Computes what a page must show from all names at once.
    fn expected(names: &BTreeSet<Vec<u8>>, query: &Query) -> Vec<Vec<u8>> {
        let (behind, before) = if query.reverse {
            (&query.end_marker, &query.marker)
        } else {
            (&query.marker, &query.end_marker)
        };
        let mut lines = Vec::new();
        for name in names {
            if !name.starts_with(&query.prefix)
                || (!behind.is_empty() && name <= behind)
                || (!before.is_empty() && name >= before)
            {
                continue;
            }
            let rest = &name[query.prefix.len()..];
            let at = (!query.delimiter.is_empty()).then(|| find(rest, &query.delimiter)).flatten();
            let line = at
                .map_or(name.clone(), |at| name[..query.prefix.len() + at + query.delimiter.len()].to_vec());
            if lines.last() != Some(&line) && (at.is_none() || line != *behind) {
                lines.push(line);
            }
        }
        if query.reverse {
            lines.reverse();
        }
        lines.truncate(query.limit);
        lines
    }

    fn walked(names: &BTreeSet<Vec<u8>>, query: &Query) -> Vec<Vec<u8>> {
        let mut walk = Scan::new(query.clone());
        let mut lines = Vec::new();
        while lines.len() < query.limit {
            let mut wanted = names.iter().filter(|name| walk.wants(name));
            let next = if query.reverse { wanted.next_back() } else { wanted.next() };
            let Some(name) = next.cloned() else { break };
            match walk.take(&name) {
                Step::Show => lines.push(name),
                Step::Subdirectory(directory) => lines.push(directory),
                Step::Skip => {}
            }
        }
        lines
    }

    proptest! {
        #[test]
        fn a_scan_shows_the_same_as_a_filter_over_all_names(
            names in proptest::collection::btree_set("[ab/é]{1,6}", 0..30),
            prefix in "[ab/]{0,2}", marker in "[ab/]{0,3}", end_marker in "[ab/]{0,3}",
            delimiter in prop_oneof![Just(""), Just("/"), Just("b"), Just("ab")],
            limit in 1usize..12, reverse: bool,
        ) {
            let names: BTreeSet<Vec<u8>> = names.into_iter().map(String::into_bytes).collect();
            let query = Query {
                limit, marker: marker.into(), end_marker: end_marker.into(), prefix: prefix.into(),
                delimiter: delimiter.into(), path: None, reverse,
            };
            prop_assert_eq!(walked(&names, &query), expected(&names, &query));
        }
    }

    #[test]
    fn a_path_shows_only_names_directly_below_it() {
        let names = ["photos/", "photos/a.jpg", "photos/pets/", "photos/pets/cat.jpg", "top"];
        let names = names.iter().map(|name| name.as_bytes().to_vec()).collect();
        let query = |path: &str| Query { limit: 10, path: Some(path.into()), ..Query::default() };
        let shown = |path| {
            walked(&names, &query(path))
                .into_iter()
                .map(|n| String::from_utf8(n).unwrap())
                .collect::<Vec<_>>()
        };
        assert_eq!(shown("photos"), ["photos/a.jpg", "photos/pets/"]);
        assert_eq!(shown("photos/"), ["photos/a.jpg", "photos/pets/"]);
        assert_eq!(shown(""), ["photos/", "top"]);
    }
}
