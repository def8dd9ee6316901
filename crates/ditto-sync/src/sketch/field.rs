//! Arithmetic modulo the largest prime below 2^42.

/// The modulus.
pub(super) const P: u64 = (1 << BITS) - C;
/// Bits of an element.
pub(super) const BITS: u32 = 42;
const C: u64 = 11;
const MASK: u64 = (1 << BITS) - 1;

pub(super) fn add(a: u64, b: u64) -> u64 {
    let sum = a + b;
    if sum >= P { sum - P } else { sum }
}

pub(super) fn sub(a: u64, b: u64) -> u64 {
    if a >= b { a - b } else { a + P - b }
}

pub(super) fn mul(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    // 2^42 is 11 modulo P.
    let folded = (product as u64 & MASK) + (product >> BITS) as u64 * C;
    reduce(folded)
}

/// The element of a number below 2^63.
pub(super) fn reduce(x: u64) -> u64 {
    let folded = (x & MASK) + (x >> BITS) * C;
    if folded >= P { folded - P } else { folded }
}

/// Inverts all elements, none of which may be zero, with one exponentiation for all of them.
pub(super) fn invert_all(elements: &mut [u64]) {
    let mut prefix = Vec::with_capacity(elements.len());
    let mut product = 1;
    for e in elements.iter() {
        prefix.push(product);
        product = mul(product, *e);
    }
    let mut inverse = power(product, P - 2);
    for (e, before) in elements.iter_mut().zip(prefix).rev() {
        let own = mul(inverse, before);
        inverse = mul(inverse, *e);
        *e = own;
    }
}

fn power(mut base: u64, mut exponent: u64) -> u64 {
    let mut result = 1;
    while exponent > 0 {
        if exponent & 1 == 1 {
            result = mul(result, base);
        }
        base = mul(base, base);
        exponent >>= 1;
    }
    result
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn products_and_inverses(a in 1..P, b in 0..P, big in 0..u64::MAX / 2) {
            let exact = (u128::from(a) * u128::from(b) % u128::from(P)) as u64;
            prop_assert_eq!(mul(a, b), exact);
            prop_assert_eq!(add(sub(a, b), b), a);
            prop_assert_eq!(reduce(big), big % P);
            let mut inverses = [a, b.max(1), P - 1];
            invert_all(&mut inverses);
            prop_assert_eq!(mul(inverses[0], a), 1);
            prop_assert_eq!(mul(inverses[1], b.max(1)), 1);
            prop_assert_eq!(mul(inverses[2], P - 1), 1);
        }
    }
}
