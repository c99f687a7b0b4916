//! Limits of an account: request rates, memory, shared IP groups, registered images.

use std::collections::HashMap;

use identity::Right;
use work::Time;

use super::{Compute, Context, Error};
use crate::model::limits::{ABSOLUTE, RULES};
use crate::model::{Limits, Rate, Rule};
use crate::store;

/// Returns a tenant's absolute limit: the operator's override or the default.
pub(super) fn absolute_limit(overrides: &HashMap<String, i64>, name: &str) -> i64 {
    let default = ABSOLUTE.iter().find(|(known, _)| *known == name).map_or(0, |(_, value)| *value);
    overrides.get(name).copied().unwrap_or(default)
}

/// The state of a rate limit: its current window and the number of requests in it.
struct Window {
    rate: Rate,
    started: Time,
    used: i64,
}

/// Returns the state of a rate limit. A window starts with its first request and lasts one unit of the rule.
fn current_window(
    rule: &'static Rule,
    overrides: &HashMap<String, i64>,
    windows: &HashMap<String, (Time, i64)>,
    now: Time,
) -> Window {
    let value = overrides.get(rule.name).copied().unwrap_or(rule.value);
    let (started, used) = windows
        .get(rule.name)
        .copied()
        .filter(|(started, _)| *started <= now && now < started.after(rule.unit.duration()))
        .unwrap_or((now, 0));
    let reset = started.after(rule.unit.duration());
    Window { rate: Rate { rule, value, remaining: (value - used).max(0), reset }, started, used }
}

impl Compute {
    /// Returns the limits of the caller's account, with the remaining requests.
    ///
    /// # Errors
    /// The database's.
    pub async fn limits(&self, context: &Context) -> Result<Limits, Error> {
        context.need(Right::Observe)?;
        self.limits_of(context.tenant()).await
    }

    /// Returns the limits of any account, for the operator.
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
                    rates: shown.map(|rule| current_window(rule, &overrides, &windows, *now).rate).collect(),
                    ram_mib_max: absolute_limit(&overrides, "ram-mib"),
                    groups_max: absolute_limit(&overrides, "ip-groups"),
                    members_max: absolute_limit(&overrides, "ip-group-members"),
                    images_max: absolute_limit(&overrides, "registered-images"),
                })
            })
        });
        limits.await
    }

    /// Sets one of an account's limits, or resets it to the default. Names are those of the rules (`post`,
    /// `post-servers`, `put`, `changes-since`, `delete`) and `ram-mib`, `ip-groups`, `ip-group-members`,
    /// `registered-images`.
    ///
    /// # Errors
    /// [`Error::Invalid`] for an unknown name or a negative value.
    pub async fn set_limit(&self, tenant: &str, name: &str, value: Option<i64>) -> Result<(), Error> {
        let known = RULES.iter().map(|rule| rule.name).chain(ABSOLUTE.iter().map(|(name, _)| *name));
        let known: Vec<&str> = known.collect();
        if !known.contains(&name) {
            return Err(Error::invalid("limit", format!("must be one of {}", known.join(", "))));
        }
        if value.is_some_and(|value| value < 0) {
            return Err(Error::invalid("limit", "must not be negative"));
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

    /// Counts a request against every rate limit that matches it, least specific first. `tail` is its path and query after the
    /// account. A rejected request is not counted.
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
                    let Window { rate, started, used } = current_window(rule, &overrides, &windows, *now);
                    if rate.remaining == 0 {
                        let (value, unit) = (rate.value, rule.unit.as_str().to_ascii_lowercase());
                        let reason = format!(
                            "only {value} {} requests to {} per {unit} are allowed",
                            rule.verb, rule.uri
                        );
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
