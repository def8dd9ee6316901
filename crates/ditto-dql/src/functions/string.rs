//! Strings. Positions and lengths count characters unless the name says bytes.

use ditto_types::{SmolStr, Value};

use super::{count, propagate, some};
use crate::eval::{Budget, Datum, Exceeded};

fn text<'a>(args: &'a [Datum<'_>], i: usize) -> Option<&'a str> {
    args.get(i)?.as_deref()?.as_str()
}

/// An integer argument; integers beyond `i64` are as good as its largest here.
fn int(args: &[Datum<'_>], i: usize) -> Option<i64> {
    match args.get(i)?.as_deref()? {
        Value::Int(n) => Some(*n),
        Value::UInt(_) => Some(i64::MAX),
        _ => None,
    }
}

pub(super) fn concat<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    let mut out = String::new();
    for i in 0..args.len() {
        let Some(s) = text(args, i) else { return Ok(None) };
        budget.charge(s.len())?;
        out.push_str(s);
    }
    some(out)
}

fn test<'v>(args: &[Datum<'v>], f: fn(&str, &str) -> bool) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    match (text(args, 0), text(args, 1)) {
        (Some(s), Some(t)) => some(f(s, t)),
        _ => Ok(None),
    }
}

pub(super) fn contains<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    test(args, |s, t| s.contains(t))
}

pub(super) fn starts_with<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    test(args, |s, t| s.starts_with(t))
}

pub(super) fn ends_with<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    test(args, |s, t| s.ends_with(t))
}

pub(super) fn byte_length<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    text(args, 0).map_or(Ok(None), |s| count(s.len()))
}

pub(super) fn char_length<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    text(args, 0).map_or(Ok(None), |s| count(s.chars().count()))
}

fn map<'v>(args: &[Datum<'v>], budget: &Budget, f: fn(&str) -> String) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let Some(s) = text(args, 0) else { return Ok(None) };
    // Case mapping at most triples a string.
    budget.charge(s.len().saturating_mul(3))?;
    some(f(s))
}

pub(super) fn lower<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    map(args, budget, str::to_lowercase)
}

pub(super) fn upper<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    map(args, budget, str::to_uppercase)
}

/// `substr(s, start[, len])`, `start` from 0; a negative one counts from the end. Beyond the text there is nothing.
pub(super) fn substr<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let (Some(s), Some(start)) = (text(args, 0), int(args, 1)) else { return Ok(None) };
    let skip = if start < 0 {
        let from_end = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
        match s.chars().count().checked_sub(from_end) {
            Some(skip) => skip,
            None => return Ok(None),
        }
    } else {
        usize::try_from(start).unwrap_or(usize::MAX)
    };
    let rest = s.chars().skip(skip);
    if args.len() < 3 {
        return some(rest.collect::<String>());
    }
    match int(args, 2).map(usize::try_from) {
        Some(Ok(len)) => some(rest.take(len).collect::<String>()),
        _ => Ok(None),
    }
}

/// Index of the first occurrence from 0, or -1.
pub(super) fn pos<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let (Some(s), Some(sub)) = (text(args, 0), text(args, 1)) else { return Ok(None) };
    match s.find(sub).and_then(|at| s.get(..at)) {
        Some(before) => count(before.chars().count()),
        None => some(-1i64),
    }
}

/// An empty delimiter splits into characters.
pub(super) fn split<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let (Some(s), Some(delimiter)) = (text(args, 0), text(args, 1)) else { return Ok(None) };
    let mut parts = Vec::new();
    let mut push = |part: &str| {
        budget.charge(size_of::<Value>() + part.len())?;
        parts.push(Value::from(part));
        Ok(())
    };
    if delimiter.is_empty() {
        s.chars().try_for_each(|c| push(c.encode_utf8(&mut [0; 4])))?;
    } else {
        s.split(delimiter).try_for_each(&mut push)?;
    }
    some(parts)
}

/// `joinstr(separator, value…)`. Arrays stand for their items; NULL and MISSING are skipped.
pub(super) fn joinstr<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(&args[..1]);
    let Some(separator) = text(args, 0) else { return Ok(None) };
    let mut out = String::new();
    let mut first = true;
    for arg in args.iter().skip(1) {
        let items = match arg.as_deref() {
            None => continue,
            Some(Value::Array(items)) => items.as_slice(),
            Some(v) => std::slice::from_ref(v),
        };
        for item in items {
            let s: &SmolStr = match item {
                Value::Null => continue,
                Value::Str(s) => s,
                _ => return Ok(None),
            };
            budget.charge(separator.len() + s.len())?;
            if !first {
                out.push_str(separator);
            }
            first = false;
            out.push_str(s);
        }
    }
    some(out)
}

/// Trims white space, or the characters of the second argument.
fn trim_sides<'v>(args: &[Datum<'v>], left: bool, right: bool) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let Some(mut s) = text(args, 0) else { return Ok(None) };
    let set: Option<Vec<char>> = match args.len() {
        1 => None,
        _ => match text(args, 1) {
            Some(set) => {
                let mut set: Vec<char> = set.chars().collect();
                set.sort_unstable();
                Some(set)
            }
            None => return Ok(None),
        },
    };
    let drop = |c: char| match &set {
        None => c.is_whitespace(),
        Some(set) => set.binary_search(&c).is_ok(),
    };
    if left {
        s = s.trim_start_matches(drop);
    }
    if right {
        s = s.trim_end_matches(drop);
    }
    some(s)
}

pub(super) fn trim<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    trim_sides(args, true, true)
}

pub(super) fn ltrim<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    trim_sides(args, true, false)
}

pub(super) fn rtrim<'v>(args: &mut [Datum<'v>], _: &Budget) -> Result<Datum<'v>, Exceeded> {
    trim_sides(args, false, true)
}

/// Makes the text exactly `n` characters long: a longer one is cut at its end, an empty filler adds nothing.
fn pad<'v>(args: &[Datum<'v>], left: bool, budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let (Some(s), Some(n)) = (text(args, 0), int(args, 1)) else { return Ok(None) };
    let filler = match args.len() {
        2 => " ",
        _ => match text(args, 2) {
            Some(f) => f,
            None => return Ok(None),
        },
    };
    let n = usize::try_from(n).unwrap_or(0);
    let have = s.chars().count();
    if have >= n {
        return some(s.chars().take(n).collect::<String>());
    }
    if filler.is_empty() {
        return some(s);
    }
    // Four bytes are the longest character.
    budget.charge((n - have).saturating_mul(4).saturating_add(s.len()))?;
    let fill: String = filler.chars().cycle().take(n - have).collect();
    some(if left { fill + s } else { s.to_owned() + &fill })
}

pub(super) fn lpad<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    pad(args, true, budget)
}

pub(super) fn rpad<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    pad(args, false, budget)
}

pub(super) fn repeat<'v>(args: &mut [Datum<'v>], budget: &Budget) -> Result<Datum<'v>, Exceeded> {
    propagate!(args);
    let (Some(s), Some(n)) = (text(args, 0), int(args, 1)) else { return Ok(None) };
    let n = usize::try_from(n).unwrap_or(0);
    if s.is_empty() {
        return some("");
    }
    budget.charge(s.len().saturating_mul(n))?;
    some(s.repeat(n))
}
