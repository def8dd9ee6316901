//! Dictionaries of field names, sites, collections and peers: append-only, shared by all readers.
//!
//! An entry is visible in memory from the moment that the writer makes it up, and becomes a row in the same
//! transaction as the first document that uses it. A rolled back transaction leaves its entries in memory, where
//! they wait for the next commit: they are names, not data, and so never have to be taken back. That is why readers
//! need no snapshot of a dictionary: whatever document they see, its references are there.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{OnceLock, PoisonError, RwLock};

use ditto_crdt::{DictReader, DictWriter};
use ditto_types::wire::Reader;
use ditto_types::{SiteId, SmolStr};

use crate::StoreError;
use crate::driver::{Db, Param};

/// Entries of the first chunk of an [`AppendVec`]; each later chunk has twice as many.
const FIRST_CHUNK: u32 = 32;

/// A vector that one thread appends to while others read, without locks and without moving an entry.
struct AppendVec<T> {
    chunks: [OnceLock<Box<[OnceLock<T>]>>; 28],
}

impl<T> AppendVec<T> {
    fn new() -> Self {
        Self { chunks: std::array::from_fn(|_| OnceLock::new()) }
    }

    /// Chunk and offset of entry `i`.
    fn place(i: u32) -> (usize, usize) {
        let n = u64::from(i) + u64::from(FIRST_CHUNK);
        let chunk = n.ilog2() - FIRST_CHUNK.ilog2();
        (chunk as usize, (n - (u64::from(FIRST_CHUNK) << chunk)) as usize)
    }

    fn get(&self, i: u32) -> Option<&T> {
        let (chunk, offset) = Self::place(i);
        self.chunks.get(chunk)?.get()?.get(offset)?.get()
    }

    /// Sets entry `i`, once.
    fn set(&self, i: u32, value: T) {
        let (chunk, offset) = Self::place(i);
        let len = (FIRST_CHUNK as usize) << chunk;
        let chunk = self.chunks[chunk].get_or_init(|| (0..len).map(|_| OnceLock::new()).collect());
        // Only the writer appends, each ordinal once.
        let _ = chunk[offset].set(value);
    }
}

/// What readers see of the dictionaries.
pub(crate) struct Dict {
    fields: AppendVec<SmolStr>,
    sites: AppendVec<SiteId>,
    collections: AppendVec<SmolStr>,
    collection_refs: RwLock<HashMap<SmolStr, u32>>,
}

impl Dict {
    /// Ordinal of a collection, when any document of it was ever stored.
    pub(crate) fn collection_ref(&self, name: &str) -> Option<u32> {
        self.collection_refs.read().unwrap_or_else(PoisonError::into_inner).get(name).copied()
    }

    /// Name of a collection.
    pub(crate) fn collection(&self, r: u32) -> Option<&SmolStr> {
        self.collections.get(r)
    }

    /// All collections, by ordinal.
    pub(crate) fn collection_list(&self) -> Vec<(u32, SmolStr)> {
        let refs = self.collection_refs.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = refs.iter().map(|(name, r)| (*r, name.clone())).collect();
        all.sort_unstable();
        all
    }
}

impl DictReader for Dict {
    fn key(&self, r: u32) -> Option<&SmolStr> {
        self.fields.get(r)
    }

    fn site(&self, r: u32) -> Option<SiteId> {
        self.sites.get(r).copied()
    }
}

/// One dictionary of the writer.
struct Table<T> {
    refs: HashMap<T, u32>,
    /// Entries that are not rows yet, in order of their ordinals.
    pending: Vec<(u32, T)>,
    next: u32,
}

impl<T: Clone + Eq + Hash> Table<T> {
    fn new(first: u32) -> Self {
        Self { refs: HashMap::new(), pending: Vec::new(), next: first }
    }

    /// Takes an entry from the file. Ordinals have no gaps, so a gap is damage, and no ordinal of a damaged file can
    /// make the vector of entries large.
    fn loaded(&mut self, db: &Db, table: &str, r: u32, value: T) -> Result<(), StoreError> {
        if r != self.next || self.refs.insert(value, r).is_some() {
            return Err(StoreError::Corrupt {
                file: db.file().to_path_buf(),
                detail: format!("table {table} has ordinal {r} where {} is expected", self.next),
            });
        }
        self.next += 1;
        Ok(())
    }

    fn add(&mut self, value: T) -> u32 {
        let r = self.next;
        self.next += 1;
        self.pending.push((r, value.clone()));
        self.refs.insert(value, r);
        r
    }
}

/// The writer's side: looks up and makes up ordinals, and writes the new ones.
pub(crate) struct WriterDict {
    dict: std::sync::Arc<Dict>,
    fields: Table<SmolStr>,
    sites: Table<SiteId>,
    collections: Table<SmolStr>,
    peers: Table<Vec<u8>>,
    /// The field that was looked up last, and for each field the one that was looked up after it. Documents of a collection
    /// mostly have the same names in the same order.
    last_field: u32,
    next_field: Vec<u32>,
}

