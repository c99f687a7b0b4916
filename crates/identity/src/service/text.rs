//! Free text that callers store.

use crate::service::error::Error;

/// Maximum length of free text, in characters.
const TEXT_MAX: usize = 4096;

/// Rejects text that is too long or contains a NUL.
///
/// # Errors
/// [`Error::Invalid`] naming the field.
pub(crate) fn check_text(field: &str, text: &str) -> Result<(), Error> {
    if text.chars().count() > TEXT_MAX || text.contains('\0') {
        return Err(Error::invalid(format!("{field} must have at most {TEXT_MAX} characters and no NUL")));
    }
    Ok(())
}
