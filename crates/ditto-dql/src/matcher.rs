//! Which of many queries a changed document concerns, without asking each of them.
//!
//! From the condition of a query a *cover* is taken: tests of single fields of which at least one holds whenever the
//! condition does. They are kept in hash tables (equality, IN) and interval trees (ranges), so that one look at the
//! fields of a document finds the queries whose cover it passes: the candidates. A condition without cover stands in
//! a list of its collection. Whether a candidate really matches is for its condition to say.

mod cover;
mod intervals;

use std::collections::HashMap;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};

use ditto_types::{SmolStr, Value};

use crate::env::Bound;
use crate::order::{Number, rank};
use crate::scalar::Scalar;
use crate::source::Row;
use cover::{Atom, Test};
use intervals::Intervals;

/// The documents that can alter the result of a query, as far as fields of one collection tell.
#[derive(Clone, Debug)]
pub struct Watch {
    collection: SmolStr,
    /// `None`: every document of the collection.
    cover: Option<Vec<Atom>>,
}

impl Watch {
    /// Every document of a collection.
    pub fn all(collection: impl Into<SmolStr>) -> Self {
        Self { collection: collection.into(), cover: None }
    }

    /// The documents for which `condition`, over the fields of one term, can be true.
    pub(crate) fn condition(collection: impl Into<SmolStr>, condition: &Scalar, bound: &Bound) -> Self {
        Self { collection: collection.into(), cover: cover::cover(condition, bound) }
    }

    /// The collection.
    pub fn collection(&self) -> &str {
        &self.collection
    }

    /// Whether the documents are narrowed down by their fields.
    pub fn is_indexed(&self) -> bool {
        self.cover.is_some()
    }
}

/// An index over the conditions of queries. Queries are known by numbers that the caller gives them.
#[derive(Debug, Default)]
pub struct Matcher {
    collections: HashMap<SmolStr, Collection>,
    queries: HashMap<u64, Vec<Entry>>,
    hasher: RandomState,
}

/// Where a query stands.
#[derive(Debug)]
struct Entry {
    collection: SmolStr,
    place: Place,
}

#[derive(Debug)]
enum Place {
    Always,
    Missing(Box<[SmolStr]>),
    Equal(Box<[SmolStr]>, u64),
    Range(Box<[SmolStr]>, usize, Option<Value>),
}

#[derive(Debug, Default)]
struct Collection {
    /// Queries without cover.
    always: Ids,
    fields: HashMap<Box<[SmolStr]>, Field>,
}

/// The tests of one field.
#[derive(Debug, Default)]
struct Field {
    /// Hash of a value to the queries that ask for it. What is equal has the same hash.
    equal: HashMap<u64, Ids>,
    missing: Ids,
    /// By the type's place in the sort order: a range only ever holds values of one type.
    ranges: [Intervals; TYPES],
}

const TYPES: usize = 7;

/// Numbers of queries, ascending.
type Ids = Vec<u64>;

impl Matcher {
    /// A matcher without queries.
    pub fn new() -> Self {
        Self::default()
    }

    /// Number of queries.
    pub fn len(&self) -> usize {
        self.queries.len()
    }

    /// Whether there are no queries.
    pub fn is_empty(&self) -> bool {
        self.queries.is_empty()
    }

    /// Adds a query, or gives it other conditions. Takes logarithmic time for each test of its cover.
    pub fn insert(&mut self, query: u64, watches: impl IntoIterator<Item = Watch>) {
        self.remove(query);
        let mut entries = Vec::new();
        for watch in watches {
            let Watch { collection, cover } = watch;
            let known = self.collections.entry(collection.clone()).or_default();
            let Some(atoms) = cover else {
                add(&mut known.always, query);
                entries.push(Entry { collection, place: Place::Always });
                continue;
            };
            for Atom { path, test } in atoms {
                let field = known.fields.entry(path.clone()).or_default();
                let place = match test {
                    Test::Missing => {
                        add(&mut field.missing, query);
                        Place::Missing(path)
                    }
                    Test::Equal(value) => {
                        let hash = hash(&self.hasher, &value);
                        add(field.equal.entry(hash).or_default(), query);
                        Place::Equal(path, hash)
                    }
                    Test::Range { class, low, high } => {
                        let class = usize::from(class).min(TYPES - 1);
                        field.ranges[class].insert(low.clone(), high, query);
                        Place::Range(path, class, low)
                    }
                };
                entries.push(Entry { collection: collection.clone(), place });
            }
        }
        self.queries.insert(query, entries);
    }

