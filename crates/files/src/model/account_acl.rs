//! Account ACLs: `X-Account-Access-Control`, a JSON object with three lists (Swift, Account ACLs).

use std::collections::BTreeMap;

use identity::Caller;

use crate::error::{Error, Result};
use crate::model::acl::Acl;
use crate::model::json;

/// The header, and the name under which it is stored.
pub const HEADER: &str = "x-account-access-control";

/// What an account ACL grants to a caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Access {
    /// GET and HEAD of everything.
    ReadOnly,
    /// All operations on containers and objects.
    ReadWrite,
    /// The rights of the account's own administrators.
    Admin,
}

/// A parsed account ACL.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccountAcl(BTreeMap<&'static str, Vec<String>>);

impl AccountAcl {
    /// Parses an account ACL.
    ///
    /// # Errors
    /// [`Error::Invalid`] with Swift's message.
    pub fn parse(text: &str) -> Result<Self> {
        let refused =
            |why: &str| Error::Invalid(format!("X-Account-Access-Control invalid: {why}\n\nInput: {text}\n"));
        let Ok(serde_json::Value::Object(given)) = serde_json::from_str::<serde_json::Value>(text) else {
            return Err(refused("Syntax error in JSON"));
        };
        let mut lists = BTreeMap::new();
        for (key, value) in given {
            let Some(known) = ["admin", "read-only", "read-write"].into_iter().find(|known| *known == key)
            else {
                return Err(refused(&format!("Key {} not recognized", quoted(&key))));
            };
            let Some(values) = value.as_array() else {
                return Err(refused(&format!("Value for key {} must be a list", quoted(&key))));
            };
            let names =
                values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<Vec<_>>>();
            let Some(names) = names else {
                return Err(refused(&format!("Elements of {} list must be strings", quoted(&key))));
            };
            lists.insert(known, names);
        }
        Ok(Self(lists))
    }

    /// Returns whether it grants nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    /// Formats it as it is stored and shown: sorted keys, ASCII only.
    #[must_use]
    pub fn to_text(&self) -> String {
        json::to_dense_text(&self.0)
    }

    /// Returns what it grants to a caller.
    #[must_use]
    pub fn access(&self, caller: &Caller) -> Option<Access> {
        [("admin", Access::Admin), ("read-write", Access::ReadWrite), ("read-only", Access::ReadOnly)]
            .into_iter()
            .find(|(key, _)| self.0.get(key).is_some_and(|names| Acl::of_groups(names.clone()).names(caller)))
            .map(|(_, access)| access)
    }
}

fn quoted(text: &str) -> String {
    format!("'{text}'")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_parsed_and_formatted_in_order() {
        let acl = AccountAcl::parse(r#"{"read-only": ["b:é"], "admin": ["a"]}"#).unwrap();
        assert_eq!(acl.to_text(), r#"{"admin":["a"],"read-only":["b:\u00e9"]}"#);
        assert!(!acl.is_empty());
        assert!(AccountAcl::parse("{}").unwrap().is_empty());
    }

    #[test]
    fn the_error_names_the_fault() {
        for (text, why) in [
            ("not json", "Syntax error in JSON"),
            ("[]", "Syntax error in JSON"),
            (r#"{"other": []}"#, "Key 'other' not recognized"),
            (r#"{"admin": "a"}"#, "Value for key 'admin' must be a list"),
            (r#"{"admin": [1]}"#, "Elements of 'admin' list must be strings"),
        ] {
            let expected = format!("X-Account-Access-Control invalid: {why}\n\nInput: {text}\n");
            assert_eq!(AccountAcl::parse(text), Err(Error::Invalid(expected)));
        }
    }
}
