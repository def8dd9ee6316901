//! The sums against the sets they stand for, and symbols of no set at all.

use std::collections::BTreeMap;

use ditto_types::wire::Reader;
use ditto_types::{Digest, KeyHash};
use proptest::prelude::*;

use super::decoder::Difference;
use super::*;

type Set = BTreeMap<u64, u64>;

fn entry(key: u64, version: u64) -> Entry {
    let mut digest = [0; 16];
    digest[..8].copy_from_slice(&version.to_le_bytes());
    Entry::new(KeyHash(key), &Digest(digest))
}

fn symbols(set: &Set, n: usize) -> Vec<Symbol> {
    let mut cells = vec![Symbol::default(); n];
    set.iter().for_each(|(k, v)| add_entry(&mut cells, &entry(*k, *v)));
    cells
}

fn summary(set: &Set) -> Summary {
    let mut s = Summary::default();
    set.iter().for_each(|(k, v)| s.add(&entry(*k, *v)));
    s
}

/// Decodes in growing steps, as the protocol does; gives the differences and the symbols it took.
fn decode(theirs: &Set, ours: &Set, max: usize) -> Option<(Vec<Difference>, usize)> {
    let (a, b) = (symbols(theirs, max), symbols(ours, max));
    let mut decoder = Decoder::default();
    let mut upto = 8.min(max);
    loop {
        let from = decoder.len();
        decoder.extend(&a[from..upto], &b[from..upto]);
        if let Some(found) = decoder.differences() {
            return Some((found, decoder.len()));
        }
        upto = decoder.needed()?;
        if upto > max {
            return None;
        }
    }
}

