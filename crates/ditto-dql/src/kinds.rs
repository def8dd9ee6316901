//! For which statements an index is right.
//!
//! An index holds what a statement without declarations sees outside of strict mode: the newest kind of each field. Any
//! other statement sees the same as long as the documents have, on the paths of the index, only values of the kinds that
//! it reads. So an index notes which kinds there ever were.

use ditto_types::{KindSet, SmolStr};

use crate::catalog::IndexKey;
use crate::decl::{FieldKind, TypeDecls};

/// The kinds of values that the documents of an index have or had, at each place on the path of each of its keys.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct IndexKinds(Box<[KindSet]>);

impl IndexKinds {
    /// Those of an index without documents.
    pub fn none(keys: &[IndexKey]) -> Self {
        Self(vec![KindSet::NONE; places(keys)].into())
    }

    /// From [`IndexKinds::sets`]; `None` if they are not as many as the keys have names.
    pub fn from_sets(keys: &[IndexKey], sets: Vec<KindSet>) -> Option<Self> {
        (sets.len() == places(keys)).then(|| Self(sets.into()))
    }

    /// The sets of all places, key by key.
    pub fn sets(&self) -> &[KindSet] {
        &self.0
    }

    /// Adds those of a document; `along` tells the kinds at each place on a path, from 0 on. Gives whether there was
    /// anything new.
    pub fn add(
        &mut self,
        keys: &[IndexKey],
        along: impl FnMut(&[SmolStr], &mut dyn FnMut(usize, KindSet)),
    ) -> bool {
        let mut grown = false;
        each(keys, along, |place, kinds| {
            if let Some(known) = self.0.get_mut(place)
                && !known.contains(kinds)
            {
                *known = known.with(kinds);
                grown = true;
            }
        });
        grown
    }

    /// Whether there is nothing new in a document.
    pub fn cover(
        &self,
        keys: &[IndexKey],
        along: impl FnMut(&[SmolStr], &mut dyn FnMut(usize, KindSet)),
    ) -> bool {
        let mut covers = true;
        each(keys, along, |place, kinds| {
            covers &= self.0.get(place).is_none_or(|known| known.contains(kinds));
        });
        covers
    }

    /// Whether those of another index with the same keys are among them.
    pub fn contains(&self, other: &Self) -> bool {
        self.0.len() == other.0.len() && self.0.iter().zip(&other.0).all(|(a, b)| a.contains(*b))
    }

    /// Whether a statement reads the keys as the index holds them.
    pub fn serve(&self, keys: &[IndexKey], declared: &TypeDecls, strict: bool) -> bool {
        let mut sets = self.0.iter();
        keys.iter().all(|key| {
            let names = key.path.names();
            let is_id = names.first().is_some_and(|n| n == "_id");
            (1..=names.len()).zip(sets.by_ref()).fold(true, |all, (depth, set)| {
                let path = &names[..depth];
                let plain = !strict && declared.below(path).is_none_or(TypeDecls::is_empty);
                all && (is_id
                    || match kind(declared, strict, path) {
                        None => true,
                        // A map that is the value shows its fields, which are read by their kinds too.
                        Some(KindSet::MAP) if depth == names.len() && !plain => set.is_empty(),
                        Some(kind) => kind.contains(*set),
                    })
            })
        })
    }
}

/// Calls `see` with the kinds at each place of all keys.
fn each(
    keys: &[IndexKey],
    mut along: impl FnMut(&[SmolStr], &mut dyn FnMut(usize, KindSet)),
    mut see: impl FnMut(usize, KindSet),
) {
    let mut first = 0;
    for key in keys {
        let names = key.path.names();
        // The id is no field.
        if names.first().is_some_and(|n| n != "_id") {
            along(names, &mut |place, kinds| see(first + place, kinds));
        }
        first += names.len();
    }
}

/// The kind that a field is read as; `None` for the newest.
fn kind(declared: &TypeDecls, strict: bool, path: &[SmolStr]) -> Option<KindSet> {
    match declared.kind_of(path) {
        FieldKind::Inferred => strict.then_some(KindSet::REGISTER),
        FieldKind::Register => Some(KindSet::REGISTER),
        FieldKind::Map => Some(KindSet::MAP),
        FieldKind::Counter => Some(KindSet::COUNTER),
        FieldKind::PnCounter => Some(KindSet::PN_COUNTER),
        FieldKind::Attachment => Some(KindSet::ATTACHMENT),
    }
}

