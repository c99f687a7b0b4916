//! Limits of an account: requests in a window, memory, shared IP groups.

use std::collections::HashMap;

use identity::Right;
use work::Time;

use super::{Compute, Context, Error};
use crate::model::limits::{ABSOLUTE, RULES};
use crate::model::{Limits, Rate, Rule};
use crate::store;

/// What an absolute limit comes to for a tenant.
pub(super) fn absolute(overrides: &HashMap<String, i64>, name: &str) -> i64 {
    let default = ABSOLUTE.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
    overrides.get(name).copied().unwrap_or(default)
}

/// How a rule stands: a window begins with its first request and lasts as long as its unit.
fn rate(
    rule: &'static Rule,
    overrides: &HashMap<String, i64>,
    windows: &HashMap<String, (Time, i64)>,
    now: Time,
) -> (Rate, Time, i64) {
    let value = overrides.get(rule.name).copied().unwrap_or(rule.value);
    let (started, used) = windows
        .get(rule.name)
        .copied()
        .filter(|(started, _)| *started <= now && now < started.after(rule.unit.duration()))
        .unwrap_or((now, 0));
    let reset = started.after(rule.unit.duration());
    (Rate { rule, value, remaining: (value - used).max(0), reset }, started, used)
}

impl Compute {
    /// The limits of the caller's account, and how much of its windows is left.
    ///
    /// # Errors
    /// The database's.
    pub async fn limits(&self, context: &Context) -> Result<Limits, Error> {
        context.need(Right::Observe)?;
        self.limits_of(context.tenant()).await
    }

    /// The limits of any account, for the operator.
    ///
    /// # Errors
    /// The database's.
    pub async fn limits_of(&self, tenant: &str) -> Result<Limits, Error> {
        let input = (tenant.to_owned(), self.0.clock.now());
        let rate_limits = self.0.settings.rate_limits;
        let limits = self.0.db.read(input, move |(tenant, now), tx| {
            Box::pin(async move {
                let overrides = store::limits::overrides(tx, tenant).await?;
                let windows = store::limits::windows(tx, tenant).await?;
                let shown = RULES.iter().filter(|_| rate_limits);
                Ok::<_, Error>(Limits {
                    rates: shown.map(|rule| rate(rule, &overrides, &windows, *now).0).collect(),
                    ram_mib_max: absolute(&overrides, "ram-mib"),
                    groups_max: absolute(&overrides, "ip-groups"),
                    members_max: absolute(&overrides, "ip-group-members"),
                    images_max: absolute(&overrides, "registered-images"),
                })
            })
        });
        limits.await
    }

    /// Sets one of an account's limits, or takes it back to the default. Names are those of the rules (`post`,
    /// `post-servers`, `put`, `changes-since`, `delete`) and `ram-mib`, `ip-groups`, `ip-group-members`,
    /// `registered-images`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for another name or a negative value.
    pub async fn set_limit(&self, tenant: &str, name: &str, value: Option<i64>) -> Result<(), Error> {
        let known = RULES.iter().map(|rule| rule.name).chain(ABSOLUTE.iter().map(|(name, _)| *name));
        let known: Vec<&str> = known.collect();
        if !known.contains(&name) {
            return Err(Error::invalid("limit", format!("is one of {}", known.join(", "))));
        }
        if value.is_some_and(|value| value < 0) {
            return Err(Error::invalid("limit", "is not negative"));
        }
        let input = (tenant.to_owned(), name.to_owned(), value);
        let set = self.0.db.write(input, |(tenant, name, value), tx| {
            Box::pin(async move {
                match value {
                    Some(value) => store::limits::set(tx, tenant, name, *value).await,
                    None => store::limits::unset(tx, tenant, name).await,
                }
            })
        });
        Ok(set.await?)
    }

    /// Counts a request against every rate limit that it falls under, least specific first. `tail` is its path and
    /// query behind the account. A refused request is not counted.
    ///
    /// # Errors
    /// [`Error::OverLimit`] with the time of the next window.
    pub async fn count(&self, tenant: &str, verb: &str, tail: &str) -> Result<(), Error> {
        let rules: Vec<&'static Rule> = RULES.iter().filter(|rule| rule.matches(verb, tail)).collect();
        if rules.is_empty() || !self.0.settings.rate_limits {
            return Ok(());
        }
        let input = (tenant.to_owned(), rules, self.0.clock.now());
        let counted = self.0.db.write(input, |(tenant, rules, now), tx| {
            Box::pin(async move {
                let overrides = store::limits::overrides(tx, tenant).await?;
                let windows = store::limits::windows(tx, tenant).await?;
                for rule in rules {
                    let (rate, started, used) = rate(rule, &overrides, &windows, *now);
                    if rate.remaining == 0 {
                        let (value, unit) = (rate.value, rule.unit.as_str().to_ascii_lowercase());
                        let reason = format!("only {value} {} requests to {} a {unit}", rule.verb, rule.uri);
                        return Err(Error::OverLimit { reason, retry_at: Some(rate.reset) });
                    }
                    store::limits::set_window(tx, tenant, rule.name, started, used + 1).await?;
                }
                Ok(())
            })
        });
        counted.await
    }
}
