//! Variables over the elements of a value: quantifiers and transforms.

use std::borrow::Cow;
use std::collections::btree_map;
use std::iter::Enumerate;
use std::slice;

use ditto_types::{Object, SmolStr, Value};

use super::{Budget, Cx, Datum, own};
use crate::ast::Quantifier;
use crate::error::DqlError;
use crate::scalar::{At, Each, Quantified, Transform};
use crate::truth::Truth;

/// The variables of one quantifier or transform, and those around it.
pub(super) struct Frame<'a> {
    outer: Option<&'a Frame<'a>>,
    level: u16,
    key: Key<'a>,
    value: &'a Value,
    /// Where the quantifier or transform stands.
    pub(super) at: At,
}

/// Where an element stands in what holds it.
#[derive(Clone, Copy)]
enum Key<'a> {
    Index(usize),
    Name(&'a SmolStr),
}

impl<'a> Frame<'a> {
    /// The value of a variable: of the innermost frame of its level.
    pub(super) fn local(frames: Option<&'a Frame<'a>>, level: u16, key: bool) -> Datum<'a> {
        let frame = std::iter::successors(frames, |f| f.outer).find(|f| f.level == level)?;
        Some(match (key, frame.key) {
            (false, _) => Cow::Borrowed(frame.value),
            (true, Key::Index(i)) => Cow::Owned(Value::from(i as u64)),
            (true, Key::Name(name)) => Cow::Owned(Value::Str(name.clone())),
        })
    }
}

/// The direct elements of an array or an object.
enum Elements<'a> {
    Array(Enumerate<slice::Iter<'a, Value>>),
    Object(btree_map::Iter<'a, SmolStr, Value>),
}

impl<'a> Elements<'a> {
    fn of(v: &'a Value) -> Option<Self> {
        match v {
            Value::Array(a) => Some(Elements::Array(a.iter().enumerate())),
            Value::Object(o) => Some(Elements::Object(o.iter())),
            _ => None,
        }
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = (Key<'a>, &'a Value);

    fn next(&mut self) -> Option<Self::Item> {
        match self {
            Elements::Array(items) => items.next().map(|(i, v)| (Key::Index(i), v)),
            Elements::Object(fields) => fields.next().map(|(k, v)| (Key::Name(k), v)),
        }
    }
}

/// What came of going through the elements of a source.
enum Walk {
    /// The source is MISSING.
    Missing,
    /// The source has no elements, since it is neither array nor object.
    Scalar,
    Done,
}

/// Calls `visit` for each element until it says `false`. With WITHIN the elements of an element follow it.
fn walk<'a>(
    each: &'a Each,
    at: At,
    cx: &Cx<'a>,
    visit: &mut dyn for<'b> FnMut(&Cx<'b>) -> Result<bool, DqlError>,
) -> Result<Walk, DqlError> {
    let source = each.source.eval(cx)?;
    let Some(source) = source.as_deref() else { return Ok(Walk::Missing) };
    let Some(mut elements) = Elements::of(source) else { return Ok(Walk::Scalar) };
    // Not recursion: a value can be nested deeper than there is stack for all quantifiers of an expression.
    let mut outer: Vec<Elements<'_>> = Vec::new();
    loop {
        let Some((key, value)) = elements.next() else {
            match outer.pop() {
                Some(rest) => elements = rest,
                None => return Ok(Walk::Done),
            }
            continue;
        };
        cx.charged(cx.budget.step(1), at)?;
        let frame = Frame { outer: cx.locals, level: each.level, key, value, at };
        if !element(&frame, cx, visit)? {
            return Ok(Walk::Done);
        }
        if each.within
            && let Some(inner) = Elements::of(value)
        {
            outer.push(std::mem::replace(&mut elements, inner));
        }
    }
}

fn element<'b>(
    frame: &'b Frame<'b>,
    cx: &Cx<'b>,
    visit: &mut dyn for<'c> FnMut(&Cx<'c>) -> Result<bool, DqlError>,
) -> Result<bool, DqlError> {
    let inner = Cx { locals: Some(frame), budget: cx.budget.share(), ..*cx };
    let more = visit(&inner)?;
    cx.budget.resume(&inner.budget);
    Ok(more)
}

/// ANY, EVERY, ANY AND EVERY.
pub(super) fn quantified<'a>(q: &'a Quantified, cx: &Cx<'a>) -> Result<Truth, DqlError> {
    let any = q.quantifier == Quantifier::Any;
    let (mut none, mut decided) = (true, false);
    let walked = walk(&q.each, q.at, cx, &mut |cx| {
        none = false;
        // ANY is decided by one that satisfies, EVERY by one that does not.
        decided = (q.condition.test(cx)? == Truth::True) == any;
        Ok(!decided)
    })?;
    Ok(match (walked, q.quantifier) {
        (Walk::Missing, _) => Truth::Missing,
        (Walk::Scalar, _) => Truth::Null,
        (Walk::Done, Quantifier::Any) => Truth::from(decided),
        (Walk::Done, Quantifier::Every) => Truth::from(!decided),
        (Walk::Done, Quantifier::AnyAndEvery) => Truth::from(!decided && !none),
    })
}

/// ARRAY … FOR and OBJECT … FOR. Elements whose value is MISSING, or whose key is no string, are left out.
pub(super) fn transform<'a>(t: &'a Transform, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let (mut array, mut object) = (Vec::new(), Object::new());
    let walked = walk(&t.each, t.at, cx, &mut |cx| {
        if let Some(filter) = &t.filter
            && filter.test(cx)? != Truth::True
        {
            return Ok(true);
        }
        let key = match &t.key {
            None => None,
            Some(e) => match e.eval(cx)?.as_deref() {
                Some(Value::Str(s)) => Some(s.clone()),
                _ => return Ok(true),
            },
        };
        let Some(value) = t.value.eval(cx)? else { return Ok(true) };
        let charge = |budget: &Budget| {
            budget.charge(key.as_ref().map_or(0, |k| size_of::<SmolStr>() + k.len()))?;
            budget.charge_value(&value)
        };
        cx.charged(charge(&cx.budget), t.at)?;
        match key {
            None => array.push(value.into_owned()),
            Some(key) => {
                object.insert(key, value.into_owned());
            }
        }
        Ok(true)
    })?;
    Ok(match walked {
        Walk::Missing => None,
        Walk::Scalar => own(Some(Value::Null)),
        Walk::Done if t.key.is_some() => own(Some(Value::Object(object))),
        Walk::Done => own(Some(Value::Array(array))),
    })
}
