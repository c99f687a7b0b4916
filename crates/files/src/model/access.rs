//! Entries of a container's access log, in NCSA's combined format with numeric months (Cloud Files guide, Access log
//! delivery).

use work::Time;

/// A request and its response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// When the request arrived.
    pub at: Time,
    /// The client's address.
    pub client: String,
    /// The method.
    pub method: String,
    /// The path as it was sent. The query is omitted, since it may contain signatures.
    pub path: String,
    /// The protocol, such as `HTTP/1.1`.
    pub version: String,
    /// The response's status.
    pub status: u16,
    /// Bytes of the response's body that were sent.
    pub bytes: u64,
    /// The `Referer` header.
    pub referrer: Option<String>,
    /// The `User-Agent` header.
    pub agent: Option<String>,
}

impl Access {
    /// Formats the log line, with its line break.
    #[must_use]
    pub fn line(&self) -> String {
        format!(
            "{} - - [{}] \"{} {} {}\" {} {} \"{}\" \"{}\"\n",
            self.client,
            self.at.timestamp().strftime("%d/%m/%Y:%H:%M:%S +0000"),
            self.method,
            quotable(&self.path),
            self.version,
            self.status,
            self.bytes,
            self.referrer.as_deref().map_or_else(|| "-".into(), quotable),
            self.agent.as_deref().map_or_else(|| "-".into(), quotable),
        )
    }
}

/// Escapes a text such that it cannot end its quotes or its line.
fn quotable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out
}

/// Returns the name of a log object: the container, the hour of its lines, and the MD5 of its bytes.
#[must_use]
pub fn log_name(container: &str, hour: Time, md5: &str) -> String {
    format!("{container}/{}/{md5}.log.gz", hour.timestamp().strftime("%Y/%m/%d/%H"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_the_format_of_the_guide() {
        let access = Access {
            at: Time::from_seconds(1_346_086_229),
            client: "50.56.228.64".into(),
            method: "PUT".into(),
            path: "/v1/AUTH_1/CharacterTest_%2521/object_%2521".into(),
            version: "HTTP/1.0".into(),
            status: 201,
            bytes: 118,
            referrer: None,
            agent: Some("a \"b\"\u{7f}\\".into()),
        };
        assert_eq!(
            access.line(),
            "50.56.228.64 - - [27/08/2012:16:50:29 +0000] \"PUT /v1/AUTH_1/CharacterTest_%2521/object_%2521 HTTP/1.0\" \
             201 118 \"-\" \"a \\\"b\\\"\\x7f\\\\\"\n"
        );
        assert_eq!(
            log_name("Media", Time::from_seconds(1_349_107_300), "096e"),
            "Media/2012/10/01/16/096e.log.gz"
        );
    }
}