impl WriterDict {
    /// Reads the dictionaries of a file.
    pub(crate) fn load(db: &Db) -> Result<Self, StoreError> {
        let dict = Dict {
            fields: AppendVec::new(),
            sites: AppendVec::new(),
            collections: AppendVec::new(),
            collection_refs: RwLock::default(),
        };
        let mut fields = Table::new(0);
        db.query("SELECT id, name FROM field ORDER BY id", &[], |row| {
            let (r, name) = (row.ordinal(0)?, SmolStr::new(row.text(1)?));
            fields.loaded(db, "field", r, name.clone())?;
            dict.fields.set(r, name);
            Ok(true)
        })?;
        let mut sites = Table::new(0);
        db.query("SELECT id, site FROM site ORDER BY id", &[], |row| {
            let r = row.ordinal(0)?;
            let site = decode_site(row.blob(1)?).ok_or_else(|| StoreError::Corrupt {
                file: db.file().to_path_buf(),
                detail: format!("site {r} is malformed"),
            })?;
            sites.loaded(db, "site", r, site)?;
            dict.sites.set(r, site);
            Ok(true)
        })?;
        // Ordinals of collections start at 1, so that row ids are never zero.
        let mut collections = Table::new(1);
        db.query("SELECT id, name FROM coll ORDER BY id", &[], |row| {
            let (r, name) = (row.ordinal(0)?, SmolStr::new(row.text(1)?));
            collections.loaded(db, "coll", r, name.clone())?;
            dict.collections.set(r, name.clone());
            dict.collection_refs.write().unwrap_or_else(PoisonError::into_inner).insert(name, r);
            Ok(true)
        })?;
        // Ordinal 0 means "written here".
        let mut peers = Table::new(1);
        db.query("SELECT id, key FROM peer ORDER BY id", &[], |row| {
            peers.loaded(db, "peer", row.ordinal(0)?, row.blob(1)?.to_vec())?;
            Ok(true)
        })?;
        let dict = std::sync::Arc::new(dict);
        let (last_field, next_field) = (0, Vec::new());
        let mut out = Self { dict, fields, sites, collections, peers, last_field, next_field };
        // Ordinal 0 is the author of INITIAL documents.
        if out.site_ref(&SiteId::ZERO) != 0 {
            return Err(StoreError::Corrupt {
                file: db.file().to_path_buf(),
                detail: "site 0 is not the site of initial documents".to_string(),
            });
        }
        Ok(out)
    }

    /// What readers share.
    pub(crate) fn shared(&self) -> &std::sync::Arc<Dict> {
        &self.dict
    }

    /// Ordinal of a collection.
    pub(crate) fn collection_ref(&mut self, name: &str) -> u32 {
        if let Some(r) = self.collections.refs.get(name) {
            return *r;
        }
        let name = SmolStr::new(name);
        let r = self.collections.add(name.clone());
        self.dict.collections.set(r, name.clone());
        self.dict.collection_refs.write().unwrap_or_else(PoisonError::into_inner).insert(name, r);
        r
    }

    /// Ordinal of a peer.
    pub(crate) fn peer_ref(&mut self, key: &[u8]) -> u32 {
        match self.peers.refs.get(key) {
            Some(r) => *r,
            None => self.peers.add(key.to_vec()),
        }
    }

    /// Writes the entries that are not rows yet. Call inside the transaction, outside of any savepoint.
    pub(crate) fn write_pending(&self, db: &Db) -> Result<(), StoreError> {
        for (r, name) in &self.fields.pending {
            db.exec("INSERT INTO field(id, name) VALUES(?1, ?2)", &[int(*r), Param::Text(name)])?;
        }
        for (r, name) in &self.collections.pending {
            db.exec("INSERT INTO coll(id, name) VALUES(?1, ?2)", &[int(*r), Param::Text(name)])?;
        }
        for (r, site) in &self.sites.pending {
            let mut bytes = Vec::with_capacity(20);
            site.encode(&mut bytes);
            db.exec("INSERT INTO site(id, site) VALUES(?1, ?2)", &[int(*r), Param::Blob(&bytes)])?;
        }
        for (r, key) in &self.peers.pending {
            db.exec("INSERT INTO peer(id, key) VALUES(?1, ?2)", &[int(*r), Param::Blob(key)])?;
        }
        Ok(())
    }

    /// Notes that what [`WriterDict::write_pending`] wrote is committed.
    pub(crate) fn committed(&mut self) {
        self.fields.pending.clear();
        self.sites.pending.clear();
        self.collections.pending.clear();
        self.peers.pending.clear();
    }
}

fn int(r: u32) -> Param<'static> {
    Param::Int(r.into())
}

fn decode_site(bytes: &[u8]) -> Option<SiteId> {
    let mut r = Reader::new(bytes);
    let site = SiteId::decode(&mut r).ok()?;
    r.finish().ok()?;
    Some(site)
}

impl DictWriter for WriterDict {
    fn key_ref(&mut self, name: &str) -> u32 {
        let last = self.last_field as usize;
        if let Some(next) = self.next_field.get(last)
            && self.dict.fields.get(*next).is_some_and(|n| n == name)
        {
            self.last_field = *next;
            return *next;
        }
        let r = match self.fields.refs.get(name) {
            Some(r) => *r,
            None => {
                let name = SmolStr::new(name);
                let r = self.fields.add(name.clone());
                self.dict.fields.set(r, name);
                r
            }
        };
        if self.next_field.len() <= last {
            self.next_field.resize(last + 1, 0);
        }
        self.next_field[last] = r;
        self.last_field = r;
        r
    }

    fn site_ref(&mut self, site: &SiteId) -> u32 {
        if let Some(r) = self.sites.refs.get(site) {
            return *r;
        }
        let r = self.sites.add(*site);
        self.dict.sites.set(r, *site);
        r
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn append_vec_places_every_ordinal_once() {
        let v = AppendVec::new();
        for i in 0..10_000u32 {
            v.set(i, i);
        }
        assert!((0..10_000).all(|i| v.get(i) == Some(&i)));
        assert_eq!(v.get(10_000), None);
        assert_eq!(v.get(u32::MAX), None);
        assert_eq!(AppendVec::<u32>::place(u32::MAX).0, 27);
    }
}
