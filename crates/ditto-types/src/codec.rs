//! The canonical binary form of a [`Value`]: one byte string per value.
//!
//! ```text
//! value := 0 null | 1 false | 2 true | 3 zigzag-varint | 4 varint (above i64::MAX) | 5 f64 little-endian bits
//!        | 6 len bytes | 7 len utf8 | 8 len (count value*) | 9 len (count (len name, value)*)   names ascending
//! ```
//!
//! Arrays and objects carry their byte length, so that a reader skips a sibling without looking inside.
//! NaN has one form. Decoders refuse everything that [`encode`] would not write.

mod visit;

pub use visit::{Visit, visit};

use crate::value::{Object, Value};
use crate::wire::{Reader, WireError, put_bytes, put_str, put_varint, put_zigzag};
use crate::{MAX_DEPTH, SmolStr};

const NULL: u8 = 0;
const FALSE: u8 = 1;
const TRUE: u8 = 2;
const INT: u8 = 3;
const UINT: u8 = 4;
const FLOAT: u8 = 5;
const BYTES: u8 = 6;
const STR: u8 = 7;
const ARRAY: u8 = 8;
const OBJECT: u8 = 9;

/// Appends the canonical form of `v`.
pub fn encode(v: &Value, out: &mut Vec<u8>) {
    match v {
        Value::Null => out.push(NULL),
        Value::Bool(false) => out.push(FALSE),
        Value::Bool(true) => out.push(TRUE),
        Value::Int(i) => {
            out.push(INT);
            put_zigzag(out, *i);
        }
        Value::UInt(u) => {
            // One form per number, also for a hand-made `UInt` in the signed range.
            if let Ok(i) = i64::try_from(*u) {
                return encode(&Value::Int(i), out);
            }
            out.push(UINT);
            put_varint(out, *u);
        }
        Value::Float(f) => {
            out.push(FLOAT);
            let f = if f.is_nan() { f64::NAN } else { *f };
            out.extend_from_slice(&f.to_bits().to_le_bytes());
        }
        Value::Bytes(b) => {
            out.push(BYTES);
            put_bytes(out, b);
        }
        Value::Str(s) => {
            out.push(STR);
            put_str(out, s);
        }
        Value::Array(a) => {
            out.push(ARRAY);
            with_length(out, |out| {
                put_varint(out, a.len() as u64);
                a.iter().for_each(|v| encode(v, out));
            });
        }
        Value::Object(o) => {
            out.push(OBJECT);
            with_length(out, |out| {
                put_varint(out, o.len() as u64);
                for (k, v) in o {
                    put_str(out, k);
                    encode(v, out);
                }
            });
        }
    }
}

/// The canonical form of `v` as its own buffer.
pub fn to_vec(v: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    encode(v, &mut out);
    out
}

/// Writes what `body` appends, preceded by its length.
fn with_length(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    body(out);
    let len = out.len() - start;
    let mut head = Vec::with_capacity(5);
    put_varint(&mut head, len as u64);
    out.splice(start..start, head);
}

/// Reads one value and requires that it fills `buf`.
pub fn from_slice(buf: &[u8]) -> Result<Value, WireError> {
    let mut r = Reader::new(buf);
    let v = decode(&mut r)?;
    r.finish()?;
    Ok(v)
}

/// Reads one value; refuses non-canonical bytes and nesting beyond [`MAX_DEPTH`].
pub fn decode(r: &mut Reader<'_>) -> Result<Value, WireError> {
    decode_within(r, MAX_DEPTH)
}

/// As [`decode`], with nesting up to `depth` levels: for values that expressions built, which may nest deeper than documents.
pub fn decode_within(r: &mut Reader<'_>, depth: usize) -> Result<Value, WireError> {
    let Some(below) = depth.checked_sub(1) else { return Err(WireError::Depth(r.offset())) };
    Ok(match r.u8()? {
        NULL => Value::Null,
        FALSE => Value::Bool(false),
        TRUE => Value::Bool(true),
        INT => Value::Int(r.zigzag()?),
        UINT => {
            let u = r.varint()?;
            if u <= i64::MAX as u64 {
                return Err(r.invalid("integer form"));
            }
            Value::UInt(u)
        }
        FLOAT => {
            let f = f64::from_bits(r.u64_le()?);
            if f.is_nan() && f.to_bits() != f64::NAN.to_bits() {
                return Err(r.invalid("NaN form"));
            }
            Value::Float(f)
        }
        BYTES => Value::Bytes(r.bytes(usize::MAX)?.to_vec()),
        STR => Value::Str(SmolStr::new(r.str(usize::MAX)?)),
        ARRAY => {
            let mut body = Reader::new(r.bytes(usize::MAX)?);
            let n = body.count(1)?;
            let mut out = Vec::with_capacity(n);
            for _ in 0..n {
                out.push(decode_within(&mut body, below)?);
            }
            body.finish()?;
            Value::Array(out)
        }
        OBJECT => {
            let mut body = Reader::new(r.bytes(usize::MAX)?);
            let n = body.count(2)?;
            let mut out = Object::new();
            let mut last: Option<&str> = None;
            for _ in 0..n {
                let k = body.str(usize::MAX)?;
                if last.is_some_and(|l| l >= k) {
                    return Err(body.invalid("order of object fields"));
                }
                last = Some(k);
                out.insert(SmolStr::new(k), decode_within(&mut body, below)?);
            }
            body.finish()?;
            Value::Object(out)
        }
        _ => return Err(r.invalid("value tag")),
    })
}

