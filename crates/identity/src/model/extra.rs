//! Further attributes: those that a client gave a v3 resource beyond the ones that this cloud defines. They are stored and
//! returned as sent.

use serde_json::{Map, Value};

/// Maximum size of one resource's further attributes as JSON, in bytes.
pub const EXTRA_MAX: usize = 16 * 1024;
/// Maximum number of tags of a project, and of characters in each.
const TAGS_MAX: usize = 80;
const TAG_MAX: usize = 255;

/// Further attributes of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extra(pub Map<String, Value>);

/// Why further attributes are rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExtraError {
    /// They are too large.
    #[error("further attributes have more than {EXTRA_MAX} bytes")]
    Long,
    /// `tags` is not a list of tags.
    #[error(
        "tags must be a list of at most {TAGS_MAX} different texts of 1 to {TAG_MAX} characters without comma and slash"
    )]
    Tags,
}

impl Extra {
    /// Parses the column's text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        Self(serde_json::from_str(text).unwrap_or_default())
    }

    /// Returns the column's text.
    #[must_use]
    pub fn to_text(&self) -> String {
        serde_json::to_string(&self.0).unwrap_or_else(|_| "{}".to_owned())
    }

    /// Sets the attributes in `changes` and keeps the others.
    pub fn merge(&mut self, changes: &Self) {
        for (name, value) in &changes.0 {
            self.0.insert(name.clone(), value.clone());
        }
    }

    /// Returns the tags.
    #[must_use]
    pub fn tags(&self) -> Vec<&str> {
        self.0.get("tags").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str).collect()
    }

    /// Checks the size and the tags.
    ///
    /// # Errors
    /// [`ExtraError`].
    pub fn check(&self) -> Result<(), ExtraError> {
        if self.to_text().len() > EXTRA_MAX {
            return Err(ExtraError::Long);
        }
        let Some(given) = self.0.get("tags") else { return Ok(()) };
        let tags = self.tags();
        let good = |tag: &&str| (1..=TAG_MAX).contains(&tag.chars().count()) && !tag.contains([',', '/']);
        let different = tags.iter().collect::<std::collections::BTreeSet<_>>().len();
        let fits = given.as_array().is_some_and(|list| list.len() == tags.len())
            && tags.len() <= TAGS_MAX
            && different == tags.len()
            && tags.iter().all(good);
        if fits { Ok(()) } else { Err(ExtraError::Tags) }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn extra(value: Value) -> Extra {
        Extra(value.as_object().unwrap().clone())
    }

    #[test]
    fn tags_are_checked_and_other_attributes_kept() {
        for good in [json!({}), json!({"tags": []}), json!({"tags": ["a", "é b"], "x": {"y": [1, null]}})] {
            let extra = extra(good);
            assert_eq!(extra.check(), Ok(()));
            assert_eq!(Extra::from_text(&extra.to_text()), extra);
        }
        for bad in [
            json!("a"),
            json!(null),
            json!([1]),
            json!(["a", "a"]),
            json!(["a,b"]),
            json!(["a/b"]),
            json!([""]),
        ] {
            assert_eq!(extra(json!({"tags": bad})).check(), Err(ExtraError::Tags));
        }
        assert_eq!(extra(json!({"x": "y".repeat(EXTRA_MAX)})).check(), Err(ExtraError::Long));
    }
}
