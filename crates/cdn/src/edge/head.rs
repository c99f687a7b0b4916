//! The cached part of a response of the origin that is not body.

use std::io::{self, Read, Write};
use std::ops::Range;

use axum::body::Body;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, LAST_MODIFIED, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode};

use super::negative::NEGATIVE_TTL;

/// Size in bytes of the pieces in which large objects are cached. Part of the format on disk.
pub(super) const CHUNK: u64 = 1 << 20;
/// Maximum size in bytes of a page that the origin generates, such as a listing. Objects may be larger, since they are fetched
/// in ranges.
pub(super) const PAGE_MAX: u64 = 8 << 20;
/// Maximum size of an object in bytes (Cloud Files guide: the CDN serves files up to 10 GB).
pub(super) const OBJECT_MAX: u64 = 10 << 30;
/// Version of the format on disk.
const FORMAT: u8 = 1;
/// Maximum number of cached headers of a response, and maximum length of one in bytes.
const HEADERS_MAX: u16 = 256;
const HEADER_MAX: u32 = 64 << 10;

/// Headers that are cached and served, in addition to the object's metadata. `Cache-Control` and `Expires` are not among them,
/// since the container's TTL decides.
const KEPT: [&str; 12] = [
    "content-type",
    "content-encoding",
    "content-disposition",
    "content-language",
    "etag",
    "last-modified",
    "location",
    "x-robots-tag",
    "x-timestamp",
    "access-control-allow-origin",
    "access-control-expose-headers",
    "access-control-max-age",
];
const METADATA: &str = "x-object-meta-";

/// Status, headers and validity of a cached response.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Head {
    /// The site's generation when the request was sent to the origin.
    pub(super) stamp: u64,
    /// When the origin confirmed it last, in seconds since 1970.
    pub(super) fetched: i64,
    /// Until when it is served without asking the origin again, because the origin failed. Not stored on disk.
    pub(super) held_until: i64,
    /// When the object is deleted, if that is known.
    pub(super) expires: Option<i64>,
    /// 200, 301 or 404.
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    /// Length of the whole body in bytes.
    pub(super) length: u64,
    /// The whole body, unless it is stored in pieces or still being fetched.
    pub(super) body: Option<Bytes>,
}

/// Outcome of a request to the origin.
#[derive(Debug)]
pub(super) enum Fetched {
    /// The body has not changed. The headers may have: the entity tag says nothing about them.
    Unchanged {
        /// The current headers, as they are to be cached.
        headers: HeaderMap,
        /// When the object expires, in seconds since 1970.
        expires: Option<i64>,
    },
    /// A new representation, and the range of it in the response's body.
    New(Head, Range<u64>),
    /// The requested range is beyond the end of the object, whose length this is.
    Beyond(u64),
}

impl Head {
    /// Returns whether it is an object itself, and not a page generated from objects.
    pub(super) fn is_object(&self) -> bool {
        self.status == StatusCode::OK && self.etag().is_some()
    }

    /// The entity tag with its quotes.
    pub(super) fn etag(&self) -> Option<&str> {
        self.headers.get(ETAG)?.to_str().ok()
    }

    /// When it was changed last, in seconds since 1970.
    pub(super) fn modified(&self) -> Option<i64> {
        let text = self.headers.get(LAST_MODIFIED)?.to_str().ok()?;
        let since = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
        i64::try_from(since.as_secs()).ok()
    }

    /// Returns whether it is an error response.
    pub(super) fn is_negative(&self) -> bool {
        self.status.is_client_error()
    }

    /// Returns whether the body is stored in pieces.
    pub(super) fn is_chunked(&self) -> bool {
        self.is_object() && self.length > CHUNK
    }

    /// Returns for how many seconds it is fresh, given the site's TTL.
    pub(super) fn ttl(&self, site: u32) -> u32 {
        if self.is_negative() { NEGATIVE_TTL } else { site }
    }

