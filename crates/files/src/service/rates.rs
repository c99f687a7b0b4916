//! Requests that are held back or refused because there are too many (Swift, Rate limiting). Each process counts for
//! itself, in memory.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use work::Time;

use super::authorise::Action;
use super::{Context, Files};
use crate::error::{Error, Result};
use crate::model::rates::{TooLong, rate_for};
use crate::store;

/// Whoever is blacklisted is answered no sooner than this.
const BLACKLISTED_WAIT: Duration = Duration::from_secs(1);
/// Beyond so many rates in use, those that are idle are forgotten.
const RATES_KEPT: usize = 4096;

/// What a request does, as rate limits see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pace<'a> {
    /// Makes or deletes a container.
    Container,
    /// Stores, changes or deletes an object in this container.
    Objects(&'a str),
    /// Lists this container.
    Listing(&'a str),
    /// Nothing that is limited.
    Free,
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paced {
    /// It goes on, perhaps after a wait.
    Go,
    /// It would wait too long.
    TooLong,
    /// Its account gets nothing.
    Blacklisted,
}

/// Up to when each rate is used up.
#[derive(Default)]
pub(super) struct Running(Mutex<(HashMap<String, Time>, usize)>);

impl Files {
    /// Holds a request back as the rate limits say.
    ///
    /// # Errors
    /// The database's.
    pub async fn pace(&self, context: &Context, account: &str, what: Pace<'_>) -> Result<Paced> {
        let rates = &self.settings().rates;
        if !rates.is_on() || rates.account_whitelist.iter().any(|name| name == account) {
            return Ok(Paced::Go);
        }
        if rates.account_blacklist.iter().any(|name| name == account) {
            self.wait(BLACKLISTED_WAIT).await;
            return Ok(Paced::Blacklisted);
        }
        let Some((key, rate)) = self.rate(context, account, what).await? else { return Ok(Paced::Go) };
        match self.take(key, rate) {
            Err(TooLong) => Ok(Paced::TooLong),
            Ok(wait) => {
                self.wait(wait).await;
                Ok(Paced::Go)
            }
        }
    }

    async fn wait(&self, wait: Duration) {
        if !wait.is_zero() {
            self.0.clock.until(self.0.clock.now().after(wait)).await;
        }
    }

    /// Which rate a request counts for. One that is refused anyway counts for none: a stranger must not use up an
    /// owner's.
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
