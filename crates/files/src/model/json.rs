//! Writes JSON byte for byte as Swift, and thus Python, does: a space after commas and colons, ASCII only. The sizes of
//! manifests, which containers count, depend on it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{CharEscape, Formatter, Serializer};

/// Formats a value as Swift does.
#[must_use]
pub fn to_text(value: &impl Serialize) -> String {
    written(value, Swift { blank: true })
}

/// Formats a value as Swift does, without spaces.
#[must_use]
pub fn to_dense_text(value: &impl Serialize) -> String {
    written(value, Swift { blank: false })
}

fn written(value: &impl Serialize, form: Swift) -> String {
    let mut out = Vec::new();
    // Writing to a vector cannot fail, and all keys are strings.
    let _ = value.serialize(&mut Serializer::with_formatter(&mut out, form));
    String::from_utf8(out).unwrap_or_default()
}

/// Appends a string.
pub fn string(text: &str, out: &mut String) {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~') && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        out.push_str(&to_text(&text));
    }
}

struct Swift {
    blank: bool,
}

impl Swift {
    fn comma(&self) -> &'static [u8] {
        if self.blank { b", " } else { b"," }
    }
}

impl Formatter for Swift {
    fn begin_array_value<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.comma()) }
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, writer: &mut W, first: bool) -> io::Result<()> {
        if first { Ok(()) } else { writer.write_all(self.comma()) }
    }

    fn begin_object_value<W: ?Sized + Write>(&mut self, writer: &mut W) -> io::Result<()> {
        writer.write_all(if self.blank { b": " } else { b":" })
    }

    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, text: &str) -> io::Result<()> {
        let mut rest = text;
        while let Some(at) = rest.find(|c| !matches!(c, ' '..='~')) {
            writer.write_all(&rest.as_bytes()[..at])?;
            let mut after = rest[at..].chars();
            let mut units = [0; 2];
            for unit in after.next().unwrap_or_default().encode_utf16(&mut units) {
                write!(writer, "\\u{unit:04x}")?;
            }
            rest = after.as_str();
        }
        writer.write_all(rest.as_bytes())
    }

    fn write_char_escape<W: ?Sized + Write>(&mut self, writer: &mut W, escape: CharEscape) -> io::Result<()> {
        let letter = match escape {
            CharEscape::Quote => '"',
            // JSON permits escaping a solidus; Python does not escape it.
            CharEscape::Solidus => return writer.write_all(b"/"),
            CharEscape::ReverseSolidus => '\\',
            CharEscape::Backspace => 'b',
            CharEscape::FormFeed => 'f',
            CharEscape::LineFeed => 'n',
            CharEscape::CarriageReturn => 'r',
            CharEscape::Tab => 't',
            CharEscape::AsciiControl(code) => return write!(writer, "\\u{code:04x}"),
        };
        write!(writer, "\\{letter}")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn output_is_the_same_as_pythons() {
        let value = json!([{"a": 1, "b": "\u{7f}\u{1}\n\"\\/ü😀"}, null, []]);
        let expected = r#"[{"a": 1, "b": "\u007f\u0001\n\"\\/\u00fc\ud83d\ude00"}, null, []]"#;
        assert_eq!(to_text(&value), expected);
        assert_eq!(to_dense_text(&json!({"ü": [1, 2], "v": {}})), r#"{"v":{},"\u00fc":[1,2]}"#);
        for text in ["plain / text", "a\"b", "ü", "\\", ""] {
            let mut out = String::new();
            string(text, &mut out);
            assert_eq!(out, to_text(&text));
            assert_eq!(serde_json::from_str::<String>(&out).unwrap(), text);
        }
    }
}
