//! Dates, times and durations. A date is text with its zone or milliseconds since 1970; see [`crate::date`].

use std::borrow::Cow;

use ditto_types::Value;
use jiff::tz::TimeZone;

use super::{absent, propagate, some};
use crate::date::{self, Moment, Part, duration};
use crate::error::DqlError;
use crate::eval::{Budget, Cx, Datum, Exceeded};
use crate::scalar::{At, Scalar};

fn text<'a>(args: &'a [Datum<'_>], i: usize) -> Option<&'a str> {
    args.get(i)?.as_deref()?.as_str()
}

/// The optional arguments format and zone at `i`; the outer `None` means that one is of the wrong kind.
fn format_and_zone<'a>(args: &'a [Datum<'_>], i: usize) -> Option<(Option<&'a str>, Option<TimeZone>)> {
    let format = if args.len() > i { Some(text(args, i)?) } else { None };
    let zone = if args.len() > i + 1 { Some(date::zone(text(args, i + 1)?)?) } else { None };
    Some((format, zone))
}

/// The result of a function that gives MISSING for anything wrong. Dates are short.
fn result<'v>(v: Option<Value>, budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    if let Some(v) = &v {
        budget.charge_value(v)?;
    }
    Ok(v.map(Cow::Owned))
}

fn moment(args: &[Datum<'_>], i: usize) -> Option<Moment> {
    Moment::of(args.get(i)?.as_deref()?)
}

fn part(args: &[Datum<'_>], i: usize) -> Option<Part> {
    Part::from_name(text(args, i)?)
}

fn int(args: &[Datum<'_>], i: usize) -> Option<i64> {
    args.get(i)?.as_deref()?.as_i64()
}

/// `clock([format[, zone]])`: the time of the execution, the same on every row.
pub(super) fn clock<'a>(args: &'a [Scalar], at: At, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let values = args.iter().map(|e| e.eval(cx)).collect::<Result<Vec<_>, _>>()?;
    if let Some(absent) = absent(&values) {
        return Ok(absent);
    }
    let now = || {
        let (format, zone) = format_and_zone(&values, 0)?;
        Moment::from_millis(cx.env().now_ms)?.in_zone(zone.as_ref()).value(format)
    };
    cx.charged(result(now(), cx.budget()), at)
}

fn shifted<'v>(args: &[Datum<'v>], sign: i64, budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let shifted = || {
        let (d, part, n) = (moment(args, 0)?, part(args, 1)?, int(args, 2)?.checked_mul(sign)?);
        let (format, zone) = format_and_zone(args, 3)?;
        d.in_zone(zone.as_ref()).add(part, n)?.value(format)
    };
    result(shifted(), budget)
}

/// `date_add(d, part, n[, format[, zone]])`.
pub(super) fn date_add<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    shifted(args, 1, budget)
}

/// `date_sub(d, part, n[, format[, zone]])`.
pub(super) fn date_sub<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    shifted(args, -1, budget)
}

/// `date_diff(d1, d2, part)`: whole parts from `d2` to `d1`.
pub(super) fn date_diff<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let diff = || Some(Value::Int(moment(args, 0)?.since(&moment(args, 1)?, part(args, 2)?)?));
    result(diff(), budget)
}

/// `date_part(d, part)`.
pub(super) fn date_part<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let component = || moment(args, 0)?.component(text(args, 1)?);
    result(component(), budget)
}

/// `date_trunc(d, part)`.
pub(super) fn date_trunc<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let truncated = || moment(args, 0)?.truncate(part(args, 1)?)?.value(None);
    result(truncated(), budget)
}

/// `date_format(d, format[, zone])`.
pub(super) fn date_format<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let formatted = || {
        let (format, zone) = format_and_zone(args, 1)?;
        moment(args, 0)?.in_zone(zone.as_ref()).value(format)
    };
    result(formatted(), budget)
}

/// `date_cast(s[, format])`: milliseconds since 1970.
pub(super) fn date_cast<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let cast = || {
        let d = match args.len() {
            1 => moment(args, 0)?,
            _ => Moment::parse(text(args, 0)?, text(args, 1)?)?,
        };
        Some(Value::Int(d.millis()))
    };
    result(cast(), budget)
}

/// `date_range(start, end, part, n[, format[, zone]])`: from `start`, before `end`. A negative `n` goes backwards, after
/// `end`; 0 gives MISSING.
pub(super) fn date_range<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let read = || {
        let (format, zone) = format_and_zone(args, 4)?;
        let start = moment(args, 0)?.in_zone(zone.as_ref());
        let n = int(args, 3).filter(|n| *n != 0)?;
        Some((start, moment(args, 1)?, part(args, 2)?, n, format))
    };
    let Some((start, end, part, n, format)) = read() else { return Ok(None) };
    let mut out = Vec::new();
    // Each from the start, since adding months one after the other would lose days.
    for i in 0i64.. {
        budget.step(1)?;
        let Some(d) = n.checked_mul(i).and_then(|n| start.add(part, n)) else { break };
        if if n > 0 { d >= end } else { d <= end } {
            break;
        }
        let Some(v) = d.value(format) else { return Ok(None) };
        budget.charge_value(&v)?;
        out.push(v);
    }
    some(out)
}

/// `tz_offset(s[, format])`: minutes from UTC of a date, or with the format `TZN` of a zone by its name.
pub(super) fn tz_offset<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let offset = || {
        let s = text(args, 0)?;
        Some(Value::Int(match args.len() {
            1 => Moment::parse(s, "")?.offset_minutes(),
            _ => match text(args, 1)? {
                "TZN" => date::zone_offset(s)?,
                format => Moment::parse(s, format)?.offset_minutes(),
            },
        }))
    };
    result(offset(), budget)
}

/// Nanoseconds of the unit at `i`, milliseconds when it is not given.
fn unit(args: &[Datum<'_>], i: usize) -> Option<i128> {
    if args.len() > i { duration::unit(text(args, i)?) } else { duration::unit("ms") }
}

/// `duration_cast(s[, unit])`: whole milliseconds, or whole units.
pub(super) fn duration_cast<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let cast = || {
        let n = duration::parse(text(args, 0)?)? / unit(args, 1)?;
        Some(Value::Int(i64::try_from(n).ok()?))
    };
    result(cast(), budget)
}

/// `duration_format(v[, unit])`: the text of so many milliseconds, or units.
pub(super) fn duration_format<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let formatted = || {
        let n = i128::from(date::millis(args.first()?.as_deref()?)?).checked_mul(unit(args, 1)?)?;
        Some(Value::from(duration::format(n)))
    };
    result(formatted(), budget)
}