fn places(keys: &[IndexKey]) -> usize {
    keys.iter().map(|k| k.path.names().len()).sum()
}

#[cfg(test)]
mod tests {
    use ditto_types::Path;

    use super::*;

    fn keys(paths: &[&str]) -> Vec<IndexKey> {
        let key =
            |p: &&str| IndexKey { path: Path::new(p.split('.')), descending: false, include_missing: true };
        paths.iter().map(key).collect()
    }

    fn declared(text: &str) -> TypeDecls {
        let text = format!("SELECT * FROM COLLECTION c ({text})");
        let plan = crate::prepare(&text).unwrap().bind(&Default::default(), &crate::BindContext::bare());
        match plan.unwrap() {
            crate::Plan::Select(plan) => plan.declared().clone(),
            _ => TypeDecls::default(),
        }
    }

    #[test]
    fn an_index_serves_who_reads_the_kinds_that_it_has_seen() {
        let (register, map, counter) = (KindSet::REGISTER, KindSet::MAP, KindSet::COUNTER);
        let none = TypeDecls::default();
        // Path of the key, kinds at its places, declarations, whether strict, whether it serves.
        let cases: &[(&str, &[KindSet], &str, bool, bool)] = &[
            ("a", &[KindSet::NONE], "", true, true),
            ("a", &[register], "", true, true),
            ("a", &[register.with(map)], "", true, false),
            ("a", &[register.with(map)], "", false, true),
            ("a", &[map], "", true, false),
            ("a", &[map], "a MAP", false, true),
            ("a", &[map], "a MAP", true, false),
            ("a", &[map], "a MAP(n COUNTER)", false, false),
            ("a", &[KindSet::NONE], "a MAP(n COUNTER)", true, true),
            ("a", &[counter], "a COUNTER", false, true),
            ("a", &[counter], "a COUNTER", true, true),
            ("a", &[counter], "a REGISTER", false, false),
            ("a", &[counter], "b COUNTER", false, true),
            ("a", &[register], "a COUNTER", false, false),
            ("a.b", &[map, register], "", true, false),
            ("a.b", &[register, KindSet::NONE], "", true, true),
            ("a.b", &[map, register], "a MAP", true, true),
            ("a.b", &[map, counter], "a MAP(b COUNTER)", true, true),
            ("a.b", &[map, counter], "a MAP(b COUNTER)", false, true),
            ("a.b", &[map, counter], "a MAP(b REGISTER)", false, false),
            ("a.b", &[map, counter], "a MAP", false, true),
            ("a.b", &[map, counter], "a MAP", true, false),
            ("_id.b", &[KindSet::NONE, KindSet::NONE], "b COUNTER", true, true),
        ];
        for (path, sets, declarations, strict, serves) in cases {
            let keys = keys(&[path]);
            let kinds = IndexKinds::from_sets(&keys, sets.to_vec()).unwrap();
            let declared = if declarations.is_empty() { none.clone() } else { declared(declarations) };
            assert_eq!(
                kinds.serve(&keys, &declared, *strict),
                *serves,
                "{path} {sets:?} {declarations} {strict}"
            );
        }
    }

    #[test]
    fn kinds_only_grow() {
        let keys = keys(&["a.b", "_id.x", "c"]);
        let mut kinds = IndexKinds::none(&keys);
        let add = |kinds: &mut IndexKinds, at: KindSet| {
            kinds.add(&keys, |path, see| {
                assert_ne!(path[0], "_id");
                see(path.len() - 1, at);
            })
        };
        assert!(add(&mut kinds, KindSet::REGISTER));
        let before = kinds.clone();
        assert!(!add(&mut kinds, KindSet::REGISTER));
        assert!(add(&mut kinds, KindSet::COUNTER));
        assert!(kinds.contains(&before) && !before.contains(&kinds));
        let both = KindSet::REGISTER.with(KindSet::COUNTER);
        assert_eq!(kinds.sets(), [KindSet::NONE, both, KindSet::NONE, KindSet::NONE, both]);
        assert_eq!(IndexKinds::from_sets(&keys, kinds.sets().to_vec()), Some(kinds));
        assert_eq!(IndexKinds::from_sets(&keys, vec![KindSet::NONE]), None);
    }
}
