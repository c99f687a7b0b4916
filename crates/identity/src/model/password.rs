//! An account's policy for its users' passwords.

use std::time::Duration;

/// Maximum number of former passwords that a policy can check (v2.0, Set domain password policy).
pub const HISTORY_MAX: i64 = 10;

/// An account's password policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PasswordPolicy {
    /// How long a password is valid, as it was written: `P90DT6H30M5S`.
    pub duration: String,
    /// The same as a duration.
    pub lasts: Duration,
    /// How many former passwords a new one must differ from, in addition to the current one.
    pub history: i64,
}

/// Why a policy is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PasswordPolicyError {
    /// The duration is invalid.
    #[error(
        "passwordPolicy.passwordDuration must be days, hours, minutes and seconds such as P90DT6H30M5S, from one second to 100 years"
    )]
    Duration,
    /// The number of former passwords is invalid.
    #[error("passwordPolicy.passwordHistoryRestriction must be a whole number from 0 to {HISTORY_MAX}")]
    History,
}

impl PasswordPolicy {
    /// Parses a request's fields.
    ///
    /// # Errors
    /// [`PasswordPolicyError`].
    pub fn parse(duration: &str, history: Option<&str>) -> Result<Self, PasswordPolicyError> {
        let lasts = lasting(duration).ok_or(PasswordPolicyError::Duration)?;
        let history = match history {
            None => 0,
            Some(text) => text
                .parse()
                .ok()
                .filter(|count| (0..=HISTORY_MAX).contains(count))
                .ok_or(PasswordPolicyError::History)?,
        };
        Ok(Self { duration: duration.to_owned(), lasts, history })
    }
}

/// Parses an ISO 8601 duration of days, hours, minutes and seconds, each a whole number and at most once.
fn lasting(text: &str) -> Option<Duration> {
    const YEARS_100: u64 = 100 * 366 * 86_400;
    let rest = text.strip_prefix('P')?;
    let (days, time) = match rest.split_once('T') {
        Some((_, "")) => return None,
        Some((days, time)) => (days, time),
        None => (rest, ""),
    };
    let seconds = parts(days, &[('D', 86_400)])?
        .checked_add(parts(time, &[('H', 3600), ('M', 60), ('S', 1)])?)
        .filter(|seconds| (1..=YEARS_100).contains(seconds))?;
    Some(Duration::from_secs(seconds))
}

/// Adds up numbers, each followed by its unit, with the units in this order.
fn parts(mut text: &str, units: &[(char, u64)]) -> Option<u64> {
    let mut sum = 0u64;
    for (unit, seconds) in units {
        let Some((number, rest)) = text.split_once(*unit) else { continue };
        if number.is_empty() || !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        sum = sum.checked_add(number.parse::<u64>().ok()?.checked_mul(*seconds)?)?;
        text = rest;
    }
    text.is_empty().then_some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_days_hours_minutes_and_seconds() {
        let seconds =
            |text: &str| PasswordPolicy::parse(text, None).ok().map(|policy| policy.lasts.as_secs());
        assert_eq!(seconds("P90DT6H30M5S"), Some(90 * 86_400 + 6 * 3600 + 30 * 60 + 5));
        assert_eq!(seconds("P1D"), Some(86_400));
        assert_eq!(seconds("PT15M"), Some(900));
        let none = [
            "",
            "P",
            "PT",
            "P0D",
            "PT0S",
            "P1Y",
            "P1M",
            "P1W",
            "P1DT",
            "PT1M1H",
            "1D",
            "P-1D",
            "P1.5D",
            "P1D1D",
            "P99999999999999999999D",
            "P40000D",
        ];
        for text in none {
            assert_eq!(seconds(text), None, "{text}");
        }
    }

    #[test]
    fn history_is_at_most_ten() {
        let history = |text| PasswordPolicy::parse("P1D", text).map(|policy| policy.history);
        assert_eq!((history(None), history(Some("0")), history(Some("10"))), (Ok(0), Ok(0), Ok(10)));
        for text in ["11", "-1", "many", ""] {
            assert_eq!(history(Some(text)), Err(PasswordPolicyError::History), "{text}");
        }
    }
}