/// A set of `n` entries and a copy in which `changed` have another version, `less` are missing and `more` are new.
fn pair(seed: u64, n: u64, changed: u64, less: u64, more: u64) -> (Set, Set) {
    let mix = |i: u64| {
        (i ^ seed << 40)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29)
            .wrapping_mul(0xbf58_476d_1ce4_e5b9)
    };
    let ours: Set = (0..n).map(|i| (mix(i), 1)).collect();
    let mut theirs = ours.clone();
    theirs.extend((0..changed).map(|i| (mix(i), 2)));
    let gone: Vec<_> = (changed..changed + less).map(mix).collect();
    theirs.retain(|k, _| !gone.contains(k));
    theirs.extend((n..n + more).map(|i| (mix(i), 1)));
    (theirs, ours)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn exactly_the_differences_are_found(seed: u64, n in 0..300u64, changed in 0..40u64, less in 0..40u64, more in 0..60u64) {
        let changed = changed.min(n);
        let less = less.min(n - changed);
        let (theirs, ours) = pair(seed, n, changed, less, more);
        let (found, _) = decode(&theirs, &ours, 4_096).unwrap();
        let keys: Vec<u64> = found.iter().map(|d| d.key.0).collect();
        let mut expected: Vec<u64> = theirs.keys().chain(ours.keys()).copied()
            .filter(|k| theirs.get(k) != ours.get(k)).collect();
        expected.sort_unstable();
        expected.dedup();
        prop_assert_eq!(keys, expected);
        for d in found {
            let alone = ours.get(&d.key.0).is_some_and(|v| d.is_ours_alone(entry(d.key.0, *v).weight));
            prop_assert_eq!(alone, !theirs.contains_key(&d.key.0));
        }
    }

    #[test]
    fn sums_follow_changes_in_place(seed: u64, n in 1..100u64, changed in 0..20u64) {
        let changed = changed.min(n);
        let (theirs, ours) = pair(seed, n, changed, 0, 5);
        let (mut s, mut cells) = (summary(&ours), symbols(&ours, 64));
        for (k, v) in &ours {
            let e = entry(*k, *v);
            s.remove(&e);
            remove_entry(&mut cells, &e);
        }
        prop_assert_eq!(&s, &Summary::default());
        for (k, v) in &theirs {
            let e = entry(*k, *v);
            s.add(&e);
            add_entry(&mut cells, &e);
        }
        prop_assert_eq!(s, summary(&theirs));
        prop_assert_eq!(cells, symbols(&theirs, 64));
    }

    /// Symbols that are not those of any set: no panic, no endless work, no more found than there are symbols.
    #[test]
    fn hostile_symbols_are_bounded(
        noise in proptest::collection::vec(any::<[u64; 3]>(), 0..200),
        keys in proptest::collection::vec((any::<u64>(), any::<u64>(), 0..200usize), 0..60),
    ) {
        let mut cells: Vec<Symbol> = noise.iter().map(|n| {
            let [weight, a, b] = n.map(|x| x % field::P);
            Symbol { weight, limbs: [a, b] }
        }).collect();
        // Single keys put into cells by hand, so that they are found and then turn up elsewhere.
        for (key, weight, at) in keys {
            if let Some(cell) = cells.get_mut(at) {
                *cell = Symbol::of(KeyHash(key), weight % field::P);
            }
        }
        let ours = vec![Symbol::default(); cells.len()];
        let mut decoder = Decoder::default();
        for (theirs, ours) in cells.chunks(16).zip(ours.chunks(16)) {
            decoder.extend(theirs, ours);
            prop_assert!(decoder.needed().is_none_or(|n| n <= 6 * decoder.len() + 8));
        }
        prop_assert!(decoder.differences().is_none_or(|d| d.len() <= decoder.len()));
    }

    #[test]
    fn symbols_survive_the_wire_and_nothing_else_does(a in 0..field::P, b in 0..field::P, c in 0..field::P, other: u128) {
        let symbol = Symbol { weight: a, limbs: [b, c] };
        let mut bytes = Vec::new();
        symbol.encode(&mut bytes);
        prop_assert_eq!(bytes.len(), SYMBOL_BYTES);
        prop_assert_eq!(Symbol::decode(&mut Reader::new(&bytes)).unwrap(), symbol);
        let other = other.to_le_bytes();
        if let Ok(symbol) = Symbol::decode(&mut Reader::new(&other)) {
            let mut again = Vec::new();
            symbol.encode(&mut again);
            prop_assert_eq!(&again[..], &other[..]);
        }
    }
}

/// A key found once more after it was taken out: the two cells would hand it to each other for ever.
#[test]
fn a_key_that_comes_back_ends_the_attempt() {
    let key = KeyHash(42);
    let part = Symbol::of(key, 7);
    let mut cells = vec![Symbol::default(); 2];
    let mut places = symbol::Places::new(key);
    places.advance();
    cells.resize(places.at() + 1, Symbol::default());
    cells[places.at()] = part;
    let ours = vec![Symbol::default(); cells.len()];
    let mut decoder = Decoder::default();
    decoder.extend(&cells, &ours);
    assert_eq!(decoder.differences(), None);
    assert_eq!(decoder.needed(), None);
}

#[test]
fn a_thousand_differences_take_few_symbols() {
    for (d, limit) in [(1, 12), (10, 30), (100, 170), (1_000, 1_470)] {
        let (theirs, ours) = pair(d, 2 * d + 50, d, 0, 0);
        let (found, used) = decode(&theirs, &ours, 8_192).unwrap();
        assert_eq!(found.len() as u64, d);
        assert!(used <= limit, "{used} symbols for {d} differences");
    }
}

#[test]
fn estimates_are_near() {
    for d in [20, 200, 2_000] {
        let (theirs, ours) = pair(3, 5_000, d, 0, 0);
        let estimate = summary(&theirs).difference(&summary(&ours).sketch());
        assert!((d / 2..d * 2).contains(&estimate), "{estimate} instead of {d}");
    }
    let s = summary(&pair(3, 100, 0, 0, 0).0);
    assert_eq!(s.difference(&s.sketch()), 1);
}
