//! The order of keys is the order of the language, and keys can be read back.

use std::cmp::Ordering;

use ditto_types::{Object, Path, SmolStr, Value};
use proptest::prelude::*;

use super::*;
use crate::order::compare;

fn keys(descending: &[bool]) -> Vec<IndexKey> {
    let key = |d: &bool| IndexKey { path: Path::new(["f"]), descending: *d, include_missing: true };
    descending.iter().map(key).collect()
}

fn number() -> impl Strategy<Value = Value> {
    prop_oneof![
        (-3i64..4).prop_map(Value::Int),
        any::<i64>().prop_map(Value::Int),
        any::<u64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::UInt),
        any::<u64>().prop_map(|b| Value::Float(f64::from_bits(b))),
        (-6i32..7).prop_map(|i| Value::Float(f64::from(i) / 2.0)),
        // Around powers of two, as integers and as floats.
        (0u32..64, -3i128..4, any::<bool>()).prop_map(|(p, d, negative)| {
            let i = (1i128 << p) + d;
            crate::order::int_value(if negative { -i } else { i }).unwrap_or(Value::Int(0))
        }),
        (0i32..66, -2i64..3, any::<bool>()).prop_map(|(p, ulps, negative)| {
            let bits = 2f64.powi(p).to_bits().wrapping_add_signed(ulps);
            Value::Float(if negative { -f64::from_bits(bits) } else { f64::from_bits(bits) })
        }),
        prop::sample::select(vec![
            f64::NAN,
            -f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            0.0,
            -0.0,
            f64::MIN_POSITIVE,
            f64::MAX,
            f64::MIN,
            5e-324,
            -5e-324,
        ])
        .prop_map(Value::Float),
    ]
}

fn value() -> impl Strategy<Value = Value> {
    let scalar = prop_oneof![
        1 => Just(Value::Null),
        1 => any::<bool>().prop_map(Value::Bool),
        6 => number(),
        3 => "[\u{0}\u{1}\u{2}ab\u{7f}é\u{10ffff}]{0,4}".prop_map(Value::from),
        2 => prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(2), Just(254), Just(255)], 0..4)
            .prop_map(Value::Bytes),
    ];
    scalar.prop_recursive(3, 12, 3, |inner| {
        let name = "[\u{0}\u{1}ab]{0,2}".prop_map(SmolStr::from);
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map(name, inner, 0..3).prop_map(Value::Object),
        ]
    })
}

fn datum() -> impl Strategy<Value = Option<Value>> {
    prop::option::weighted(0.9, value())
}

/// A number with its kind, bit by bit.
fn same(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a.to_bits() == b.to_bits(),
        (Value::Array(a), Value::Array(b)) => a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b)),
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ka, a), (kb, b))| ka == kb && same(a, b))
        }
        (a, b) => a == b,
    }
}

fn check_order(a: &Option<Value>, b: &Option<Value>) {
    let bytes = |v: &Option<Value>, descending| {
        let mut out = Vec::new();
        push_component(v.as_ref(), descending, &mut out);
        out
    };
    let want = compare(a.as_ref(), b.as_ref());
    let (ka, kb) = (bytes(a, false), bytes(b, false));
    assert_eq!(ka.cmp(&kb), want, "{a:?} {b:?}");
    assert_eq!(bytes(a, true).cmp(&bytes(b, true)), want.reverse(), "{a:?} {b:?} descending");
    if want != Ordering::Equal {
        assert!(!ka.starts_with(&kb) && !kb.starts_with(&ka), "{a:?} {b:?}: a prefix");
    }
}

fn check_round_trip(values: &[Option<Value>], descending: &[bool]) {
    let keys = keys(descending);
    let bytes = encode_key(&keys, values);
    let back = decode_key(&keys, &bytes).unwrap_or_else(|e| panic!("{values:?}: {e}"));
    let equal = back.iter().zip(values).all(|(a, b)| match (a, b) {
        (Some(a), Some(b)) => same(a, b),
        (a, b) => a.is_none() && b.is_none(),
    });
    assert!(equal && back.len() == values.len(), "{values:?} {back:?}");
}

