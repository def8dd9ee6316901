//! Numbers in keys: one order for integers and floats.

use ditto_types::Value;

use super::read::{KeyError, Reader};

/// From here on not every integer is a float, so that the distance to the nearest one is written too.
const EXACT: f64 = 9_007_199_254_740_992.0;
/// The largest float that an integer of 64 bits can be nearest to.
const LARGEST: f64 = 18_446_744_073_709_551_616.0;
/// Added to the distance, which is at most 1,024 either way.
const BIAS: i128 = 0x8000;
/// The form of NaN, which comes after all other numbers.
const NAN: u64 = u64::MAX;

/// Which numbers of an entry are not what their value suggests: an integer where one of 64 bits fits, else a float.
#[derive(Debug, Default)]
pub(super) struct Kinds {
    /// Numbers so far that have no byte in `out`.
    plain: usize,
    out: Vec<u8>,
}

/// What the trailer says of a number: nothing special.
const PLAIN: u8 = 0;
/// A float with the value of an integer.
const FLOAT: u8 = 1;
/// The float -0.0.
const NEGATIVE_ZERO: u8 = 2;
/// `Value::UInt` of a number that fits `i64`.
const UNSIGNED: u8 = 3;
/// A NaN other than `f64::NAN`; its bits follow.
const OTHER_NAN: u8 = 4;

impl Kinds {
    fn push(&mut self, kind: u8) {
        if kind == PLAIN {
            self.plain += 1;
        } else {
            self.out.resize(self.out.len() + self.plain, PLAIN);
            self.plain = 0;
            self.out.push(kind);
        }
    }

    /// Appends the trailer; the plain numbers at the end have no byte.
    pub(super) fn write(self, out: &mut Vec<u8>) {
        out.extend(self.out);
    }
}

pub(super) fn write(value: &Value, out: &mut Vec<u8>, kinds: &mut Kinds) {
    let (nearest, distance) = match value {
        Value::Int(i) => {
            kinds.push(PLAIN);
            nearest_float(i128::from(*i))
        }
        Value::UInt(u) => {
            kinds.push(if i64::try_from(*u).is_ok() { UNSIGNED } else { PLAIN });
            nearest_float(i128::from(*u))
        }
        Value::Float(f) => {
            let kind = if f.is_nan() {
                if f.to_bits() == f64::NAN.to_bits() { PLAIN } else { OTHER_NAN }
            } else if *f == 0.0 && f.is_sign_negative() {
                NEGATIVE_ZERO
            } else if integer(*f, 0).is_some() {
                FLOAT
            } else {
                PLAIN
            };
            kinds.push(kind);
            if kind == OTHER_NAN {
                kinds.out.extend(f.to_bits().to_be_bytes());
            }
            (*f, 0)
        }
        _ => return,
    };
    groups(image(nearest), out);
    if has_distance(nearest) {
        let biased = u16::try_from(distance + BIAS).unwrap_or(u16::MAX);
        out.extend(biased.to_be_bytes());
    }
}

fn nearest_float(i: i128) -> (f64, i128) {
    let f = i as f64;
    (f, i - f as i128)
}

fn has_distance(f: f64) -> bool {
    (EXACT..=LARGEST).contains(&f.abs())
}

/// The bits of a float in an order-preserving form.
fn image(f: f64) -> u64 {
    if f.is_nan() {
        return NAN;
    }
    // One form for both zeros.
    let bits = if f == 0.0 { 0 } else { f.to_bits() };
    if bits >> 63 == 0 { bits | 1 << 63 } else { !bits }
}

fn float(image: u64) -> f64 {
    match image {
        NAN => f64::NAN,
        i if i >> 63 == 1 => f64::from_bits(i & !(1 << 63)),
        i => f64::from_bits(!i),
    }
}

/// Seven bits to the byte from the highest on; the lowest bit of a byte says whether another one follows. Small
/// integers are short floats, so this makes them short.
fn groups(mut bits: u64, out: &mut Vec<u8>) {
    loop {
        let group = (bits >> 57) as u8;
        bits <<= 7;
        out.push(group << 1 | u8::from(bits != 0));
        if bits == 0 {
            return;
        }
    }
}

fn read_groups(r: &mut Reader<'_>) -> Result<u64, KeyError> {
    let mut bits = 0u64;
    // Nine groups and a single bit.
    for shift in (-6..=57i32).rev().step_by(7) {
        let b = r.byte()?;
        let group = u64::from(b >> 1);
        let part = if shift >= 0 {
            group << shift
        } else if group & 0x3f == 0 {
            group >> 6
        } else {
            return Err(KeyError);
        };
        bits |= part;
        if b & 1 == 0 {
            return Ok(bits);
        }
    }
    Err(KeyError)
}

/// The integer value `f + distance`, if it is one of 64 bits.
fn integer(f: f64, distance: i128) -> Option<Value> {
    if !f.is_finite() || f.fract() != 0.0 || f.abs() > LARGEST {
        return None;
    }
    crate::order::int_value(f as i128 + distance)
}

/// A number in the kind that its value suggests.
pub(super) fn read(r: &mut Reader<'_>) -> Result<Value, KeyError> {
    let f = float(read_groups(r)?);
    let distance = if has_distance(f) { i128::from(r.u16()?) - BIAS } else { 0 };
    match integer(f, distance) {
        Some(i) => Ok(i),
        None if distance == 0 => Ok(Value::Float(f)),
        None => Err(KeyError),
    }
}

/// Gives a number the kind that the trailer has for it.
pub(super) fn restore(value: &mut Value, trailer: &mut Reader<'_>) -> Result<(), KeyError> {
    let kind = if trailer.is_empty() { PLAIN } else { trailer.byte()? };
    *value = match (kind, &*value) {
        (PLAIN, _) => return Ok(()),
        (FLOAT, Value::Int(i)) => Value::Float(*i as f64),
        (FLOAT, Value::UInt(u)) => Value::Float(*u as f64),
        (NEGATIVE_ZERO, Value::Int(0)) => Value::Float(-0.0),
        (UNSIGNED, Value::Int(i)) => Value::UInt(u64::try_from(*i).map_err(|_| KeyError)?),
        (OTHER_NAN, Value::Float(f)) if f.is_nan() => {
            let f = f64::from_bits(trailer.u64()?);
            if !f.is_nan() {
                return Err(KeyError);
            }
            Value::Float(f)
        }
        _ => return Err(KeyError),
    };
    Ok(())
}