/// A value that needs no memory of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// `null`.
    Null,
    /// A boolean.
    Bool(bool),
    /// An integer of the signed 64-bit range.
    Int(i64),
    /// A float.
    Float(f64),
    /// Text.
    Str(&'a str),
}

/// Reads the value that fills `buf` in place; `None` when it is of another type. Checks what [`decode`] checks.
#[inline]
pub fn scalar(buf: &[u8]) -> Result<Option<Scalar<'_>>, WireError> {
    let mut r = Reader::new(buf);
    let out = match r.u8()? {
        NULL => Scalar::Null,
        FALSE => Scalar::Bool(false),
        TRUE => Scalar::Bool(true),
        INT => Scalar::Int(r.zigzag()?),
        FLOAT => {
            let f = f64::from_bits(r.u64_le()?);
            if f.is_nan() && f.to_bits() != f64::NAN.to_bits() {
                return Err(r.invalid("NaN form"));
            }
            Scalar::Float(f)
        }
        STR => Scalar::Str(r.str(usize::MAX)?),
        _ => return Ok(None),
    };
    r.finish()?;
    Ok(Some(out))
}

/// Skips one value without building it. Lengths are checked, contents are not.
pub fn skip(r: &mut Reader<'_>) -> Result<(), WireError> {
    match r.u8()? {
        NULL | FALSE | TRUE => Ok(()),
        INT | UINT => r.varint().map(drop),
        FLOAT => r.take(8).map(drop),
        BYTES | STR | ARRAY | OBJECT => r.bytes(usize::MAX).map(drop),
        _ => Err(r.invalid("value tag")),
    }
}

/// The canonical bytes of the value at `path` below the object encoded in `buf`, without decoding its siblings.
///
/// `Ok(None)` when a step is absent or not an object.
pub fn get<'a>(buf: &'a [u8], path: &[SmolStr]) -> Result<Option<&'a [u8]>, WireError> {
    let Some((first, rest)) = path.split_first() else { return Ok(Some(buf)) };
    let mut r = Reader::new(buf);
    if r.u8()? != OBJECT {
        return Ok(None);
    }
    let body = r.bytes(usize::MAX)?;
    let mut r = Reader::new(body);
    for _ in 0..r.count(2)? {
        let name = r.bytes(usize::MAX)?;
        let start = r.offset();
        skip(&mut r)?;
        match name.cmp(first.as_bytes()) {
            std::cmp::Ordering::Less => {}
            std::cmp::Ordering::Equal => return get(&body[start..r.offset()], rest),
            std::cmp::Ordering::Greater => return Ok(None),
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::Bool),
            any::<i64>().prop_map(Value::Int),
            any::<u64>().prop_map(Value::from),
            prop::num::f64::NORMAL.prop_map(Value::Float),
            prop::collection::vec(any::<u8>(), 0..8).prop_map(Value::Bytes),
            ".{0,8}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 6, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..6).prop_map(Value::Array),
                prop::collection::btree_map("[a-d]{1,3}".prop_map(SmolStr::from), inner, 0..6)
                    .prop_map(Value::Object),
            ]
        })
    }

    proptest! {
        #[test]
        fn round_trip(v in value()) {
            let b = to_vec(&v);
            prop_assert_eq!(&from_slice(&b).unwrap(), &v);
            let mut r = Reader::new(&b);
            skip(&mut r).unwrap();
            prop_assert!(r.finish().is_ok());
        }

        #[test]
        fn arbitrary_bytes_are_refused_or_canonical(b in prop::collection::vec(any::<u8>(), 0..64)) {
            if from_slice(&b).is_err() {
                prop_assert!(!matches!(scalar(&b), Ok(Some(_))));
            }
            let mut r = Reader::new(&b);
            prop_assert_eq!(visit(&mut r, &mut ()).and_then(|()| r.finish()), from_slice(&b).map(drop));
            if let Ok(v) = from_slice(&b) {
                let scalar = scalar(&b).unwrap().map(|s| match s {
                    Scalar::Null => Value::Null,
                    Scalar::Bool(b) => Value::Bool(b),
                    Scalar::Int(i) => Value::Int(i),
                    Scalar::Float(f) => Value::Float(f),
                    Scalar::Str(s) => Value::from(s),
                });
                let kinds = matches!(v, Value::UInt(_) | Value::Bytes(_) | Value::Array(_) | Value::Object(_));
                prop_assert_eq!(scalar.map(|s| to_vec(&s)), (!kinds).then(|| b.clone()));
                prop_assert_eq!(to_vec(&v), b);
            }
        }

        #[test]
        fn path_access_equals_decoding(v in value(), p in prop::collection::vec("[a-d]{1,3}".prop_map(SmolStr::from), 0..4)) {
            let want = p.iter().try_fold(&v, |v, k| v.get(k));
            let got = get(&to_vec(&v), &p).unwrap().map(|b| from_slice(b).unwrap());
            prop_assert_eq!(got.as_ref(), want);
        }
    }

    #[test]
    fn depth_is_bounded() {
        let mut v = Value::Null;
        for _ in 0..MAX_DEPTH {
            v = Value::Array(vec![v]);
        }
        assert!(matches!(from_slice(&to_vec(&v)), Err(WireError::Depth(_))));
    }
}