/// The values of one key decide before those of the next, whatever the trailers are.
fn check_composite(a: [Option<Value>; 2], b: [Option<Value>; 2], descending: [bool; 2]) {
    let keys = keys(&descending);
    let turned = |i: usize| {
        let o = compare(a[i].as_ref(), b[i].as_ref());
        if descending[i] { o.reverse() } else { o }
    };
    let want = turned(0).then(turned(1));
    let (ka, kb) = (encode_key(&keys, &a), encode_key(&keys, &b));
    if want != Ordering::Equal {
        assert_eq!(ka.cmp(&kb), want, "{a:?} {b:?} {descending:?}");
    }
    let mut prefix = Vec::new();
    push_component(a[0].as_ref(), descending[0], &mut prefix);
    let span = KeySpan::prefix(prefix);
    assert!(span.contains(&ka));
    assert_eq!(span.contains(&kb), turned(0) == Ordering::Equal, "{a:?} {b:?}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn bytes_compare_as_values(a in datum(), b in datum(), x in number(), y in number()) {
        check_order(&a, &b);
        check_order(&Some(x), &Some(y));
    }

    #[test]
    fn keys_compare_value_by_value(
        a in [datum(), datum()], b in [datum(), datum()], equal in any::<bool>(), descending in any::<[bool; 2]>(),
    ) {
        let b = if equal { [a[0].clone(), b[1].clone()] } else { b };
        check_composite(a, b, descending);
    }

    #[test]
    fn keys_are_read_back(values in prop::collection::vec((datum(), any::<bool>()), 1..5)) {
        let (values, descending): (Vec<_>, Vec<_>) = values.into_iter().unzip();
        check_round_trip(&values, &descending);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..40), descending in any::<[bool; 2]>()) {
        let _ = decode_key(&keys(&descending), &bytes);
    }
}

/// Ten million pairs, for `cargo test -- --ignored`.
#[test]
#[ignore = "takes minutes"]
fn bytes_compare_as_values_at_length() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let mut runner = TestRunner::deterministic();
    let draw = prop::collection::vec(datum(), 320);
    for _ in 0..100 {
        let values = draw.new_tree(&mut runner).expect("values").current();
        for a in &values {
            for b in &values {
                check_order(a, b);
            }
        }
    }
}

#[test]
fn small_integers_are_short() {
    let length = |v: Value| {
        let mut out = Vec::new();
        push_component(Some(&v), false, &mut out);
        out.len()
    };
    assert_eq!(length(Value::Int(0)), 2);
    assert_eq!(length(Value::Int(1)), 3);
    assert!(length(Value::Int(1000)) <= 5);
    assert!(length(Value::Int(1_700_000_000_000)) <= 9);
    assert_eq!(length(Value::Int(i64::MIN)), length(Value::Float(-9_223_372_036_854_775_808.0)));
}

#[test]
fn hostile_keys_are_refused() {
    let one = keys(&[false]);
    for bytes in [
        &[][..],
        &[0x11],
        &[STRING, b'a'],
        &[STRING, 0xff, END],
        &[STRING, ESCAPE, 9, END],
        &[NUMBER],
        &[NUMBER, 0xff],
        &[NUMBER, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff],
        &[OBJECT, FIELD, b'b', END, NULL, FIELD, b'a', END, NULL, END],
        &[OBJECT, 0x02],
        &[NULL, 0],
        &[MISSING, 1],
        &[ARRAY, MISSING, END],
    ] {
        assert_eq!(decode_key(&one, bytes), Err(KeyError), "{bytes:?}");
    }
    // Deeper than any value may be.
    assert_eq!(decode_key(&one, &[ARRAY; 100_000]), Err(KeyError));
    let mut nested = Value::Null;
    for _ in 1..ditto_types::MAX_DEPTH {
        nested = Value::Array(vec![nested]);
    }
    check_round_trip(&[Some(nested)], &[true]);
    check_round_trip(&[Some(Value::Object(Object::new()))], &[false]);
}

#[test]
fn spans() {
    assert_eq!(successor(&[1, 2]), Some(vec![1, 3]));
    assert_eq!(successor(&[1, 0xff, 0xff]), Some(vec![2]));
    assert_eq!(successor(&[0xff]), None);
    assert_eq!(successor(&[]), None);
    assert!(KeySpan::all().contains(&[]) && KeySpan::all().contains(&[0xff; 9]));
    let span = KeySpan { low: vec![2], high: Some(vec![3]) };
    assert!(span.contains(&[2]) && span.contains(&[2, 0xff]) && !span.contains(&[3]) && !span.contains(&[1]));
    assert!(KeySpan { low: vec![3], high: Some(vec![3]) }.is_empty());
}