    /// Returns whether it may be served at this time without asking the origin.
    pub(super) fn is_fresh(&self, now: i64, ttl: u32) -> bool {
        let age = now - self.fetched;
        let is_young = age >= 0 && age < i64::from(self.ttl(ttl));
        (is_young || now < self.held_until) && self.expires.is_none_or(|expires| now < expires)
    }

    /// The edge's own page for an object that is too large.
    pub(super) fn too_large(stamp: u64, now: i64) -> Self {
        const PAGE: &str = "<html><h1>Bad Request</h1><p>The object is larger than 10 GiB.</p></html>";
        Self::page(stamp, now, StatusCode::BAD_REQUEST, PAGE)
    }

    /// The edge's own page for a request that the origin rejected.
    pub(super) fn missing(stamp: u64, now: i64) -> Self {
        const PAGE: &str = "<html><h1>Not Found</h1><p>The resource could not be found.</p></html>";
        Self::page(stamp, now, StatusCode::NOT_FOUND, PAGE)
    }

    fn page(stamp: u64, now: i64, status: StatusCode, page: &'static str) -> Self {
        let kind = HeaderValue::from_static("text/html; charset=UTF-8");
        let headers = HeaderMap::from_iter([(http::header::CONTENT_TYPE, kind)]);
        let (length, body) = (page.len() as u64, Some(Bytes::from_static(page.as_bytes())));
        Self { stamp, fetched: now, held_until: 0, expires: None, status, headers, length, body }
    }

    /// Returns the copy with renewed headers after the origin confirmed its body, and `None` if the origin confirmed another
    /// entity tag.
    pub(super) fn confirmed(
        &self,
        headers: HeaderMap,
        expires: Option<i64>,
        stamp: u64,
        now: i64,
    ) -> Option<Self> {
        if headers.get(ETAG).is_some_and(|tag| Some(tag) != self.headers.get(ETAG)) {
            return None;
        }
        // A 304 without a description (RFC 9110, 15.4.5) leaves the headers unchanged.
        let described = headers.contains_key(http::header::CONTENT_TYPE);
        let headers = if described { headers } else { self.headers.clone() };
        Some(Self { stamp, fetched: now, held_until: 0, expires, headers, ..self.clone() })
    }

