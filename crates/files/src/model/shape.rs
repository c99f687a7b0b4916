//! What an object's bytes stand for when they do not stand for themselves.

use serde::{Deserialize, Serialize};

/// An object that leads to other bytes than its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// Its bytes are the manifest of a static large object.
    Manifest {
        /// The MD5 of its segments' ETags, in hex.
        etag: String,
        /// What its segments have together, in bytes.
        size: u64,
    },
    /// It is empty and leads to another object.
    Link(Link),
}

/// Where a symbolic link leads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// Another account than its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The container.
    pub container: String,
    /// The object.
    pub name: String,
    /// A static link's target has this ETag, or the link is broken.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// A static link's target had this many bytes when the link was made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// A static link to a large object keeps that object's own ETag for listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_etag: Option<String>,
}

impl Shape {
    /// From the text that a row holds.
    #[must_use]
    pub fn from_column(text: Option<String>) -> Option<Self> {
        text.and_then(|text| serde_json::from_str(&text).ok())
    }

    /// The text that a row holds.
    #[must_use]
    pub fn to_column(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where it leads, if it is a link.
    #[must_use]
    pub fn link(&self) -> Option<&Link> {
        match self {
            Self::Link(link) => Some(link),
            Self::Manifest { .. } => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_survives_its_row() {
        let link = Link {
            account: None,
            container: "c".into(),
            name: "o/é".into(),
            etag: Some("e".into()),
            size: Some(3),
            manifest_etag: None,
        };
        for shape in [Shape::Link(link), Shape::Manifest { etag: "e".into(), size: 1 << 40 }] {
            assert_eq!(Shape::from_column(Some(shape.to_column())), Some(shape));
        }
        assert_eq!(Shape::from_column(None), None);
    }
}
