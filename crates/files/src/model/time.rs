//! Times as Cloud Files shows them.

use work::Time;

/// `1389453423.35964`: seconds with five decimals (X-Timestamp).
#[must_use]
pub fn x_timestamp(time: Time) -> String {
    format!("{}.{:05}", time.seconds(), time.0.rem_euclid(1_000_000) / 10)
}

/// `1389453423.35964` with ten digits before the point, as versions are called: their byte order is that of time.
#[must_use]
pub fn internal(time: Time) -> String {
    format!("{:010}.{:05}", time.seconds(), time.0.rem_euclid(1_000_000) / 10)
}

/// `2013-11-19T20:08:13.283452`: microseconds without a zone (listings).
#[must_use]
pub fn listing(time: Time) -> String {
    time.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
}

/// Whole seconds for `Last-Modified`, rounded up as Swift does, so that `If-Modified-Since` of an answer's own date
/// finds nothing newer.
#[must_use]
pub fn last_modified(time: Time) -> i64 {
    time.0.saturating_add(999_999).div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seeds_spellings() {
        assert_eq!(x_timestamp(Time(1_389_453_423_359_640)), "1389453423.35964");
        assert_eq!(listing(Time(1_384_891_693_283_452)), "2013-11-19T20:08:13.283452");
        assert_eq!(last_modified(Time(1_000_001)), 2);
        assert_eq!(last_modified(Time(1_000_000)), 1);
    }
}
