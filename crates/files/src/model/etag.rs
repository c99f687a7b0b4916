//! ETags in quotes, as the RFCs have them, where an account or container asks for it (Swift, ETag quoter).

use crate::model::entry::Container;

/// A container's wish: `true` or `false`.
pub const CONTAINER: &str = "x-container-rfc-compliant-etags";
/// An account's wish, for its containers that have none.
pub const ACCOUNT: &str = "x-account-rfc-compliant-etags";

/// Whether the ETags of a container's objects are shown in quotes.
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
