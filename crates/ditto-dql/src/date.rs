//! Dates: points in time with the offset they were written in, and calculating with them.
//!
//! Time zones come from the database that is built in, so that all devices agree.

pub(crate) mod duration;
pub(crate) mod text;

use ditto_types::Value;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, Unit, Zoned};

/// The years after which the calendar, with its weekdays, repeats itself.
const CYCLE_YEARS: i16 = 400;
/// As many seconds.
const CYCLE_SECONDS: i64 = 146_097 * 86_400;
/// As many nanoseconds.
const CYCLE_NS: i128 = CYCLE_SECONDS as i128 * 1_000_000_000;
/// The last moment that there is: the end of the year 9999 in UTC, in nanoseconds since 1970.
const END_NS: i128 = 253_402_300_799_999_999_999;

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
    /// Whether `at` is one cycle of the calendar too early. Moments of the last hours of the year 9999 are kept like this,
    /// because `Zoned` ends before they do. Zones have the same rules each year by then.
    late: bool,
    /// Whether it came as text; results are in the form that the input had.
    text: bool,
}

impl Moment {
    /// A date argument: text with its zone, or milliseconds since 1970.
    pub(crate) fn of(v: &Value) -> Option<Self> {
        match v {
            Value::Str(s) => Self::read(text::parse_iso(s)?),
            v => Self::from_millis(millis(v)?),
        }
    }

    pub(crate) fn from_millis(ms: i64) -> Option<Self> {
        Self::of_nanos(i128::from(ms) * 1_000_000, TimeZone::UTC, false)
    }

    /// Nanoseconds since 1970, read in a zone.
    fn of_nanos(nanos: i128, zone: TimeZone, text: bool) -> Option<Self> {
        if nanos > END_NS {
            return None;
        }
        let (at, late) = match Timestamp::from_nanosecond(nanos) {
            Ok(at) => (at, false),
            Err(_) => (Timestamp::from_nanosecond(nanos - CYCLE_NS).ok()?, true),
        };
        Some(Self { at: at.to_zoned(zone), late, text })
    }

    fn nanos(&self) -> i128 {
        self.at.timestamp().as_nanosecond() + if self.late { CYCLE_NS } else { 0 }
    }

    /// From text, with the note whether it is a cycle too early.
    fn read((at, late): (Zoned, bool)) -> Option<Self> {
        let read = Self { at, late, text: true };
        (read.nanos() <= END_NS).then_some(read)
    }

    /// What the calendar shows a cycle later than in `early`.
    fn a_cycle_after(early: Zoned, text: bool) -> Option<Self> {
        let shown = text::later(early.datetime(), CYCLE_YEARS)
            .and_then(|shown| shown.to_zoned(early.time_zone().clone()).ok());
        let moment = match shown {
            Some(at) => Self { at, late: false, text },
            None => Self { at: early, late: true, text },
        };
        (moment.nanos() <= END_NS).then_some(moment)
    }

    /// What the calendar shows, a cycle earlier.
    fn a_cycle_before(&self) -> Option<Zoned> {
        if self.late {
            return Some(self.at.clone());
        }
        text::later(self.at.datetime(), -CYCLE_YEARS)?.to_zoned(self.at.time_zone().clone()).ok()
    }

    fn year(&self) -> i16 {
        self.at.year() + if self.late { CYCLE_YEARS } else { 0 }
    }

    /// Text in a format; without a zone in it, it is UTC.
    pub(crate) fn parse(s: &str, format: &str) -> Option<Self> {
        Self::read(if format.is_empty() { text::parse_iso(s) } else { text::parse(s, format) }?)
    }

    /// The same point in time in another zone.
    pub(crate) fn in_zone(self, zone: Option<&TimeZone>) -> Self {
        match zone {
            // The same a cycle earlier.
            Some(zone) => Self { at: self.at.with_time_zone(zone.clone()), ..self },
            None => self,
        }
    }

    /// Milliseconds since 1970.
    pub(crate) fn millis(&self) -> i64 {
        // Rounds down, so that the fraction of a second is one also before 1970.
        i64::try_from(self.nanos().div_euclid(1_000_000))
            .unwrap_or_else(|_| self.at.timestamp().as_millisecond())
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
            Part::Hour | Part::Minute | Part::Second | Part::Millisecond => {
                let length = i128::from(part.millis()?) * 1_000_000;
                let nanos = self.nanos() + length * i128::from(n);
                return Self::of_nanos(nanos, self.at.time_zone().clone(), self.text);
            }
        };
        let span = span.ok()?;
        if !self.late
            && let Ok(at) = self.at.checked_add(span)
        {
            return Some(Self { at, late: false, text: self.text });
        }
        Self::a_cycle_after(self.a_cycle_before()?.checked_add(span).ok()?, self.text)
    }

    /// Whole parts since `earlier`, negative if it is later.
    pub(crate) fn since(&self, earlier: &Moment, part: Part) -> Option<i64> {
        if let Some(length) = part.millis() {
            let nanos = self.nanos() - earlier.nanos();
            return i64::try_from(nanos / (i128::from(length) * 1_000_000)).ok();
        }
        let zone = self.at.time_zone();
        let earlier = Self { at: earlier.at.with_time_zone(zone.clone()), ..earlier.clone() };
        let span = if self.late || earlier.late {
            earlier.a_cycle_before()?.until((Unit::Month, &self.a_cycle_before()?))
        } else {
            earlier.at.until((Unit::Month, &self.at))
        };
        let span = span.ok()?;
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
        let at = at.ok()?;
        if self.late { Self::a_cycle_after(at, self.text) } else { Some(Self { at, ..self.clone() }) }
    }

    /// One component: that of a [`Part`], or `weekday`, `monthname`, `tz`, `timezone`.
    pub(crate) fn component(&self, name: &str) -> Option<Value> {
        let at = &self.at;
        let number = match Part::from_name(name) {
            Some(Part::Year) => i64::from(self.year()),
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
            Some("") => Value::from(text::iso(&self.at, self.year())?),
            Some(format) => Value::from(text::format(&self.at, self.year(), format)?),
            None if self.text => Value::from(text::iso(&self.at, self.year())?),
            None => Value::Int(self.millis()),
        })
    }
}

impl PartialEq for Moment {
    fn eq(&self, other: &Self) -> bool {
        self.nanos() == other.nanos()
    }
}

impl PartialOrd for Moment {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        self.nanos().partial_cmp(&other.nanos())
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
