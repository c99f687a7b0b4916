//! Manifests of static large objects: the form that clients send and the stored form (Swift, Static large objects).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use web::range::{Selection, select};

use super::json;
use super::shallow::Item;
use crate::Error;

/// A segment as a client sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// Bytes that the manifest itself contains.
    Data(Vec<u8>),
    /// An object, or a part of one.
    Object {
        /// The path as sent, for reports.
        path: String,
        /// The container.
        container: String,
        /// The object.
        name: String,
        /// The ETag that the object must have.
        etag: Option<String>,
        /// The length that the object must have; a negative one never matches.
        size: Option<i64>,
        /// The part of the object, as in a `Range` header.
        range: Option<String>,
    },
}

/// A segment as it is stored, in Swift's format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum StoredSegment {
    /// Bytes that the manifest itself contains.
    Data {
        /// In base64.
        data: String,
    },
    /// An object, or a part of one.
    Object(SegmentObject),
}

/// An object in a stored manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentObject {
    /// `/container/object`.
    pub name: String,
    /// Its length when the manifest was stored, in bytes.
    pub bytes: u64,
    /// Its ETag when the manifest was stored.
    pub hash: String,
    /// Its media type at that time, without parameters.
    pub content_type: String,
    /// When it was last modified, as of that time.
    pub last_modified: String,
    /// `first-last`, if the segment is only a part of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub range: Option<String>,
    /// Whether it is a static large object itself.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub sub_slo: bool,
}

/// Maximum number of faults reported for one manifest.
pub const FAULTS_MAX: usize = 1000;
/// Maximum number of segments in a manifest, including those with inline data.
const SEGMENTS_MAX: usize = 10_000;

/// Parses a manifest from a client; at most `objects_max` segments may be objects. Uses memory only for the segments that
/// it returns, whatever else the body contains.
///
/// # Errors
/// [`Error::Page`] if it is not a list, [`Error::Invalid`] with a line for each invalid segment, up to [`FAULTS_MAX`], and
/// [`Error::TooMany`].
pub fn parse(body: &[u8], own: (&str, &str), objects_max: usize) -> Result<Vec<Asked>, Error> {
    let mut reading = Reading { own, ..Reading::default() };
    // Some editors write a byte order mark, which Swift's parser skips.
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    let mut json = serde_json::Deserializer::from_slice(body);
    let is_list =
        Document(&mut reading).deserialize(&mut json).and_then(|is_list| json.end().map(|()| is_list));
    match is_list {
        Err(_) => return Err(Error::Page("Manifest must be valid JSON.\n".into())),
        Ok(false) => return Err(Error::Page("Manifest must be a list.\n".into())),
        Ok(true) => {}
    }
    let Reading { asked, mut faults, count, objects, has_others, .. } = reading;
    if count > 0 && !has_others {
        faults.push_str("Inline data segments require at least one object-backed segment.\n");
    }
    if !faults.is_empty() {
        return Err(Error::Invalid(faults));
    }
    if objects > objects_max {
        return Err(Error::TooMany(format!("Number of object-backed segments must be <= {objects_max}")));
    }
    if count > SEGMENTS_MAX {
        return Err(Error::TooMany(format!("Number of segments must be <= {SEGMENTS_MAX}")));
    }
    Ok(asked)
}

/// The state of parsing a manifest.
#[derive(Default)]
struct Reading<'n> {
    /// The container and name of the manifest itself.
    own: (&'n str, &'n str),
    asked: Vec<Asked>,
    faults: String,
    faults_count: usize,
    /// Counts of all segments and of those that are objects, and whether any of them has no inline data.
    count: usize,
    objects: usize,
    has_others: bool,
}

impl Reading<'_> {
    fn take(&mut self, item: Value, is_last: bool) {
        let index = self.count;
        self.count += 1;
        self.has_others |= item.get("data").is_none();
        match segment(item, is_last, self.own) {
            Ok(asked) => {
                self.objects += usize::from(matches!(asked, Asked::Object { .. }));
                if self.asked.len() < SEGMENTS_MAX {
                    self.asked.push(asked);
                }
            }
            Err(fault) => {
                self.faults_count += 1;
                self.faults.push_str(&format!("Index {index}: {fault}\n"));
            }
        }
    }
}

/// The whole body; `false` if the JSON is not a list.
struct Document<'r, 'n>(&'r mut Reading<'n>);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<bool, D::Error> {
        json.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = bool;

