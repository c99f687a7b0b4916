//! From a request's path to an object's name.

use std::sync::Arc;

use http::StatusCode;
use percent_encoding::percent_decode_str;

use super::negative::{self, Lasting, Page, refusal};

/// Maximum length in bytes of an object's name with a directory's slash.
const NAME_MAX: usize = 1025;

/// Returns the object's name: the path decoded, without its first slash. Differently encoded paths of one name are equal. Dots
/// and repeated slashes are part of names.
pub(super) fn object_of(path: &str) -> Result<Arc<str>, Page> {
    let raw = path.strip_prefix('/').unwrap_or(if path == "*" { "" } else { path });
    // One byte of a name takes up to three in the encoded path.
    if raw.len() > NAME_MAX * 3 {
        return Err(negative::not_found());
    }
    let name: Vec<u8> = percent_decode_str(raw).collect();
    match String::from_utf8(name) {
        Ok(name) if name.contains('\0') => Err(not_text()),
        Ok(name) if name.len() > NAME_MAX => Err(negative::not_found()),
        Ok(name) => Ok(name.into()),
        Err(_) => Err(not_text()),
    }
}

fn not_text() -> Page {
    refusal(StatusCode::PRECONDITION_FAILED, "Invalid UTF8 or contains NULL", Lasting::Briefly)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_a_name_are_one() {
        let of =
            |path: &str| object_of(path).map(|name| name.to_string()).map_err(|page| page.status().as_u16());
        for (path, name) in [
            ("/", ""),
            ("*", ""),
            ("/a%20b", "a b"),
            ("/%61", "a"),
            ("/dir%2Fo", "dir/o"),
            ("/dir/o", "dir/o"),
            ("//a", "/a"),
            ("/a//b", "a//b"),
            ("/../a", "../a"),
            ("/%2e%2e/a", "../a"),
            ("/%c3%a9", "é"),
            ("/100%", "100%"),
        ] {
            assert_eq!(of(path), Ok(name.to_owned()), "{path}");
        }
        for path in ["/%ff", "/a%00b", "/%c3%28"] {
            assert_eq!(of(path), Err(412), "{path}");
        }
        assert_eq!(of(&format!("/{}", "n".repeat(1026))), Err(404));
        assert_eq!(of(&format!("/{}", "%6e".repeat(1025))).unwrap().len(), 1025);
        assert_eq!(of(&format!("/{}", "n".repeat(100_000))), Err(404));
    }
}
