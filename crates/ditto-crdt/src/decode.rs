//! Reading the encoding. Bytes are hostile: everything that [`crate::encode`] would not write is refused.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use ditto_types::wire::{Reader, WireError};
use ditto_types::{Hlc, MAX_DEPTH, SiteId, SmolStr, Stamp, codec};

use crate::doc::Doc;
use crate::encode::{
    DEAD, FLAGS, FORMAT, FORMAT_KINDS, INLINE, NO_BORN, OF_KIND, kind, kind_byte, kind_of_byte, mode,
};
use crate::leaf::{AttachmentToken, FieldKind, ID, Leaf, LeafValue, Slot, Tomb};
use crate::node::Node;

/// Why bytes are no document.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Malformed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Written by a newer release.
    #[error("document format {0} is not known")]
    Format(u8),
    /// A number that the dictionary does not have.
    #[error("{what} {number} is not in the dictionary")]
    Dictionary {
        /// Field name or site.
        what: &'static str,
        /// The number.
        number: u32,
    },
    /// Readable, but not the one encoding of a state.
    #[error("the document is not in canonical form")]
    NotCanonical,
}

/// Resolves the small numbers that stand for names and sites.
pub trait DictReader {
    /// Field name of a number.
    fn key(&self, number: u32) -> Option<&SmolStr>;
    /// Site of a number.
    fn site(&self, number: u32) -> Option<SiteId>;
}

/// Reads what [`crate::encode`] wrote with the same dictionary.
pub fn decode(bytes: &[u8], dict: &dyn DictReader) -> Result<Doc, DecodeError> {
    let mut r = Reader::new(bytes);
    let header = Header::read(&mut r, Some(dict))?;
    header.body(&mut r, Some(dict))
}

impl Doc {
    /// Reads what [`Doc::canonical`] wrote.
    pub fn from_canonical(bytes: &[u8]) -> Result<Doc, DecodeError> {
        let mut r = Reader::new(bytes);
        let header = Header::read(&mut r, None)?;
        let doc = header.body(&mut r, None)?;
        if doc.canonical() == bytes { Ok(doc) } else { Err(DecodeError::NotCanonical) }
    }
}

/// Everything before the root node.
pub(crate) struct Header {
    pub(crate) born: Option<Stamp>,
    pub(crate) dead: Option<Stamp>,
    pub(crate) base: Stamp,
    pub(crate) sites: Vec<SiteId>,
    /// Where the time of the base stands.
    pub(crate) times_at: usize,
    /// Whether the format is that of documents with removals of one kind.
    pub(crate) removes_kinds: bool,
}

impl Header {
    pub(crate) fn read(r: &mut Reader<'_>, dict: Option<&dyn DictReader>) -> Result<Self, DecodeError> {
        let format = r.u8()?;
        if !matches!(format, FORMAT | FORMAT_KINDS) {
            return Err(DecodeError::Format(format));
        }
        let flags = r.u8()?;
        if flags & !FLAGS != 0 || (flags & INLINE != 0) != dict.is_none() {
            return Err(r.invalid("document flags").into());
        }
        let n = r.count(1)?;
        let mut sites = Vec::with_capacity(n);
        for _ in 0..n {
            sites.push(match dict {
                None => SiteId::decode(r)?,
                Some(dict) => {
                    let number = r.len(u32::MAX as usize)? as u32;
                    dict.site(number).ok_or(DecodeError::Dictionary { what: "site", number })?
                }
            });
        }
        let Some(base_site) = sites.first() else { return Err(r.invalid("site table").into()) };
        if sites.windows(2).skip(1).any(|w| w[0] >= w[1]) || sites[1..].contains(base_site) {
            return Err(DecodeError::NotCanonical);
        }
        let times_at = r.offset();
        let base = Stamp::new(Hlc(r.u64_le()?), *base_site);
        let born = (flags & NO_BORN == 0).then_some(base);
        let removes_kinds = format == FORMAT_KINDS;
        let mut out = Self { born, dead: None, base, sites, times_at, removes_kinds };
        if flags & DEAD != 0 {
            out.dead = Some(out.explicit(r)?);
        }
        Ok(out)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.born.is_some_and(|b| self.dead.is_none_or(|d| b > d))
    }

    fn body(self, r: &mut Reader<'_>, dict: Option<&dyn DictReader>) -> Result<Doc, DecodeError> {
        let mut body = Body { header: &self, dict, previous: None, removes_kinds: false };
        let root = body.node(r, 0, self.dead)?;
        r.finish()?;
        if body.removes_kinds != self.removes_kinds {
            return Err(DecodeError::NotCanonical);
        }
        let doc = Doc { born: self.born, dead: self.dead, root, writing: None };
        // The one site of most documents is used by the base.
        let sites_used = self.sites.len() == 1 || doc.site_table(self.base) == self.sites;
        if !sites_used || (doc.born.is_none() && doc.base_stamp() != self.base) {
            return Err(DecodeError::NotCanonical);
        }
        Ok(doc)
    }

