//! Reading an encoded document in place: a path costs only the entries before it.

use ditto_types::wire::{Reader, WireError};
use ditto_types::{MAX_DEPTH, Object, SmolStr, Value, codec};

use crate::decode::{DecodeError, DictReader, Header, NodeHead, decode, read_name};
use crate::encode::kind;

/// An encoded document that is read where it lies.
///
/// The usual shapes (one register a path, maps of them) are read without building anything else. Counters, attachments
/// and paths that hold several kinds of value at once fall back to [`decode`].
pub struct DocView<'a> {
    bytes: &'a [u8],
    dict: &'a dyn DictReader,
    is_alive: bool,
    root: &'a [u8],
}

/// What stands at one key of a node.
enum Found<'a> {
    Nothing,
    /// The bytes of a register's value.
    Register(&'a [u8]),
    /// The bytes of a node; empty for a map without entries.
    Map(&'a [u8]),
    /// Needs the stamps to decide.
    Mixed,
}

impl<'a> DocView<'a> {
    /// Reads the header.
    pub fn new(bytes: &'a [u8], dict: &'a dyn DictReader) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let header = Header::read(&mut r, Some(dict))?;
        Ok(Self { bytes, dict, is_alive: header.is_alive(), root: &bytes[r.offset()..] })
    }

    /// As [`crate::Doc::is_alive`].
    pub fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// As [`crate::Doc::get`].
    pub fn get(&self, path: &[SmolStr]) -> Result<Option<Value>, DecodeError> {
        if !self.is_alive {
            return Ok(None);
        }
        let mut node = self.root;
        for (depth, name) in path.iter().enumerate() {
            match self.find(node, name)? {
                Found::Nothing => return Ok(None),
                Found::Map(child) => node = child,
                Found::Register(value) => {
                    let inner = codec::get(value, &path[depth + 1..])?;
                    return Ok(inner.map(codec::from_slice).transpose()?);
                }
                Found::Mixed => return Ok(decode(self.bytes, self.dict)?.get(path)),
            }
        }
        match self.object(node, path.len())? {
            // An empty map and a node of nothing but removals look alike from here.
            Some(object) if path.is_empty() || !object.is_empty() => Ok(Some(Value::Object(object))),
            _ => Ok(decode(self.bytes, self.dict)?.get(path)),
        }
    }

    /// As [`crate::Doc::to_object`].
    pub fn to_object(&self) -> Result<Object, DecodeError> {
        if !self.is_alive {
            return Ok(Object::new());
        }
        match self.object(self.root, 0)? {
            Some(object) => Ok(object),
            None => Ok(decode(self.bytes, self.dict)?.to_object()),
        }
    }

    fn find(&self, node: &'a [u8], name: &str) -> Result<Found<'a>, DecodeError> {
        let mut found = Found::Nothing;
        self.each(node, |key, k, payload| {
            if key < name {
                return true;
            }
            if key > name {
                return false;
            }
            found = match (k, &found) {
                (kind::TOMB, _) => return true,
                (kind::REG, Found::Nothing) => Found::Register(payload),
                (kind::MAP_MARK, Found::Nothing) => Found::Map(&[]),
                (kind::NODE, Found::Nothing | Found::Map([])) => Found::Map(payload),
                _ => Found::Mixed,
            };
            true
        })?;
        Ok(found)
    }

    /// The node `depth` names below the root as an object; `None` when some path in it needs stamps to decide.
    fn object(&self, node: &'a [u8], depth: usize) -> Result<Option<Object>, DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(WireError::Depth(0).into());
        }
        let mut out = Object::new();
        let mut failed = None;
        let mut mixed = false;
        let mut last: Option<(&str, bool)> = None;
        self.each(node, |key, k, payload| {
            let same = last.filter(|(name, _)| *name == key);
            let value = match k {
                kind::TOMB => return true,
                kind::REG if same.is_none() => {
                    codec::from_slice(payload).map_err(DecodeError::from).map(Some)
                }
                kind::MAP_MARK if same.is_none() => Ok(Some(Value::Object(Object::new()))),
                kind::NODE if same.is_none_or(|(_, is_mark)| is_mark) => {
                    self.object(payload, depth + 1).map(|o| {
                        // A node of nothing but removals shows no map.
                        o.filter(|o| same.is_some() || !o.is_empty()).map(Value::Object)
                    })
                }
                _ => {
                    mixed = true;
                    return false;
                }
            };
            match value {
                Ok(Some(value)) => {
                    out.insert(SmolStr::new(key), value);
                }
                Ok(None) if k == kind::NODE => {
                    mixed = true;
                    return false;
                }
                Ok(None) => {}
                Err(e) => {
                    failed = Some(e);
                    return false;
                }
            }
            last = Some((key, k == kind::MAP_MARK));
            true
        })?;
        match failed {
            Some(e) => Err(e),
            None => Ok((!mixed).then_some(out)),
        }
    }

    /// Calls `f` with name, kind and payload of each entry until it says stop. Payloads of registers and nodes are
    /// what follows name and stamp; other kinds give none.
    fn each(
        &self,
        node: &'a [u8],
        mut f: impl FnMut(&'a str, u8, &'a [u8]) -> bool,
    ) -> Result<(), DecodeError> {
        if node.is_empty() {
            return Ok(());
        }
        let mut r = Reader::new(node);
        let head = NodeHead::read(&mut r)?;
        let entries = &node[r.offset()..];
        for index in 0..head.count {
            let end = if index + 1 < head.count { head.offset(index + 1) } else { entries.len() };
            let bytes = entries.get(head.offset(index)..end).ok_or_else(|| r.invalid("offset table"))?;
            let mut entry = Reader::new(bytes);
            let tag = entry.u8()?;
            let name = read_name(&mut entry, self.dict)?.as_str();
            let payload = match tag & 7 {
                kind::NODE => entry.bytes(usize::MAX)?,
                kind::REG => {
                    if tag >> 3 == crate::encode::mode::EXPLICIT {
                        // Time, counter and site.
                        entry.zigzag()?;
                        entry.varint()?;
                        entry.varint()?;
                    }
                    &bytes[entry.offset()..]
                }
                _ => &[],
            };
            if !f(name, tag & 7, payload) {
                return Ok(());
            }
        }
        Ok(())
    }
}
