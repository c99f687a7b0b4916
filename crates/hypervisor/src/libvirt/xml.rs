//! Parses libvirt's XML into a tree, and escapes text for XML.

use quick_xml::Reader;
use quick_xml::events::attributes::Attribute;
use quick_xml::events::{BytesStart, Event};

use super::error::{LibvirtError, Outcome};

/// An element with its attributes, its own text and its children.
#[derive(Debug, Default, Clone)]
pub struct Element {
    pub name: String,
    pub text: String,
    attributes: Vec<(String, String)>,
    children: Vec<Element>,
}

impl Element {
    pub fn parse(xml: &str) -> Outcome<Self> {
        let unreadable = |error: &dyn std::fmt::Display| {
            LibvirtError::Failed(format!("cannot parse XML of libvirt: {error}"))
        };
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Self::default()];
        loop {
            let event = reader.read_event().map_err(|error| unreadable(&error))?;
            let innermost = open.last_mut().ok_or_else(|| unreadable(&"unbalanced"))?;
            match event {
                Event::Start(tag) => open.push(Self::from_tag(&tag)),
                Event::Empty(tag) => innermost.children.push(Self::from_tag(&tag)),
                Event::Text(text) => innermost.text.push_str(&text),
                Event::GeneralRef(entity) => innermost.text.extend(["&", &*entity, ";"]),
                Event::End(_) => {
                    let text = unescaped(innermost.text.trim());
                    let element = open.pop().map(|element| Self { text, ..element });
                    let around = open.last_mut().ok_or_else(|| unreadable(&"unbalanced"))?;
                    around.children.extend(element);
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let root = open.pop().and_then(|document| document.children.into_iter().next());
        root.ok_or_else(|| unreadable(&"empty"))
    }

    fn from_tag(tag: &BytesStart<'_>) -> Self {
        let name = tag.name().as_ref().to_owned();
        let read =
            |attribute: Attribute<'_>| (attribute.key.as_ref().to_owned(), unescaped(&attribute.value));
        let attributes = tag.attributes().flatten().map(read).collect();
        Self { name, attributes, ..Self::default() }
    }

    /// Returns an attribute's value.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Returns the first descendant at this path of names.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.children.iter().find(|child| child.name == *name))
    }

    /// Returns an attribute of the element at a path.
    pub fn attribute_at(&self, path: &[&str], name: &str) -> Option<&str> {
        self.at(path)?.attribute(name)
    }

    /// Returns the text of the element at a path.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(|element| element.text.as_str())
    }

    /// Returns the children with this name.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

fn unescaped(raw: &str) -> String {
    quick_xml::escape::unescape(raw).map_or_else(|_| raw.to_owned(), Into::into)
}

/// Escapes a text for an element, or for an attribute in either kind of quotes. Removes characters that XML cannot represent.
pub fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '\'' => escaped.push_str("&apos;"),
            '"' => escaped.push_str("&quot;"),
            '\t' | '\n' | '\r' => escaped.push(' '),
            _ if character.is_control() || matches!(character, '\u{fffe}' | '\u{ffff}') => {}
            _ => escaped.push(character),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_is_parsed() {
        let tree = Element::parse(
            "<?xml version='1.0'?><!-- x --><pool type='dir'><name>a &amp; b</name><target><path>/p</path></target>\
             <ip address='10.0.0.1'><host name='&lt;x'/><host name='y'/></ip></pool>",
        )
        .unwrap();
        assert_eq!(tree.text_at(&["target", "path"]), Some("/p"));
        assert_eq!(tree.text_at(&["name"]), Some("a & b"));
        assert_eq!(tree.attribute_at(&["ip"], "address"), Some("10.0.0.1"));
        let hosts: Vec<_> =
            tree.at(&["ip"]).unwrap().children("host").filter_map(|h| h.attribute("name")).collect();
        assert_eq!(hosts, ["<x", "y"]);
    }

    #[test]
    fn escaped_text_is_harmless() {
        assert_eq!(escape("a'<b>&\"\u{0}\u{1b}\n"), "a&apos;&lt;b&gt;&amp;&quot; ");
    }
}
