//! What a peer's commits make of the pair of documents that change in one transaction.

use std::collections::BTreeMap;

use ditto_store::Commit;
use ditto_types::DocId;

use crate::process::half;
use crate::world::Broken;

/// Values of the documents of the pair at one peer.
#[derive(Default)]
pub(crate) struct Pairs(BTreeMap<DocId, i64>);

impl Pairs {
    /// After each commit, both halves of a transaction are there or none.
    pub(crate) fn see(&mut self, commit: &Commit) -> Result<(), Broken> {
        let mut touched = false;
        for change in commit.changes.iter().filter(|c| c.collection == "p") {
            touched = true;
            let value = change.new_state().and_then(|d| d.to_object().get("v")?.as_i64());
            match value {
                Some(v) => drop(self.0.insert(change.id.clone(), v)),
                None => drop(self.0.remove(&change.id)),
            }
        }
        let mut values = self.0.values().copied();
        match half(values.next(), values.next()) {
            Some(wrong) if touched => Err(format!("commit {}: {wrong}", commit.seq)),
            _ => Ok(()),
        }
    }
}
