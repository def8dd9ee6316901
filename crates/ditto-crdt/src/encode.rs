//! Writing the canonical encoding: one byte string per state (`docs/formats/document.md`).

use ditto_types::wire::{put_str, put_varint, put_zigzag};
use ditto_types::{Path, SiteId, SmolStr, Stamp, codec};

use crate::doc::Doc;
use crate::leaf::{LeafValue, Slot, Tomb, encode_token};

/// First byte of every document: the version of the format.
pub(crate) const FORMAT: u8 = 1;

/// Names and sites stand in the document itself instead of in a dictionary.
pub(crate) const INLINE: u8 = 1;
/// `born` is written; otherwise it is the base stamp, or absent with [`NO_BORN`].
pub(crate) const BORN: u8 = 2;
/// `dead` is written.
pub(crate) const DEAD: u8 = 4;
/// There is no `born`.
pub(crate) const NO_BORN: u8 = 8;
/// All flags that this version knows.
pub(crate) const FLAGS: u8 = INLINE | BORN | DEAD | NO_BORN;

/// Kinds of entries, in their order at one key.
pub(crate) mod kind {
    pub(crate) const REG: u8 = 0;
    pub(crate) const ATT: u8 = 1;
    pub(crate) const MAP_MARK: u8 = 2;
    pub(crate) const CTR_BASE: u8 = 3;
    pub(crate) const CTR: u8 = 4;
    pub(crate) const PN: u8 = 5;
    pub(crate) const TOMB: u8 = 6;
    pub(crate) const NODE: u8 = 7;
}

/// Stamp modes, in bits 3 and 4 of an entry's tag.
pub(crate) mod mode {
    pub(crate) const BASE: u8 = 0;
    pub(crate) const PREVIOUS: u8 = 1;
    pub(crate) const EXPLICIT: u8 = 2;
}

/// Gives out the small numbers that stand for names and sites.
pub trait DictWriter {
    /// Number of a field name; a new one is made for a new name.
    fn key_ref(&mut self, name: &str) -> u32;
    /// Number of a site; a new one is made for a new site.
    fn site_ref(&mut self, site: &SiteId) -> u32;
}

/// Encodes with the numbers of a dictionary: the form on disk and on the wire.
pub fn encode(doc: &Doc, dict: &mut dyn DictWriter) -> Vec<u8> {
    Encoder::new(doc, Some(dict)).run(doc)
}

impl Doc {
    /// The self-contained encoding: names and sites stand in it. The same state always gives the same bytes.
    pub fn canonical(&self) -> Vec<u8> {
        Encoder::new(self, None).run(self)
    }

    /// The stamp that most entries share: the INSERT's, or the least bad choice without one.
    pub(crate) fn base_stamp(&self) -> Stamp {
        let first_leaf = || self.leaves.values().map(|l| l.stamp).next();
        let first_tomb = || self.tombs.values().map(|t| t.dot).next();
        self.born.or(self.dead).or_else(first_leaf).or_else(first_tomb).unwrap_or_default()
    }

    /// Sites in the order of the encoding: the base's first, then the others ascending.
    pub(crate) fn site_table(&self, base: Stamp) -> Vec<SiteId> {
        let mut sites = vec![base.site];
        let mut note = |site: SiteId| {
            // Documents have few writers; most have one.
            if !sites.contains(&site) {
                sites.push(site);
            }
        };
        self.born.iter().chain(&self.dead).for_each(|s| note(s.site));
        for ((_, slot), leaf) in &self.leaves {
            note(leaf.stamp.site);
            if let Slot::Ctr(site) | Slot::Pn(site) = slot {
                note(*site);
            }
            if let LeafValue::Ctr { base: Some(on), .. } = &leaf.value {
                note(on.site);
            }
        }
        for tomb in self.tombs.values() {
            note(tomb.obs.site);
            note(tomb.dot.site);
        }
        sites[1..].sort_unstable();
        sites
    }
}

/// One entry of a node before it is written.
enum Entry<'a> {
    Leaf(&'a Slot, Stamp, &'a LeafValue),
    Tomb(&'a Tomb),
}

impl Entry<'_> {
    /// Kind, and site for the kinds that have one entry a site.
    fn order(&self) -> (u8, SiteId) {
        match self {
            Entry::Leaf(Slot::Reg, ..) => (kind::REG, SiteId::ZERO),
            Entry::Leaf(Slot::Att, ..) => (kind::ATT, SiteId::ZERO),
            Entry::Leaf(Slot::MapMark, ..) => (kind::MAP_MARK, SiteId::ZERO),
            Entry::Leaf(Slot::CtrBase, ..) => (kind::CTR_BASE, SiteId::ZERO),
            Entry::Leaf(Slot::Ctr(site), ..) => (kind::CTR, *site),
            Entry::Leaf(Slot::Pn(site), ..) => (kind::PN, *site),
            Entry::Tomb(_) => (kind::TOMB, SiteId::ZERO),
        }
    }
}

struct Encoder<'d> {
    dict: Option<&'d mut dyn DictWriter>,
    base: Stamp,
    sites: Vec<SiteId>,
    previous: Option<Stamp>,
}

impl<'d> Encoder<'d> {
    fn new(doc: &Doc, dict: Option<&'d mut dyn DictWriter>) -> Self {
        let base = doc.base_stamp();
        Self { dict, base, sites: doc.site_table(base), previous: None }
    }