    fn expecting(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("JSON")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<bool, A::Error> {
        // The last segment may be empty.
        let mut before: Option<Value> = None;
        while self.0.faults_count < FAULTS_MAX {
            let Some(Item(next)) = items.next_element()? else { break };
            if let Some(item) = before.replace(next) {
                self.0.take(item, false);
            }
        }
        if let Some(item) = before.filter(|_| self.0.faults_count < FAULTS_MAX) {
            self.0.take(item, true);
        }
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(true)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<bool, A::Error> {
        while fields.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(false)
    }

    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }
}

fn segment(item: Value, is_last: bool, own: (&str, &str)) -> Result<Asked, String> {
    const TOO_SMALL: &str = "too small; each segment must be at least 1 byte.";
    let Value::Object(fields) = item else { return Err("not a JSON object".into()) };
    let kind = ["data", "path"].into_iter().find(|kind| fields.contains_key(*kind));
    let Some(kind) = kind else { return Err("expected keys to include one of 'data' or 'path'".into()) };
    let allowed: &[&str] = if kind == "data" { &["data"] } else { &["path", "range", "etag", "size_bytes"] };
    let mut extraneous: Vec<_> = fields.keys().filter(|key| !allowed.contains(&key.as_str())).collect();
    if !extraneous.is_empty() {
        extraneous.sort();
        let shown: Vec<_> = extraneous.into_iter().map(|key| Value::from(key.as_str()).to_string()).collect();
        return Err(format!("extraneous keys {}", shown.join(", ")));
    }
    if kind == "data" {
        let text = fields["data"].as_str().ok_or("data must be valid base64")?;
        let data = STANDARD.decode(text).map_err(|_| "data must be valid base64")?;
        return if data.is_empty() { Err(TOO_SMALL.into()) } else { Ok(Asked::Data(data)) };
    }
    let path = fields["path"].as_str().ok_or("\"path\" must be a string")?.to_owned();
    let etag = match fields.get("etag") {
        None | Some(Value::Null) => None,
        Some(Value::String(etag)) => Some(etag.clone()),
        Some(_) => return Err("\"etag\" must be a string or null (if provided)".into()),
    };
    if !path.trim_matches('/').contains('/') {
        let text = "path does not refer to an object. Path must be of the form /container/object.";
        return Err(text.into());
    }
    let (container, name) = path.trim_start_matches('/').split_once('/').unwrap_or_default();
    let size = match fields.get("size_bytes") {
        None | Some(Value::Null) => None,
        Some(value) => Some(size_of(value).ok_or("invalid size_bytes")?),
    };
    if size.is_some_and(|size| size < 1) && !is_last {
        return Err(TOO_SMALL.into());
    }
    if (container, name) == own {
        return Err("manifest must not include itself as a segment".into());
    }
    let range = match fields.get("range") {
        None | Some(Value::Null) => None,
        Some(Value::String(range)) if range.is_empty() => None,
        Some(value) => Some(value.as_str().ok_or("invalid range")?.replace(' ', "")),
    };
    if let Some(range) = &range {
        check_range(range, size)?;
    }
    let (container, name) = (container.to_owned(), name.to_owned());
    Ok(Asked::Object { path, container, name, etag, size, range })
}

fn size_of(value: &Value) -> Option<i64> {
    match value {
        Value::Number(number) => number.as_i64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn check_range(range: &str, size: Option<i64>) -> Result<(), String> {
    let one = |text: &str| {
        text.split_once('-').is_some_and(|(first, last)| {
            let number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let ordered = match (first.parse::<u64>(), last.parse::<u64>()) {
                (Ok(first), Ok(last)) => first <= last,
                _ => true,
            };
            (number(first) && (last.is_empty() || number(last)) && ordered)
                || (first.is_empty() && number(last))
        })
    };
    if !range.split(',').all(one) {
        return Err("invalid range".into());
    }
    if range.contains(',') {
        return Err("multiple ranges (only one allowed)".into());
    }
    match size.map(|size| part(range, u64::try_from(size).unwrap_or(0))) {
        Some(None) => Err("unsatisfiable range".into()),
        _ => Ok(()),
    }
}

/// Returns the bytes that a segment's range selects from an object of `size` bytes; `None` if there are none.
#[must_use]
pub fn part(range: &str, size: u64) -> Option<std::ops::Range<u64>> {
    if size == 0 && range.strip_prefix('-').is_some_and(|last| last.bytes().any(|digit| digit != b'0')) {
        // A suffix of an empty object is empty.
        return Some(0..0);
    }
    match select(Some(&format!("bytes={range}")), size) {
        Selection::Pieces(pieces) => pieces.into_iter().next(),
        _ => None,
    }
}

/// Formats a stored manifest in the form that clients send (`format=raw`).
#[must_use]
pub fn raw(kept: &[StoredSegment]) -> String {
    let sent: Vec<Value> = kept
        .iter()
        .map(|segment| match segment {
            StoredSegment::Data { data } => json!({ "data": data }),
            StoredSegment::Object(SegmentObject { name, bytes, hash, range: None, .. }) => {
                json!({ "path": name, "etag": hash, "size_bytes": bytes })
            }
            StoredSegment::Object(SegmentObject { name, bytes, hash, range: Some(range), .. }) => {
                json!({ "path": name, "etag": hash, "size_bytes": bytes, "range": range })
            }
        })
        .collect();
    json::to_text(&sent)
}

/// Formats a manifest in the stored form.
#[must_use]
pub fn to_json(kept: &[StoredSegment]) -> String {
    json::to_text(&kept)
}

/// Returns the length of a stored segment, in bytes.
#[must_use]
pub fn length(kept: &StoredSegment) -> u64 {
    match kept {
        StoredSegment::Data { data } => STANDARD.decode(data).map_or(0, |data| data.len() as u64),
        StoredSegment::Object(object) => {
            let part = part_of(object);
            part.end - part.start
        }
    }
}

/// Returns the part of its object that a stored segment selects. Reading and announcing a manifest both use it, so that the
/// length sent equals the length announced.
#[must_use]
pub fn part_of(object: &SegmentObject) -> std::ops::Range<u64> {
    match &object.range {
        Some(range) => part(range, object.bytes).unwrap_or(0..0),
        None => 0..object.bytes,
    }
}

/// Parses a manifest in the stored form, as another cloud sends it, and returns it with its total length.
///
/// # Errors
/// [`Error::Page`] if it is not a manifest or has invalid segments.
pub fn parse_kept(json: &[u8]) -> Result<(Vec<StoredSegment>, u64), Error> {
    let refused = || Error::Page("Not an SLO manifest".into());
    let kept: Vec<StoredSegment> = serde_json::from_slice(json).map_err(|_| refused())?;
    let mut size = 0u64;
    for segment in &kept {
        let fits = match segment {
            StoredSegment::Data { data } => STANDARD.decode(data).is_ok_and(|data| !data.is_empty()),
            StoredSegment::Object(object) => {
                let named = object.name.trim_start_matches('/').split_once('/');
                let bytes = i64::try_from(object.bytes);
                let range = object.range.as_ref().map_or(Ok(()), |range| check_range(range, bytes.ok()));
                named.is_some_and(|(container, name)| !container.is_empty() && !name.is_empty())
                    && bytes.is_ok()
                    && range.is_ok()
            }
        };
        size = size.checked_add(length(segment)).filter(|_| fits).ok_or_else(refused)?;
    }
    if i64::try_from(size).is_err() { Err(refused()) } else { Ok((kept, size)) }
}

/// Returns the ETag of the whole: the MD5 of its segments' ETags.
#[must_use]
pub fn etag(kept: &[StoredSegment]) -> String {
    let mut md5 = fast_md5::Md5::new();
    for segment in kept {
        match segment {
            StoredSegment::Data { data } => {
                let data = STANDARD.decode(data).unwrap_or_default();
                md5.update(hex::encode(fast_md5::digest(&data)).as_bytes());
            }
            StoredSegment::Object(object) => {
                md5.update(object.hash.as_bytes());
                if let Some(range) = &object.range {
                    md5.update(format!(":{range};").as_bytes());
                }
            }
        }
    }
    hex::encode(md5.finalize())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(body: &str) -> String {
        parse(body.as_bytes(), ("c", "o"), 1000).unwrap_err().to_string()
    }

    #[test]
    fn every_fault_is_reported_with_its_segment() {
        for (body, expected) in [
            ("{", "Manifest must be valid JSON.\n"),
            ("{}", "Manifest must be a list.\n"),
            ("[1]", "Index 0: not a JSON object\n"),
            ("[{}]", "Index 0: expected keys to include one of 'data' or 'path'\n"),
            (r#"[{"path": "/c/x", "b": 1, "a": 2}]"#, "Index 0: extraneous keys \"a\", \"b\"\n"),
            (r#"[{"path": 1}]"#, "Index 0: \"path\" must be a string\n"),
            (
                r#"[{"path": "/c"}]"#,
                "Index 0: path does not refer to an object. Path must be of the form /container/object.\n",
            ),
            (
                r#"[{"path": "/c/x", "etag": 1}]"#,
                "Index 0: \"etag\" must be a string or null (if provided)\n",
            ),
            (r#"[{"path": "/c/x", "size_bytes": "x"}]"#, "Index 0: invalid size_bytes\n"),
            (
                r#"[{"path": "/c/x", "size_bytes": 0}, {"path": "/c/x"}]"#,
                "Index 0: too small; each segment must be at least 1 byte.\n",
            ),
            (
                r#"[{"path": "/c/o", "size_bytes": -1}]"#,
                "Index 0: manifest must not include itself as a segment\n",
            ),
            (
                r#"[{"path": "/c/x", "size_bytes": -1}, {"path": "/c/x"}]"#,
                "Index 0: too small; each segment must be at least 1 byte.\n",
            ),
            (r#"[{"path": "/c/o"}]"#, "Index 0: manifest must not include itself as a segment\n"),
            (r#"[{"path": "/c/x", "range": "4-2"}]"#, "Index 0: invalid range\n"),
            (r#"[{"path": "/c/x", "range": "0-1,3-4"}]"#, "Index 0: multiple ranges (only one allowed)\n"),
            (r#"[{"path": "/c/x", "range": "9-", "size_bytes": 5}]"#, "Index 0: unsatisfiable range\n"),
            (r#"[{"data": "%"}, {"path": "/c/x"}]"#, "Index 0: data must be valid base64\n"),
            (r#"[{"data": "YQ=="}]"#, "Inline data segments require at least one object-backed segment.\n"),
            (
                r#"[1, {}]"#,
                "Index 0: not a JSON object\nIndex 1: expected keys to include one of 'data' or 'path'\n",
            ),
        ] {
            assert_eq!(fault(body), expected, "{body}");
        }
    }

    #[test]
    fn memory_for_a_hostile_manifest_is_bounded() {
        let many = |item: &str, count: usize| format!("[{}]", vec![item; count].join(","));
        let faults = fault(&many("1", 4_000_000));
        assert_eq!(faults.lines().count(), FAULTS_MAX, "{:.80}", faults);
        assert!(faults.ends_with("Index 999: not a JSON object\n"));
        assert_eq!(fault(&format!("{}{}", many("1", 2000), "]")), "Manifest must be valid JSON.\n");
        let inline = format!("[{},{{\"path\": \"/c/x\"}}]", vec![r#"{"data": "YQ=="}"#; 10_000].join(","));
        assert_eq!(fault(&inline), "Number of segments must be <= 10000");
        let objects = fault(&many(r#"{"path": "/c/x"}"#, 20_000));
        assert_eq!(objects, "Number of object-backed segments must be <= 1000");
        let nested = fault(&format!(r#"[{{"path": {}}}]"#, many("1", 1_000_000)));
        assert_eq!(nested, "Index 0: \"path\" must be a string\n");
        let keys: Vec<_> = (0..100_000).map(|n| format!("\"{n:06}\": 1")).collect();
        let keys = fault(&format!("[{{\"path\": \"/c/x\", {}}}]", keys.join(",")));
        assert!(
            keys.starts_with("Index 0: extraneous keys \"000000\", ") && keys.len() < 2000,
            "{:.80}",
            keys
        );
    }

    #[test]
    fn a_manifest_from_another_cloud_must_be_consistent() {
        let object = |range: &str, bytes: u64| {
            format!(
                r#"[{{"name": "/c/x", "bytes": {bytes}, "hash": "h", "content_type": "t", "last_modified": "m",
                     "range": {range}, "sub_slo": true}}]"#
            )
        };
        for (json, expected) in [
            (object("null", 5), Some(5)),
            (object("\"1-2\"", 5), Some(2)),
            (object("\"1-9\"", 5), Some(4)),
            (object("\"-2\"", 5), Some(2)),
            (object("\"3-\"", 5), Some(2)),
            (object("\"4-2\"", 5), None),
            (object("\"9-10\"", 5), None),
            (object("\"0-1,3-4\"", 5), None),
            (object("\"x\"", 5), None),
            (object("null", u64::MAX), None),
            (object("null", 5).replace("/c/x", "/c"), None),
            (r#"[{"data": "%"}]"#.to_owned(), None),
            ("{}".to_owned(), None),
            ("[]".to_owned(), Some(0)),
        ] {
            let read = parse_kept(json.as_bytes()).ok().map(|(_, size)| size);
            assert_eq!(read, expected, "{json}");
        }
        let two = object("null", 1 << 62).replace(']', "") + "," + &object("null", 1 << 62).replace('[', "");
        assert!(parse_kept(two.as_bytes()).is_err(), "their sum is more than a length can be");
    }

    #[test]
    fn a_manifest_survives_storing_and_is_shown_raw() {
        let object = SegmentObject {
            name: "/c/x".into(),
            bytes: 5,
            hash: "h".into(),
            content_type: "t".into(),
            last_modified: "m".into(),
            range: Some("0-1".into()),
            sub_slo: false,
        };
        let kept = vec![StoredSegment::Data { data: "YQ==".into() }, StoredSegment::Object(object)];
        assert_eq!(serde_json::from_str::<Vec<StoredSegment>>(&to_json(&kept)).unwrap(), kept);
        assert_eq!(
            raw(&kept),
            r#"[{"data": "YQ=="}, {"etag": "h", "path": "/c/x", "range": "0-1", "size_bytes": 5}]"#
        );
        let a = hex::encode(fast_md5::digest(b"a"));
        assert_eq!(etag(&kept), hex::encode(fast_md5::digest(format!("{a}h:0-1;").as_bytes())));
    }
}
