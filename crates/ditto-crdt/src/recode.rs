//! Carrying an encoded document over to other numbers for its names and sites, without building it.

use ditto_types::codec::{Visit, visit};
use ditto_types::wire::{Reader, put_str, put_varint};
use ditto_types::{Hlc, MAX_DEPTH, SiteId, Stamp};

use crate::decode::{DecodeError, DictReader, Header, NodeHead, decode, read_name};
use crate::encode::{DictWriter, INLINE, encode, kind, mode};
use crate::leaf::ID;

/// Encodes a document that is encoded with one dictionary with another one: as [`decode`] and [`encode`] one after the
/// other, but mostly without building the document. Fails where [`decode`] does.
pub fn recode(
    bytes: &[u8],
    from: &dyn DictReader,
    to: &mut dyn DictWriter,
    numbers: &mut Numbers,
) -> Result<Vec<u8>, DecodeError> {
    let mut out = Vec::with_capacity(bytes.len() + 16);
    match carry(bytes, Some(from), Target::Dict(to, Some(numbers)), &mut out) {
        Some(_) => Ok(out),
        None => Ok(encode(&decode(bytes, from)?, to)),
    }
}

/// The numbers that names of one dictionary have in another, as far as they were looked up. Valid as long as neither
/// dictionary gives out its numbers anew.
#[derive(Clone, Debug, Default)]
pub struct Numbers(Vec<u32>);

/// Names of up to this number are remembered.
const MAX_NUMBER: usize = 65_536;

/// The number of a name that was not looked up yet.
const UNKNOWN: u32 = u32::MAX;

impl Numbers {
    fn of(&mut self, name: &str, number: u32, to: &mut dyn DictWriter) -> u32 {
        let at = number as usize;
        if at >= MAX_NUMBER {
            return to.key_ref(name);
        }
        if at >= self.0.len() {
            self.0.resize(at + 1, UNKNOWN);
        }
        if self.0[at] == UNKNOWN {
            self.0[at] = to.key_ref(name);
        }
        self.0[at]
    }
}

/// Where names and sites are written to.
pub(crate) enum Target<'d> {
    /// Into the document itself.
    Inline,
    /// Into a dictionary; the numbers are remembered for names that have one.
    Dict(&'d mut dyn DictWriter, Option<&'d mut Numbers>),
}

/// What is known of a document that was carried over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) is_alive: bool,
    /// The newest write.
    pub(crate) dot: Stamp,
    /// The newest time, that of the deletion included.
    pub(crate) newest: Hlc,
}

/// Appends the document to `out` with other names and sites, if it consists of registers and maps of them. `None`, with
/// whatever in `out`: it has something else in it, or is no document; [`decode`] knows.
///
/// Whatever [`decode`] refuses is not carried over.
pub(crate) fn carry(
    bytes: &[u8],
    from: Option<&dyn DictReader>,
    to: Target<'_>,
    out: &mut Vec<u8>,
) -> Option<Facts> {
    let mut r = Reader::new(bytes);
    let header = Header::read(&mut r, from).ok().filter(|h| !h.removes_kinds)?;
    let born = header.born?;
    let flags = *bytes.get(1)?;
    let inline = matches!(to, Target::Inline);
    // Documents with more sites are rare.
    let others = (1..header.sites.len()).try_fold(0, |all, at| Some(all | 1_u64.checked_shl(at as u32)?))?;
    let mut this = Carrier { used: 0, header, from, to, previous: None, dot: born };
    out.extend_from_slice(&[*bytes.first()?, if inline { flags | INLINE } else { flags & !INLINE }]);
    put_varint(out, this.header.sites.len() as u64);
    for site in &this.header.sites {
        match &mut this.to {
            Target::Inline => site.encode(out),
            Target::Dict(dict, _) => put_varint(out, dict.site_ref(site).into()),
        }
    }
    // Base time and deletion stay as they are.
    out.extend_from_slice(bytes.get(this.header.times_at..r.offset())?);
    let mut newest = born.hlc;
    if let Some(dead) = this.header.dead {
        this.uses(dead.site)?;
        newest = newest.max(dead.hlc);
        if dead.site != SiteId::ZERO {
            this.dot = this.dot.max(dead);
        }
    }
    this.node(&mut r, 0, out)?;
    r.finish().ok()?;
    // The first one is the base's.
    if this.used & others != others {
        return None;
    }
    Some(Facts { is_alive: this.header.is_alive(), dot: this.dot, newest: newest.max(this.dot.hlc) })
}

struct Carrier<'a, 'd> {
    header: Header,
    from: Option<&'a dyn DictReader>,
    to: Target<'d>,
    previous: Option<Stamp>,
    /// Which sites of the table stand in a stamp: a bit for each.
    used: u64,
    dot: Stamp,
}

