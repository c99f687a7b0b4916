//! What an object's bytes represent if not its own content.

use serde::{Deserialize, Serialize};

/// An object that refers to other bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Shape {
    /// A static large object: its bytes are the manifest.
    Manifest {
        /// The MD5 of its segments' ETags, in hex.
        etag: String,
        /// The total length of its segments, in bytes.
        size: u64,
    },
    /// A symbolic link: it is empty and refers to another object.
    Link(Link),
}

/// The target of a symbolic link.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Link {
    /// The target's account, if it is not the link's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account: Option<String>,
    /// The container.
    pub container: String,
    /// The object.
    pub name: String,
    /// For a static link, the ETag that the target must have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub etag: Option<String>,
    /// For a static link, the target's length when the link was created, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<u64>,
    /// For a static link to a large object, that object's own ETag, for listings.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub manifest_etag: Option<String>,
}

impl Shape {
    /// Reads a shape from a column.
    #[must_use]
    pub fn from_column(text: Option<String>) -> Option<Self> {
        text.and_then(|text| serde_json::from_str(&text).ok())
    }

    /// Formats a shape for a column.
    #[must_use]
    pub fn to_column(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Returns the target if it is a link.
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
    fn a_shape_survives_storing() {
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
