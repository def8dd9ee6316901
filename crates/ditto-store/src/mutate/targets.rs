//! The documents that UPDATE, DELETE and EVICT choose, read once: what was read to decide is what is changed.

use std::cell::{Cell, RefCell};

use ditto_dql::{Access, CollectionRef, Namespace, Row, Source, TermScan};
use ditto_types::{Digest, DocId, KeyHash};

use crate::StoreError;
use crate::core::{Core, Held};
use crate::driver::Param;
use crate::row::{DocRow, Reading};
use crate::schema::{FLAG_DEAD, by_id, khash_to_sql};
use crate::select::{StoreSource, damaged, rid_range, with_row};

/// Bytes of stored documents that the choice keeps. What is chosen beyond is read again when it is written.
const MAX_KEPT: usize = 8 << 20;

/// A chosen document.
pub(super) struct Target {
    pub(super) id: DocId,
    kept: Option<Kept>,
}

/// What was read of a chosen document.
enum Kept {
    Decoded(Held),
    Stored { rid: i64, digest: Digest, body: Vec<u8> },
}

impl Target {
    /// The document whole; `None` when it is gone.
    pub(super) fn load(
        self,
        core: &mut Core,
        coll: u32,
        key: KeyHash,
    ) -> Result<(DocId, Option<Held>), StoreError> {
        let Target { id, kept } = self;
        let held = match kept {
            Some(Kept::Decoded(held)) => Some(held),
            Some(Kept::Stored { rid, digest, body }) => {
                let doc = ditto_crdt::decode(&body, &**core.dict.shared());
                let doc = doc.map_err(|e| damaged(&core.db, &id, &e))?;
                Some(Held { rid: Some(rid), digest, doc: doc.into(), size: body.len() })
            }
            None => core.load(coll, &id, key)?,
        };
        Ok((id, held))
    }
}

/// What the writer sees, as the source of the rows that a mutation chooses from.
pub(super) struct Candidates<'a> {
    core: &'a Core,
    source: StoreSource<'a>,
    /// The row that is visited, if it is of a kind that can be kept.
    current: RefCell<Option<Kept>>,
    room: Cell<usize>,
}

impl<'a> Candidates<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        let source = StoreSource::writer(core);
        Self { core, source, current: RefCell::new(None), room: Cell::new(MAX_KEPT) }
    }

    /// Keeps the row that is visited.
    pub(super) fn keep(&self, row: &dyn Row) -> Target {
        let size = match &*self.current.borrow() {
            Some(Kept::Decoded(held)) => held.size,
            Some(Kept::Stored { body, .. }) => body.len(),
            None => 0,
        };
        let kept = match self.room.get().checked_sub(size) {
            Some(room) => {
                self.room.set(room);
                self.current.take()
            }
            None => None,
        };
        Target { id: row.id().clone(), kept }
    }

    /// Documents by their ids are mostly the ones that are meant, so they are decoded at once.
    fn visit_ids(
        &self,
        coll: u32,
        scan: &TermScan<'_>,
        ids: &[DocId],
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (db, dict) = (&self.core.db, self.core.dict.shared());
        let reading = Reading::new(scan.declared, scan.strict);
        for id in ids {
            let key = self.core.hash_key.key_hash(&scan.collection.name, id);
            let held = db.query_one(
                by_id!("rid, digest, body, flags"),
                &[Param::Int(coll.into()), Param::Int(khash_to_sql(key)), Param::Blob(id.as_bytes())],
                |r| {
                    if r.int(3)? & FLAG_DEAD != 0 {
                        return Ok(None);
                    }
                    let body = r.blob(2)?;
                    let doc = ditto_crdt::decode(body, &**dict).map_err(|e| damaged(db, id, &e))?;
                    let (rid, digest) = (Some(r.int(0)?), Digest(r.array(1)?));
                    Ok(Some(Held { rid, digest, doc: doc.into(), size: body.len() }))
                },
            )?;
            let Some(held) = held.flatten() else { continue };
            let doc = held.doc.clone();
            self.current.replace(Some(Kept::Decoded(held)));
            if !visit(&DocRow::reading(id, &doc, reading))? {
                break;
            }
        }
        Ok(())
    }

    /// Most rows of a scan are not chosen, so they are looked at where they lie; the bytes of each wait in one buffer
    /// until it is known.
    fn visit_all(
        &self,
        coll: u32,
        scan: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (db, dict) = (&self.core.db, self.core.dict.shared());
        let reading = Reading::new(scan.declared, scan.strict);
        let (first, last) = rid_range(coll);
        db.query(
            "SELECT id, body, rid, digest FROM docs WHERE rid BETWEEN ?1 AND ?2 AND flags & 1 = 0",
            &[Param::Int(first), Param::Int(last)],
            |r| {
                let (id, stored) = (r.blob(0)?, r.blob(1)?);
                let mut body = match self.current.take() {
                    Some(Kept::Stored { body, .. }) => body,
                    _ => Vec::new(),
                };
                body.clear();
                body.extend_from_slice(stored);
                let rid = r.int(2)?;
                self.current.replace(Some(Kept::Stored { rid, digest: Digest(r.array(3)?), body }));
                with_row(db, dict, (rid, id, stored), reading, |row| visit(row))
            },
        )
    }
}

impl Source for Candidates<'_> {
    type Error = StoreError;

    fn visit(
        &self,
        scan: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        self.current.take();
        if scan.collection.namespace == Namespace::Default
            && let Some(coll) = self.core.dict.shared().collection_ref(&scan.collection.name)
        {
            match scan.access {
                Access::Ids(ids) => return self.visit_ids(coll, scan, ids, visit),
                Access::Scan => return self.visit_all(coll, scan, visit),
                Access::Index(_) | Access::Union(_) | Access::Intersect(_) => {}
            }
        }
        self.source.visit(scan, visit)
    }

    fn count(&self, collection: &CollectionRef) -> Result<u64, StoreError> {
        self.source.count(collection)
    }
}
