//! Formats times as Cloud Files shows them.

use work::Time;

/// Formats `1389453423.35964`: seconds with five decimals (X-Timestamp).
#[must_use]
pub fn x_timestamp(time: Time) -> String {
    format!("{}.{:05}", time.seconds(), time.0.rem_euclid(1_000_000) / 10)
}

/// As [`x_timestamp`], with ten digits before the point: version ids, whose byte order is chronological.
#[must_use]
pub fn internal(time: Time) -> String {
    format!("{:010}.{:05}", time.seconds(), time.0.rem_euclid(1_000_000) / 10)
}

/// Parses the output of [`x_timestamp`] and [`internal`]. A suffix after an underscore, which Swift may add, is ignored.
#[must_use]
pub fn parse(text: &str) -> Option<Time> {
    let text = text.split('_').next()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds) || !is_number(fraction) || seconds.len() > 10 {
        return None;
    }
    let micros: i64 = format!("{fraction:0<6}").get(..5)?.parse().ok()?;
    Some(Time(seconds.parse::<i64>().ok()? * 1_000_000 + micros * 10))
}

/// Formats `2013-11-19T20:08:13.283452`: microseconds without a time zone (listings).
#[must_use]
pub fn listing(time: Time) -> String {
    time.timestamp().strftime("%Y-%m-%dT%H:%M:%S.%6f").to_string()
}

/// Returns whole seconds for `Last-Modified`, rounded up as Swift does, so that a request with `If-Modified-Since` set to
/// that value gets 304.
#[must_use]
pub fn last_modified(time: Time) -> i64 {
    time.0.saturating_add(999_999).div_euclid(1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_the_formats_of_the_seeds() {
        assert_eq!(x_timestamp(Time(1_389_453_423_359_640)), "1389453423.35964");
        assert_eq!(listing(Time(1_384_891_693_283_452)), "2013-11-19T20:08:13.283452");
        assert_eq!(last_modified(Time(1_000_001)), 2);
        assert_eq!(last_modified(Time(1_000_000)), 1);
        let time = Time(1_389_453_423_359_640);
        for text in [x_timestamp(time), internal(time), "1389453423.35964_0000000000000001".into()] {
            assert_eq!(parse(&text), Some(time));
        }
        assert_eq!(parse("5"), Some(Time(5_000_000)));
        for bad in ["", "x", "-1", "1.", "1.x", "99999999999.0", "1.5é"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
