//! Every function on everything: nothing panics, and the general rules hold.

use std::sync::Arc;

use ditto_types::{Object, SmolStr};
use proptest::prelude::*;

use super::*;
use crate::env::{Bound, Env};

#[test]
fn the_registry_is_sorted_for_the_search() {
    assert!(FUNCTIONS.is_sorted_by(|a, b| a.name < b.name));
    assert!(find("LOWER").is_some() && find("nope").is_none());
    assert!(FUNCTIONS.iter().all(|f| f.min <= f.max));
}

/// Texts that mean something to one function or another.
const WORDS: &[&str] = &[
    "",
    "a",
    "day",
    "month",
    "year",
    "ms",
    "weekday",
    "tz",
    "TZN",
    "UTC",
    "Europe/Berlin",
    "+09:00",
    "YYYY-MM-DD",
    "%Y-%m-%dT%H:%M:%S%z",
    "%",
    "%f%Q%Z",
    "1h30m",
    "-0.5s",
    "2026-03-15T10:30:45.123Z",
    "2026-03-15",
    "{\"a\":[1]}",
    "[1,",
    "string",
    "é",
    "0000-01-01T00:00:00Z",
    "9999-12-30T00:00:00+23:59",
    "9999-12-31T23:59:59.999Z",
];

const FLOATS: &[f64] = &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.0, 1e300, 1_773_570_645_123.0];

fn value() -> impl Strategy<Value = Option<Value>> {
    let scalar = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (-3i64..40).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        (-62_135_596_800_000i64..253_402_207_200_000).prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::Float),
        prop::sample::select(FLOATS).prop_map(Value::Float),
        prop::sample::select(WORDS).prop_map(Value::from),
        "[abé%_YMDhms:. -]{0,8}".prop_map(Value::from),
        any::<String>().prop_map(Value::from),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(Value::Bytes),
    ];
    let value = scalar.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::Array),
            prop::collection::btree_map("[abc]?".prop_map(SmolStr::from), inner, 0..3)
                .prop_map(Value::Object),
        ]
    });
    prop_oneof![9 => value.prop_map(Some), 1 => Just(None)]
}

/// Calls a function; an error is a used up budget.
fn call(function: &'static Function, args: &[Option<Value>]) -> Result<Option<Value>, DqlError> {
    let args = args.iter().map(|v| v.clone().map_or(Scalar::Missing, Scalar::Const)).collect();
    let scalar = Scalar::Call(function, args, At::default());
    let env = Env { now_ms: 1_773_570_645_123, request: Object::new() };
    let bound = Bound::new(Arc::from(""), Arc::from([]), Arc::new(env), 0);
    scalar.eval(&Cx::constant(&bound)).map(|v| v.map(Cow::into_owned))
}

/// About missing values, or with arguments that may be missing.
const ABOUT_MISSING: &[&str] = &[
    "coalesce",
    "decode",
    "ifmissing",
    "ifmissingornull",
    "ifnull",
    "ismissing",
    "ismissingornull",
    "isnull",
    "joinstr",
    "json_type",
    "missingif",
    "nullif",
    "nvl",
    "type",
];

proptest! {
    #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]

    #[test]
    fn no_function_panics(
        at in 0..FUNCTIONS.len(),
        more in 0usize..4,
        args in prop::collection::vec(value(), 6),
    ) {
        let function = &FUNCTIONS[at];
        let count = (function.min + more).min(function.max).min(args.len());
        let args = &args[..count];
        let result = call(function, args);
        if let Ok(result) = &result {
            // The same arguments give the same result.
            let again = call(function, args).expect("the budget sufficed before");
            prop_assert!(crate::compare(result.as_ref(), again.as_ref()).is_eq());
            let missing = args.iter().any(Option::is_none);
            if missing && !ABOUT_MISSING.contains(&function.name) {
                prop_assert!(result.is_none(), "{} of something missing is {result:?}", function.name);
            }
        }
    }
}

/// A wrong type is MISSING, not an error. Nothing takes bytes, apart from what takes everything.
#[test]
fn wrong_types_are_missing() {
    for function in FUNCTIONS {
        if function.min == 0 || ABOUT_MISSING.contains(&function.name) || function.name == "serialize_json" {
            continue;
        }
        let result = call(function, &vec![Some(Value::Bytes(vec![1])); function.min]).expect("no error");
        let want = function.name.starts_with("is_").then_some(Value::Bool(false));
        assert_eq!(result, want, "{}", function.name);
    }
}
