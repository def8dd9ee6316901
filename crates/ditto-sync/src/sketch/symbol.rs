//! Entries of a view and the cells they are summed in.

use std::sync::LazyLock;

use ditto_types::wire::{Reader, WireError};
use ditto_types::{Digest, KeyHash};

use super::field::{BITS, P, add, mul, reduce, sub};

/// Bytes of a symbol on the wire.
pub(crate) const SYMBOL_BYTES: usize = 16;

/// Bits of a limb that belong to the key; the rest are check bits.
const KEY_BITS: u32 = 32;
const CHECK_BITS: u32 = BITS - KEY_BITS;
const KEY_MASK: u64 = (1 << KEY_BITS) - 1;
const CHECK_MASK: u64 = (1 << CHECK_BITS) - 1;

/// Keys of hashes are secrets of the database already, so that this one need not be.
static HASH_KEY: LazyLock<[u8; 32]> =
    LazyLock::new(|| blake3::derive_key("ditto 2026-11 reconciliation v1", &[]));

/// What one document contributes to the sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) key: KeyHash,
    /// Its share of the fingerprint.
    pub(super) sum: u128,
    /// One bit for each counter.
    pub(super) signs: u64,
    /// Its version as an element of the field; never zero.
    pub(crate) weight: u64,
}

impl Entry {
    pub(crate) fn new(key: KeyHash, digest: &Digest) -> Self {
        let mut input = [0; 24];
        input[..8].copy_from_slice(&key.0.to_le_bytes());
        input[8..].copy_from_slice(&digest.0);
        let hash = blake3::keyed_hash(&HASH_KEY, &input);
        let bytes = hash.as_bytes();
        let word = |at: usize| bytes[at..at + 8].iter().rev().fold(0, |n, b| n << 8 | u64::from(*b));
        Self {
            key,
            sum: u128::from(word(0)) | u128::from(word(8)) << 64,
            signs: word(16),
            weight: 1 + reduce(word(24) >> 1) % (P - 1),
        }
    }

    /// What it adds to a counter: 1 or -1.
    pub(crate) fn sign(&self, counter: usize) -> i32 {
        ((self.signs >> counter & 1) as i32) * 2 - 1
    }
}

/// One cell: sums over the entries placed in it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Symbol {
    /// Of the weights.
    pub(super) weight: u64,
    /// Of weight times either limb of the key.
    pub(super) limbs: [u64; 2],
}

impl Symbol {
    /// The contribution of a key with a weight.
    pub(super) fn of(key: KeyHash, weight: u64) -> Self {
        Self { weight, limbs: limbs(key).map(|limb| mul(weight, limb)) }
    }

    pub(super) fn plus(&self, other: &Self) -> Self {
        let limbs = [add(self.limbs[0], other.limbs[0]), add(self.limbs[1], other.limbs[1])];
        Self { weight: add(self.weight, other.weight), limbs }
    }

    pub(super) fn minus(&self, other: &Self) -> Self {
        let limbs = [sub(self.limbs[0], other.limbs[0]), sub(self.limbs[1], other.limbs[1])];
        Self { weight: sub(self.weight, other.weight), limbs }
    }

    pub(super) fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// The key, if only one is in the cell. `inverse` is that of the weight. Of cells with several keys one in 2^20
    /// passes, and the caller checks besides that the key belongs into the cell.
    pub(super) fn only_key(&self, inverse: u64) -> Option<KeyHash> {
        let found = self.limbs.map(|limb| mul(limb, inverse));
        let key = KeyHash((found[0] & KEY_MASK) | (found[1] & KEY_MASK) << KEY_BITS);
        (limbs(key) == found).then_some(key)
    }

    pub(crate) fn encode(&self, out: &mut Vec<u8>) {
        let [a, b] = self.limbs.map(u128::from);
        out.extend_from_slice(&(u128::from(self.weight) | a << BITS | b << (2 * BITS)).to_le_bytes());
    }

    /// Reads a symbol; refuses numbers that are not in the field.
    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let packed = u128::from_le_bytes(r.array()?);
        let part = |i: u32| (packed >> (i * BITS)) as u64 & ((1 << BITS) - 1);
        let (weight, limbs) = (part(0), [part(1), part(2)]);
        if packed >> (3 * BITS) != 0 || weight >= P || limbs.iter().any(|l| *l >= P) {
            return Err(r.invalid("symbol"));
        }
        Ok(Self { weight, limbs })
    }
}

/// The key with its check bits, as two elements of the field.
fn limbs(key: KeyHash) -> [u64; 2] {
    let check = mixed(key.0 ^ 0x6a09_e667_f3bc_c908);
    let limb = |half: u64, check: u64| reduce(half | (check & CHECK_MASK) << KEY_BITS);
    [limb(key.0 & KEY_MASK, check), limb(key.0 >> KEY_BITS, check >> CHECK_BITS)]
}

/// SplitMix64's finisher.
fn mixed(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The cells that a key is in, ascending, without end.
#[derive(Clone, Copy, Debug)]
pub(super) struct Places {
    at: usize,
    state: u64,
}

impl Places {
    pub(super) fn new(key: KeyHash) -> Self {
        Self { at: 0, state: key.0 }
    }

    /// The next cell.
    pub(super) fn at(&self) -> usize {
        self.at
    }

    /// Goes to the cell after.
    ///
    /// With an entry in cell `j` with probability 1/(1 + j/2), the chance of none from `i + 1` to `i + g` is
    /// (i+1)(i+2)/((i+g+1)(i+g+2)), about ((i+1.5)/(i+g+1.5))^2, which is solved for `g`. IEEE 754 prescribes every bit
    /// of these operations, so that all devices place a key alike.
    pub(super) fn advance(&mut self) {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let uniform = ((mixed(self.state) >> 11) + 1) as f64 / (1_u64 << 53) as f64;
        let gap = (self.at as f64 + 1.5) * (1.0 / uniform.sqrt() - 1.0);
        self.at = self.at.saturating_add((gap.ceil() as usize).max(1));
    }
}

/// Adds an entry to the cells it is in.
pub(crate) fn add_entry(cells: &mut [Symbol], entry: &Entry) {
    let own = Symbol::of(entry.key, entry.weight);
    let mut places = Places::new(entry.key);
    while let Some(cell) = cells.get_mut(places.at()) {
        *cell = cell.plus(&own);
        places.advance();
    }
}

/// Takes an entry out of the cells it is in.
pub(crate) fn remove_entry(cells: &mut [Symbol], entry: &Entry) {
    let own = Symbol::of(entry.key, entry.weight);
    let mut places = Places::new(entry.key);
    while let Some(cell) = cells.get_mut(places.at()) {
        *cell = cell.minus(&own);
        places.advance();
    }
}
