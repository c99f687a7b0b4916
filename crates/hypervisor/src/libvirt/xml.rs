//! Reading libvirt's XML as a tree, and escaping what goes into it.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

use super::trouble::{Outcome, Trouble};

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
        let unreadable = |error: &dyn std::fmt::Display| Trouble::Failed(format!("XML of libvirt: {error}"));
        let mut reader = Reader::from_str(xml);
        let mut open = vec![Self::default()];
        loop {
            match reader.read_event().map_err(|error| unreadable(&error))? {
                Event::Start(tag) => open.push(Self::from_tag(&tag)?),
                Event::Empty(tag) => {
                    let element = Self::from_tag(&tag)?;
                    open.last_mut().expect("the root is never closed").children.push(element);
                }
                Event::End(_) => {
                    let element = open.pop().expect("an end has a start");
                    open.last_mut().ok_or_else(|| unreadable(&"unbalanced"))?.children.push(element);
                }
                Event::Text(text) => {
                    let text = text.decode().map_err(|error| unreadable(&error))?;
                    open.last_mut().expect("the root is never closed").text.push_str(text.trim());
                }
                Event::Eof => break,
                _ => {}
            }
        }
        let root = open.pop().expect("the root is never closed");
        root.children.into_iter().next().ok_or_else(|| unreadable(&"empty"))
    }

    fn from_tag(tag: &BytesStart<'_>) -> Outcome<Self> {
        let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
        let mut attributes = Vec::new();
        for attribute in tag.attributes().flatten() {
            let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
            let raw = String::from_utf8_lossy(&attribute.value).into_owned();
            let value = quick_xml::escape::unescape(&raw).map_or(raw.clone(), |value| value.into_owned());
            attributes.push((key, value));
        }
        Ok(Self { name, attributes, ..Self::default() })
    }

    /// An attribute's value, or nothing.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// The first element reached by these names, one below the other.
    pub fn at(&self, path: &[&str]) -> Option<&Self> {
        path.iter().try_fold(self, |element, name| element.children(name).next())
    }

    /// An attribute of the element at a path.
    pub fn attribute_at(&self, path: &[&str], name: &str) -> Option<&str> {
        self.at(path)?.attribute(name)
    }

    /// The text of the element at a path.
    pub fn text_at(&self, path: &[&str]) -> Option<&str> {
        self.at(path).map(|element| element.text.as_str())
    }

    /// Children of that name.
    pub fn children<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Self> {
        self.children.iter().filter(move |child| child.name == name)
    }
}

/// Escapes a text for an element or an attribute in either kind of quotes, leaving out what XML cannot carry.
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
    fn a_tree_is_read() {
        let tree = Element::parse(
            "<?xml version='1.0'?><!-- x --><pool type='dir'><name>a</name><target><path>/p</path></target>\
             <ip address='10.0.0.1'><host name='&lt;x'/><host name='y'/></ip></pool>",
        )
        .unwrap();
        assert_eq!(tree.text_at(&["target", "path"]), Some("/p"));
        assert_eq!(tree.attribute_at(&["ip"], "address"), Some("10.0.0.1"));
        let hosts: Vec<_> = tree.at(&["ip"]).unwrap().children("host").filter_map(|h| h.attribute("name")).collect();
        assert_eq!(hosts, ["<x", "y"]);
    }

    #[test]
    fn escaped_text_is_harmless() {
        assert_eq!(escape("a'<b>&\"\u{0}\u{1b}\n"), "a&apos;&lt;b&gt;&amp;&quot; ");
    }
}
