//! Conditional requests (RFC 9110, 13): evaluates `If-…` headers against a representation's entity tag and time.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE, IF_UNMODIFIED_SINCE};

/// The validators of a representation.
#[derive(Clone, Copy, Debug)]
pub struct Validators<'a> {
    /// Its entity tag, without quotes.
    pub etag: Option<&'a str>,
    /// When it was last modified, in whole seconds since 1970.
    pub modified: Option<i64>,
}

/// The result of evaluating the conditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Perform the request.
    Proceed,
    /// Respond with 304; only for GET and HEAD.
    NotModified,
    /// Respond with 412.
    Failed,
}

/// Returns the time of `If-Modified-Since` in whole seconds, in any of HTTP's three formats. An invalid date, several
/// headers, or a date in the future are ignored (RFC 9110, 13.1.3; RFC 2616, 14.25).
#[must_use]
pub fn modified_since(headers: &HeaderMap, now: i64) -> Option<i64> {
    let lines = headers.get_all(IF_MODIFIED_SINCE).iter().count();
    date(headers, IF_MODIFIED_SINCE).filter(|since| lines == 1 && *since <= now)
}

/// Evaluates the conditions of a GET or HEAD.
#[must_use]
pub fn evaluate(headers: &HeaderMap, found: Validators<'_>) -> Verdict {
    if let Some(tags) = text(headers, IF_MATCH) {
        // If-Match uses the strong comparison, which a weak tag never satisfies (RFC 9110, 8.8.3.2).
        let mut strong = tags.split(',').map(str::trim).filter(|tag| !tag.starts_with("W/"));
        if !strong.any(|tag| matches(tag, found.etag)) {
            return Verdict::Failed;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, IF_UNMODIFIED_SINCE), found.modified)
        && modified > since
    {
        return Verdict::Failed;
    }
    if let Some(tags) = text(headers, IF_NONE_MATCH) {
        if matches(tags, found.etag) {
            return Verdict::NotModified;
        }
    } else if let (Some(since), Some(modified)) = (date(headers, IF_MODIFIED_SINCE), found.modified)
        && modified <= since
    {
        return Verdict::NotModified;
    }
    Verdict::Proceed
}

/// Returns whether to apply a `Range` header, given `If-Range`.
#[must_use]
pub fn range_applies(headers: &HeaderMap, found: Validators<'_>) -> bool {
    match text(headers, IF_RANGE) {
        None => true,
        Some(value) if value.starts_with(['"', 'W']) || httpdate::parse_http_date(value).is_err() => {
            found.etag.is_some_and(|etag| value.trim_matches('"') == etag)
        }
        Some(_) => date(headers, IF_RANGE) == found.modified,
    }
}

/// Returns whether a list of tags (or `*`) contains `etag`. Accepts tags without quotes, as Swift's users send them.
#[must_use]
pub fn matches(tags: &str, etag: Option<&str>) -> bool {
    tags.split(',').map(str::trim).any(|tag| {
        let tag = tag.strip_prefix("W/").unwrap_or(tag);
        match etag {
            Some(etag) => tag == "*" || tag.trim_matches('"') == etag,
            None => false,
        }
    })
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

fn date(headers: &HeaderMap, name: http::HeaderName) -> Option<i64> {
    let time = httpdate::parse_http_date(text(headers, name)?).ok()?;
    let since = time.duration_since(std::time::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Formats whole seconds since 1970 as an HTTP date.
#[must_use]
pub fn http_date(unix_seconds: i64) -> String {
    let since = std::time::Duration::from_secs(u64::try_from(unix_seconds).unwrap_or(0));
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + since)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(pairs: &[(http::HeaderName, &str)]) -> Verdict {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.insert(name.clone(), value.parse().unwrap());
        }
        evaluate(&headers, Validators { etag: Some("abc"), modified: Some(784_111_777) })
    }

    #[test]
    fn dates_have_three_formats_and_future_ones_are_ignored() {
        let then = 784_111_777;
        let since = |lines: &[&str], now: i64| {
            let mut headers = HeaderMap::new();
            for line in lines {
                headers.append(IF_MODIFIED_SINCE, line.parse().unwrap());
            }
            modified_since(&headers, now)
        };
        for form in
            ["Sun, 06 Nov 1994 08:49:37 GMT", "Sunday, 06-Nov-94 08:49:37 GMT", "Sun Nov  6 08:49:37 1994"]
        {
            assert_eq!(since(&[form], then), Some(then), "{form}");
            assert_eq!(since(&[form], then - 1), None, "{form}");
            assert_eq!(since(&[form, form], then), None, "{form}");
        }
        assert_eq!(since(&["yesterday"], then), None);
    }

    #[test]
    fn conditions_follow_the_rfc() {
        let then = "Sun, 06 Nov 1994 08:49:37 GMT";
        let before = "Sun, 06 Nov 1994 08:49:36 GMT";
        assert_eq!(verdict(&[]), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_MATCH, "\"abc\"")]), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_MATCH, "abc")]), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_MATCH, "W/\"abc\"")]), Verdict::Failed);
        assert_eq!(verdict(&[(IF_MATCH, "W/\"abc\", \"abc\"")]), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_NONE_MATCH, "W/\"abc\"")]), Verdict::NotModified);
        assert_eq!(verdict(&[(IF_MATCH, "\"x\", \"y\"")]), Verdict::Failed);
        assert_eq!(verdict(&[(IF_NONE_MATCH, "*")]), Verdict::NotModified);
        assert_eq!(verdict(&[(IF_NONE_MATCH, "\"x\"")]), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, then)]), Verdict::NotModified);
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, before)]), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_UNMODIFIED_SINCE, before)]), Verdict::Failed);
        assert_eq!(verdict(&[(IF_UNMODIFIED_SINCE, then)]), Verdict::Proceed);
        assert_eq!(verdict(&[(IF_MODIFIED_SINCE, "nonsense")]), Verdict::Proceed);
    }
}
