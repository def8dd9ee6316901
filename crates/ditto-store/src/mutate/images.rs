//! RETURNING: the documents that a mutation is about, as they were before or are afterwards, as a source of rows.

use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_dql::{CollectionRef, Items, Row, RunContext, SelectPlan, Source, TermScan};
use ditto_types::DocId;

use crate::StoreError;
use crate::core::Core;
use crate::row::{DocRow, Reading};

/// The documents that RETURNING shows, in the order of the statement.
pub(super) struct Images<'p> {
    plan: Option<&'p SelectPlan>,
    documents: Vec<(DocId, Arc<Doc>)>,
}

impl<'p> Images<'p> {
    pub(super) fn new(plan: Option<&'p SelectPlan>) -> Self {
        Self { plan, documents: Vec::new() }
    }

    /// Adds a document, if the statement has a RETURNING.
    pub(super) fn keep(&mut self, id: &DocId, doc: &Arc<Doc>) {
        if self.plan.is_some() {
            self.documents.push((id.clone(), doc.clone()));
        }
    }

    /// The rows of RETURNING; none without. As many as memory does not hold are in files, like those of a SELECT.
    pub(super) fn rows(&self, core: &Core) -> Result<Items, StoreError> {
        let Some(plan) = self.plan else { return Ok(Items::default()) };
        let spill = core.spill();
        // A profile is about the documents that were chosen.
        plan.run(self, &RunContext { profiler: None, spill: Some(&spill), ..core.context() })
    }
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
        for (id, doc) in &self.documents {
            if !visit(&DocRow::reading(id, doc, reading))? {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, _: &CollectionRef) -> Result<u64, StoreError> {
        Ok(self.documents.len() as u64)
    }
}