    /// Reads the origin's response to a request for the bytes from `start` on.
    ///
    /// # Errors
    /// Why the response cannot be used: the origin failed, or does not say what it sends.
    pub(super) fn read(
        response: &Response<Body>,
        stamp: u64,
        now: i64,
        start: u64,
    ) -> Result<Fetched, String> {
        let status = response.status();
        let headers = response.headers();
        let range = headers.get(CONTENT_RANGE).and_then(|value| content_range(value.to_str().ok()?));
        let expires = headers.get("x-delete-at").and_then(|value| value.to_str().ok()?.parse().ok());
        let head = |status: StatusCode, length: u64| {
            let headers = kept(headers, status);
            Self { stamp, fetched: now, held_until: 0, expires, status, headers, length, body: None }
        };
        match status {
            StatusCode::NOT_MODIFIED => {
                Ok(Fetched::Unchanged { headers: kept(headers, StatusCode::OK), expires })
            }
            StatusCode::PARTIAL_CONTENT => match range {
                Some((Some(sent), total)) if sent.start == start && sent.end <= total => {
                    Ok(Fetched::New(head(StatusCode::OK, total), sent))
                }
                _ => Err("the origin sent another range than it was asked for".into()),
            },
            StatusCode::OK | StatusCode::NOT_FOUND | StatusCode::MOVED_PERMANENTLY => {
                let length = headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
                let length = length.or_else(|| http_body::Body::size_hint(response.body()).exact());
                let length: u64 = length.ok_or("the origin does not say how much it sends")?;
                if length > PAGE_MAX {
                    return Err(format!("the origin sends {length} bytes in one piece"));
                }
                Ok(Fetched::New(head(status, length), 0..length))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => match range {
                Some((None, total)) => Ok(Fetched::Beyond(total)),
                _ => Err("the origin does not say how long the object is".into()),
            },
            status if status.is_server_error() => Err(format!("the origin answered {status}")),
            _ => Ok(Fetched::New(Self::missing(stamp, now), 0..0)),
        }
    }

    /// Writes the format on disk.
    pub(super) fn encode(&self, writer: &mut impl Write) -> io::Result<()> {
        writer.write_all(&[FORMAT])?;
        writer.write_all(&self.stamp.to_le_bytes())?;
        writer.write_all(&self.fetched.to_le_bytes())?;
        writer.write_all(&self.expires.unwrap_or(i64::MIN).to_le_bytes())?;
        writer.write_all(&self.status.as_u16().to_le_bytes())?;
        writer.write_all(&self.length.to_le_bytes())?;
        writer.write_all(&u16::try_from(self.headers.len()).unwrap_or(u16::MAX).to_le_bytes())?;
        for (name, value) in &self.headers {
            for part in [name.as_str().as_bytes(), value.as_bytes()] {
                writer.write_all(&u32::try_from(part.len()).unwrap_or(u32::MAX).to_le_bytes())?;
                writer.write_all(part)?;
            }
        }
        writer.write_all(&[u8::from(self.body.is_some())])?;
        writer.write_all(self.body.as_deref().unwrap_or_default())
    }

    /// Reads what [`Head::encode`] wrote. Lengths are checked before anything is allocated.
    pub(super) fn decode(reader: &mut impl Read) -> io::Result<Self> {
        let bad = || io::Error::from(io::ErrorKind::InvalidData);
        if array::<1>(reader)? != [FORMAT] {
            return Err(bad());
        }
        let stamp = u64::from_le_bytes(array(reader)?);
        let fetched = i64::from_le_bytes(array(reader)?);
        let expires = Some(i64::from_le_bytes(array(reader)?)).filter(|expires| *expires != i64::MIN);
        let status = StatusCode::from_u16(u16::from_le_bytes(array(reader)?)).map_err(|_| bad())?;
        let length = u64::from_le_bytes(array(reader)?);
        let count = u16::from_le_bytes(array(reader)?);
        if count > HEADERS_MAX {
            return Err(bad());
        }
        let mut headers = HeaderMap::with_capacity(count.into());
        for _ in 0..count {
            let name = HeaderName::from_bytes(&part(reader)?).map_err(|_| bad())?;
            headers.append(name, HeaderValue::from_bytes(&part(reader)?).map_err(|_| bad())?);
        }
        let body = match array::<1>(reader)? {
            [0] => None,
            [1] if length <= PAGE_MAX => {
                let mut body = vec![0; usize::try_from(length).map_err(|_| bad())?];
                reader.read_exact(&mut body)?;
                Some(body.into())
            }
            _ => return Err(bad()),
        };
        Ok(Self { stamp, fetched, held_until: 0, expires, status, headers, length, body })
    }

    /// Returns approximately how many bytes it occupies.
    pub(super) fn size(&self) -> usize {
        let headers: usize =
            self.headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 64).sum();
        256 + headers + self.body.as_ref().map_or(0, Bytes::len)
    }
}

