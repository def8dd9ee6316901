//! Dates as text: ISO 8601, and formats of two styles.
//!
//! A format that has a `%` is one of `strftime`. Any other consists of the tokens of [`TOKENS`]; what is no token stands
//! for itself.

use jiff::Zoned;
use jiff::civil::DateTime;
use jiff::fmt::strtime::{self, BrokenDownTime};
use jiff::tz::{Offset, TimeZone};

use super::{CYCLE_SECONDS, CYCLE_YEARS};

/// The year whose end is beyond what a `Zoned` can be.
const LAST_YEAR: i16 = 9999;

/// Longest format and longest text to parse, in bytes.
const MAX_FORMAT: usize = 1024;

/// Tokens and what they are in the other style. A longer one comes before its beginning.
const TOKENS: &[(&str, &str)] = &[
    ("YYYY", "%Y"),
    ("YY", "%y"),
    ("MM", "%m"),
    ("DD", "%d"),
    ("HH", "%H"),
    ("hh", "%H"),
    ("mm", "%M"),
    ("sss", "%3f"),
    ("ss", "%S"),
    ("TZD", "%:z"),
    ("TZN", "%:Q"),
];

/// The date as ISO 8601 with its offset; fractions of seconds as far as there are any. `None` outside of the years 0 to
/// 9999, which that text cannot hold. `year` stands for the year of `at`.
pub(super) fn iso(at: &Zoned, year: i16) -> Option<String> {
    let (month, day) = (at.month(), at.day());
    if !(0..=9999).contains(&year) {
        return None;
    }
    let (hour, minute, second) = (at.hour(), at.minute(), at.second());
    let nanos = at.subsec_nanosecond();
    let fraction = match nanos {
        0 => String::new(),
        n if n % 1_000_000 == 0 => format!(".{:03}", n / 1_000_000),
        n if n % 1_000 == 0 => format!(".{:06}", n / 1_000),
        n => format!(".{n:09}"),
    };
    let offset = offset(at.offset());
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}{fraction}{offset}"))
}

/// `±hh:mm`, with seconds where a zone of long ago has them.
pub(super) fn offset(offset: Offset) -> String {
    let seconds = offset.seconds();
    let (sign, s) = (if seconds < 0 { '-' } else { '+' }, seconds.unsigned_abs());
    let (h, m, s) = (s / 3600, s / 60 % 60, s % 60);
    if s == 0 { format!("{sign}{h:02}:{m:02}") } else { format!("{sign}{h:02}:{m:02}:{s:02}") }
}

/// Reads ISO 8601 with a zone: `2026-03-15T10:30:45.123Z`. A blank may stand for the `T`; the seconds and their fraction
/// may be left out. `true`: the date is a cycle of the calendar later than what is given.
pub(super) fn parse_iso(s: &str) -> Option<(Zoned, bool)> {
    let mut r = Digits(s.as_bytes());
    let (year, month, day) = (r.number(4)?, r.after(b"-")?.number(2)?, r.after(b"-")?.number(2)?);
    let (hour, minute) = (r.after(b"Tt ")?.number(2)?, r.after(b":")?.number(2)?);
    let mut second = 0;
    let mut nanos = 0;
    if r.after(b":").is_some() {
        second = r.number(2)?;
        if r.after(b".,").is_some() {
            nanos = r.fraction()?;
        }
    }
    let offset = parse_offset(std::str::from_utf8(r.0).ok()?)?;
    let small = |n: i32| i8::try_from(n).ok();
    let civil = DateTime::new(
        i16::try_from(year).ok()?,
        small(month)?,
        small(day)?,
        small(hour)?,
        small(minute)?,
        small(second)?,
        nanos,
    );
    in_or_before(civil.ok()?, |civil| civil.to_zoned(TimeZone::fixed(offset)).ok())
}

/// What `read` makes of a date, or of one that is a cycle of the calendar earlier.
fn in_or_before(civil: DateTime, read: impl Fn(DateTime) -> Option<Zoned>) -> Option<(Zoned, bool)> {
    match read(civil) {
        Some(at) => Some((at, false)),
        None if civil.year() < LAST_YEAR => None,
        None => Some((read(later(civil, -CYCLE_YEARS)?)?, true)),
    }
}