    pub(crate) fn explicit(&self, r: &mut Reader<'_>) -> Result<Stamp, DecodeError> {
        let delta = r.zigzag()?;
        let counter = r.len(usize::from(u16::MAX))? as u64;
        let ms = (self.base.hlc.ms() as i64).checked_add(delta).filter(|ms| (0..1 << 48).contains(ms));
        let ms = ms.ok_or_else(|| r.invalid("time"))? as u64;
        Ok(Stamp::new(Hlc(ms << 16 | counter), self.site(r)?))
    }

    fn site(&self, r: &mut Reader<'_>) -> Result<SiteId, DecodeError> {
        let index = r.len(u32::MAX as usize)?;
        Ok(*self.sites.get(index).ok_or_else(|| r.invalid("site index"))?)
    }
}

/// Head of a node: where its entries are.
pub(crate) struct NodeHead<'a> {
    offsets: &'a [u8],
    wide: bool,
    pub(crate) count: usize,
}

impl<'a> NodeHead<'a> {
    /// Reads count and offset table; the entries follow.
    pub(crate) fn read(r: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let n = r.varint()?;
        let wide = n & 1 == 1;
        let count = n >> 1;
        let width = if wide { 4 } else { 2 };
        // An entry takes a tag and a name besides its offset.
        if count > (r.remaining() / (width + 2)) as u64 {
            return Err(r.invalid("count of entries").into());
        }
        let count = count as usize;
        Ok(Self { offsets: r.take(count * width)?, wide, count })
    }

    /// Whether offsets take four bytes.
    pub(crate) fn is_wide(&self) -> bool {
        self.wide
    }

    /// Where entry `index` starts, relative to the first.
    pub(crate) fn offset(&self, index: usize) -> usize {
        if self.wide {
            let at = index * 4;
            self.offsets.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
        } else {
            let at = index * 2;
            self.offsets.get(at..at + 2).map_or(0, |b| usize::from(u16::from_le_bytes([b[0], b[1]])))
        }
    }
}

/// Name of an entry, by its number.
pub(crate) fn read_name<'d>(
    r: &mut Reader<'_>,
    dict: &'d dyn DictReader,
) -> Result<&'d SmolStr, DecodeError> {
    let number = r.len(u32::MAX as usize)? as u32;
    dict.key(number).ok_or(DecodeError::Dictionary { what: "field", number })
}

struct Body<'h> {
    header: &'h Header,
    dict: Option<&'h dyn DictReader>,
    previous: Option<Stamp>,
    /// Whether a removal of one kind was read.
    removes_kinds: bool,
}

