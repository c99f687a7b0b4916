//! The parameters of a new server and their limits in bytes (guide, Create Server).

use std::net::Ipv4Addr;

/// Maximum number of metadata items.
pub const METADATA_MAX: usize = 5;
/// Maximum length of a metadata key and of a value, in bytes.
pub const METADATA_BYTES_MAX: usize = 255;
/// Maximum number of personality files.
pub const FILES_MAX: usize = 5;
/// Maximum length of a file's path, in bytes.
pub const PATH_BYTES_MAX: usize = 255;
/// Maximum length of a file's decoded contents, in bytes.
pub const CONTENTS_BYTES_MAX: usize = 10_240;
/// Maximum length of a name, in bytes.
pub const NAME_BYTES_MAX: usize = 255;
/// Maximum length of a password chosen by the owner, in bytes.
pub const PASSWORD_BYTES_MAX: usize = 255;

/// A file to be written to a new server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its absolute path.
    pub path: String,
    /// Its contents.
    pub contents: Vec<u8>,
}

/// A server to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its name.
    pub name: String,
    /// The image's id.
    pub image: images::Id,
    /// The flavor's v1.0 id.
    pub flavor: i64,
    /// Its metadata.
    pub metadata: Vec<(String, String)>,
    /// Its personality files.
    pub files: Vec<File>,
    /// The v1.0 id of the shared IP group that it joins.
    pub group: Option<i64>,
    /// A public address shared by that group, instead of its own.
    pub public: Option<Ipv4Addr>,
}

/// An invalid value in a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvalidField {
    /// The field, with the name of the item if it is a list.
    pub field: String,
    /// What is wrong with it.
    pub reason: String,
}

fn invalid(field: impl Into<String>, reason: impl Into<String>) -> InvalidField {
    InvalidField { field: field.into(), reason: reason.into() }
}

/// Returns a valid name without surrounding white space.
///
/// # Errors
/// [`InvalidField`] if it is empty, too long or contains control characters.
pub fn name(name: &str) -> Result<String, InvalidField> {
    let name = name.trim();
    if name.is_empty() {
        return Err(invalid("name", "is missing or empty"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(invalid("name", format!("is longer than {NAME_BYTES_MAX} bytes")));
    }
    if name.chars().any(char::is_control) || !is_xml_text(name) {
        return Err(invalid("name", "contains control characters"));
    }
    Ok(name.to_owned())
}

/// Returns whether a text can be represented in XML, if need be as a character reference (XML 1.0, 2.2). Every value
/// must be readable in both formats; JSON alone would allow more.
fn is_xml_text(text: &str) -> bool {
    !text.chars().any(
        |c| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'),
    )
}

/// Checks a password that an owner chose.
///
/// # Errors
/// [`InvalidField`] if it is empty, too long or contains control characters.
pub fn password(password: &str) -> Result<(), InvalidField> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(invalid("adminPass", format!("must have 1 to {PASSWORD_BYTES_MAX} bytes")));
    }
    if password.chars().any(char::is_control) {
        return Err(invalid("adminPass", "contains control characters"));
    }
    Ok(())
}

/// Checks metadata.
///
/// # Errors
/// [`InvalidField`] names the item.
pub fn metadata(metadata: &[(String, String)]) -> Result<(), InvalidField> {
    if metadata.len() > METADATA_MAX {
        return Err(invalid("metadata", format!("has more than {METADATA_MAX} items")));
    }
    for (index, (key, value)) in metadata.iter().enumerate() {
        let field = || format!("metadata item {key:.80}:");
        if key.is_empty() {
            return Err(invalid("metadata", "has an item with an empty key"));
        }
        if key.len() > METADATA_BYTES_MAX || value.len() > METADATA_BYTES_MAX {
            return Err(invalid(
                field(),
                format!("key and value may each have at most {METADATA_BYTES_MAX} bytes"),
            ));
        }
        if !is_xml_text(key) || !is_xml_text(value) {
            return Err(invalid(field(), "it contains a character that XML cannot represent"));
        }
        if metadata[..index].iter().any(|(other, _)| other == key) {
            return Err(invalid(field(), "it occurs twice"));
        }
    }
    Ok(())
}

/// Checks files.
///
/// # Errors
/// [`InvalidField`] names the item.
pub fn files(files: &[File]) -> Result<(), InvalidField> {
    if files.len() > FILES_MAX {
        return Err(invalid("personality", format!("has more than {FILES_MAX} files")));
    }
    for file in files {
        let field = || format!("personality file {:.80}:", file.path);
        if file.path.is_empty() || file.path.len() > PATH_BYTES_MAX {
            return Err(invalid(field(), format!("its path must have 1 to {PATH_BYTES_MAX} bytes")));
        }
        if file.path.contains('\0')
            || file.path.ends_with('/')
            || file.path.split('/').any(|part| part == "..")
        {
            return Err(invalid(field(), "its path does not name a file"));
        }
        if file.contents.len() > CONTENTS_BYTES_MAX {
            return Err(invalid(field(), format!("its contents have more than {CONTENTS_BYTES_MAX} bytes")));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, bytes: usize) -> File {
        File { path: path.into(), contents: vec![b'x'; bytes] }
    }

    #[test]
    fn limits_are_in_bytes_and_inclusive() {
        assert!(metadata(&[("k".repeat(255), "v".repeat(255))]).is_ok());
        assert_eq!(metadata(&[("ab".into(), "é".repeat(128))]).unwrap_err().field, "metadata item ab:");
        assert!(metadata(&vec![("k".into(), "v".into()); 2]).unwrap_err().reason.contains("twice"));
        for (text, valid) in
            [("a\tb\r\nc", true), ("\u{7f}\u{85}", true), ("\u{1}", false), ("\u{ffff}", false)]
        {
            assert_eq!(metadata(&[("k".into(), text.into())]).is_ok(), valid, "{text:?}");
            assert_eq!(metadata(&[(text.into(), "v".into())]).is_ok(), valid, "{text:?}");
        }
        let six: Vec<_> = (0..6).map(|n| (n.to_string(), String::new())).collect();
        assert!(metadata(&six[..5]).is_ok());
        assert!(metadata(&six).is_err());
        assert!(files(&[file("/etc/banner.txt", 10_240)]).is_ok());
        assert!(files(&[file("/etc/banner.txt", 10_241)]).unwrap_err().field.contains("/etc/banner.txt"));
        assert!(files(&[file(&"p".repeat(256), 1)]).is_err());
        assert!(files(&[file("/etc/../shadow", 1)]).is_err());
        assert!(files(&vec![file("/a", 1); 6]).is_err());
        assert_eq!(name(" web "), Ok("web".into()));
        assert!(name("  ").is_err());
    }
}
