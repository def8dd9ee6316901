//! RETURNING: the documents that a mutation is about, as they were before or are afterwards, as a source of rows.
//!
//! They are held as they are until they take more memory than a statement may use. Then all of them go through a
//! temporary file (ADR 0023), in their stored form.

use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_dql::{
    CollectionRef, DqlError, Items, Row, RunContext, SelectPlan, SharedSpill, Source, SpillFile, TermScan,
};
use ditto_types::wire::{Reader, put_bytes};
use ditto_types::{DocId, ErrorKind};

use crate::StoreError;
use crate::core::Core;
use crate::dict::{Dict, WriterDict};
use crate::row::{DocRow, Reading, ViewRow};
use crate::unit::DECODED;

/// Bytes of a block of the file, which is read whole. A larger document has a block of its own.
const BLOCK: usize = 64 << 10;

/// The documents that RETURNING shows, in the order of the statement.
pub(super) struct Images<'p> {
    plan: Option<&'p SelectPlan>,
    spill: SharedSpill,
    dict: Arc<Dict>,
    /// Empty once there is a file.
    held: Vec<(DocId, Arc<Doc>)>,
    /// Memory that they take, about.
    weight: usize,
    count: u64,
    file: Option<Spilled>,
}

/// Documents in a file.
struct Spilled {
    file: Box<dyn SpillFile>,
    /// Lengths of the blocks that are written.
    blocks: Vec<usize>,
    /// The one after these.
    block: Vec<u8>,
}

impl<'p> Images<'p> {
    pub(super) fn new(core: &Core, plan: Option<&'p SelectPlan>) -> Self {
        Self {
            plan,
            spill: core.spill(),
            dict: core.dict.shared().clone(),
            held: Vec::new(),
            weight: 0,
            count: 0,
            file: None,
        }
    }

    /// Whether the statement has a RETURNING, so that documents have to be kept.
    pub(super) fn are_shown(&self) -> bool {
        self.plan.is_some()
    }

    /// Adds a document, whose stored form has `size` bytes, if the statement has a RETURNING.
    pub(super) fn keep(
        &mut self,
        core: &mut Core,
        (id, doc): (&DocId, &Arc<Doc>),
        size: usize,
    ) -> Result<(), StoreError> {
        if self.plan.is_none() {
            return Ok(());
        }
        self.count += 1;
        if let Some(file) = &mut self.file {
            return file.push(&mut core.dict, id, doc);
        }
        self.weight += size_of::<(DocId, Arc<Doc>)>() + DECODED * size;
        self.held.push((id.clone(), doc.clone()));
        if self.weight > self.spill.memory() {
            let file = self.spill.create()?;
            let mut file = Spilled { file, blocks: Vec::new(), block: Vec::with_capacity(BLOCK) };
            for (id, doc) in std::mem::take(&mut self.held) {
                file.push(&mut core.dict, &id, &doc)?;
            }
            self.file = Some(file);
        }
        Ok(())
    }

    /// The rows of RETURNING; none without. As many as memory does not hold are in files, like those of a SELECT.
    pub(super) fn rows(&self, core: &Core) -> Result<Items, StoreError> {
        let Some(plan) = self.plan else { return Ok(Items::default()) };
        // A profile is about the documents that were chosen.
        plan.run(self, &RunContext { profiler: None, spill: Some(&self.spill), ..core.context() })
    }
}

impl Spilled {
    fn push(&mut self, dict: &mut WriterDict, id: &DocId, doc: &Doc) -> Result<(), StoreError> {
        put_bytes(&mut self.block, id.as_bytes());
        put_bytes(&mut self.block, &ditto_crdt::encode(doc, dict));
        if self.block.len() >= BLOCK {
            self.file.append(&self.block)?;
            self.blocks.push(self.block.len());
            self.block.clear();
        }
        Ok(())
    }

    /// Hands the documents to `visit`, until it is false.
    fn visit(
        &self,
        dict: &Arc<Dict>,
        reading: Reading<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let (mut at, mut bytes) = (0, Vec::new());
        for len in &self.blocks {
            bytes.resize(*len, 0);
            self.file.read(at, &mut bytes)?;
            at += *len as u64;
            if !visit_block(&bytes, dict, reading, visit)? {
                return Ok(());
            }
        }
        visit_block(&self.block, dict, reading, visit).map(|_| ())
    }
}

fn visit_block(
    bytes: &[u8],
    dict: &Arc<Dict>,
    reading: Reading<'_>,
    visit: &mut dyn FnMut(&dyn Row) -> Result<bool, StoreError>,
) -> Result<bool, StoreError> {
    let damaged =
        || StoreError::from(DqlError::new(ErrorKind::Io, "a temporary file of a statement is damaged"));
    let mut r = Reader::new(bytes);
    while !r.is_empty() {
        let id = r.bytes(usize::MAX).map_err(|_| damaged())?;
        let body = r.bytes(usize::MAX).map_err(|_| damaged())?;
        let row = ViewRow::new((0, id, body), dict, reading).map_err(|_| damaged())?;
        let go_on = visit(&row)?;
        if row.damage().is_some() {
            return Err(damaged());
        }
        if !go_on {
            return Ok(false);
        }
    }
    Ok(true)
}

impl Source for Images<'_> {
    type Error = StoreError;

    /// There is no other collection than that of the statement, and nothing to look up.
    fn visit(
        &self,
        scan: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, StoreError>,
    ) -> Result<(), StoreError> {
        let reading = Reading::new(scan.declared, scan.strict);
        if let Some(file) = &self.file {
            return file.visit(&self.dict, reading, visit);
        }
        for (id, doc) in &self.held {
            if !visit(&DocRow::reading(id, doc, reading))? {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, _: &CollectionRef) -> Result<u64, StoreError> {
        Ok(self.count)
    }
}
