//! Writing the canonical encoding: one byte string per state (`docs/formats/document.md`).

use ditto_types::wire::{put_bytes, put_str, put_varint, put_zigzag};
use ditto_types::{SiteId, SmolStr, Stamp, codec};

use crate::doc::Doc;
use crate::leaf::{FieldKind, LeafValue, Slot, encode_token};
use crate::node::Node;

/// First byte of every document: the version of the format.
pub(crate) const FORMAT: u8 = 1;
/// First byte of a document that has a removal of one kind of value, which version 1 does not know.
pub(crate) const FORMAT_KINDS: u8 = 2;

/// Names and sites stand in the document itself instead of in a dictionary.
pub(crate) const INLINE: u8 = 1;
/// `dead` is written.
pub(crate) const DEAD: u8 = 4;
/// There is no `born`; otherwise it is the base stamp.
pub(crate) const NO_BORN: u8 = 8;
/// All flags that this version knows.
pub(crate) const FLAGS: u8 = INLINE | DEAD | NO_BORN;

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

/// Bit of the tag of a removal of one kind.
pub(crate) const OF_KIND: u8 = 1 << 5;

/// The byte that names the kind which a removal is of.
pub(crate) fn kind_byte(kind: FieldKind) -> u8 {
    match kind {
        FieldKind::Inferred => 0,
        FieldKind::Register => 1,
        FieldKind::Map => 2,
        FieldKind::Counter => 3,
        FieldKind::PnCounter => 4,
        FieldKind::Attachment => 5,
    }
}

/// Inverse of [`kind_byte`] for a kind that has a removal of its own.
pub(crate) fn kind_of_byte(byte: u8) -> Option<FieldKind> {
    Some(match byte {
        1 => FieldKind::Register,
        2 => FieldKind::Map,
        3 => FieldKind::Counter,
        4 => FieldKind::PnCounter,
        5 => FieldKind::Attachment,
        _ => return None,
    })
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
        self.born.or(self.dead).or_else(|| self.first_entry()).unwrap_or_default()
    }

    /// The first leaf's stamp, or the first removal's where there are no leaves.
    fn first_entry(&self) -> Option<Stamp> {
        let (mut leaf, mut tomb) = (None, None);
        self.root.each(&mut |n| {
            leaf = leaf.or_else(|| n.slots().first().map(|(_, l)| l.stamp));
            tomb = tomb.or_else(|| n.tombs().next().map(|(_, t)| t.dot));
        });
        leaf.or(tomb)
    }

    /// Sites in the order of the encoding: the base's first, then the others ascending.
    pub(crate) fn site_table(&self, base: Stamp) -> Vec<SiteId> {
        let mut sites = vec![base.site];
        let mut note = |site: SiteId| {
            // Documents have few writers; most have one.
            if site == base.site {
                return;
            }
            if let Err(at) = sites[1..].binary_search(&site) {
                sites.insert(at + 1, site);
            }
        };
        self.born.iter().chain(&self.dead).for_each(|s| note(s.site));
        self.root.each(&mut |n| {
            for (slot, leaf) in n.slots() {
                note(leaf.stamp.site);
                if let Slot::Ctr(site) | Slot::Pn(site) = slot {
                    note(*site);
                }
                leaf.base().iter().for_each(|on| note(on.site));
            }
            for (_, tomb) in n.tombs() {
                note(tomb.obs.site);
                note(tomb.dot.site);
            }
        });
        sites
    }
}

impl Slot {
    /// Kind of the entry.
    fn entry(self) -> u8 {
        match self {
            Slot::Reg => kind::REG,
            Slot::Att => kind::ATT,
            Slot::MapMark => kind::MAP_MARK,
            Slot::CtrBase => kind::CTR_BASE,
            Slot::Ctr(_) => kind::CTR,
            Slot::Pn(_) => kind::PN,
        }
    }
}

struct Encoder<'d> {
    dict: Option<&'d mut dyn DictWriter>,
    base: Stamp,
    sites: Vec<SiteId>,
    previous: Option<Stamp>,
    removes_kinds: bool,
}

impl<'d> Encoder<'d> {
    fn new(doc: &Doc, dict: Option<&'d mut dyn DictWriter>) -> Self {
        let base = doc.base_stamp();
        Self { dict, base, sites: doc.site_table(base), previous: None, removes_kinds: false }
    }

    fn run(mut self, doc: &Doc) -> Vec<u8> {
        let mut flags = if self.dict.is_none() { INLINE } else { 0 };
        if doc.born.is_none() {
            flags |= NO_BORN;
        }
        if doc.dead.is_some() {
            flags |= DEAD;
        }
        let mut out = Vec::with_capacity(64 + doc.root.children().len() * 16);
        out.extend_from_slice(&[FORMAT, flags]);
        put_varint(&mut out, self.sites.len() as u64);
        for site in &self.sites {
            match &mut self.dict {
                Some(dict) => put_varint(&mut out, dict.site_ref(site).into()),
                None => site.encode(&mut out),
            }
        }
        out.extend_from_slice(&self.base.hlc.0.to_le_bytes());
        doc.dead.iter().for_each(|s| self.explicit(*s, &mut out));
        self.node(&doc.root, &mut out);
        if self.removes_kinds {
            out[0] = FORMAT_KINDS;
        }
        out
    }

    /// Writes everything below `node`: by name, then by slot, then the removal, then what is further below.
    fn node(&mut self, node: &Node, out: &mut Vec<u8>) {
        let mut body = Vec::with_capacity(node.children().len() * 16);
        let mut offsets: Vec<usize> = Vec::with_capacity(node.children().len());
        for (name, child) in node.children() {
            for (slot, leaf) in child.slots() {
                offsets.push(body.len());
                self.head(slot.entry(), leaf.stamp, name, &mut body);
                self.payload(slot, &leaf.value, &mut body);
            }
            if let Some(tomb) = &child.tomb {
                offsets.push(body.len());
                self.head(kind::TOMB, tomb.dot, name, &mut body);
                self.explicit(tomb.obs, &mut body);
            }
            for (kind, tomb) in child.kind_tombs() {
                self.removes_kinds = true;
                offsets.push(body.len());
                self.head(kind::TOMB | OF_KIND, tomb.dot, name, &mut body);
                body.push(kind_byte(*kind));
                self.explicit(tomb.obs, &mut body);
            }
            if !child.children().is_empty() {
                offsets.push(body.len());
                body.push(kind::NODE);
                self.name(name, &mut body);
                let mut below = Vec::new();
                self.node(child, &mut below);
                put_bytes(&mut body, &below);
            }
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

    /// Tag, name and stamp of an entry.
    fn head(&mut self, kind: u8, stamp: Stamp, name: &SmolStr, out: &mut Vec<u8>) {
        let mode = if stamp == self.base {
            mode::BASE
        } else if self.previous == Some(stamp) {
            mode::PREVIOUS
        } else {
            mode::EXPLICIT
        };
        out.push(kind | mode << 3);
        self.name(name, out);
        if mode == mode::EXPLICIT {
            self.explicit(stamp, out);
            self.previous = Some(stamp);
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
            LeafValue::Pn(total) => out.extend_from_slice(&total.to_bits().to_le_bytes()),
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
        let index = match self.sites[1..].binary_search(site) {
            Ok(at) if *site != self.base.site => at + 1,
            _ => 0,
        };
        put_varint(out, index as u64);
    }
}