impl<'a> Carrier<'a, '_> {
    fn uses(&mut self, site: SiteId) -> Option<()> {
        let at = self.header.sites.iter().position(|s| *s == site)?;
        self.used |= 1_u64.checked_shl(u32::try_from(at).ok()?)?;
        Some(())
    }

    fn node(&mut self, r: &mut Reader<'a>, depth: usize, out: &mut Vec<u8>) -> Option<()> {
        if depth + 2 > MAX_DEPTH {
            return None;
        }
        let head = NodeHead::read(r).ok()?;
        if head.count == 0 && depth > 0 {
            return None;
        }
        let begin = r.offset();
        let start = out.len();
        put_varint(out, (head.count as u64) << 1);
        let table = out.len();
        out.resize(table + 2 * head.count, 0);
        let body = out.len();
        // Offsets that do not fit into the table of two bytes each.
        let mut wide = Vec::new();
        let mut last: Option<(&str, u8)> = None;
        for index in 0..head.count {
            if head.offset(index) != r.offset() - begin {
                return None;
            }
            let offset = u32::try_from(out.len() - body).ok()?;
            match u16::try_from(offset) {
                Ok(short) => {
                    let at = table + 2 * index;
                    out.get_mut(at..at + 2)?.copy_from_slice(&short.to_le_bytes());
                }
                Err(_) => wide.push(offset),
            }
            let tag = r.u8().ok()?;
            let (kind, stamp_mode) = (tag & 7, tag >> 3);
            out.push(tag);
            let name = self.name(r, out)?;
            if depth == 0 && name == ID {
                return None;
            }
            if last.is_some_and(|(before, k)| before > name || (before == name && k >= kind)) {
                return None;
            }
            last = Some((name, kind));
            if kind == kind::NODE {
                if stamp_mode != 0 {
                    return None;
                }
                self.below(r.bytes(usize::MAX).ok()?, depth + 1, out)?;
                continue;
            }
            let stamp = self.stamp(r, stamp_mode, out)?;
            if Some(stamp) <= self.header.dead {
                return None;
            }
            match kind {
                kind::REG => value(r, depth + 1, out)?,
                kind::MAP_MARK => {}
                _ => return None,
            }
        }
        if head.is_wide() != (r.offset() - begin > usize::from(u16::MAX)) {
            return None;
        }
        if out.len() - body > usize::from(u16::MAX) {
            // The lowest bit of the count says that offsets take four bytes.
            *out.get_mut(start)? |= 1;
            let short = out.get(table..body)?.chunks_exact(2).take(head.count - wide.len());
            let short = short.map(|b| u32::from(u16::from_le_bytes([b[0], b[1]])));
            let offsets: Vec<u8> = short.chain(wide).flat_map(u32::to_le_bytes).collect();
            out.splice(table..body, offsets);
        }
        Some(())
    }

    /// A node with its length in front.
    fn below(&mut self, bytes: &'a [u8], depth: usize, out: &mut Vec<u8>) -> Option<()> {
        let start = out.len();
        // Most lengths take one byte.
        out.push(0);
        let mut r = Reader::new(bytes);
        self.node(&mut r, depth, out)?;
        r.finish().ok()?;
        let len = out.len() - start - 1;
        if let Ok(len @ ..0x80) = u8::try_from(len) {
            *out.get_mut(start)? = len;
        } else {
            let mut varint = Vec::with_capacity(10);
            put_varint(&mut varint, len as u64);
            out.splice(start..=start, varint);
        }
        Some(())
    }

    fn name(&mut self, r: &mut Reader<'a>, out: &mut Vec<u8>) -> Option<&'a str> {
        let mut numbered = None;
        let name = match self.from {
            Some(dict) => {
                let mut ahead = r.clone();
                numbered = Some(u32::try_from(ahead.varint().ok()?).ok()?);
                read_name(r, dict).ok()?.as_str()
            }
            None => r.str(usize::MAX).ok()?,
        };
        match &mut self.to {
            Target::Inline => put_str(out, name),
            Target::Dict(dict, numbers) => {
                let number = match (numbers, numbered) {
                    (Some(numbers), Some(number)) => numbers.of(name, number, &mut **dict),
                    _ => dict.key_ref(name),
                };
                put_varint(out, number.into());
            }
        }
        Some(name)
    }

    fn stamp(&mut self, r: &mut Reader<'a>, stamp_mode: u8, out: &mut Vec<u8>) -> Option<Stamp> {
        match stamp_mode {
            mode::BASE => Some(self.header.base),
            mode::PREVIOUS => self.previous,
            mode::EXPLICIT => {
                let mut ahead = r.clone();
                let stamp = self.header.explicit(&mut ahead).ok()?;
                if stamp == self.header.base || self.previous == Some(stamp) {
                    return None;
                }
                out.extend_from_slice(r.take(ahead.offset() - r.offset()).ok()?);
                self.previous = Some(stamp);
                self.dot = self.dot.max(stamp);
                self.uses(stamp.site)?;
                Some(stamp)
            }
            _ => None,
        }
    }
}

/// Copies the value of an entry `depth` names below the root.
fn value(r: &mut Reader<'_>, depth: usize, out: &mut Vec<u8>) -> Option<()> {
    let mut ahead = r.clone();
    let mut nesting = Nesting { now: 1, most: 1 };
    visit(&mut ahead, &mut nesting).ok()?;
    if depth + nesting.most > MAX_DEPTH {
        return None;
    }
    out.extend_from_slice(r.take(ahead.offset() - r.offset()).ok()?);
    Some(())
}

/// Depth of a value as `Value::depth` counts it: that of a list is one more than of its deepest item.
struct Nesting {
    now: usize,
    most: usize,
}

impl Nesting {
    fn down(&mut self) {
        self.now += 1;
    }

    fn up(&mut self) {
        self.now -= 1;
    }

    fn item(&mut self) {
        self.most = self.most.max(self.now);
    }
}

impl Visit for Nesting {
    fn begin_array(&mut self) {
        self.down();
    }

    fn item(&mut self) {
        Nesting::item(self);
    }

    fn end_array(&mut self) {
        self.up();
    }

    fn begin_object(&mut self) {
        self.down();
    }

    fn name(&mut self, _: &str) {
        Nesting::item(self);
    }

    fn end_object(&mut self) {
        self.up();
    }
}
