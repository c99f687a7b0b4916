//! Builds XML responses from small trees and parses XML requests into them. DTDs and entities other than XML's own are
//! rejected, and depth is limited.

use std::borrow::Cow;

use quick_xml::events::Event;
use quick_xml::{Reader, XmlVersion};

/// Maximum nesting depth of elements in a request.
const DEPTH_MAX: usize = 32;

/// An element with its attributes and content.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Element {
    /// Its name; without the prefix if it was parsed.
    pub name: String,
    /// Attributes in order. A parsed element has no `xmlns`; names with a prefix keep it.
    pub attributes: Vec<(String, String)>,
    /// All text directly inside it, joined.
    pub text: String,
    /// The elements inside it.
    pub children: Vec<Element>,
}

impl Element {
    /// Creates an empty element.
    #[must_use]
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), ..Self::default() }
    }

    /// Adds an attribute.
    #[must_use]
    pub fn attr(mut self, name: &str, value: impl ToString) -> Self {
        self.attributes.push((name.to_owned(), value.to_string()));
        self
    }

    /// Adds an attribute if there is a value.
    #[must_use]
    pub fn attr_if(self, name: &str, value: Option<impl ToString>) -> Self {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Sets the text.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Self {
        self.text = text.into();
        self
    }

    /// Adds a child.
    #[must_use]
    pub fn child(mut self, child: Element) -> Self {
        self.children.push(child);
        self
    }

    /// Adds children.
    #[must_use]
    pub fn children(mut self, children: impl IntoIterator<Item = Element>) -> Self {
        self.children.extend(children);
        self
    }

    /// Returns an attribute's value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }

    /// Returns the first child with that name.
    #[must_use]
    pub fn find(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Returns the document, with an XML declaration.
    #[must_use]
    pub fn to_document(&self) -> String {
        let mut out = String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        self.write(&mut out);
        out
    }

    fn write(&self, out: &mut String) {
        out.push('<');
        out.push_str(&self.name);
        for (name, value) in &self.attributes {
            out.push(' ');
            out.push_str(name);
            out.push_str("=\"");
            escape_into(value, out);
            out.push('"');
        }
        if self.text.is_empty() && self.children.is_empty() {
            out.push_str("/>");
            return;
        }
        out.push('>');
        escape_text_into(&self.text, out);
        for child in &self.children {
            child.write(out);
        }
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
    }
}

/// Appends `text` with XML's five special characters escaped and characters not allowed in XML replaced by U+FFFD.
pub fn escape_into(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => escape_char(other, out),
        }
    }
}

/// Appends the text of an element. Quotes stay as they are, as in Swift's documents.
fn escape_text_into(text: &str, out: &mut String) {
    text.chars().for_each(|c| escape_char(c, out));
}

fn escape_char(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '\n' | '\r' | '\t' => out.push_str(&format!("&#{};", c as u32)),
        '\u{0}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}' => out.push('\u{fffd}'),
        other => out.push(other),
    }
}

/// Why and where a document could not be parsed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("XML at byte {at}: {reason}")]
pub struct Malformed {
    /// Offset of the error, in bytes.
    pub at: u64,
    /// The parser's message.
    pub reason: String,
}

/// Decodes a document: UTF-8, or UTF-16 if it begins with that byte order mark (XML 1.0, 4.3.3).
fn decoded(document: &[u8]) -> Result<Cow<'_, str>, Malformed> {
    let unit: fn([u8; 2]) -> u16 = match document {
        [0xfe, 0xff, ..] => u16::from_be_bytes,
        [0xff, 0xfe, ..] => u16::from_le_bytes,
        _ => {
            let text = document.strip_prefix(b"\xef\xbb\xbf").unwrap_or(document);
            let text = std::str::from_utf8(text);
            return text
                .map(Cow::Borrowed)
                .map_err(|e| Malformed { at: e.valid_up_to() as u64, reason: "not UTF-8".into() });
        }
    };
    let pairs = document[2..].chunks_exact(2);
    let malformed = || Malformed { at: 2, reason: "not UTF-16, as its byte order mark says".into() };
    if !pairs.remainder().is_empty() {
        return Err(malformed());
    }
    let units: Vec<u16> = pairs.map(|pair| unit([pair[0], pair[1]])).collect();
    String::from_utf16(&units).map(Cow::Owned).map_err(|_| malformed())
}

/// Parses a document and returns its root element.
///
/// # Errors
/// [`Malformed`] if it is not well-formed, has a DTD or an entity other than XML's own, or is nested too deeply.
pub fn parse(document: &[u8]) -> Result<Element, Malformed> {
    let text = decoded(document)?;
    let mut reader = Reader::from_str(&text);
    let mut open: Vec<Element> = Vec::new();
    let mut root = None;
    loop {
        let event = reader.read_event();
        let at = reader.buffer_position();
        let malformed = |reason: String| Malformed { at, reason };
        match event.map_err(|e| Malformed { at: reader.error_position(), reason: e.to_string() })? {
            Event::Start(start) => {
                if open.len() >= DEPTH_MAX {
                    return Err(malformed("elements nested too deeply".into()));
                }
                if root.is_some() {
                    return Err(malformed("a second root element".into()));
                }
                open.push(element(&start).map_err(malformed)?);
            }
            Event::Empty(start) => {
                let element = element(&start).map_err(malformed)?;
                close(element, &mut open, &mut root).map_err(malformed)?;
            }
            Event::End(_) => {
                let element = open.pop().ok_or_else(|| malformed("an end without a start".into()))?;
                close(element, &mut open, &mut root).map_err(malformed)?;
            }
            Event::Text(text) => {
                append(&text.xml10_content(), &mut open).map_err(malformed)?;
            }
            Event::CData(text) => {
                append(&text.xml10_content(), &mut open).map_err(malformed)?;
            }
            Event::GeneralRef(reference) => {
                let resolved = resolve(&reference).map_err(malformed)?;
                append(&resolved, &mut open).map_err(malformed)?;
            }
            Event::DocType(_) => return Err(malformed("a document type is not taken".into())),
            Event::Eof => break,
            Event::Decl(_) | Event::PI(_) | Event::Comment(_) => {}
        }
    }
    let at = text.len() as u64;
    if let Some(element) = open.last() {
        return Err(Malformed { at, reason: format!("<{}> is not closed", element.name) });
    }
    root.ok_or(Malformed { at, reason: "no root element".into() })
}

