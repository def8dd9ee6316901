//! Version vectors: what is known of each site's writes.

use std::collections::BTreeMap;

use ditto_types::wire::{Reader, WireError, put_varint};
use ditto_types::{Hlc, SiteId, Stamp};

/// The newest known time of each site's writes to one document. Derived from the document, never stored.
///
/// Writes from the beginning of time are in no order that their author could have given them: two seeds share one stamp.
/// They are never [covered](VersionVector::covers), so every delta carries all of them. An entry of [`SiteId::ZERO`] says
/// that there are some, and nothing else.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<SiteId, Hlc>);

/// Bytes that one entry takes at least.
const MIN_ENTRY: usize = 16 + 1 + 8;

impl VersionVector {
    /// Nothing known.
    pub fn new() -> Self {
        Self::default()
    }

    /// The newest known time of a site.
    pub fn get(&self, site: &SiteId) -> Option<Hlc> {
        self.0.get(site).copied()
    }

    /// Whether the write is known. Writes of [`SiteId::ZERO`] never are.
    pub fn covers(&self, stamp: &Stamp) -> bool {
        stamp.site != SiteId::ZERO && self.get(&stamp.site).is_some_and(|t| t >= stamp.hlc)
    }

    /// Whether everything that `other` knows is known here, the beginning of time aside: what was written then is in every
    /// delta.
    pub fn covers_all(&self, other: &VersionVector) -> bool {
        let mut sites = other.0.iter().filter(|(site, _)| **site != SiteId::ZERO);
        sites.all(|(site, hlc)| self.get(site).is_some_and(|t| t >= *hlc))
    }

    /// Notes a write.
    pub fn insert(&mut self, stamp: Stamp) {
        let hlc = if stamp.site == SiteId::ZERO { Hlc::ZERO } else { stamp.hlc };
        let t = self.0.entry(stamp.site).or_insert(hlc);
        *t = (*t).max(hlc);
    }

    /// Sites and times, by site.
    pub fn iter(&self) -> impl Iterator<Item = (&SiteId, Hlc)> {
        self.0.iter().map(|(s, t)| (s, *t))
    }

    /// Number of sites.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Appends a count and the entries.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_varint(out, self.0.len() as u64);
        for (site, hlc) in &self.0 {
            site.encode(out);
            out.extend_from_slice(&hlc.0.to_le_bytes());
        }
    }

    /// Reads what [`VersionVector::encode`] wrote.
    pub fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let n = r.count(MIN_ENTRY)?;
        let mut out = BTreeMap::new();
        for _ in 0..n {
            let site = SiteId::decode(r)?;
            if out.last_key_value().is_some_and(|(last, _)| *last >= site) {
                return Err(r.invalid("order of sites"));
            }
            out.insert(site, Hlc(r.u64_le()?));
        }
        Ok(Self(out))
    }
}
