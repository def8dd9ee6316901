//! Durations as text: `1h30m`, `1.5s`, `-2d`.

use super::Part;

/// Units and their nanoseconds. A longer name comes before its beginning.
const UNITS: &[(&str, i128)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("μs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
    ("d", 86_400_000_000_000),
];

/// Nanoseconds of a unit by the name of a date part; `None` for months and years, and for what is no part.
pub(crate) fn unit(name: &str) -> Option<i128> {
    Some(i128::from(Part::from_name(name)?.millis()?) * 1_000_000)
}

/// The nanoseconds of a text: numbers, each with its unit, after an optional sign. `0` needs no unit.
pub(crate) fn parse(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total = 0i128;
    while !rest.is_empty() {
        let (whole, behind) = digits(rest);
        let (fraction, behind) = match behind.strip_prefix('.') {
            Some(behind) => digits(behind),
            None => ("", behind),
        };
        if whole.is_empty() && fraction.is_empty() {
            return None;
        }
        let (name, nanos) = UNITS.iter().find(|(name, _)| behind.starts_with(name))?;
        rest = behind.get(name.len()..)?;
        let whole: i128 = if whole.is_empty() { 0 } else { whole.parse().ok()? };
        total = total.checked_add(whole.checked_mul(*nanos)?)?;
        // Digits below a nanosecond do not count.
        let mut place = *nanos;
        for d in fraction.bytes() {
            place /= 10;
            total = total.checked_add(place * i128::from(d - b'0'))?;
        }
    }
    Some(if negative { -total } else { total })
}

fn digits(s: &str) -> (&str, &str) {
    s.split_at(s.bytes().take_while(u8::is_ascii_digit).count())
}

/// The text of so many nanoseconds: hours, minutes and seconds from the largest that is needed, as `1h30m0s`; less than a
/// second in the largest unit that fits, as `1.5ms`.
pub(crate) fn format(nanos: i128) -> String {
    let sign = if nanos < 0 { "-" } else { "" };
    let n = nanos.unsigned_abs();
    let fraction = |n: u128, unit: u128, name: &str| {
        let (whole, part) = (n / unit, n % unit);
        if part == 0 {
            return format!("{whole}{name}");
        }
        let places = unit.ilog10() as usize;
        let digits = format!("{part:0places$}");
        format!("{whole}.{}{name}", digits.trim_end_matches('0'))
    };
    let text = match n {
        0 => "0s".to_owned(),
        1..1_000 => fraction(n, 1, "ns"),
        1_000..1_000_000 => fraction(n, 1_000, "µs"),
        1_000_000..1_000_000_000 => fraction(n, 1_000_000, "ms"),
        _ => {
            let minutes = n / 60_000_000_000;
            let seconds = fraction(n % 60_000_000_000, 1_000_000_000, "s");
            match (minutes / 60, minutes % 60) {
                (0, 0) => seconds,
                (0, m) => format!("{m}m{seconds}"),
                (h, m) => format!("{h}h{m}m{seconds}"),
            }
        }
    };
    format!("{sign}{text}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts() {
        for (text, nanos) in [
            ("0", 0),
            ("0s", 0),
            ("1ns", 1),
            ("1.5us", 1_500),
            ("2µs", 2_000),
            ("1.5ms", 1_500_000),
            ("1h30m", 5_400_000_000_000),
            ("1.5h", 5_400_000_000_000),
            (".5s", 500_000_000),
            ("-1m", -60_000_000_000),
            ("+1m", 60_000_000_000),
            ("1d", 86_400_000_000_000),
            ("1m1m", 120_000_000_000),
        ] {
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
        for text in ["", "-", "1", "1x", "h", ".s", "1.h.", "1h 30m", "--1h", "1e3s", "9".repeat(60).as_str()]
        {
            assert_eq!(parse(text), None, "{text}");
        }
        for (nanos, text) in [
            (0, "0s"),
            (1, "1ns"),
            (1_500, "1.5µs"),
            (500_000_000, "500ms"),
            (1_500_000_000, "1.5s"),
            (60_000_000_000, "1m0s"),
            (5_400_000_000_000, "1h30m0s"),
            (90_061_001_000_000, "25h1m1.001s"),
            (-5_400_000_000_000, "-1h30m0s"),
        ] {
            assert_eq!(format(nanos), text);
            assert_eq!(parse(text), Some(nanos), "{text}");
        }
    }
}
