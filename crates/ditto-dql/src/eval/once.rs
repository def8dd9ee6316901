//! Parts of expressions that are the same for all rows: evaluated when the first row needs them, then remembered.

use std::borrow::Cow;

use ditto_types::Value;

use super::{Cx, Datum, Exceeded};
use crate::arith::Members;
use crate::env::Memoized;
use crate::error::DqlError;
use crate::pattern::Pattern;
use crate::scalar::{Memo, Scalar};

/// The value of `e`.
pub(super) fn value<'a>(e: &'a Scalar, memo: Memo, cx: &Cx<'a>) -> Result<Datum<'a>, DqlError> {
    let Some(place) = cx.bound.memo(memo) else { return e.eval(cx) };
    if place.get().is_none() {
        // Two threads may do this; the first one counts.
        let _ = place.set(Memoized::Value(e.eval(cx)?.map(Cow::into_owned)));
    }
    match place.get() {
        Some(Memoized::Value(v)) => Ok(v.as_ref().map(Cow::Borrowed)),
        _ => e.eval(cx),
    }
}

fn members<'a>(
    memo: Memo,
    cx: &Cx<'a>,
    build: impl Fn() -> Result<Members, DqlError>,
) -> Result<Cow<'a, Members>, DqlError> {
    let Some(place) = cx.bound.memo(memo) else { return build().map(Cow::Owned) };
    if place.get().is_none() {
        let _ = place.set(Memoized::Members(build()?));
    }
    match place.get() {
        Some(Memoized::Members(m)) => Ok(Cow::Borrowed(m)),
        _ => build().map(Cow::Owned),
    }
}

/// The members of a list of expressions.
pub(super) fn members_of_list<'a>(
    list: &'a [Scalar],
    memo: Memo,
    cx: &Cx<'a>,
) -> Result<Cow<'a, Members>, DqlError> {
    members(memo, cx, || {
        let items: Vec<Option<Value>> =
            list.iter().map(|e| Ok(e.eval(cx)?.map(Cow::into_owned))).collect::<Result<_, DqlError>>()?;
        Ok(Members::of_list(items))
    })
}

/// The members of the array that an expression gives.
pub(super) fn members_of_array<'a>(
    array: &'a Scalar,
    memo: Memo,
    cx: &Cx<'a>,
) -> Result<Cow<'a, Members>, DqlError> {
    members(memo, cx, || Ok(Members::of_array(array.eval(cx)?.as_deref())))
}

/// Applies a compiled pattern; `None` if the pattern is none.
pub(super) fn pattern(
    memo: Memo,
    compile: impl Fn() -> Result<Option<Pattern>, Exceeded>,
    apply: &mut dyn FnMut(&Pattern) -> Result<bool, Exceeded>,
    cx: &Cx<'_>,
) -> Result<Option<bool>, Exceeded> {
    match cx.bound.memo(memo).map(|place| place.get_or_init(|| Memoized::Pattern(compile()))) {
        Some(Memoized::Pattern(Ok(p))) => p.as_ref().map(apply).transpose(),
        Some(Memoized::Pattern(Err(e))) => Err(*e),
        _ => compile()?.map(|p| apply(&p)).transpose(),
    }
}
