//! Sets of values of one field, as sorted intervals of ascending key components.

use ditto_types::Value;

use crate::key::{self, successor};

/// Components from `low` on and before `high`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    pub(crate) low: Vec<u8>,
    pub(crate) high: Vec<u8>,
    /// Whether it holds exactly one value; `low` is its component then.
    pub(crate) point: bool,
}

/// Sorted and disjoint.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Set(Vec<Interval>);

/// Before every component.
const FIRST: u8 = key::FALSE;
/// Behind every component.
const BEHIND: u8 = key::MISSING + 1;

impl Set {
    pub(crate) fn none() -> Self {
        Self(Vec::new())
    }

    /// Every value, and MISSING.
    pub(crate) fn all() -> Self {
        Self::bytes(vec![FIRST], vec![BEHIND])
    }

    /// Every value that is neither NULL nor MISSING.
    pub(crate) fn known() -> Self {
        Self::bytes(vec![FIRST], vec![key::NULL])
    }

    pub(crate) fn point(value: Option<&Value>) -> Self {
        let mut low = Vec::new();
        key::push_component(value, false, &mut low);
        // A component is never all ones.
        let high = successor(&low).unwrap_or_default();
        Self(vec![Interval { low, high, point: true }])
    }

    fn bytes(low: Vec<u8>, high: Vec<u8>) -> Self {
        if low < high { Self(vec![Interval { low, high, point: false }]) } else { Self::none() }
    }

    /// The values of the same type as `value`: what it compares with.
    pub(crate) fn class(value: &Value) -> Self {
        let (low, high) = class(value);
        Self::bytes(low, high)
    }

    /// The values of its type before `value`, with it or without.
    pub(crate) fn below(value: &Value, included: bool) -> Self {
        Self::bytes(class(value).0, edge(value, included))
    }

    /// The values of its type behind `value`, with it or without.
    pub(crate) fn above(value: &Value, included: bool) -> Self {
        Self::bytes(edge(value, !included), class(value).1)
    }

    /// The strings that begin with `prefix`.
    pub(crate) fn strings_with_prefix(prefix: &str) -> Self {
        let mut low = vec![key::STRING];
        key::escape_open(prefix.as_bytes(), &mut low);
        let high = successor(&low).unwrap_or_default();
        Self::bytes(low, high)
    }

    pub(crate) fn intervals(&self) -> &[Interval] {
        &self.0
    }

    /// Whether it holds single values only.
    pub(crate) fn is_points(&self) -> bool {
        self.0.iter().all(|i| i.point)
    }

    /// The union of any intervals.
    pub(crate) fn union_of(sets: impl IntoIterator<Item = Set>) -> Set {
        Set::of(sets.into_iter().flat_map(|s| s.0).collect())
    }

    fn of(mut intervals: Vec<Interval>) -> Set {
        intervals.sort_unstable_by(|a, b| a.low.cmp(&b.low).then_with(|| b.high.cmp(&a.high)));
        let mut out: Vec<Interval> = Vec::with_capacity(intervals.len());
        for i in intervals {
            match out.last_mut() {
                // Points side by side stay points: they are what a following key can be looked up behind.
                Some(last) if i.low < last.high || (i.low == last.high && !last.point && !i.point) => {
                    if i.high > last.high {
                        last.high = i.high;
                        last.point = false;
                    }
                }
                _ => out.push(i),
            }
        }
        Set(out)
    }

    pub(crate) fn intersect(&self, other: &Set) -> Set {
        let (mut a, mut b) = (self.0.iter().peekable(), other.0.iter().peekable());
        let mut out = Vec::new();
        while let (Some(x), Some(y)) = (a.peek(), b.peek()) {
            let low = (&x.low).max(&y.low);
            let high = (&x.high).min(&y.high);
            if low < high {
                let interval = Interval { low: low.clone(), high: high.clone(), point: x.point || y.point };
                out.push(interval);
            }
            if x.high <= y.high {
                a.next();
            } else {
                b.next();
            }
        }
        Set(out)
    }