    /// Takes a query out. Takes logarithmic time for each test of its cover.
    pub fn remove(&mut self, query: u64) {
        for Entry { collection, place } in self.queries.remove(&query).unwrap_or_default() {
            let Some(known) = self.collections.get_mut(&collection) else { continue };
            let path = match place {
                Place::Always => {
                    take(&mut known.always, query);
                    None
                }
                Place::Missing(path) => {
                    if let Some(field) = known.fields.get_mut(&path) {
                        take(&mut field.missing, query);
                    }
                    Some(path)
                }
                Place::Equal(path, hash) => {
                    if let Some(field) = known.fields.get_mut(&path)
                        && let Some(ids) = field.equal.get_mut(&hash)
                    {
                        take(ids, query);
                        if ids.is_empty() {
                            field.equal.remove(&hash);
                        }
                    }
                    Some(path)
                }
                Place::Range(path, class, low) => {
                    if let Some(field) = known.fields.get_mut(&path) {
                        field.ranges[class].remove(low.as_ref(), query);
                    }
                    Some(path)
                }
            };
            if let Some(path) = path
                && known.fields.get(&path).is_some_and(Field::is_empty)
            {
                known.fields.remove(&path);
            }
            if known.always.is_empty() && known.fields.is_empty() {
                self.collections.remove(&collection);
            }
        }
    }

    /// Whether any query watches documents of the collection.
    pub fn watches(&self, collection: &str) -> bool {
        self.collections.contains_key(collection)
    }

    /// Adds the queries whose condition `row`, a document of `collection`, can fulfil. Some may be added twice; see
    /// [`Matcher::in_order`].
    ///
    /// The row has to show fields as a query without type declarations reads them.
    pub fn candidates(&self, collection: &str, row: &dyn Row, out: &mut Vec<u64>) {
        let Some(known) = self.collections.get(collection) else { return };
        out.extend_from_slice(&known.always);
        for (path, field) in &known.fields {
            let Some(value) = row.field(path) else {
                out.extend_from_slice(&field.missing);
                continue;
            };
            if !field.equal.is_empty()
                && let Some(ids) = field.equal.get(&hash(&self.hasher, &value))
            {
                out.extend_from_slice(ids);
            }
            field.ranges[usize::from(rank(&value)).min(TYPES - 1)].holding(&value, out);
        }
    }

    /// Sorts candidates and drops repetitions.
    pub fn in_order(candidates: &mut Vec<u64>) {
        candidates.sort_unstable();
        candidates.dedup();
    }
}

impl Field {
    fn is_empty(&self) -> bool {
        self.equal.is_empty() && self.missing.is_empty() && self.ranges.iter().all(Intervals::is_empty)
    }
}

fn add(ids: &mut Ids, query: u64) {
    if let Err(at) = ids.binary_search(&query) {
        ids.insert(at, query);
    }
}

fn take(ids: &mut Ids, query: u64) {
    if let Ok(at) = ids.binary_search(&query) {
        ids.remove(at);
    }
}

/// A hash under a key that nobody knows. Equal values of the language have equal hashes.
fn hash(keys: &RandomState, v: &Value) -> u64 {
    let mut h = keys.build_hasher();
    feed(v, &mut h);
    h.finish()
}

fn feed(v: &Value, h: &mut impl Hasher) {
    h.write_u8(rank(v));
    match v {
        Value::Null => {}
        Value::Bool(b) => h.write_u8(u8::from(*b)),
        Value::Int(_) | Value::UInt(_) | Value::Float(_) => {
            // Numbers that are equal have the same nearest float; neighbours beyond 2^53 may share one.
            let f = Number::of(v).map_or(0.0, Number::to_f64);
            let f = if f == 0.0 {
                0.0
            } else if f.is_nan() {
                f64::NAN
            } else {
                f
            };
            h.write_u64(f.to_bits());
        }
        Value::Bytes(b) => feed_bytes(b, h),
        Value::Str(s) => feed_bytes(s.as_bytes(), h),
        Value::Array(items) => {
            h.write_usize(items.len());
            items.iter().for_each(|v| feed(v, h));
        }
        Value::Object(fields) => {
            h.write_usize(fields.len());
            for (name, v) in fields {
                feed_bytes(name.as_bytes(), h);
                feed(v, h);
            }
        }
    }
}

fn feed_bytes(b: &[u8], h: &mut impl Hasher) {
    h.write_usize(b.len());
    h.write(b);
}

#[cfg(test)]
mod tests;
