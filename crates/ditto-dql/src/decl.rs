//! Field kinds and the type declarations of `COLLECTION c (f TYPE, …)`.

use std::collections::BTreeMap;

use ditto_types::SmolStr;

/// How a field is stored and merged (CRDT type).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum FieldKind {
    /// Not declared: objects become maps, everything else registers; reads show the newest kind.
    #[default]
    Inferred,
    /// One value, last writer wins.
    Register,
    /// An object whose fields merge one by one.
    Map,
    /// An integer that sums concurrent increments and can be restarted.
    Counter,
    /// The legacy counter of floats.
    PnCounter,
    /// A token of an attachment.
    Attachment,
}

impl FieldKind {
    /// The keyword that declares the kind.
    pub fn keyword(self) -> &'static str {
        match self {
            FieldKind::Inferred => "undeclared",
            FieldKind::Register => "REGISTER",
            FieldKind::Map => "MAP",
            FieldKind::Counter => "COUNTER",
            FieldKind::PnCounter => "PN_COUNTER",
            FieldKind::Attachment => "ATTACHMENT",
        }
    }
}

/// The declared kinds of fields, also nested ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TypeDecls(BTreeMap<SmolStr, Decl>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Decl {
    kind: FieldKind,
    fields: TypeDecls,
}

impl TypeDecls {
    /// The kind declared for exactly this path; [`FieldKind::Inferred`] when there is none.
    pub fn kind_of(&self, path: &[SmolStr]) -> FieldKind {
        match path.split_first() {
            Some((name, rest)) => match (self.0.get(name), rest) {
                (Some(d), []) => d.kind,
                (Some(d), rest) => d.fields.kind_of(rest),
                (None, _) => FieldKind::Inferred,
            },
            None => FieldKind::Inferred,
        }
    }

    /// The nearest declared field above `path`: how many names of it lead there, and its kind.
    pub fn ancestor_of(&self, path: &[SmolStr]) -> Option<(usize, FieldKind)> {
        let (name, rest) = path.split_first()?;
        if rest.is_empty() {
            return None;
        }
        let decl = self.0.get(name)?;
        Some(decl.fields.ancestor_of(rest).map_or((1, decl.kind), |(n, kind)| (n + 1, kind)))
    }

    /// The declarations below the field at `path`.
    pub fn below(&self, path: &[SmolStr]) -> Option<&TypeDecls> {
        path.iter().try_fold(self, |d, name| d.0.get(name).map(|d| &d.fields))
    }

    /// Whether nothing is declared.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The declarations of this level with those of the level below, ordered by name.
    pub fn iter(&self) -> impl Iterator<Item = (&SmolStr, FieldKind, &TypeDecls)> {
        self.0.iter().map(|(name, d)| (name, d.kind, &d.fields))
    }

    /// Adds a declaration; `false` if the name has one already.
    pub(crate) fn insert(&mut self, name: SmolStr, kind: FieldKind, fields: TypeDecls) -> bool {
        match self.0.entry(name) {
            std::collections::btree_map::Entry::Vacant(e) => {
                e.insert(Decl { kind, fields });
                true
            }
            std::collections::btree_map::Entry::Occupied(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(names: &[&str]) -> Vec<SmolStr> {
        names.iter().map(SmolStr::new).collect()
    }

    #[test]
    fn finds_nested_declarations_and_ancestors() {
        let mut inner = TypeDecls::default();
        assert!(inner.insert("t".into(), FieldKind::Counter, TypeDecls::default()));
        let mut d = TypeDecls::default();
        assert!(d.insert("f".into(), FieldKind::Map, inner));
        assert!(d.insert("r".into(), FieldKind::Register, TypeDecls::default()));
        assert!(!d.insert("r".into(), FieldKind::Map, TypeDecls::default()));
        assert_eq!(d.kind_of(&path(&["f"])), FieldKind::Map);
        assert_eq!(d.kind_of(&path(&["f", "t"])), FieldKind::Counter);
        assert_eq!(d.kind_of(&path(&["f", "x"])), FieldKind::Inferred);
        assert_eq!(d.kind_of(&path(&[])), FieldKind::Inferred);
        assert_eq!(d.below(&path(&["f"])).map(|d| d.is_empty()), Some(false));
        assert_eq!(d.below(&path(&["z"])), None);
        assert_eq!(d.ancestor_of(&path(&["f"])), None);
        assert_eq!(d.ancestor_of(&path(&["r", "x"])), Some((1, FieldKind::Register)));
        assert_eq!(d.ancestor_of(&path(&["f", "t", "x"])), Some((2, FieldKind::Counter)));
        assert_eq!(d.ancestor_of(&path(&["f", "u", "x"])), Some((1, FieldKind::Map)));
        assert_eq!(d.ancestor_of(&path(&["z", "x"])), None);
    }
}
