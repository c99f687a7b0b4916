//! Quoted ETags, as the RFCs require, for accounts and containers that ask for them (Swift, ETag quoter).

use crate::model::entry::Container;

/// The container's setting: `true` or `false`.
pub const CONTAINER: &str = "x-container-rfc-compliant-etags";
/// The account's setting, for its containers without one.
pub const ACCOUNT: &str = "x-account-rfc-compliant-etags";

/// Returns whether the ETags of a container's objects are quoted.
#[must_use]
pub fn is_quoted(container: &Container) -> bool {
    match container.metadata.get(CONTAINER) {
        Some(wish) => wish == "true",
        None => {
            container.account_metadata.may_hold(ACCOUNT)
                && container.account_metadata.read().get(ACCOUNT) == Some("true")
        }
    }
}
