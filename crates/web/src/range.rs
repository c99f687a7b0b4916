//! `Range: bytes=…` (RFC 9110, 14.2).

use std::ops::Range;

/// Maximum number of ranges in a request; for more the whole representation is sent, as Swift does.
const RANGES_MAX: usize = 50;

/// What a `Range` header means for a representation of a given length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selection {
    /// Send everything: there is no header, or it is to be ignored.
    Whole,
    /// Send these ranges, none of them empty.
    Pieces(Vec<Range<u64>>),
    /// Respond with 416: no range overlaps the representation.
    Unsatisfiable,
}

/// Applies a `Range` header to a representation of `length` bytes.
#[must_use]
pub fn select(header: Option<&str>, length: u64) -> Selection {
    let Some(specs) = header.and_then(|value| value.trim().strip_prefix("bytes=")) else {
        return Selection::Whole;
    };
    let mut pieces = Vec::new();
    let mut count = 0;
    for spec in specs.split(',') {
        count += 1;
        match piece(spec.trim(), length) {
            Some(Some(piece)) => pieces.push(piece),
            Some(None) => {}
            None => return Selection::Whole,
        }
    }
    if count > RANGES_MAX {
        return Selection::Whole;
    }
    if pieces.is_empty() { Selection::Unsatisfiable } else { Selection::Pieces(pieces) }
}

/// Parses one range. Returns `None` if it is malformed, `Some(None)` if it is outside the representation.
fn piece(spec: &str, length: u64) -> Option<Option<Range<u64>>> {
    let (first, last) = spec.split_once('-')?;
    if first.is_empty() {
        let suffix = number(last)?;
        let start = length.saturating_sub(suffix);
        return Some((suffix > 0 && length > 0).then_some(start..length));
    }
    let first = number(first)?;
    let end = if last.is_empty() { length } else { number(last)?.saturating_add(1) };
    if end <= first && !last.is_empty() {
        return None;
    }
    Some((first < length).then(|| first..end.min(length)))
}

/// Parses digits only; `u64::from_str` would accept a sign.
fn number(text: &str) -> Option<u64> {
    if text.is_empty() || !text.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn ranges_are_selected_as_in_the_rfc() {
        let one = |range: Range<u64>| Selection::Pieces(vec![range]);
        assert_eq!(select(None, 10), Selection::Whole);
        assert_eq!(select(Some("bytes=0-4"), 10), one(0..5));
        assert_eq!(select(Some("bytes=5-"), 10), one(5..10));
        assert_eq!(select(Some("bytes=-3"), 10), one(7..10));
        assert_eq!(select(Some("bytes=-30"), 10), one(0..10));
        assert_eq!(select(Some("bytes=0-0,9-99"), 10), Selection::Pieces(vec![0..1, 9..10]));
        assert_eq!(select(Some("bytes=10-"), 10), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=-0"), 10), Selection::Unsatisfiable);
        assert_eq!(select(Some("bytes=0-"), 0), Selection::Unsatisfiable);
        for ignored in ["items=0-1", "bytes=", "bytes=a-b", "bytes=4-2", "bytes=--1", "bytes=+1-2"] {
            assert_eq!(select(Some(ignored), 10), Selection::Whole, "{ignored}");
        }
        assert_eq!(select(Some("bytes=0-99999999999999999999999"), 10), one(0..10));
    }

    proptest! {
        #[test]
        fn pieces_are_not_empty_and_within_the_length(header in "bytes=[0-9,-]{0,30}", length in 0u64..100) {
            if let Selection::Pieces(pieces) = select(Some(&header), length) {
                prop_assert!(!pieces.is_empty());
                for piece in pieces {
                    prop_assert!(piece.start < piece.end && piece.end <= length);
                }
            }
        }
    }
}
