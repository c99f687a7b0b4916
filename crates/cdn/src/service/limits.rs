//! What one account may do in a day, as its operator set it.

use super::Cdn;
use crate::error::{Error, Result};
use crate::store;

/// Seconds of a UTC day, over which purges are counted.
pub(super) const DAY: i64 = 86_400;
/// Purges of objects in a UTC day, unless the operator says otherwise (Cloud Files guide).
pub(super) const PURGES_PER_DAY: i64 = 25;

/// A tenant's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Purges of objects in a UTC day.
    pub purges: u64,
    /// How many of them are left today.
    pub purges_left: u64,
}

impl Cdn {
    /// Sets how many objects a tenant may purge in a UTC day; `None` for the default, 25.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a negative number.
    pub async fn set_purge_limit(&self, tenant: &str, purges: Option<i64>) -> Result<()> {
        if purges.is_some_and(|purges| purges < 0) {
            return Err(Error::Invalid("cdn-purges is at least 0".into()));
        }
        self.0
            .db
            .write((tenant.to_owned(), purges), |(tenant, purges), tx| {
                Box::pin(async move { Ok(store::limits::set_purges(tx, tenant, *purges).await?) })
            })
            .await
    }

    /// A tenant's limits, and what is left of them.
    ///
    /// # Errors
    /// The database's.
    pub async fn limits(&self, tenant: &str) -> Result<Limits> {
        let day = self.0.clock.now().seconds().div_euclid(DAY);
        self.0
            .db
            .read((tenant.to_owned(), day), |(tenant, day), tx| {
                Box::pin(async move {
                    let purges = store::limits::purges(tx, tenant).await?.unwrap_or(PURGES_PER_DAY);
                    let used = store::limits::purges_on(tx, tenant, *day).await?;
                    let whole = |number: i64| u64::try_from(number).unwrap_or(0);
                    Ok(Limits { purges: whole(purges), purges_left: whole(purges - used) })
                })
            })
            .await
    }
}