/// The same date and time some years later. Leap years repeat themselves after as many as the calendar's cycle has.
pub(super) fn later(civil: DateTime, years: i16) -> Option<DateTime> {
    civil.with().year(civil.year().checked_add(years)?).build().ok()
}

/// `Z`, `±hh`, `±hhmm`, `±hh:mm` or `±hh:mm:ss`.
pub(super) fn parse_offset(s: &str) -> Option<Offset> {
    if s == "Z" || s == "z" {
        return Some(Offset::UTC);
    }
    let mut r = Digits(s.as_bytes());
    let sign = if r.after(b"-").is_some() { -1 } else { r.after(b"+").map(|_| 1)? };
    let hours = r.number(2)?;
    let (mut minutes, mut seconds) = (0, 0);
    if !r.0.is_empty() {
        let colon = r.after(b":").is_some();
        minutes = r.number(2)?;
        if colon && r.after(b":").is_some() {
            seconds = r.number(2)?;
        }
    }
    if !r.0.is_empty() || minutes > 59 || seconds > 59 {
        return None;
    }
    Offset::from_seconds(sign * (hours * 3600 + minutes * 60 + seconds)).ok()
}

/// What is left of a text to read digits from.
struct Digits<'a>(&'a [u8]);

impl Digits<'_> {
    /// Exactly `n` digits.
    fn number(&mut self, n: usize) -> Option<i32> {
        let (digits, rest) = self.0.split_at_checked(n)?;
        let mut out = 0i32;
        for d in digits {
            out = out.checked_mul(10)?.checked_add(i32::from(d.checked_sub(b'0').filter(|d| *d < 10)?))?;
        }
        self.0 = rest;
        Some(out)
    }

    /// One to nine digits as billionths; more are cut off.
    fn fraction(&mut self) -> Option<i32> {
        let n = self.0.iter().take_while(|d| d.is_ascii_digit()).count();
        let mut out = 0;
        for i in 0..9 {
            out = out * 10 + self.0.get(i).filter(|_| i < n).map_or(0, |d| i32::from(d - b'0'));
        }
        self.0 = self.0.get(n..)?;
        (n > 0).then_some(out)
    }

    /// Goes on after one of the characters, if it is there.
    fn after(&mut self, any: &[u8]) -> Option<&mut Self> {
        let (first, rest) = self.0.split_first()?;
        if !any.contains(first) {
            return None;
        }
        self.0 = rest;
        Some(self)
    }
}

/// A format in the style of `strftime`. `zulu`: `TZD` is the letter Z, which an offset can be too.
fn strftime(format: &str, zulu: bool) -> String {
    if format.contains('%') {
        return format.to_owned();
    }
    let mut out = String::with_capacity(format.len() + 16);
    let mut rest = format;
    while let Some(c) = rest.chars().next() {
        match TOKENS.iter().find(|(token, _)| rest.starts_with(token)) {
            Some((token, specifier)) => {
                out.push_str(if zulu && *token == "TZD" { "Z" } else { specifier });
                rest = rest.get(token.len()..).unwrap_or_default();
            }
            None => {
                out.push(c);
                rest = rest.get(c.len_utf8()..).unwrap_or_default();
            }
        }
    }
    out
}

/// The date in a format; `None` if the format is none. `year` stands for the year of `at`.
pub(super) fn format(at: &Zoned, year: i16, format: &str) -> Option<String> {
    if format.len() > MAX_FORMAT {
        return None;
    }
    let format = strftime(format, false);
    if year == at.year() {
        return strtime::format(format, at).ok();
    }
    let mut tm = BrokenDownTime::from(at);
    tm.set_year(Some(year)).ok()?;
    tm.set_timestamp(None);
    tm.to_string(with_seconds(&format, at.timestamp().as_second() + CYCLE_SECONDS)).ok()
}

