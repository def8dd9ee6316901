//! Dates: points in time with the offset they were written in, and calculating with them.
//!
//! Time zones come from the database that is built in, so that all devices agree.

pub(crate) mod duration;
pub(crate) mod text;

use ditto_types::Value;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Unit, Zoned};

/// A unit of the calendar or the clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Part {
    Year,
    Month,
    Day,
    Hour,
    Minute,
    Second,
    Millisecond,
}

impl Part {
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "year" => Part::Year,
            "mon" | "month" => Part::Month,
            "day" => Part::Day,
            "hour" => Part::Hour,
            "min" | "minute" => Part::Minute,
            "sec" | "second" => Part::Second,
            "ms" | "millis" | "millisecond" => Part::Millisecond,
            _ => return None,
        })
    }

    /// Length in milliseconds; `None` for months and years, whose lengths differ.
    pub(crate) fn millis(self) -> Option<i64> {
        Some(match self {
            Part::Year | Part::Month => return None,
            Part::Day => 86_400_000,
            Part::Hour => 3_600_000,
            Part::Minute => 60_000,
            Part::Second => 1_000,
            Part::Millisecond => 1,
        })
    }
}

/// A point in time, in the offset or zone that its calendar is read in.
#[derive(Clone, Debug)]
pub(crate) struct Moment {
    at: Zoned,
    /// Whether it came as text; results are in the form that the input had.
    text: bool,
}

impl Moment {
    /// A date argument: text with its zone, or milliseconds since 1970.
    pub(crate) fn of(v: &Value) -> Option<Self> {
        match v {
            Value::Str(s) => text::parse_iso(s).map(|at| Self { at, text: true }),
            v => Self::from_millis(millis(v)?),
        }
    }

    pub(crate) fn from_millis(ms: i64) -> Option<Self> {
        let at = Timestamp::from_millisecond(ms).ok()?.to_zoned(TimeZone::UTC);
        Some(Self { at, text: false })
    }

    /// Text in a format; without a zone in it, it is UTC.
    pub(crate) fn parse(s: &str, format: &str) -> Option<Self> {
        let at = if format.is_empty() { text::parse_iso(s) } else { text::parse(s, format) }?;
        Some(Self { at, text: true })
    }

    /// The same point in time in another zone.
    pub(crate) fn in_zone(self, zone: Option<&TimeZone>) -> Self {
        match zone {
            Some(zone) => Self { at: self.at.with_time_zone(zone.clone()), ..self },
            None => self,
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(&self) -> i64 {
        // Rounds down, so that the fraction of a second is one also before 1970.
        let at = self.at.timestamp();
        let nanos = at.as_nanosecond();
        i64::try_from(nanos.div_euclid(1_000_000)).unwrap_or_else(|_| at.as_millisecond())
    }

    /// Offset from UTC in minutes.
    pub(crate) fn offset_minutes(&self) -> i64 {
        i64::from(self.at.offset().seconds()) / 60
    }

    /// `n` parts later. Days keep their time of day, months and years also their day as far as the month has it.
    pub(crate) fn add(&self, part: Part, n: i64) -> Option<Self> {
        let span = jiff::Span::new();
        let span = match part {
            Part::Year => span.try_years(n),
            Part::Month => span.try_months(n),
            Part::Day => span.try_days(n),
            Part::Hour => span.try_hours(n),
            Part::Minute => span.try_minutes(n),
            Part::Second => span.try_seconds(n),
            Part::Millisecond => span.try_milliseconds(n),
        };
        let at = self.at.checked_add(span.ok()?).ok()?;
        Some(Self { at, text: self.text })
    }

    /// Whole parts since `earlier`, negative if it is later.
    pub(crate) fn since(&self, earlier: &Moment, part: Part) -> Option<i64> {
        if let Some(length) = part.millis() {
            let nanos = self.at.timestamp().as_nanosecond() - earlier.at.timestamp().as_nanosecond();
            return i64::try_from(nanos / (i128::from(length) * 1_000_000)).ok();
        }
        let earlier = earlier.at.with_time_zone(self.at.time_zone().clone());
        let span = earlier.until((Unit::Month, &self.at)).ok()?;
        let months = i64::from(span.get_months());
        Some(if part == Part::Year { months / 12 } else { months })
    }

    /// The beginning of the part that it is in.
    pub(crate) fn truncate(&self, part: Part) -> Option<Self> {
        let day = || self.at.start_of_day();
        let at = match part {
            Part::Year => day().and_then(|d| d.first_of_year()),
            Part::Month => day().and_then(|d| d.first_of_month()),
            Part::Day => day(),
            Part::Hour => self.at.with().minute(0).second(0).subsec_nanosecond(0).build(),
            Part::Minute => self.at.with().second(0).subsec_nanosecond(0).build(),
            Part::Second => self.at.with().subsec_nanosecond(0).build(),
            Part::Millisecond => self.at.with().microsecond(0).nanosecond(0).build(),
        };
        Some(Self { at: at.ok()?, text: self.text })
    }

    /// One component: that of a [`Part`], or `weekday`, `monthname`, `tz`, `timezone`.
    pub(crate) fn component(&self, name: &str) -> Option<Value> {
        let at = &self.at;
        let number = match Part::from_name(name) {
            Some(Part::Year) => i64::from(at.year()),
            Some(Part::Month) => i64::from(at.month()),
            Some(Part::Day) => i64::from(at.day()),
            Some(Part::Hour) => i64::from(at.hour()),
            Some(Part::Minute) => i64::from(at.minute()),
            Some(Part::Second) => i64::from(at.second()),
            Some(Part::Millisecond) => i64::from(at.millisecond()),
            None => match name.to_ascii_lowercase().as_str() {
                "weekday" => i64::from(at.weekday().to_monday_one_offset()),
                "monthname" => return Some(Value::from(month_name(at.month())?)),
                "tz" | "timezone" => return Some(Value::from(text::offset(at.offset()))),
                _ => return None,
            },
        };
        Some(Value::Int(number))
    }

    /// The result of a calculation: in the format, or else as the input was.
    pub(crate) fn value(&self, format: Option<&str>) -> Option<Value> {
        Some(match format {
            Some("") => Value::from(text::iso(&self.at)?),
            Some(format) => Value::from(text::format(&self.at, format)?),
            None if self.text => Value::from(text::iso(&self.at)?),
            None => Value::Int(self.millis()),
        })
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.at.timestamp() == other.at.timestamp()
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.at.timestamp().partial_cmp(&other.at.timestamp())
    }
}

/// An integer, also one that came as a float.
pub(crate) fn millis(v: &Value) -> Option<i64> {
    match v {
        Value::Int(i) => Some(*i),
        // Within the range where floats are exact.
        Value::Float(f) if f.fract() == 0.0 && f.abs() <= 9_007_199_254_740_992.0 => Some(*f as i64),
        _ => None,
    }
}

/// A zone by its IANA name, or an offset `±hh:mm`.
pub(crate) fn zone(name: &str) -> Option<TimeZone> {
    if let Some(offset) = text::parse_offset(name) {
        return Some(TimeZone::fixed(offset));
    }
    TimeZone::get(name).ok()
}

/// The offset of a zone on the first of January 1970, in minutes.
pub(crate) fn zone_offset(name: &str) -> Option<i64> {
    let offset: Offset = zone(name)?.to_offset(Timestamp::UNIX_EPOCH);
    Some(i64::from(offset.seconds()) / 60)
}

fn month_name(month: i8) -> Option<&'static str> {
    const NAMES: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    usize::try_from(month).ok()?.checked_sub(1).and_then(|i| NAMES.get(i)).copied()
}