fn array<const N: usize>(reader: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn part(reader: &mut impl Read) -> io::Result<Vec<u8>> {
    let length = u32::from_le_bytes(array(reader)?);
    if length > HEADER_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut bytes = vec![0; length as usize];
    reader.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn kept(all: &HeaderMap, status: StatusCode) -> HeaderMap {
    let is_error = status == StatusCode::NOT_FOUND;
    let wanted = |name: &HeaderName| {
        let name = name.as_str();
        // An error page is another object. Its tag and metadata do not belong to the missing one.
        let is_kept = KEPT.contains(&name) || name.starts_with(METADATA);
        is_kept
            && (!is_error || name == "content-type" || name == "content-encoding")
            && (status == StatusCode::MOVED_PERMANENTLY || name != LOCATION.as_str())
    };
    let mut headers = HeaderMap::new();
    for (name, value) in all.iter().filter(|(name, value)| wanted(name) && value.len() <= HEADER_MAX as usize)
    {
        headers.append(name.clone(), value.clone());
    }
    // Quote the tag, whether or not the container is configured to (RFC 9110, 8.8.3).
    let bare = headers.get(ETAG).and_then(|tag| tag.to_str().ok()).filter(|tag| !tag.contains('"'));
    if let Some(Ok(quoted)) = bare.map(|bare| HeaderValue::from_str(&format!("\"{bare}\""))) {
        headers.insert(ETAG, quoted);
    }
    headers
}

/// `bytes 0-9/100` or `bytes */100`: the bytes sent, and the length of all.
fn content_range(text: &str) -> Option<(Option<Range<u64>>, u64)> {
    let (sent, total) = text.strip_prefix("bytes ")?.split_once('/')?;
    let total = total.parse().ok()?;
    if sent == "*" {
        return Some((None, total));
    }
    let (first, last) = sent.split_once('-')?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().ok()?);
    Some((Some(first..last.checked_add(1)?), total)).filter(|_| first <= last)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head() -> Head {
        let headers = HeaderMap::from_iter([
            (ETAG, HeaderValue::from_static("\"abc\"")),
            (LAST_MODIFIED, HeaderValue::from_static("Sat, 11 Jan 2014 15:17:03 GMT")),
            (HeaderName::from_static("x-object-meta-a"), HeaderValue::from_bytes("é".as_bytes()).unwrap()),
        ]);
        Head {
            stamp: 7,
            fetched: 1000,
            held_until: 0,
            expires: Some(5000),
            status: StatusCode::OK,
            headers,
            length: 5,
            body: Some(Bytes::from_static(b"hello")),
        }
    }

    #[test]
    fn a_head_is_read_back_from_the_disk_and_damage_is_an_error() {
        for head in
            [head(), Head { body: None, length: 1 << 40, expires: None, ..head() }, Head::missing(1, 2)]
        {
            let mut bytes = Vec::new();
            head.encode(&mut bytes).unwrap();
            assert_eq!(Head::decode(&mut &bytes[..]).unwrap(), head);
            for length in 0..bytes.len() {
                assert!(Head::decode(&mut &bytes[..length]).is_err(), "{length}");
            }
            for at in 0..bytes.len() {
                for bit in 0..8 {
                    let mut damaged = bytes.clone();
                    damaged[at] ^= 1 << bit;
                    // It must neither panic nor allocate for bytes that do not exist.
                    let _ = Head::decode(&mut &damaged[..]);
                }
            }
        }
    }

    #[test]
    fn freshness_ends_with_the_ttl_and_with_the_object() {
        let head = head();
        for (now, ttl, is_fresh) in [
            (1000, 900, true),
            (1899, 900, true),
            (1900, 900, false),
            (999, 900, false),
            (4999, 9000, true),
            (5000, 9000, false),
        ] {
            assert_eq!(head.is_fresh(now, ttl), is_fresh, "{now} {ttl}");
        }
        let missing = Head::missing(1, 1000);
        assert!(missing.is_fresh(1029, 900) && !missing.is_fresh(1030, 900));
        assert!(Head { held_until: 2000, ..head }.is_fresh(1950, 900));
    }

    #[test]
    fn ranges_of_responses_are_read_strictly() {
        assert_eq!(content_range("bytes 0-9/100"), Some((Some(0..10), 100)));
        assert_eq!(content_range("bytes */100"), Some((None, 100)));
        for bad in [
            "bytes 9-0/100",
            "bytes 0-9/*",
            "0-9/100",
            "bytes 0-/100",
            "bytes -1/5",
            "bytes 0-18446744073709551615/5",
        ] {
            assert_eq!(content_range(bad), None, "{bad}");
        }
    }
}