/// A format whose `%s` is the number of seconds.
fn with_seconds(format: &str, seconds: i64) -> String {
    let mut out = String::with_capacity(format.len() + 16);
    let mut chars = format.chars();
    while let Some(c) = chars.next() {
        match (c, chars.as_str().chars().next()) {
            ('%', Some('s')) => {
                out.push_str(&seconds.to_string());
                chars.next();
            }
            ('%', Some(next)) => {
                out.extend([c, next]);
                chars.next();
            }
            _ => out.push(c),
        }
    }
    out
}

/// Reads a date in a format. Without a zone it is in UTC, without a time at midnight. `true`: the date is a cycle of the
/// calendar later than what is given.
pub(super) fn parse(s: &str, format: &str) -> Option<(Zoned, bool)> {
    if format.len() > MAX_FORMAT || s.len() > MAX_FORMAT {
        return None;
    }
    let read = |zulu| BrokenDownTime::parse(strftime(format, zulu), s).ok();
    let mut tm = match read(false) {
        Some(tm) => tm,
        None if format.contains("TZD") => read(true)?,
        None => return None,
    };
    if let Some(at) = whole(&tm) {
        return Some((at, false));
    }
    let year = tm.year().filter(|year| *year >= LAST_YEAR)?;
    tm.set_year(Some(year - CYCLE_YEARS)).ok()?;
    Some((whole(&tm)?, true))
}

/// What was read, in UTC unless it has a zone.
fn whole(tm: &BrokenDownTime) -> Option<Zoned> {
    if let Ok(at) = tm.to_zoned() {
        return Some(at);
    }
    if let Ok(at) = tm.to_timestamp() {
        return Some(at.to_zoned(TimeZone::UTC));
    }
    tm.to_datetime().ok()?.to_zoned(TimeZone::UTC).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(text: &str) -> Option<String> {
        let (at, late) = parse_iso(text)?;
        iso(&at, at.year() + if late { CYCLE_YEARS } else { 0 })
    }

    #[test]
    fn iso_round_trip() {
        for text in [
            "2026-03-15T10:30:45+00:00",
            "2026-03-15T10:30:45.123+09:00",
            "2026-03-15T10:30:45.000001-05:30",
            "1969-12-31T23:59:59.999999999+00:00",
            "0000-01-01T00:00:00+00:00",
            "9998-12-31T23:59:59+00:00",
            "9999-12-30T22:00:00+00:00",
            "9999-12-31T23:59:59.999999999+00:00",
            "9999-12-31T23:59:59+23:59",
        ] {
            assert_eq!(shown(text).as_deref(), Some(text));
        }
        for (text, same) in [
            ("2026-03-15T10:30:45Z", "2026-03-15T10:30:45+00:00"),
            ("2026-03-15t10:30:45z", "2026-03-15T10:30:45+00:00"),
            ("2026-03-15 10:30Z", "2026-03-15T10:30:00+00:00"),
            ("2026-03-15T10:30:45+0900", "2026-03-15T10:30:45+09:00"),
            ("2026-03-15T10:30:45-08", "2026-03-15T10:30:45-08:00"),
            ("2026-03-15T10:30:45.1Z", "2026-03-15T10:30:45.100+00:00"),
            ("2026-03-15T10:30:45.12345678901Z", "2026-03-15T10:30:45.123456789+00:00"),
        ] {
            assert_eq!(shown(text).as_deref(), Some(same), "{text}");
        }
        for text in [
            "",
            "2026",
            "2026-03-15",
            "2026-03-15T10:30:45",
            "2026-03-15T10:30",
            "2026-02-30T10:30:45Z",
            "2026-13-01T10:30:45Z",
            "2026-03-15T24:00:00Z",
            "2026-03-15T10:30:60Z",
            "2026-03-15T10:30:45.Z",
            "2026-03-15T10:30:45+99:00",
            "2026-03-15T10:30:45+09:60",
            "2026-03-15T10:30:45Z ",
            "2026-03-15T10:30:45[UTC]",
            "２026-03-15T10:30:45Z",
            "26-3-15T10:30:45Z",
        ] {
            assert!(parse_iso(text).is_none(), "{text}");
        }
    }
}
