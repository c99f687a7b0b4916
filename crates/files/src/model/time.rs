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

/// Reads what [`x_timestamp`] and [`internal`] write; what Swift may put behind an underscore is passed over.
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
