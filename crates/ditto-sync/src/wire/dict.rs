//! The dictionaries of a lane: names and sites are spelled out once and then referred to by number.

use std::collections::BTreeMap;

use ditto_crdt::{DictReader, DictWriter};
use ditto_types::{SiteId, SmolStr};

use super::txn::Txn;
use crate::limits::MAX_DICT_ENTRIES;

/// The sending end of one lane.
#[derive(Debug, Default)]
pub(crate) struct LaneWriter {
    keys: BTreeMap<SmolStr, u32>,
    sites: BTreeMap<SiteId, u32>,
    new_keys: Vec<SmolStr>,
    new_sites: Vec<SiteId>,
    reset: bool,
}

impl LaneWriter {
    /// Starts a message. Call before the first reference is made.
    pub(crate) fn begin(&mut self) {
        if self.keys.len() >= MAX_DICT_ENTRIES || self.sites.len() >= MAX_DICT_ENTRIES {
            // Entries of a message that was not sent after all go as well.
            self.restart();
        }
    }

    /// Hands the entries made since [`LaneWriter::begin`] to the message.
    pub(crate) fn finish(&mut self, txn: &mut Txn) {
        txn.keys = std::mem::take(&mut self.new_keys);
        txn.sites = std::mem::take(&mut self.new_sites);
        txn.reset = std::mem::take(&mut self.reset);
    }

    /// Starts over: messages that were built are not sent after all.
    pub(crate) fn restart(&mut self) {
        *self = Self { reset: true, ..Self::default() };
    }
}

impl DictWriter for LaneWriter {
    fn key_ref(&mut self, name: &str) -> u32 {
        if let Some(r) = self.keys.get(name) {
            return *r;
        }
        let r = self.keys.len() as u32;
        self.keys.insert(name.into(), r);
        self.new_keys.push(name.into());
        r
    }

    fn site_ref(&mut self, site: &SiteId) -> u32 {
        let next = self.sites.len() as u32;
        *self.sites.entry(*site).or_insert_with(|| {
            self.new_sites.push(*site);
            next
        })
    }
}

/// The receiving end of one lane.
#[derive(Debug, Default)]
pub(crate) struct LaneReader {
    keys: Vec<SmolStr>,
    sites: Vec<SiteId>,
}

/// The writer should have started a new dictionary.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("wire dictionary exceeds {MAX_DICT_ENTRIES} entries")]
pub(crate) struct DictOverflow;

impl LaneReader {
    /// Takes over the entries that a message defines.
    pub(crate) fn define(&mut self, txn: &mut Txn) -> Result<(), DictOverflow> {
        if txn.reset {
            self.keys.clear();
            self.sites.clear();
        }
        // One message may pass the limit by what it defines itself, which its size bounds.
        if self.keys.len() > MAX_DICT_ENTRIES && !txn.keys.is_empty()
            || self.sites.len() > MAX_DICT_ENTRIES && !txn.sites.is_empty()
        {
            return Err(DictOverflow);
        }
        self.keys.append(&mut txn.keys);
        self.sites.append(&mut txn.sites);
        Ok(())
    }
}

impl DictReader for LaneReader {
    fn key(&self, r: u32) -> Option<&SmolStr> {
        self.keys.get(r as usize)
    }

    fn site(&self, r: u32) -> Option<SiteId> {
        self.sites.get(r as usize).copied()
    }
}