fn resolve(reference: &quick_xml::events::BytesRef<'_>) -> Result<String, String> {
    if let Some(c) = reference.resolve_char_ref().map_err(|e| e.to_string())? {
        return Ok(c.to_string());
    }
    let name: &str = reference;
    quick_xml::escape::resolve_xml_entity(name)
        .map(str::to_owned)
        .ok_or_else(|| format!("unknown entity &{name};"))
}

fn element(start: &quick_xml::events::BytesStart<'_>) -> Result<Element, String> {
    let name = start.local_name().as_ref().to_owned();
    let mut attributes = Vec::new();
    for attribute in start.attributes() {
        let attribute = attribute.map_err(|e| e.to_string())?;
        let key = attribute.key;
        if key.as_namespace_binding().is_some() {
            continue;
        }
        // Line ends and tabs that are not character references become spaces (XML 1.0, 3.3.3).
        let value = attribute.normalized_value(XmlVersion::Implicit1_0).map_err(|e| e.to_string())?;
        // An attribute without prefix is the element's own; one with a prefix belongs to another vocabulary.
        attributes.push((key.as_ref().to_owned(), value.into_owned()));
    }
    Ok(Element { name, attributes, text: String::new(), children: Vec::new() })
}

fn close(element: Element, open: &mut [Element], root: &mut Option<Element>) -> Result<(), String> {
    match open.last_mut() {
        Some(parent) => parent.children.push(element),
        None if root.is_none() => *root = Some(element),
        None => return Err("a second root element".into()),
    }
    Ok(())
}

fn append(text: &str, open: &mut [Element]) -> Result<(), String> {
    match open.last_mut() {
        Some(element) => element.text.push_str(text),
        None if text.trim().is_empty() => {}
        None => return Err("text outside the root element".into()),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn elements_are_read_whatever_their_prefix() {
        let plain = parse(br#"<server xmlns="http://x" name="a &amp; b"><m key="k">v</m></server>"#).unwrap();
        let prefixed =
            parse(br#"<s:server xmlns:s="http://x" name="a &amp; b"><s:m key="k">v</s:m></s:server>"#);
        assert_eq!(plain, prefixed.unwrap());
        assert_eq!(plain.attribute("name"), Some("a & b"));
        assert_eq!(plain.find("m").unwrap().text, "v");
    }

    #[test]
    fn hostile_documents_are_rejected_with_the_offset() {
        for bad in ["", "<a>", "<a></b>", "<a/><b/>", "x", "<a>&bomb;</a>", "<a b='1' b='2'/>"] {
            assert!(parse(bad.as_bytes()).is_err(), "{bad}");
        }
        let bomb = br#"<!DOCTYPE a [<!ENTITY b "cc">]><a>&b;</a>"#;
        assert!(parse(bomb).unwrap_err().reason.contains("document type"));
        let deep = "<a>".repeat(100) + &"</a>".repeat(100);
        assert!(parse(deep.as_bytes()).unwrap_err().reason.contains("deep"));
        assert_eq!(parse(b"<a>\xff</a>").unwrap_err().at, 3);
    }

    #[test]
    fn attributes_with_a_prefix_are_not_the_elements_own() {
        let read = parse(br#"<a xmlns:q="urn:q" q:name="theirs" name="ours" q:other="x"/>"#).unwrap();
        assert_eq!((read.attribute("name"), read.attribute("other")), (Some("ours"), None));
        assert_eq!(read.attribute("q:name"), Some("theirs"));
    }

    #[test]
    fn white_space_is_normalised_as_xml_requires() {
        let read = parse(b"<a v='1\n2\t3\r\n4&#10;5'>x\r\ny</a>").unwrap();
        assert_eq!((read.attribute("v"), read.text.as_str()), (Some("1 2 3 4\n5"), "x\ny"));
    }

    #[test]
    fn a_byte_order_mark_selects_the_encoding() {
        let text = "<a v='\u{e9}\u{1f600}'/>";
        let le: Vec<u8> =
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_le_bytes).collect();
        let be: Vec<u8> =
            std::iter::once(0xfeff).chain(text.encode_utf16()).flat_map(u16::to_be_bytes).collect();
        for document in [le.as_slice(), be.as_slice(), format!("\u{feff}{text}").as_bytes()] {
            assert_eq!(parse(document).unwrap().attribute("v"), Some("\u{e9}\u{1f600}"));
        }
        assert!(parse(&le[..le.len() - 1]).unwrap_err().reason.contains("UTF-16"));
        assert!(parse(b"\xff\xfe\x00\xd8<\x00").unwrap_err().reason.contains("UTF-16"));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(text in "[ -~é\n\t]*", value in "[ -~é\n\t]*") {
            let element = Element::new("a").attr("v", &value).child(Element::new("b").text(text.clone()));
            let read = parse(element.to_document().as_bytes()).unwrap();
            prop_assert_eq!(read.attribute("v"), Some(value.as_str()));
            prop_assert_eq!(&read.children[0].text, &text);
        }

        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&bytes);
        }
    }
}
