//! Quotas of accounts and containers (Swift, Account quotas and Container quotas).

use crate::error::{Error, Result};
use crate::model::metadata::Metadata;

/// Maximum bytes in an account; with the suffix `-policy-{name}`, in one storage policy.
pub const ACCOUNT_BYTES: &str = "x-account-quota-bytes";
/// Maximum number of objects in an account; with the suffix `-policy-{name}`, in one storage policy.
pub const ACCOUNT_COUNT: &str = "x-account-quota-count";
/// The older name of [`ACCOUNT_BYTES`].
pub const ACCOUNT_BYTES_OLD: &str = "x-account-meta-quota-bytes";
/// Maximum bytes in a container.
pub const CONTAINER_BYTES: &str = "x-container-meta-quota-bytes";
/// Maximum number of objects in a container.
pub const CONTAINER_COUNT: &str = "x-container-meta-quota-count";

/// Returns whether a name is an account quota, which only the operator may set.
#[must_use]
pub fn is_of_account(name: &str) -> bool {
    name.starts_with(ACCOUNT_BYTES) || name.starts_with(ACCOUNT_COUNT) || name == ACCOUNT_BYTES_OLD
}

/// Returns the limit that metadata sets under `name`, if it is a number.
#[must_use]
pub fn limit(metadata: &Metadata, name: &str) -> Option<u64> {
    metadata.get(name).filter(|text| is_number(text)).and_then(|text| text.parse().ok())
}

/// Checks that a container's quota is a number.
///
/// # Errors
/// [`Error::Page`] with Swift's message.
pub fn check(name: &str, value: &str) -> Result<()> {
    let kind = match name {
        CONTAINER_BYTES => "bytes",
        CONTAINER_COUNT => "count",
        _ => return Ok(()),
    };
    if value.is_empty() || is_number(value) {
        Ok(())
    } else {
        Err(Error::Page(format!("Invalid {kind} quota.")))
    }
}

/// Returns whether a text consists of digits.
#[must_use]
pub fn is_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_is_a_number() {
        assert_eq!(check(CONTAINER_BYTES, "12"), Ok(()));
        assert_eq!(check(CONTAINER_COUNT, "-1"), Err(Error::Page("Invalid count quota.".into())));
        let metadata = Metadata([(ACCOUNT_BYTES.to_owned(), "12".to_owned())].into());
        assert_eq!(limit(&metadata, ACCOUNT_BYTES), Some(12));
        assert_eq!(limit(&metadata, ACCOUNT_COUNT), None);
        assert!(is_of_account("x-account-quota-bytes-policy-gold") && !is_of_account("x-account-meta-a"));
    }
}
