//! Reading the encoding. Bytes are hostile: everything that [`crate::encode`] would not write is refused.

use std::collections::BTreeMap;

use ditto_types::wire::{Reader, WireError};
use ditto_types::{Hlc, MAX_DEPTH, Path, SiteId, SmolStr, Stamp, codec};

use crate::doc::Doc;
use crate::encode::{BORN, DEAD, FLAGS, FORMAT, INLINE, NO_BORN, kind, mode};
use crate::leaf::{AttachmentToken, Leaf, LeafValue, Slot, Tomb};

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
    base: Stamp,
    sites: Vec<SiteId>,
}

impl Header {
    pub(crate) fn read(r: &mut Reader<'_>, dict: Option<&dyn DictReader>) -> Result<Self, DecodeError> {
        let format = r.u8()?;
        if format != FORMAT {
            return Err(DecodeError::Format(format));
        }
        let flags = r.u8()?;
        let both = BORN | NO_BORN;
        if flags & !FLAGS != 0 || flags & both == both || (flags & INLINE != 0) != dict.is_none() {
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
        let base = Stamp::new(Hlc(r.u64_le()?), *base_site);
        let mut out = Self { born: None, dead: None, base, sites };
        out.born = match flags & both {
            BORN => Some(out.explicit(r)?),
            NO_BORN => None,
            _ => Some(base),
        };
        if flags & DEAD != 0 {
            out.dead = Some(out.explicit(r)?);
        }
        Ok(out)
    }

    pub(crate) fn is_alive(&self) -> bool {
        self.born.is_some_and(|b| self.dead.is_none_or(|d| b > d))
    }

    fn body(self, r: &mut Reader<'_>, dict: Option<&dyn DictReader>) -> Result<Doc, DecodeError> {
        let mut body = Body { header: &self, dict, previous: None, leaves: Vec::new(), tombs: Vec::new() };
        body.node(r, &Path::root())?;
        r.finish()?;
        let Body { leaves, tombs, .. } = body;
        let doc = Doc {
            born: self.born,
            dead: self.dead,
            leaves: BTreeMap::from_iter(leaves),
            tombs: BTreeMap::from_iter(tombs),
        };
        let covered = (doc.dead.is_some() || !doc.tombs.is_empty())
            && doc.leaves.iter().any(|((p, _), l)| doc.covers(p, l.stamp));
        let redundant = doc.dead.is_some_and(|d| doc.tombs.values().any(|t| t.obs <= d));
        if covered || redundant || doc.base_stamp() != self.base {
            return Err(DecodeError::NotCanonical);
        }
        Ok(doc)
    }

    fn explicit(&self, r: &mut Reader<'_>) -> Result<Stamp, DecodeError> {
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
    leaves: Vec<((Path, Slot), Leaf)>,
    tombs: Vec<(Path, Tomb)>,
}

impl Body<'_> {
    fn node(&mut self, r: &mut Reader<'_>, at: &Path) -> Result<(), DecodeError> {
        if at.len() >= MAX_DEPTH {
            return Err(WireError::Depth(r.offset()).into());
        }
        let head = NodeHead::read(r)?;
        if head.count == 0 && !at.is_empty() {
            return Err(DecodeError::NotCanonical);
        }
        let start = r.offset();
        let mut last: Option<(SmolStr, (u8, SiteId))> = None;
        for index in 0..head.count {
            if head.offset(index) != r.offset() - start {
                return Err(r.invalid("offset table").into());
            }
            let tag = r.u8()?;
            let name = match self.dict {
                Some(dict) => read_name(r, dict)?.clone(),
                None => SmolStr::new(r.str(usize::MAX)?),
            };
            let path = at.child(name.clone());
            let order = self.entry(r, tag, path)?;
            if last.as_ref().is_some_and(|(n, o)| (n.as_str(), *o) >= (name.as_str(), order)) {
                return Err(DecodeError::NotCanonical);
            }
            last = Some((name, order));
        }
        if head.wide != (r.offset() - start > usize::from(u16::MAX)) {
            return Err(DecodeError::NotCanonical);
        }
        Ok(())
    }

    /// Reads one entry; gives its place among the entries of its key.
    fn entry(&mut self, r: &mut Reader<'_>, tag: u8, path: Path) -> Result<(u8, SiteId), DecodeError> {
        let (kind, stamp_mode) = (tag & 7, tag >> 3);
        if kind == kind::NODE {
            if stamp_mode != 0 {
                return Err(r.invalid("entry tag").into());
            }
            let mut child = Reader::new(r.bytes(usize::MAX)?);
            self.node(&mut child, &path)?;
            child.finish()?;
            return Ok((kind, SiteId::ZERO));
        }
        let stamp = match stamp_mode {
            mode::BASE => self.header.base,
            mode::PREVIOUS => self.previous.ok_or_else(|| r.invalid("entry tag"))?,
            mode::EXPLICIT => {
                let stamp = self.header.explicit(r)?;
                if stamp == self.header.base || self.previous == Some(stamp) {
                    return Err(DecodeError::NotCanonical);
                }
                self.previous = Some(stamp);
                stamp
            }
            _ => return Err(r.invalid("entry tag").into()),
        };
        let mut site = SiteId::ZERO;
        let (slot, value) = match kind {
            kind::REG => (Slot::Reg, LeafValue::Value(codec::decode(r)?)),
            kind::ATT => (Slot::Att, LeafValue::Attachment(read_token(r)?)),
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
                if total.is_nan() && total.to_bits() != f64::NAN.to_bits() {
                    return Err(DecodeError::NotCanonical);
                }
                (Slot::Pn(site), LeafValue::Pn(total))
            }
            _ => {
                let obs = self.header.explicit(r)?;
                self.tombs.push((path, Tomb { obs, dot: stamp }));
                return Ok((kind, site));
            }
        };
        self.leaves.push(((path, slot), Leaf { stamp, value }));
        Ok((kind, site))
    }
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
