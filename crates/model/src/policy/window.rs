//! Times of the week in a time zone.

use std::fmt;
use std::str::FromStr;

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

use super::text_form;
use crate::{Invalid, Millis};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

impl Day {
    const fn of(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

/// `09:30`, to the minute; `24:00` is the end of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay(u16);

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl FromStr for TimeOfDay {
    type Err = Invalid;
    fn from_str(text: &str) -> Result<Self, Invalid> {
        let no = || Invalid::new("window", "has times as in \"09:30\", from 00:00 to 24:00");
        let (hours, minutes) = text.split_once(':').ok_or_else(no)?;
        let two = |part: &str| {
            (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
                .then(|| part.parse::<u16>().ok())
                .flatten()
        };
        let (hours, minutes) = two(hours).zip(two(minutes)).ok_or_else(no)?;
        let all = hours * 60 + minutes;
        if minutes < 60 && all <= 24 * 60 { Ok(Self(all)) } else { Err(no()) }
    }
}

text_form!(TimeOfDay, "09:30");

/// On these days from one time to another. An end before the beginning is of the next day: `days` name the day on which it
/// begins.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(as = PolicyWindow))]
pub struct Window {
    /// All days when empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub days: Vec<Day>,
    pub from: TimeOfDay,
    pub to: TimeOfDay,
    /// A name of the IANA database: `Europe/Zurich`, `UTC`.
    #[serde(default = "utc")]
    pub zone: String,
}

fn utc() -> String {
    "UTC".to_owned()
}

impl Window {
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.from == self.to {
            return Err(Invalid::new("window", "ends when it begins: a whole day is from 00:00 to 24:00"));
        }
        if self.from.0 == 24 * 60 {
            return Err(Invalid::new("window.from", "must be before 24:00"));
        }
        if self.days.len() > 7 {
            return Err(Invalid::new("window.days", "has more than seven days"));
        }
        zone(&self.zone).map(drop)
    }

    pub(super) fn compile(&self) -> Option<CompiledWindow> {
        let days =
            if self.days.is_empty() { 0x7f } else { self.days.iter().fold(0, |bits, day| bits | bit(*day)) };
        Some(CompiledWindow { days, from: self.from.0, to: self.to.0, zone: zone(&self.zone).ok()? })
    }
}

const fn bit(day: Day) -> u8 {
    1 << day as u8
}

fn zone(name: &str) -> Result<TimeZone, Invalid> {
    // The bundled data, not the host's: all servers decide alike, and nothing is read.
    let bundled = TimeZoneDatabase::bundled();
    bundled.get(name).map_err(|_| {
        let name: String = name.chars().filter(|c| !c.is_control()).take(60).collect();
        Invalid::new("window.zone", format!("`{name}` is no time zone as in \"Europe/Zurich\" or \"UTC\""))
    })
}

#[derive(Debug, Clone)]
pub(super) struct CompiledWindow {
    days: u8,
    from: u16,
    to: u16,
    zone: TimeZone,
}

impl CompiledWindow {
    pub(super) fn contains(&self, now: Millis) -> bool {
        let Ok(at) = Timestamp::from_millisecond(now.0) else { return false };
        let local = self.zone.to_datetime(at);
        let minute = u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let begins = |day: Weekday| self.days & bit(Day::of(day)) != 0;
        let today = local.date().weekday();
        if self.from < self.to {
            return begins(today) && (self.from..self.to).contains(&minute);
        }
        (begins(today) && minute >= self.from) || (begins(today.previous()) && minute < self.to)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Millis {
        Millis(text.parse::<Timestamp>().unwrap().as_millisecond())
    }

    fn window(days: &[Day], from: &str, to: &str, zone: &str) -> CompiledWindow {
        let window = Window {
            days: days.to_vec(),
            from: from.parse().unwrap(),
            to: to.parse().unwrap(),
            zone: zone.into(),
        };
        window.validate().unwrap();
        window.compile().unwrap()
    }

    #[test]
    fn hours_are_those_of_the_zone_in_summer_and_winter() {
        let office = window(&[Day::Mon], "09:00", "17:00", "Europe/Zurich");
        // 2026-07-20 and 2026-01-19 are Mondays; Zurich is two hours ahead in summer and one in winter.
        for (time, inside) in [
            ("2026-07-20T06:59:59Z", false),
            ("2026-07-20T07:00:00Z", true),
            ("2026-07-20T14:59:59Z", true),
            ("2026-07-20T15:00:00Z", false),
            ("2026-01-19T07:30:00Z", false),
            ("2026-01-19T08:00:00Z", true),
            ("2026-01-20T08:00:00Z", false),
        ] {
            assert_eq!(office.contains(at(time)), inside, "{time}");
        }
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_that_it_begins_on() {
        let night = window(&[Day::Sun], "22:00", "06:00", "UTC");
        for (time, inside) in [
            ("2026-07-19T21:59:00Z", false),
            ("2026-07-19T22:00:00Z", true),
            ("2026-07-20T05:59:00Z", true),
            ("2026-07-20T06:00:00Z", false),
            ("2026-07-20T22:30:00Z", false),
            ("2026-07-19T03:00:00Z", false),
        ] {
            assert_eq!(night.contains(at(time)), inside, "{time}");
        }
        assert!(window(&[], "00:00", "24:00", "UTC").contains(at("2026-07-20T23:59:59Z")));
    }

    #[test]
    fn what_is_no_window_is_refused() {
        let refused = |from: &str, to: &str, zone: &str| {
            let (Ok(from), Ok(to)) = (from.parse(), to.parse()) else { return true };
            Window { days: vec![], from, to, zone: zone.into() }.validate().is_err()
        };
        assert!(!refused("00:00", "24:00", "America/New_York"));
        for (from, to, zone) in [
            ("09:00", "09:00", "UTC"),
            ("24:00", "09:00", "UTC"),
            ("9:00", "10:00", "UTC"),
            ("09:60", "10:00", "UTC"),
            ("24:01", "10:00", "UTC"),
            ("09:00", "10:00", "Mars/Olympus"),
            ("09:00", "10:00", ""),
            ("09:00", "10:00", "../../etc/passwd"),
        ] {
            assert!(refused(from, to, zone), "{from} {to} {zone}");
        }
    }
}
