//! Backup schedules: days and two-hour windows in GMT (guide, Backup Schedules).

use std::time::Duration;

use images::Origin;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use work::Time;

/// When the weekly backup is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Weekly {
    /// Never.
    #[default]
    Disabled,
    /// On this day.
    On(Weekday),
}

const DAYS: [(&str, Weekday); 7] = [
    ("SUNDAY", Weekday::Sunday),
    ("MONDAY", Weekday::Monday),
    ("TUESDAY", Weekday::Tuesday),
    ("WEDNESDAY", Weekday::Wednesday),
    ("THURSDAY", Weekday::Thursday),
    ("FRIDAY", Weekday::Friday),
    ("SATURDAY", Weekday::Saturday),
];

const DISABLED: &str = "DISABLED";

impl Weekly {
    /// Returns the names of all values in the API.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once(DISABLED).chain(DAYS.iter().map(|(name, _)| *name))
    }

    /// Its name in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => DISABLED,
            Self::On(day) => DAYS.iter().find(|(_, other)| *other == day).map_or(DISABLED, |(name, _)| name),
        }
    }

    /// Parses a name of the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == DISABLED {
            return Some(Self::Disabled);
        }
        DAYS.iter().find(|(name, _)| *name == text).map(|(_, day)| Self::On(*day))
    }
}

/// When the daily backup is created.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Daily {
    /// Never.
    #[default]
    Disabled,
    /// In the two hours from this even hour on.
    From(i8),
}

const WINDOWS: [&str; 12] = [
    "H_0000_0200",
    "H_0200_0400",
    "H_0400_0600",
    "H_0600_0800",
    "H_0800_1000",
    "H_1000_1200",
    "H_1200_1400",
    "H_1400_1600",
    "H_1600_1800",
    "H_1800_2000",
    "H_2000_2200",
    "H_2200_0000",
];

impl Daily {
    /// Returns the names of all values in the API.
    pub fn names() -> impl Iterator<Item = &'static str> {
        std::iter::once(DISABLED).chain(WINDOWS)
    }

    /// Its name in the API and in the database.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Disabled => DISABLED,
            Self::From(hour) => {
                WINDOWS.get(usize::try_from(hour / 2).unwrap_or(0)).copied().unwrap_or(DISABLED)
            }
        }
    }

    /// Parses a name of the API.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if text == DISABLED {
            return Some(Self::Disabled);
        }
        let index = WINDOWS.iter().position(|window| *window == text)?;
        Some(Self::From(i8::try_from(index * 2).ok()?))
    }
}

/// A server's backup schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Schedule {
    /// Whether it is enabled.
    pub enabled: bool,
    /// The weekly image.
    pub weekly: Weekly,
    /// The daily image.
    pub daily: Daily,
}

/// One of the two backups of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cadence {
    /// The daily one.
    Daily,
    /// The weekly one.
    Weekly,
}

impl Cadence {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Daily, Self::Weekly];

    /// The origin of its images, which also gives their name.
    #[must_use]
    pub fn origin(self) -> Origin {
        match self {
            Self::Daily => Origin::Daily,
            Self::Weekly => Origin::Weekly,
        }
    }
}

/// The time in which a backup starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// Its start, included.
    pub start: Time,
    /// Its end, excluded.
    pub end: Time,
}

impl Schedule {
    /// Returns the first window of a cadence that ends after `now`; `None` if it is disabled. The weekly backup uses
    /// the hours of the daily one on its day; without a daily one, the whole day.
    #[must_use]
    pub fn window(&self, cadence: Cadence, now: Time) -> Option<Window> {
        let hours = match self.daily {
            Daily::From(hour) => Some(hour),
            Daily::Disabled => None,
        };
        let (hour, length) = match (self.enabled, cadence, hours) {
            (false, ..) | (true, Cadence::Daily, None) => return None,
            (true, Cadence::Weekly, None) => (0, 24),
            (true, _, Some(hour)) => (hour, 2),
        };
        let weekday = match (cadence, self.weekly) {
            (Cadence::Daily, _) => None,
            (Cadence::Weekly, Weekly::On(day)) => Some(day),
            (Cadence::Weekly, Weekly::Disabled) => return None,
        };
        let today = now.timestamp().to_zoned(TimeZone::UTC).date();
        (0..8).find_map(|days| {
            let date = today.checked_add(jiff::Span::new().days(days)).ok()?;
            if weekday.is_some_and(|day| date.weekday() != day) {
                return None;
            }
            let start = date.at(hour, 0, 0, 0).to_zoned(TimeZone::UTC).ok()?.timestamp();
            let start = Time::from_seconds(start.as_second());
            let end = start.after(Duration::from_secs(length * 3600));
            (end > now).then_some(Window { start, end })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn time(text: &str) -> Time {
        Time::from_seconds(text.parse::<jiff::Timestamp>().unwrap().as_second())
    }

    #[test]
    fn parsing_inverts_formatting() {
        for (name, _) in DAYS {
            assert_eq!(Weekly::parse(name).unwrap().as_str(), name);
        }
        for name in WINDOWS {
            assert_eq!(Daily::parse(name).unwrap().as_str(), name);
        }
        assert_eq!(Daily::parse("DISABLED"), Some(Daily::Disabled));
        assert_eq!(Daily::parse("H_0100_0300"), None);
        assert_eq!(Weekly::parse("thursday"), None);
    }

    #[test]
    fn windows_are_found_in_gmt() {
        let both = Schedule {
            enabled: true,
            weekly: Weekly::parse("THURSDAY").unwrap(),
            daily: Daily::parse("H_0400_0600").unwrap(),
        };
        // 2009-07-13 was a Monday.
        let window = both.window(Cadence::Daily, time("2009-07-13T05:59:59Z")).unwrap();
        assert_eq!(
            (window.start.iso_seconds().as_str(), window.end.iso_seconds().as_str()),
            ("2009-07-13T04:00:00Z", "2009-07-13T06:00:00Z")
        );
        assert_eq!(
            both.window(Cadence::Daily, time("2009-07-13T06:00:00Z")).unwrap().start,
            time("2009-07-14T04:00:00Z")
        );
        assert_eq!(
            both.window(Cadence::Weekly, time("2009-07-13T05:00:00Z")).unwrap().start,
            time("2009-07-16T04:00:00Z")
        );
        assert_eq!(
            both.window(Cadence::Weekly, time("2009-07-16T06:00:00Z")).unwrap().start,
            time("2009-07-23T04:00:00Z")
        );
        let weekly = Schedule { daily: Daily::Disabled, ..both };
        assert_eq!(weekly.window(Cadence::Daily, time("2009-07-13T05:00:00Z")), None);
        let window = weekly.window(Cadence::Weekly, time("2009-07-16T23:00:00Z")).unwrap();
        assert_eq!((window.start, window.end), (time("2009-07-16T00:00:00Z"), time("2009-07-17T00:00:00Z")));
        let late = Schedule { daily: Daily::parse("H_2200_0000").unwrap(), ..both };
        assert_eq!(
            late.window(Cadence::Daily, time("2009-12-31T23:59:59Z")).unwrap().end,
            time("2010-01-01T00:00:00Z")
        );
        assert_eq!(
            Schedule { enabled: false, ..both }.window(Cadence::Daily, time("2009-07-13T05:00:00Z")),
            None
        );
    }
}
