//! Which kinds of values the entries of indexes were made from (ADR 0028). They are noted in the transaction of the first
//! document that has one more.

use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_dql::{IndexDef, IndexKinds};
use ditto_types::{KindSet, Object, SmolStr, Value};

use super::{Index, catalogue, create};
use crate::StoreError;
use crate::core::Core;

/// The kinds of indexes that have grown, by the numbers of the indexes.
pub(crate) type Grown = Vec<(u32, IndexKinds)>;

/// Gathers the kinds of several documents.
pub(crate) struct Growth<'i>(Vec<(&'i Index, IndexKinds, bool)>);

impl<'i> Growth<'i> {
    pub(crate) fn new(indexes: &'i [Arc<Index>]) -> Self {
        // Of what is not known from the beginning nothing is ever known.
        let known = indexes.iter().filter_map(|i| Some((&**i, i.def.kinds.clone()?, false)));
        Self(known.collect())
    }

    /// Takes a document in; `along` tells its kinds on a path.
    pub(crate) fn see(&mut self, mut along: impl FnMut(&[SmolStr], &mut dyn FnMut(usize, KindSet))) {
        for (index, kinds, grown) in &mut self.0 {
            *grown |= kinds.add(&index.def.keys, &mut along);
        }
    }

    /// Those that have grown.
    pub(crate) fn finish(&mut self) -> Grown {
        let grown = self.0.drain(..).filter(|(_, _, grown)| *grown);
        grown.map(|(index, kinds, _)| (index.def.id, kinds)).collect()
    }
}

/// Notes the kinds of a document that was written, if there is anything new.
pub(crate) fn document(core: &mut Core, coll: u32, doc: &Doc) -> Result<(), StoreError> {
    let mut grown = Grown::new();
    for index in core.indexes.of(coll) {
        let Some(known) = &index.def.kinds else { continue };
        let mut along = |path: &[SmolStr], see: &mut dyn FnMut(usize, KindSet)| doc.kinds_along(path, see);
        if !known.cover(&index.def.keys, &mut along) {
            let mut kinds = known.clone();
            kinds.add(&index.def.keys, along);
            grown.push((index.def.id, kinds));
        }
    }
    note(core, coll, grown)
}

/// Writes down what has grown.
pub(crate) fn note(core: &mut Core, coll: u32, grown: Grown) -> Result<(), StoreError> {
    for (id, kinds) in grown {
        let Some(index) = core.indexes.of(coll).iter().find(|i| i.def.id == id).cloned() else { continue };
        catalogue::save_kinds(&core.db, id, &kinds)?;
        let def = IndexDef { kinds: Some(kinds), ..IndexDef::clone(&index.def) };
        create::put(core, Index::new(Arc::new(def), coll, index.complete));
    }
    Ok(())
}

/// The kinds on a path of a document that is written without declarations: objects are maps, everything else is a register.
pub(super) fn fresh_kinds(fields: &Object, path: &[SmolStr], see: &mut dyn FnMut(usize, KindSet)) {
    let mut inside = Some(fields);
    for (place, name) in path.iter().enumerate() {
        let Some(value) = inside.and_then(|fields| fields.get(name)) else { return };
        inside = match value {
            Value::Object(fields) => Some(fields),
            _ => None,
        };
        see(place, if inside.is_some() { KindSet::MAP } else { KindSet::REGISTER });
    }
}