impl Body<'_> {
    /// Reads the node `depth` names below the root. `covered` is the newest of the deletion and what is removed above.
    fn node(
        &mut self,
        r: &mut Reader<'_>,
        depth: usize,
        covered: Option<Stamp>,
    ) -> Result<Node, DecodeError> {
        // The values of its entries are one level deeper than their names.
        if depth + 2 > MAX_DEPTH {
            return Err(WireError::Depth(r.offset()).into());
        }
        let head = NodeHead::read(r)?;
        if head.count == 0 && depth > 0 {
            return Err(DecodeError::NotCanonical);
        }
        let start = r.offset();
        let mut children: Vec<(SmolStr, Node)> = Vec::with_capacity(head.count);
        let mut last = (0, 0, SiteId::ZERO);
        for index in 0..head.count {
            if head.offset(index) != r.offset() - start {
                return Err(r.invalid("offset table").into());
            }
            let tag = r.u8()?;
            let name = match self.dict {
                Some(dict) => read_name(r, dict)?.clone(),
                None => SmolStr::new(r.str(usize::MAX)?),
            };
            if depth == 0 && name == ID {
                return Err(r.invalid("field name _id").into());
            }
            let is_new = match children.last().map(|(n, _)| n.cmp(&name)) {
                None | Some(Ordering::Less) => true,
                Some(Ordering::Equal) => false,
                Some(Ordering::Greater) => return Err(DecodeError::NotCanonical),
            };
            if is_new {
                children.push((name, Node::default()));
            }
            let Some((_, child)) = children.last_mut() else { return Err(DecodeError::NotCanonical) };
            let order = self.entry(r, tag, child, depth + 1, covered)?;
            if !is_new && last >= order {
                return Err(DecodeError::NotCanonical);
            }
            last = order;
        }
        if head.wide != (r.offset() - start > usize::from(u16::MAX)) {
            return Err(DecodeError::NotCanonical);
        }
        if children.len() < head.count {
            children.shrink_to_fit();
        }
        let mut out = Node::default();
        out.set_children(children);
        Ok(out)
    }

    /// Reads one entry into its node, `depth` names below the root; gives its place among the entries of its key.
    fn entry(
        &mut self,
        r: &mut Reader<'_>,
        tag: u8,
        into: &mut Node,
        depth: usize,
        covered: Option<Stamp>,
    ) -> Result<(u8, u8, SiteId), DecodeError> {
        let of_kind = tag & OF_KIND != 0 && tag & 7 == kind::TOMB && self.header.removes_kinds;
        let tag = if of_kind { tag & !OF_KIND } else { tag };
        let (kind, stamp_mode) = (tag & 7, tag >> 3);
        if kind == kind::NODE {
            if stamp_mode != 0 {
                return Err(r.invalid("entry tag").into());
            }
            let mut child = Reader::new(r.bytes(usize::MAX)?);
            let of_map = |(kind, tomb): (FieldKind, &Tomb)| {
                matches!(kind, FieldKind::Inferred | FieldKind::Map).then_some(tomb.obs)
            };
            let covered = covered.max(into.tombs().filter_map(of_map).max());
            let mut below = self.node(&mut child, depth, covered)?;
            child.finish()?;
            into.set_children(below.take_children());
            return Ok((kind, 0, SiteId::ZERO));
        }
        let stamp = self.stamp(r, stamp_mode)?;
        let mut site = SiteId::ZERO;
        let (slot, value) = match kind {
            kind::REG => {
                let value = codec::decode(r)?;
                check_depth(r, depth + value.depth())?;
                (Slot::Reg, LeafValue::Value(value))
            }
            kind::ATT => {
                let token = read_token(r)?;
                check_depth(r, depth + token.depth())?;
                (Slot::Att, LeafValue::Attachment(token))
            }
            kind::MAP_MARK => (Slot::MapMark, LeafValue::MapMark),
            kind::CTR_BASE => (Slot::CtrBase, LeafValue::CtrBase(r.zigzag()?)),
            kind::CTR => {
                site = self.header.site(r)?;
                let flags = r.u8()?;
                if flags > 3 {
                    return Err(r.invalid("counter flags").into());
                }
                let base = (flags & 1 != 0).then(|| self.header.explicit(r)).transpose()?;
                let total = if flags & 2 == 0 {
                    r.zigzag()?.into()
                } else {
                    let wide = i128::from_le_bytes(r.array()?);
                    if i64::try_from(wide).is_ok() {
                        return Err(DecodeError::NotCanonical);
                    }
                    wide
                };
                (Slot::Ctr(site), LeafValue::Ctr { base, total })
            }
            kind::PN => {
                site = self.header.site(r)?;
                let total = f64::from_bits(r.u64_le()?);
                if !total.is_finite() {
                    return Err(r.invalid("PN counter").into());
                }
                (Slot::Pn(site), LeafValue::Pn(total))
            }
            _ => {
                let of = if of_kind { Some(r.u8()?) } else { None };
                let obs = self.header.explicit(r)?;
                let of = match of {
                    None => FieldKind::Inferred,
                    Some(byte) => kind_of_byte(byte).ok_or_else(|| r.invalid("kind of a removal"))?,
                };
                let redundant = Some(obs) <= self.header.dead;
                let removed = |slot: Slot| of == FieldKind::Inferred || slot.kind() == of;
                if redundant || into.slots().iter().any(|(slot, l)| removed(*slot) && l.stamp <= obs) {
                    return Err(DecodeError::NotCanonical);
                }
                let tomb = Tomb { obs, dot: stamp };
                if of_kind {
                    self.removes_kinds = true;
                    into.put_kind_tomb(of, tomb);
                } else {
                    into.tomb = Some(Box::new(tomb));
                }
                return Ok((kind, kind_byte(of), site));
            }
        };
        if Some(stamp) <= covered {
            return Err(DecodeError::NotCanonical);
        }
        into.push(slot, Leaf { stamp, value });
        Ok((kind, 0, site))
    }

    fn stamp(&mut self, r: &mut Reader<'_>, stamp_mode: u8) -> Result<Stamp, DecodeError> {
        match stamp_mode {
            mode::BASE => Ok(self.header.base),
            mode::PREVIOUS => Ok(self.previous.ok_or_else(|| r.invalid("entry tag"))?),
            mode::EXPLICIT => {
                let stamp = self.header.explicit(r)?;
                if stamp == self.header.base || self.previous == Some(stamp) {
                    return Err(DecodeError::NotCanonical);
                }
                self.previous = Some(stamp);
                Ok(stamp)
            }
            _ => Err(r.invalid("entry tag").into()),
        }
    }
}

fn check_depth(r: &Reader<'_>, depth: usize) -> Result<(), DecodeError> {
    if depth > MAX_DEPTH { Err(WireError::Depth(r.offset()).into()) } else { Ok(()) }
}

fn read_token(r: &mut Reader<'_>) -> Result<AttachmentToken, DecodeError> {
    let hash = r.array()?;
    let len = r.varint()?;
    let mut metadata = BTreeMap::new();
    for _ in 0..r.count(2)? {
        let key = SmolStr::new(r.str(usize::MAX)?);
        if metadata.last_key_value().is_some_and(|(last, _): (&SmolStr, &SmolStr)| *last >= key) {
            return Err(DecodeError::NotCanonical);
        }
        metadata.insert(key, SmolStr::new(r.str(usize::MAX)?));
    }
    Ok(AttachmentToken { hash, len, metadata })
}