    fn run(mut self, doc: &Doc) -> Vec<u8> {
        let mut flags = if self.dict.is_none() { INLINE } else { 0 };
        match doc.born {
            None => flags |= NO_BORN,
            Some(born) if born != self.base => flags |= BORN,
            Some(_) => {}
        }
        if doc.dead.is_some() {
            flags |= DEAD;
        }
        let mut out = Vec::with_capacity(64 + doc.leaves.len() * 16);
        out.extend_from_slice(&[FORMAT, flags]);
        put_varint(&mut out, self.sites.len() as u64);
        for site in &self.sites {
            match &mut self.dict {
                Some(dict) => put_varint(&mut out, dict.site_ref(site).into()),
                None => site.encode(&mut out),
            }
        }
        out.extend_from_slice(&self.base.hlc.0.to_le_bytes());
        if flags & BORN != 0 {
            doc.born.iter().for_each(|s| self.explicit(*s, &mut out));
        }
        doc.dead.iter().for_each(|s| self.explicit(*s, &mut out));
        let mut entries: Vec<(&Path, Entry<'_>)> =
            doc.leaves.iter().map(|((p, slot), l)| (p, Entry::Leaf(slot, l.stamp, &l.value))).collect();
        if !doc.tombs.is_empty() {
            entries.extend(doc.tombs.iter().map(|(p, t)| (p, Entry::Tomb(t))));
            entries.sort_by(|(p, a), (q, b)| p.cmp(q).then_with(|| a.order().cmp(&b.order())));
        }
        self.node(&entries, 0, &mut out);
        out
    }

    /// Writes the entries of one map level: `entries` share their first `depth` names.
    fn node(&mut self, entries: &[(&Path, Entry<'_>)], depth: usize, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(entries.len() * 16);
        let mut offsets: Vec<usize> = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while let Some((first, _)) = rest.first() {
            let name = &first.names()[depth];
            let same = rest.iter().take_while(|(p, _)| p.names()[depth] == *name).count();
            let (group, after) = rest.split_at(same);
            let own = group.iter().take_while(|(p, _)| p.len() == depth + 1).count();
            for (_, entry) in &group[..own] {
                offsets.push(body.len());
                self.entry(entry, name, &mut body);
            }
            if own < same {
                offsets.push(body.len());
                body.push(kind::NODE);
                self.name(name, &mut body);
                let mut child = Vec::new();
                self.node(&group[own..], depth + 1, &mut child);
                put_varint(&mut body, child.len() as u64);
                body.extend_from_slice(&child);
            }
            rest = after;
        }
        let wide = body.len() > usize::from(u16::MAX);
        put_varint(out, (offsets.len() as u64) << 1 | u64::from(wide));
        for offset in offsets {
            if wide {
                out.extend_from_slice(&(offset as u32).to_le_bytes());
            } else {
                out.extend_from_slice(&(offset as u16).to_le_bytes());
            }
        }
        out.extend_from_slice(&body);
    }

    fn entry(&mut self, entry: &Entry<'_>, name: &SmolStr, out: &mut Vec<u8>) {
        let stamp = match entry {
            Entry::Leaf(_, stamp, _) => *stamp,
            Entry::Tomb(tomb) => tomb.dot,
        };
        let mode = if stamp == self.base {
            mode::BASE
        } else if self.previous == Some(stamp) {
            mode::PREVIOUS
        } else {
            mode::EXPLICIT
        };
        out.push(entry.order().0 | mode << 3);
        self.name(name, out);
        if mode == mode::EXPLICIT {
            self.explicit(stamp, out);
            self.previous = Some(stamp);
        }
        match entry {
            Entry::Leaf(slot, _, value) => self.payload(slot, value, out),
            Entry::Tomb(tomb) => self.explicit(tomb.obs, out),
        }
    }

    fn payload(&mut self, slot: &Slot, value: &LeafValue, out: &mut Vec<u8>) {
        if let Slot::Ctr(site) | Slot::Pn(site) = slot {
            self.site(site, out);
        }
        match value {
            LeafValue::Value(v) => codec::encode(v, out),
            LeafValue::Attachment(t) => encode_token(t, out),
            LeafValue::MapMark => {}
            LeafValue::CtrBase(n) => put_zigzag(out, *n),
            LeafValue::Ctr { base, total } => {
                let narrow = i64::try_from(*total);
                out.push(u8::from(base.is_some()) | u8::from(narrow.is_err()) << 1);
                base.iter().for_each(|s| self.explicit(*s, out));
                match narrow {
                    Ok(n) => put_zigzag(out, n),
                    Err(_) => out.extend_from_slice(&total.to_le_bytes()),
                }
            }
            LeafValue::Pn(total) => {
                let total = if total.is_nan() { f64::NAN } else { *total };
                out.extend_from_slice(&total.to_bits().to_le_bytes());
            }
        }
    }

    fn name(&mut self, name: &str, out: &mut Vec<u8>) {
        match &mut self.dict {
            Some(dict) => put_varint(out, dict.key_ref(name).into()),
            None => put_str(out, name),
        }
    }

    fn explicit(&self, stamp: Stamp, out: &mut Vec<u8>) {
        put_zigzag(out, stamp.hlc.ms() as i64 - self.base.hlc.ms() as i64);
        put_varint(out, stamp.hlc.counter().into());
        self.site(&stamp.site, out);
    }

    fn site(&self, site: &SiteId, out: &mut Vec<u8>) {
        // The table was made from this very document.
        let index = self.sites.iter().position(|s| s == site).unwrap_or_default();
        put_varint(out, index as u64);
    }
}