    /// What is in this set and not in `other`.
    pub(crate) fn without(&self, other: &Set) -> Set {
        let mut gaps = Vec::new();
        let mut low = vec![FIRST];
        for i in &other.0 {
            if low < i.low {
                gaps.push(Interval { low, high: i.low.clone(), point: false });
            }
            low = i.high.clone();
        }
        if low.as_slice() < &[BEHIND][..] {
            gaps.push(Interval { low, high: vec![BEHIND], point: false });
        }
        self.intersect(&Set(gaps))
    }
}

/// The component of `value`, or the first place behind it.
fn edge(value: &Value, behind: bool) -> Vec<u8> {
    let mut out = Vec::new();
    key::push_component(Some(value), false, &mut out);
    if behind { successor(&out).unwrap_or_default() } else { out }
}

/// Where the components of a type begin and end.
fn class(value: &Value) -> (Vec<u8>, Vec<u8>) {
    let (first, last) = match value {
        Value::Bool(_) => (key::FALSE, key::TRUE),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => (key::NUMBER, key::NUMBER),
        Value::Bytes(_) => (key::BINARY, key::BINARY),
        Value::Str(_) => (key::STRING, key::STRING),
        Value::Array(_) => (key::ARRAY, key::ARRAY),
        Value::Object(_) => (key::OBJECT, key::OBJECT),
        Value::Null => (key::NULL, key::NULL),
    };
    (vec![first], vec![last + 1])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holds(set: &Set, value: Option<&Value>) -> bool {
        let mut c = Vec::new();
        key::push_component(value, false, &mut c);
        set.0.iter().any(|i| i.low <= c && c < i.high)
    }

    #[test]
    fn ranges_stay_within_the_type() {
        let five = Value::Int(5);
        let above = Set::above(&five, false);
        let below = Set::below(&five, true);
        for (v, in_above, in_below) in [
            (Some(Value::Int(5)), false, true),
            (Some(Value::Float(5.0)), false, true),
            (Some(Value::Float(5.5)), true, false),
            (Some(Value::Float(f64::NAN)), true, false),
            (Some(Value::from("5")), false, false),
            (Some(Value::Bool(true)), false, false),
            (Some(Value::Null), false, false),
            (None, false, false),
        ] {
            assert_eq!(holds(&above, v.as_ref()), in_above, "{v:?}");
            assert_eq!(holds(&below, v.as_ref()), in_below, "{v:?}");
        }
        let prefix = Set::strings_with_prefix("ab");
        for (s, want) in [("ab", true), ("abc", true), ("a", false), ("ac", false), ("ab\u{10ffff}", true)] {
            assert_eq!(holds(&prefix, Some(&Value::from(s))), want, "{s}");
        }
    }

    #[test]
    fn algebra_of_sets() {
        let p = |i: i64| Set::point(Some(&Value::Int(i)));
        let union = |a: &Set, b: Set| Set::union_of([a.clone(), b]);
        let two = union(&p(1), p(2));
        assert!(two.is_points() && two.intervals().len() == 2);
        assert_eq!(union(&two, p(1)), two);
        assert_eq!(two.intersect(&p(2)), p(2));
        assert!(two.intersect(&p(2)).is_points());
        assert_eq!(two.intersect(&p(3)), Set::none());
        let rest = Set::class(&Value::Int(0)).without(&p(1));
        assert_eq!(rest.intervals().len(), 2);
        assert!(!holds(&rest, Some(&Value::Float(1.0))) && holds(&rest, Some(&Value::Float(1.5))));
        assert!(holds(&Set::all(), None) && !holds(&Set::known(), None));
        assert_eq!(Set::all().without(&Set::all()), Set::none());
        assert_eq!(Set::all().without(&Set::none()), Set::all());
        // Adjacent ranges become one.
        let five = Value::Int(5);
        let joined = union(&Set::below(&five, false), Set::above(&five, true));
        assert_eq!(joined, Set::class(&five));
        let rest = Set::all().without(&Set::known()).without(&Set::point(Some(&Value::Null)));
        assert!(holds(&rest, None) && !holds(&rest, Some(&Value::Null)));
    }
}
