//! Delays or rejects requests that exceed rate limits (Swift, Rate limiting). Each process counts separately, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use work::Time;

use super::authorise::Action;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::rates::{TooLong, rate_for};
use crate::store;

/// Delay of responses to blacklisted accounts.
const BLACKLISTED_WAIT: Duration = Duration::from_secs(1);
/// Number of rates in use from which idle ones are forgotten.
const RATES_KEPT: usize = 4096;

/// An operation, as rate limits distinguish them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace<'a> {
    /// Creates or deletes a container.
    Container,
    /// Stores, changes or deletes an object in this container.
    Objects(&'a str),
    /// Lists this container.
    Listing(&'a str),
    /// Anything else; not limited.
    Free,
}

/// The outcome of the rate check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateDecision {
    /// The request may proceed; it was delayed if necessary.
    Go,
    /// The request would have to wait too long.
    TooLong,
    /// The account is blacklisted.
    Blacklisted,
}

/// The time up to which each rate is used up.
#[derive(Default)]
pub(super) struct Running(Mutex<(HashMap<String, Time>, usize)>);

impl Files {
    /// Delays a request as the rate limits require.
    ///
    /// # Errors
    /// The database's.
    pub async fn pace(&self, context: &Context, account: &str, what: Pace<'_>) -> Result<RateDecision> {
        let rates = &self.settings().rates;
        if !rates.is_on() || rates.account_whitelist.iter().any(|name| name == account) {
            return Ok(RateDecision::Go);
        }
        if rates.account_blacklist.iter().any(|name| name == account) {
            self.wait(BLACKLISTED_WAIT).await;
            return Ok(RateDecision::Blacklisted);
        }
        let Some((key, rate)) = self.rate(context, account, what).await? else { return Ok(RateDecision::Go) };
        match self.take(key, rate) {
            Err(TooLong) => Ok(RateDecision::TooLong),
            Ok(wait) => {
                self.wait(wait).await;
                Ok(RateDecision::Go)
            }
        }
    }

    async fn wait(&self, wait: Duration) {
        if !wait.is_zero() {
            self.0.clock.until(self.0.clock.now().after(wait)).await;
        }
    }

    /// Returns the rate that a request counts for. A request that is rejected anyway counts for none, so that strangers cannot
    /// use up an owner's rate.
    async fn rate(&self, context: &Context, account: &str, what: Pace<'_>) -> Result<Option<(String, f64)>> {
        let rates = &self.settings().rates;
        let (name, action, table, kind) = match what {
            Pace::Free => return Ok(None),
            Pace::Container => {
                let limited = rates.account_ratelimit > 0.0
                    && self.admit(context, account, Action::WriteContainer).await.is_ok();
                return Ok(limited.then(|| (account.to_owned(), rates.account_ratelimit)));
            }
            Pace::Objects(name) => (name, Action::WriteObject, &rates.container_ratelimits, "objects"),
            Pace::Listing(name) => {
                (name, Action::ReadContainer, &rates.container_listing_ratelimits, "listings")
            }
        };
        if table.is_empty() {
            return Ok(None);
        }
        let Ok(container) = self.container_for(context, account, name, action).await else { return Ok(None) };
        let counts = self.0.db.read(container.id, |id, tx| {
            Box::pin(async move { Ok::<_, Error>(store::containers::counts(tx, *id).await?) })
        });
        let rate = rate_for(table, counts.await?.objects);
        Ok(rate.map(|rate| (format!("{kind}/{account}/{name}"), rate)))
    }

    fn take(&self, key: String, rate: f64) -> std::result::Result<Duration, TooLong> {
        let (rates, now) = (&self.settings().rates, self.0.clock.now());
        let mut running = self.0.running.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (kept, kept_max) = &mut *running;
        if kept.len() >= (*kept_max).max(RATES_KEPT) {
            let idle_since = now.before(Duration::from_secs_f64(rates.rate_buffer_seconds));
            kept.retain(|_, until| *until > idle_since);
            *kept_max = kept.len() * 2;
        }
        rates.admit(kept.entry(key).or_default(), now, rate)
    }
}
