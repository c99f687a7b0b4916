//! What a server is launched with, and the limits on it (guide, Create Server). Limits are in bytes.

use std::net::Ipv4Addr;

/// Key-value pairs at most.
pub const METADATA_MAX: usize = 5;
/// Bytes of a key, and of a value, at most.
pub const METADATA_BYTES_MAX: usize = 255;
/// Files at most.
pub const FILES_MAX: usize = 5;
/// Bytes of a file's path at most.
pub const PATH_BYTES_MAX: usize = 255;
/// Bytes of a file's decoded contents at most.
pub const CONTENTS_BYTES_MAX: usize = 10_240;
/// Bytes of a name at most.
pub const NAME_BYTES_MAX: usize = 255;
/// Bytes of a password that its owner chooses.
pub const PASSWORD_BYTES_MAX: usize = 255;

/// A file to put into a new server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Where, from the root.
    pub path: String,
    /// What.
    pub contents: Vec<u8>,
}

/// A server to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// Its name.
    pub name: String,
    /// The image, by any of its ids.
    pub image: images::Id,
    /// The flavor's v1.0 id.
    pub flavor: i64,
    /// What its owner attaches to it.
    pub metadata: Vec<(String, String)>,
    /// What is put into it.
    pub files: Vec<File>,
    /// The shared IP group that it is launched into.
    pub group: Option<i64>,
    /// A shared address of that group instead of a public one of its own.
    pub public: Option<Ipv4Addr>,
}

/// Something given is wrong: which part of the request, and what about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bad {
    /// The field, with the item in it where there are several.
    pub field: String,
    /// What is wrong.
    pub reason: String,
}

fn bad(field: impl Into<String>, reason: impl Into<String>) -> Bad {
    Bad { field: field.into(), reason: reason.into() }
}

/// A name that can be kept, without the white space around it.
///
/// # Errors
/// [`Bad`] when it is empty, too long or holds control characters.
pub fn name(name: &str) -> Result<String, Bad> {
    let name = name.trim();
    if name.is_empty() {
        return Err(bad("name", "is missing or empty"));
    }
    if name.len() > NAME_BYTES_MAX {
        return Err(bad("name", format!("is longer than {NAME_BYTES_MAX} bytes")));
    }
    if name.chars().any(char::is_control) || !carried(name) {
        return Err(bad("name", "holds control characters"));
    }
    Ok(name.to_owned())
}

/// Whether XML can carry a text, as a reference where need be (XML 1.0, 2.2): JSON can say more, and the same answer is to
/// be had in both.
fn carried(text: &str) -> bool {
    !text.chars().any(
        |c| matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}'),
    )
}

/// Checks a password that an owner chose.
///
/// # Errors
/// [`Bad`] when no guest could take it.
pub fn password(password: &str) -> Result<(), Bad> {
    if password.is_empty() || password.len() > PASSWORD_BYTES_MAX {
        return Err(bad("adminPass", format!("must have 1 to {PASSWORD_BYTES_MAX} bytes")));
    }
    if password.chars().any(char::is_control) {
        return Err(bad("adminPass", "holds control characters"));
    }
    Ok(())
}

/// Checks metadata.
///
/// # Errors
/// [`Bad`] names the item.
pub fn metadata(metadata: &[(String, String)]) -> Result<(), Bad> {
    if metadata.len() > METADATA_MAX {
        return Err(bad("metadata", format!("has more than {METADATA_MAX} items")));
    }
    for (index, (key, value)) in metadata.iter().enumerate() {
        let field = || format!("metadata item {key:.80}:");
        if key.is_empty() {
            return Err(bad("metadata", "has an item with an empty key"));
        }
        if key.len() > METADATA_BYTES_MAX || value.len() > METADATA_BYTES_MAX {
            return Err(bad(field(), format!("key and value may each have {METADATA_BYTES_MAX} bytes")));
        }
        if !carried(key) || !carried(value) {
            return Err(bad(field(), "it holds a character that XML cannot carry"));
        }
        if metadata[..index].iter().any(|(other, _)| other == key) {
            return Err(bad(field(), "it occurs twice"));
        }
    }
    Ok(())
}

/// Checks files.
///
/// # Errors
/// [`Bad`] names the item.
pub fn files(files: &[File]) -> Result<(), Bad> {
    if files.len() > FILES_MAX {
        return Err(bad("personality", format!("has more than {FILES_MAX} files")));
    }
    for file in files {
        let field = || format!("personality file {:.80}:", file.path);
        if file.path.is_empty() || file.path.len() > PATH_BYTES_MAX {
            return Err(bad(field(), format!("its path must have 1 to {PATH_BYTES_MAX} bytes")));
        }
        if file.path.contains('\0')
            || file.path.ends_with('/')
            || file.path.split('/').any(|part| part == "..")
        {
            return Err(bad(field(), "its path does not name a file"));
        }
        if file.contents.len() > CONTENTS_BYTES_MAX {
            return Err(bad(field(), format!("its contents have more than {CONTENTS_BYTES_MAX} bytes")));
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
        for (text, taken) in
            [("a\tb\r\nc", true), ("\u{7f}\u{85}", true), ("\u{1}", false), ("\u{ffff}", false)]
        {
            assert_eq!(metadata(&[("k".into(), text.into())]).is_ok(), taken, "{text:?}");
            assert_eq!(metadata(&[(text.into(), "v".into())]).is_ok(), taken, "{text:?}");
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
