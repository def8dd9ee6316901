//! Dates, times and durations: dql.md 5.6.
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "support/harness.rs"]
mod harness;

use harness::{check_table, describe, docs, try_select};

/// `d` is a Sunday.
const DOC: &str = r#"{"n":null,"i":5,"s":"abc","d":"2026-03-15T10:30:45.123Z","ms":1773570645123,
    "tokyo":"2026-03-15T10:30:45+09:00","local":"2026-03-15T10:30:45"}"#;

fn check(table: &[(&str, &str)]) {
    check_table(DOC, r#"{"part":"day","fmt":"YYYY"}"#, table);
}

#[test]
fn date_add_and_date_sub() {
    check(&[
        ("date_add('2026-03-15T10:30:45.123Z','day',7)", r#""2026-03-22T10:30:45.123+00:00""#),
        ("date_sub('2026-03-15T10:30:45.123Z','hour',2)", r#""2026-03-15T08:30:45.123+00:00""#),
        ("date_add(d, 'day', -7)", r#""2026-03-08T10:30:45.123+00:00""#),
        ("date_add(d, :part, 1)", r#""2026-03-16T10:30:45.123+00:00""#),
        // The form of the input, and its zone.
        ("date_add(ms, 'sec', 1)", "1773570646123"),
        ("date_sub(ms, 'millisecond', 123)", "1773570645000"),
        ("date_add(tokyo, 'hour', 20)", r#""2026-03-16T06:30:45+09:00""#),
        ("date_add(0.0, 'ms', 1)", "1"),
        // All names of the parts.
        ("date_add(ms, 'year', 1)", "1805106645123"),
        ("date_add(ms, 'mon', 1) = date_add(ms, 'month', 1)", "true"),
        ("date_add(ms, 'min', 1) = date_add(ms, 'minute', 1)", "true"),
        ("date_add(ms, 'sec', 1) = date_add(ms, 'second', 1)", "true"),
        ("[date_add(0, 'ms', 1), date_add(0, 'millis', 1), date_add(0, 'millisecond', 1)]", "[1,1,1]"),
        ("date_add(ms, 'week', 1)", "MISSING"),
        ("date_add(ms, 'quarter', 1)", "MISSING"),
        // Days of the month that do not exist.
        ("date_add('2026-01-31T00:00:00Z', 'month', 1)", r#""2026-02-28T00:00:00+00:00""#),
        ("date_add('2024-02-29T00:00:00Z', 'year', 1)", r#""2025-02-28T00:00:00+00:00""#),
        ("date_sub('2026-03-31T00:00:00Z', 'mon', 1)", r#""2026-02-28T00:00:00+00:00""#),
        // Format and zone of the result.
        ("date_add(d, 'day', 1, 'YYYY-MM-DD')", r#""2026-03-16""#),
        ("date_add(ms, 'day', 1, '')", r#""2026-03-16T10:30:45.123+00:00""#),
        ("date_add(ms, 'day', 1, '', 'Asia/Tokyo')", r#""2026-03-16T19:30:45.123+09:00""#),
        // A day keeps its time where clocks change: one that has 23 hours.
        ("date_add('2026-03-28T11:00:00Z', 'day', 1, '', 'Europe/Berlin')", r#""2026-03-29T12:00:00+02:00""#),
        (
            "date_add('2026-03-28T11:00:00Z', 'hour', 24, '', 'Europe/Berlin')",
            r#""2026-03-29T13:00:00+02:00""#,
        ),
        // Wrong order, wrong types, nothing to be read, too far.
        ("date_add(d, 7, 'day')", "MISSING"),
        ("date_add('day', d, 7)", "MISSING"),
        ("date_add(d, 'day', '7')", "MISSING"),
        ("date_add(d, 'day', 1.5)", "MISSING"),
        ("date_add(local, 'day', 7)", "MISSING"),
        ("date_add('2026-03-15', 'day', 7)", "MISSING"),
        ("date_add(s, 'day', 7)", "MISSING"),
        ("date_add(true, 'day', 7)", "MISSING"),
        ("date_add(1.5, 'day', 7)", "MISSING"),
        ("date_add(d, 'day', 1, 5)", "MISSING"),
        ("date_add(d, 'day', 1, '', 'Nowhere/City')", "MISSING"),
        ("date_add(d, 'year', 9000)", "MISSING"),
        ("date_add(d, 'year', 9223372036854775807)", "MISSING"),
        ("date_sub(d, 'ms', -9223372036854775808)", "MISSING"),
        ("date_add(9223372036854775807, 'ms', 1)", "MISSING"),
        ("date_add(18446744073709551615, 'ms', 1)", "MISSING"),
        ("date_add(n, 'day', 7)", "null"),
        ("date_add(m, 'day', 7)", "MISSING"),
        ("date_add(n, 'day', m)", "MISSING"),
    ]);
}

#[test]
fn date_diff() {
    check(&[
        ("date_diff('2026-03-20T00:00:00Z','2026-03-15T10:30:45Z','day')", "4"),
        ("date_diff('2026-03-15T10:30:45Z','2026-03-20T00:00:00Z','day')", "-4"),
        ("date_diff('2026-03-15T10:30:45Z','2026-03-15T19:30:45+09:00','ms')", "0"),
        ("date_diff(ms, d, 'ms')", "0"),
        ("date_diff(ms, 0, 'hour')", "492658"),
        ("date_diff('2026-03-15T00:00:00Z','2026-01-16T00:00:00Z','month')", "1"),
        ("date_diff('2026-03-16T00:00:00Z','2026-01-16T00:00:00Z','month')", "2"),
        ("date_diff('2026-01-16T00:00:00Z','2026-03-15T00:00:00Z','month')", "-1"),
        ("date_diff('2026-03-15T00:00:00Z','2024-03-16T00:00:00Z','year')", "1"),
        ("date_diff('2026-03-15T00:00:01.5Z','2026-03-15T00:00:00Z','sec')", "1"),
        ("date_diff('2026-03-15T01:59:59Z','2026-03-15T00:00:00Z','min')", "119"),
        ("date_diff(d, d, 'week')", "MISSING"),
        ("date_diff(d, local, 'day')", "MISSING"),
        ("date_diff(d, n, 'day')", "null"),
    ]);
}

#[test]
fn date_part() {
    check(&[
        ("date_part('2026-03-15T10:30:45Z', 'weekday')", "7"),
        ("date_part('2026-03-16T10:30:45Z', 'weekday')", "1"),
        ("date_part(d, 'year')", "2026"),
        ("date_part(d, 'month')", "3"),
        ("date_part(d, 'day')", "15"),
        ("date_part(d, 'hour')", "10"),
        ("date_part(d, 'minute')", "30"),
        ("date_part(d, 'second')", "45"),
        ("date_part(d, 'millis')", "123"),
        ("date_part(ms, 'millis')", "123"),
        ("date_part(-1, 'millis')", "999"),
        ("date_part(d, 'monthname')", r#""March""#),
        ("date_part(tokyo, 'hour')", "10"),
        ("date_part(tokyo, 'tz')", r#""+09:00""#),
        ("date_part(d, 'timezone')", r#""+00:00""#),
        ("date_part(d, 'dow')", "MISSING"),
        ("date_part(d, 'doy')", "MISSING"),
        ("date_part(d, 'week')", "MISSING"),
        ("date_part(d, 'quarter')", "MISSING"),
        ("date_part(local, 'year')", "MISSING"),
        ("date_part(n, 'year')", "null"),
    ]);
}

#[test]
fn date_trunc() {
    check(&[
        ("date_trunc('2026-03-15T10:30:45Z', 'day')", r#""2026-03-15T00:00:00+00:00""#),
        ("date_trunc(d, 'year')", r#""2026-01-01T00:00:00+00:00""#),
        ("date_trunc(d, 'month')", r#""2026-03-01T00:00:00+00:00""#),
        ("date_trunc(d, 'hour')", r#""2026-03-15T10:00:00+00:00""#),
        ("date_trunc(d, 'min')", r#""2026-03-15T10:30:00+00:00""#),
        ("date_trunc(d, 'sec')", r#""2026-03-15T10:30:45+00:00""#),
        ("date_trunc(d, 'ms')", r#""2026-03-15T10:30:45.123+00:00""#),
        ("date_trunc(ms, 'day')", "1773532800000"),
        ("date_trunc(-1, 'day')", "-86400000"),
        // In the zone of the text.
        ("date_trunc('2026-03-15T01:00:00+09:00', 'day')", r#""2026-03-15T00:00:00+09:00""#),
        ("date_trunc(d, 'week')", "MISSING"),
    ]);
}

/// The last hours of the year 9999, which `jiff` does not have, are as all others; there is nothing after them.
#[test]
fn the_end_of_the_calendar() {
    check(&[
        ("date_cast('9999-12-31T23:59:59Z')", "253402300799000"),
        ("date_cast('9999-12-31T23:59:59.999Z')", "253402300799999"),
        ("date_cast('9999-12-30T22:00:00Z') - date_cast('9999-12-30T21:59:59Z')", "1000"),
        ("date_cast('9999-12-31T23:59:59-00:01')", "MISSING"),
        ("date_cast('9999-12-31T23:59:59+12:00')", "253402257599000"),
        ("date_add(253402300799999, 'ms', 0)", "253402300799999"),
        ("date_add(253402300799999, 'ms', 1)", "MISSING"),
        ("date_add(253402300800000, 'day', -1)", "MISSING"),
        ("date_cast('31/12/9999', 'DD/MM/YYYY')", "253402214400000"),
        ("date_cast('9999-12-31 23:59', '%F %R')", "253402300740000"),
        ("date_add('9999-12-30T21:00:00Z', 'hour', 2)", r#""9999-12-30T23:00:00+00:00""#),
        ("date_add('9999-12-31T23:00:00Z', 'hour', -26)", r#""9999-12-30T21:00:00+00:00""#),
        ("date_add('9999-12-30T23:00:00Z', 'day', 1)", r#""9999-12-31T23:00:00+00:00""#),
        ("date_add('9999-12-31T00:00:00Z', 'day', 1)", "MISSING"),
        ("date_add('1970-12-31T12:00:00Z', 'year', 8029)", r#""9999-12-31T12:00:00+00:00""#),
        ("date_sub('9999-12-31T12:00:00Z', 'year', 8029)", r#""1970-12-31T12:00:00+00:00""#),
        ("date_sub('9999-12-31T12:00:00Z', 'month', 10)", r#""9999-02-28T12:00:00+00:00""#),
        ("date_diff('9999-12-31T23:59:59Z', '1970-01-01T00:00:00Z', 'year')", "8029"),
        ("date_diff('9999-12-31T23:59:59Z', '9999-12-30T23:59:59Z', 'hour')", "24"),
        ("date_diff('1970-01-01T00:00:00Z', '9999-12-31T23:59:59Z', 'day')", "-2932896"),
        ("date_diff('9999-12-31T23:59:59Z', '9999-10-31T00:00:00Z', 'month')", "2"),
        ("date_part('9999-12-31T23:59:59Z', 'year')", "9999"),
        // A Friday, as 31 December 9599 is.
        ("date_part('9999-12-31T23:59:59Z', 'weekday')", "5"),
        ("date_part('9999-12-31T23:59:59Z', 'monthname')", r#""December""#),
        ("date_trunc('9999-12-30T21:00:00Z', 'day')", r#""9999-12-30T00:00:00+00:00""#),
        ("date_trunc('9999-12-31T23:30:00Z', 'hour')", r#""9999-12-31T23:00:00+00:00""#),
        ("date_trunc('9999-12-31T23:30:00Z', 'day')", r#""9999-12-31T00:00:00+00:00""#),
        ("date_trunc('9999-12-31T23:30:00Z', 'month')", r#""9999-12-01T00:00:00+00:00""#),
        ("date_trunc('9999-12-31T23:30:00Z', 'year')", r#""9999-01-01T00:00:00+00:00""#),
        ("date_format('9999-12-31T23:59:59Z', 'YYYY-MM-DD hh:mm:ss TZD')", r#""9999-12-31 23:59:59 +00:00""#),
        (
            "date_format('9999-12-31T23:59:59Z', '%A %d %B %C %y %G %V %j %s %%s')",
            r#""Friday 31 December 99 99 9999 52 365 253402300799 %s""#,
        ),
        ("date_format('9999-12-31T12:00:00Z', '', 'America/New_York')", r#""9999-12-31T07:00:00-05:00""#),
        // There it is the year 10000.
        ("date_format('9999-12-31T23:59:59Z', '', 'Asia/Tokyo')", "MISSING"),
        ("date_format('9999-12-31T23:59:59Z', '%Y', 'Asia/Tokyo')", "MISSING"),
        (
            "date_range('9999-12-29T12:00:00Z', '9999-12-31T23:59:59Z', 'day', 1)",
            r#"["9999-12-29T12:00:00+00:00","9999-12-30T12:00:00+00:00","9999-12-31T12:00:00+00:00"]"#,
        ),
        ("array_length(date_range('9999-12-31T20:00:00Z', '9999-12-31T23:59:59Z', 'hour', 1))", "4"),
        ("tz_offset('9999-12-31T23:59:59+09:00')", "540"),
    ]);
}

#[test]
fn date_format() {
    check(&[
        ("date_format('2026-03-15T10:30:45Z','YYYY-MM-DD hh:mm','Asia/Tokyo')", r#""2026-03-15 19:30""#),
        ("date_format(d, '')", r#""2026-03-15T10:30:45.123+00:00""#),
        ("date_format(ms, 'YYYYMMDDhhmmss.sss')", r#""20260315103045.123""#),
        ("date_format(ms, 'hh:mm:ssTZD')", r#""10:30:45+00:00""#),
        ("date_format(tokyo, 'hh:mm:ssTZD')", r#""10:30:45+09:00""#),
        ("date_format(ms, 'hh TZN', 'Europe/Berlin')", r#""11 Europe/Berlin""#),
        ("date_format(ms, 'DD.MM.YY')", r#""15.03.26""#),
        ("date_format(ms, :fmt)", r#""2026""#),
        ("date_format(ms, '%Y-%m-%d %H:%M:%S')", r#""2026-03-15 10:30:45""#),
        ("date_format(ms, '%A, %d %B %Y, %I:%M %p')", r#""Sunday, 15 March 2026, 10:30 AM""#),
        ("date_format(ms, '%H:%M %z', 'America/New_York')", r#""06:30 -0400""#),
        ("date_format(ms, '%H:%M', '+05:30')", r#""16:00""#),
        ("date_format(ms, '%.3f %3f %j %%')", r#"".123 123 074 %""#),
        ("date_format(ms, '%')", "MISSING"),
        ("date_format(ms, '%Y %?')", "MISSING"),
        ("date_format(ms, 5)", "MISSING"),
        ("date_format(ms, 'YYYY', 'Mars/Base')", "MISSING"),
        ("date_format(local, 'YYYY')", "MISSING"),
        ("date_format(n, 'YYYY')", "null"),
    ]);
}

#[test]
fn date_cast() {
    check(&[
        ("date_cast('15/03/2026','%d/%m/%Y')", "1773532800000"),
        ("date_cast('15/03/2026','DD/MM/YYYY')", "1773532800000"),
        ("date_cast(d)", "1773570645123"),
        ("date_cast(d) = ms", "true"),
        ("date_cast(ms)", "1773570645123"),
        ("date_cast(tokyo)", "1773538245000"),
        ("date_cast('1969-12-31T23:59:59.999Z')", "-1"),
        ("date_cast('2026-03-15 10:30:45', 'YYYY-MM-DD hh:mm:ss')", "1773570645000"),
        ("date_cast('2026-03-15 10:30:45.123', 'YYYY-MM-DD hh:mm:ss.sss')", "1773570645123"),
        ("date_cast('2026-03-15T10:30:45+09:00', 'YYYY-MM-DDThh:mm:ssTZD')", "1773538245000"),
        ("date_cast('2026-03-15T10:30:45Z', 'YYYY-MM-DDThh:mm:ssTZD')", "1773570645000"),
        ("date_cast('2026-03-15 19:30 Asia/Tokyo', 'YYYY-MM-DD hh:mm TZN')", "1773570600000"),
        ("date_cast('2026-03-15 19:30 Asia/Tokyo', '%F %R %Q')", "1773570600000"),
        ("date_cast('1773570645', '%s')", "1773570645000"),
        ("date_cast(d, '')", "1773570645123"),
        // Text alone needs a zone, a date alone a format.
        ("date_cast('2026-03-15')", "MISSING"),
        ("date_cast(local)", "MISSING"),
        ("date_cast('31/02/2026','%d/%m/%Y')", "MISSING"),
        ("date_cast('15/03/2026 x','%d/%m/%Y')", "MISSING"),
        ("date_cast('15/03','%d/%m')", "MISSING"),
        ("date_cast(ms, 'YYYY')", "MISSING"),
        ("date_cast('', '')", "MISSING"),
        ("date_cast(true)", "MISSING"),
        ("date_cast(n)", "null"),
    ]);
}

#[test]
fn date_range() {
    check(&[
        (
            "date_range('2026-03-01T00:00:00Z','2026-03-04T00:00:00Z','day',1)",
            r#"["2026-03-01T00:00:00+00:00","2026-03-02T00:00:00+00:00","2026-03-03T00:00:00+00:00"]"#,
        ),
        ("date_range(0, 3000, 'sec', 1)", "[0,1000,2000]"),
        ("date_range(0, 3001, 'sec', 2)", "[0,2000]"),
        ("date_range(3000, 0, 'sec', -1)", "[3000,2000,1000]"),
        ("date_range(0, 0, 'sec', 1)", "[]"),
        ("date_range(3000, 0, 'sec', 1)", "[]"),
        (
            "date_range('2026-01-31T00:00:00Z','2026-05-01T00:00:00Z','month',1,'MM-DD')",
            r#"["01-31","02-28","03-31","04-30"]"#,
        ),
        ("date_range(0, 7200000, 'hour', 1, 'hh:mm', 'Asia/Kathmandu')", r#"["05:30","06:30"]"#),
        ("date_range(0, 3000, 'sec', 0)", "MISSING"),
        ("date_range(0, 3000, 'week', 1)", "MISSING"),
        ("date_range(0, local, 'sec', 1)", "MISSING"),
        ("date_range(0, n, 'sec', 1)", "null"),
        // Up to the end of the calendar, not beyond.
        ("array_length(date_range('9990-06-01T00:00:00Z', '9999-12-30T00:00:00Z', 'year', 1))", "10"),
    ]);
    let e = try_select("SELECT date_range(0, 4000000000000, 'ms', 1) AS x FROM c", "{}", &docs("[{}]"));
    let e = e.expect_err("too many");
    assert_eq!(
        describe(&e),
        "validation/size-limit-exceeded | an expression builds more than 67108864 bytes @1:8"
    );
}

#[test]
fn tz_offset() {
    check(&[
        ("tz_offset('2026-03-15T10:30:45+09:00')", "540"),
        ("tz_offset('America/New_York','TZN')", "-300"),
        ("tz_offset('Asia/Kathmandu','TZN')", "330"),
        ("tz_offset(d)", "0"),
        ("tz_offset('2026-03-15T10:30:45-03:30')", "-210"),
        ("tz_offset('2026-03-15 10:30 -0330', '%F %R %z')", "-210"),
        ("tz_offset('Nowhere/City','TZN')", "MISSING"),
        ("tz_offset(local)", "MISSING"),
        ("tz_offset(ms)", "MISSING"),
        ("tz_offset(n)", "null"),
    ]);
}

#[test]
fn durations() {
    check(&[
        ("duration_cast('1h30m')", "5400000"),
        ("duration_format(5400000)", r#""1h30m0s""#),
        ("duration_cast('1h30m', 'min')", "90"),
        ("duration_cast('1h30m', 'hour')", "1"),
        ("duration_cast('-90s')", "-90000"),
        ("duration_cast('1.5s')", "1500"),
        ("duration_cast('2d')", "172800000"),
        ("duration_cast('1us')", "0"),
        ("duration_format(90, 'minute')", r#""1h30m0s""#),
        ("duration_format(0)", r#""0s""#),
        ("duration_format(-1500)", r#""-1.5s""#),
        ("duration_format(250)", r#""250ms""#),
        ("duration_format(1.0, 'day')", r#""24h0m0s""#),
        ("duration_cast(duration_format(123456789))", "123456789"),
        ("duration_cast('1x')", "MISSING"),
        ("duration_cast('')", "MISSING"),
        ("duration_cast(5)", "MISSING"),
        ("duration_cast('1h', 'month')", "MISSING"),
        ("duration_cast('9999999999999999999h')", "MISSING"),
        ("duration_format('1h')", "MISSING"),
        ("duration_format(1, 'year')", "MISSING"),
        ("duration_format(1.5)", "MISSING"),
        ("duration_format(9223372036854775807, 'day') IS NOT MISSING", "true"),
        ("duration_format(n)", "null"),
        ("duration_cast(m)", "MISSING"),
    ]);
}

/// The time comes with the execution and is the same everywhere in it.
#[test]
fn clock_and_request_info() {
    let env = || ditto_dql::Env {
        now_ms: 1_791_454_108_090,
        request: harness::object(r#"{"request_id":"r1","app_id":"a"}"#),
    };
    for (expr, want) in [
        ("clock()", "1791454108090"),
        ("clock('')", r#""2026-10-08T10:08:28.090+00:00""#),
        ("clock('YYYY-MM-DD')", r#""2026-10-08""#),
        ("clock('hh:mm', 'Asia/Tokyo')", r#""19:08""#),
        ("clock('%H', 'Nowhere/City')", "MISSING"),
        ("clock(5)", "MISSING"),
        ("clock(null)", "null"),
        ("date_diff(clock(), '2026-10-08T00:00:00Z', 'hour')", "10"),
        ("ARRAY clock() - x FOR x IN [0, 90] END", "[1791454108090,1791454108000]"),
        ("request_info()", r#"{"app_id":"a","request_id":"r1"}"#),
        ("object_length(request_info())", "2"),
    ] {
        assert_eq!(harness::eval_in(expr, env()), want, "{expr}");
    }
}
