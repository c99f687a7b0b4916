//! Explains why a request's head was rejected, naming the header or the character.

use http::{StatusCode, Uri};

use crate::framing::values;

/// Maximum number of headers: Swift's 90 metadata items and what else a request carries.
pub(crate) const HEADERS_MAX: usize = 200;
/// Maximum length of a request's head, in bytes.
pub(crate) const HEAD_BYTES_MAX: usize = 128 * 1024;
/// Maximum number of characters quoted from a head.
const SHOWN_MAX: usize = 80;

/// Returns the target of a head's request line.
pub(crate) fn target(head: &[u8]) -> Option<&[u8]> {
    lines(head).next()?.split(|byte| *byte == b' ').nth(1)
}

/// Returns what is wrong with a target that hyper's parser truncates. A fragment (`#…`) is no part of a request target (RFC
/// 9112, 3.2); without it the request would act on another resource.
pub(crate) fn cut_target(head: &[u8]) -> Option<String> {
    let target = target(head).filter(|target| target.contains(&b'#'))?;
    Some(format!("The request target {} contains the character '#': send it as %23", shown(target)))
}

/// Returns whether the method is HEAD, whose response has no body.
pub(crate) fn is_head(head: &[u8]) -> bool {
    head.starts_with(b"HEAD ")
}

/// Returns why a head was rejected with `status`. The head may be incomplete.
pub(crate) fn fault(head: &[u8], status: StatusCode) -> String {
    let mut lines = lines(head);
    let request = lines.next().unwrap_or_default();
    let headers: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
    if status == StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE {
        return if headers.len() > HEADERS_MAX {
            format!("The request has more than {HEADERS_MAX} headers")
        } else {
            format!("The head of the request is longer than {HEAD_BYTES_MAX} bytes")
        };
    }
    if status == StatusCode::URI_TOO_LONG {
        return "The request target is too long".to_owned();
    }
    (!request.is_empty())
        .then(|| request_line(request))
        .flatten()
        .or_else(|| headers.iter().find_map(|line| header(line)))
        .or_else(|| lengths(head))
        .unwrap_or_else(|| "The head of the request cannot be read".to_owned())
}

/// Returns the lines of a head, without leading empty ones.
fn lines(head: &[u8]) -> impl Iterator<Item = &[u8]> {
    let lines = head.split(|byte| *byte == b'\n').map(|line| line.strip_suffix(b"\r").unwrap_or(line));
    lines.skip_while(|line| line.is_empty())
}

fn request_line(line: &[u8]) -> Option<String> {
    let parts: Vec<_> = line.split(|byte| *byte == b' ').collect();
    let [method, target, version] = parts.as_slice() else {
        return Some(format!(
            "The request line {} must have three parts: method, target and version",
            shown(line)
        ));
    };
    if let Some(byte) = method.iter().find(|byte| !is_token(**byte)) {
        return Some(format!("The method {} contains {}", shown(method), character(*byte)));
    }
    if std::str::from_utf8(target).is_err() {
        return Some(format!("The request target {} is not UTF-8", shown(target)));
    }
    if Uri::try_from(*target).is_err() {
        let bad = target.iter().find(|byte| Uri::try_from([b'/', **byte].as_slice()).is_err());
        return Some(match bad {
            Some(byte) => format!("The request target {} contains {}", shown(target), character(*byte)),
            None => format!("The request target {} cannot be read", shown(target)),
        });
    }
    (!matches!(*version, b"HTTP/1.1" | b"HTTP/1.0"))
        .then(|| format!("The version {} must be HTTP/1.1 or HTTP/1.0", shown(version)))
}

fn header(line: &[u8]) -> Option<String> {
    if line.starts_with(b" ") || line.starts_with(b"\t") {
        return Some(format!("The line {} continues a header, which is obsolete", shown(line)));
    }
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return Some(format!("The header line {} has no colon", shown(line)));
    };
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if name.is_empty() {
        return Some(format!("The header line {} has no name", shown(line)));
    }
    if let Some(byte) = name.iter().find(|byte| !is_token(**byte)) {
        return Some(format!("The header name {} contains {}", shown(name), character(*byte)));
    }
    let control = value.iter().find(|byte| (**byte < 0x20 && **byte != b'\t') || **byte == 0x7f);
    control.map(|byte| format!("The header {} contains {}", shown(name), character(*byte)))
}

fn lengths(head: &[u8]) -> Option<String> {
    let lengths: Vec<_> = values(head, "content-length").collect();
    if let Some(bad) = lengths.iter().find(|value| value.is_empty() || !value.iter().all(u8::is_ascii_digit))
    {
        return Some(format!("Content-Length {} is not a number", shown(bad)));
    }
    if lengths.windows(2).any(|pair| pair[0] != pair[1]) {
        return Some("The request has two different Content-Length headers".to_owned());
    }
    let coding = values(head, "transfer-encoding").last()?;
    if !lengths.is_empty() {
        return Some("Transfer-Encoding and Content-Length exclude each other".to_owned());
    }
    (!coding.to_ascii_lowercase().ends_with(b"chunked"))
        .then(|| format!("Transfer-Encoding {} must end with chunked", shown(coding)))
}

/// Returns whether a byte may occur in a method or header name (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

fn character(byte: u8) -> String {
    if byte.is_ascii_graphic() || byte == b' ' {
        format!("the character {:?}", char::from(byte))
    } else {
        format!("the byte 0x{byte:02x}")
    }
}

/// Quotes bytes of a head for a message.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let cut: String = text.chars().take(SHOWN_MAX).collect();
    format!("{cut:?}{}", if cut.len() < text.len() { "…" } else { "" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_name_the_header_or_character() {
        for (head, expected) in [
            ("GET /a b HTTP/1.1\r\n", "The request line \"GET /a b HTTP/1.1\" must have three parts"),
            ("G(T / HTTP/1.1\r\n", "The method \"G(T\" contains the character '('"),
            ("GET /a\u{1}b HTTP/1.1\r\n", "The request target \"/a\\u{1}b\" contains the byte 0x01"),
            ("GET / HTTP/3\r\n", "The version \"HTTP/3\" must be"),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", "The header line \"no colon\" has no colon"),
            ("GET / HTTP/1.1\r\nX Y: z\r\n\r\n", "The header name \"X Y\" contains the character ' '"),
            ("GET / HTTP/1.1\r\nA: x\r\n y\r\n\r\n", "The line \" y\" continues a header"),
            ("GET / HTTP/1.1\r\nX-A: \u{1}\r\n\r\n", "The header \"X-A\" contains the byte 0x01"),
            ("GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", "Content-Length \"-1\" is not a number"),
            (
                "GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
                "The request has two different Content-Length headers",
            ),
            (
                "PUT / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
                "Transfer-Encoding \"gzip\" must end with chunked",
            ),
        ] {
            let said = fault(head.as_bytes(), StatusCode::BAD_REQUEST);
            assert!(said.starts_with(expected), "{head:?}: {said}");
        }
        assert!(fault(b"GET /\xff HTTP/1.1\r\n\r\n", StatusCode::BAD_REQUEST).ends_with("is not UTF-8"));
        let many = format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS_MAX + 1));
        let large = StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE;
        assert_eq!(fault(many.as_bytes(), large), "The request has more than 200 headers");
    }
}
