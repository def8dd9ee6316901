//! Reading an encoded document in place: a path costs a search in the offset table of each node on it.

use ditto_types::codec::{Visit, visit};
use ditto_types::wire::{Reader, WireError};
use ditto_types::{KindSet, MAX_DEPTH, Object, SmolStr, Value, codec};

use crate::decode::{DecodeError, DictReader, Header, NodeHead, decode, read_name};
use crate::encode::{DEAD, FLAGS, FORMAT, FORMAT_KINDS, INLINE, NO_BORN, kind, mode};
use crate::leaf::{FieldKind, ID};
use crate::typed::KindOf;

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

/// What shows at a path.
pub enum FieldRef<'a> {
    /// The canonical bytes of the value (`ditto_types::codec`), in place.
    Encoded(&'a [u8]),
    /// A value that had to be put together.
    Built(Value),
}

/// Where a path was found in the document before. Documents of a collection mostly have the same layout, so it is
/// looked for there first. One for each path and dictionary.
#[derive(Clone, Debug, Default)]
pub struct Trail(Vec<Option<Step>>);

/// The only entry of a name in a node.
#[derive(Clone, Copy, Debug)]
struct Step {
    index: usize,
    /// The number of its name.
    number: u32,
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

/// One entry of a node. The payload of registers and nodes is what follows name and stamp; other kinds have none.
struct Entry<'a> {
    name: &'a str,
    kind: u8,
    payload: &'a [u8],
}

/// The entries of a node, found by the offset table.
struct Entries<'a> {
    head: NodeHead<'a>,
    bytes: &'a [u8],
    dict: &'a dyn DictReader,
}

impl<'a> Entries<'a> {
    /// `None` for the node of a map without entries.
    fn of(node: &'a [u8], dict: &'a dyn DictReader) -> Result<Option<Self>, DecodeError> {
        if node.is_empty() {
            return Ok(None);
        }
        let mut r = Reader::new(node);
        let head = NodeHead::read(&mut r)?;
        Ok(Some(Self { head, bytes: &node[r.offset()..], dict }))
    }

    fn count(&self) -> usize {
        self.head.count
    }

    /// The bytes of an entry, up to the next one.
    fn slice(&self, index: usize) -> Result<&'a [u8], DecodeError> {
        let end = if index + 1 < self.head.count { self.head.offset(index + 1) } else { self.bytes.len() };
        let bytes = self.bytes.get(self.head.offset(index)..end);
        Ok(bytes.ok_or(WireError::Invalid { at: 0, what: "offset table" })?)
    }

    fn name(&self, index: usize) -> Result<&'a str, DecodeError> {
        let mut r = Reader::new(self.slice(index)?);
        r.u8()?;
        Ok(read_name(&mut r, self.dict)?)
    }

    fn entry(&self, index: usize) -> Result<Entry<'a>, DecodeError> {
        let mut r = Reader::new(self.slice(index)?);
        let tag = r.u8()?;
        let name = read_name(&mut r, self.dict)?.as_str();
        Ok(Entry { name, kind: tag & 7, payload: payload(tag, r)? })
    }

    /// The number of the name of an entry, behind its tag. Where the entry ends does not matter: one that is too short is found
    /// when it is read.
    fn number(&self, index: usize) -> Result<u32, DecodeError> {
        let bytes = self.bytes.get(self.head.offset(index)..);
        let mut r = Reader::new(bytes.ok_or(WireError::Invalid { at: 0, what: "offset table" })?);
        r.u8()?;
        Ok(r.len(u32::MAX as usize)? as u32)
    }

    /// The step to entry `index`, if no neighbour has its name.
    fn step(&self, index: usize) -> Result<Option<Step>, DecodeError> {
        let step = Step { index, number: self.number(index)? };
        Ok(self.is_alone(step)?.then_some(step))
    }

    fn is_alone(&self, Step { index, number }: Step) -> Result<bool, DecodeError> {
        let before = index.checked_sub(1).map(|i| self.number(i)).transpose()?;
        let after = if index + 1 < self.count() { Some(self.number(index + 1)?) } else { None };
        Ok(before != Some(number) && after != Some(number))
    }

    /// What stands at a step that was found in another node; `None` if it does not lead to the same name here.
    fn follow(&self, step: Step) -> Result<Option<Found<'a>>, DecodeError> {
        if step.index >= self.count() {
            return Ok(None);
        }
        let mut r = Reader::new(self.slice(step.index)?);
        let tag = r.u8()?;
        if r.len(u32::MAX as usize)? as u32 != step.number || !self.is_alone(step)? {
            return Ok(None);
        }
        Ok(match tag & 7 {
            kind::REG => Some(Found::Register(payload(tag, r)?)),
            kind::NODE => Some(Found::Map(payload(tag, r)?)),
            _ => None,
        })
    }

    /// Index of the first entry whose name is not before `name`.
    fn first_of(&self, name: &str) -> Result<usize, DecodeError> {
        let (mut low, mut high) = (0, self.count());
        while low < high {
            let middle = low + (high - low) / 2;
            if self.name(middle)? < name {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn iter(&self) -> impl Iterator<Item = Result<Entry<'a>, DecodeError>> {
        (0..self.count()).map(|i| self.entry(i))
    }
}

/// What follows the name of an entry; `r` stands behind the name.
fn payload<'a>(tag: u8, mut r: Reader<'a>) -> Result<&'a [u8], DecodeError> {
    Ok(match tag & 7 {
        kind::NODE => r.bytes(usize::MAX)?,
        kind::REG => {
            if tag >> 3 == mode::EXPLICIT {
                // Time, counter and site.
                r.zigzag()?;
                r.varint()?;
                r.varint()?;
            }
            r.take(r.remaining())?
        }
        _ => &[],
    })
}

/// Reads what stands before the root node: whether the document is alive. Cheaper than [`Header`], since it needs no
/// stamps.
fn skip_header(r: &mut Reader<'_>, bytes: &[u8], dict: &dyn DictReader) -> Result<bool, DecodeError> {
    let format = r.u8()?;
    if !matches!(format, FORMAT | FORMAT_KINDS) {
        return Err(DecodeError::Format(format));
    }
    let flags = r.u8()?;
    if flags & !FLAGS != 0 || flags & INLINE != 0 {
        return Err(r.invalid("document flags").into());
    }
    if flags & DEAD != 0 {
        let mut whole = Reader::new(bytes);
        let is_alive = Header::read(&mut whole, Some(dict))?.is_alive();
        r.take(whole.offset() - r.offset())?;
        return Ok(is_alive);
    }
    let sites = r.count(1)?;
    if sites == 0 {
        return Err(r.invalid("site table").into());
    }
    for _ in 0..sites {
        r.varint()?;
    }
    r.u64_le()?;
    Ok(flags & NO_BORN == 0)
}

impl<'a> DocView<'a> {
    /// Reads the header.
    #[inline]
    pub fn new(bytes: &'a [u8], dict: &'a dyn DictReader) -> Result<Self, DecodeError> {
        let mut r = Reader::new(bytes);
        let is_alive = skip_header(&mut r, bytes, dict)?;
        Ok(Self { bytes, dict, is_alive, root: &bytes[r.offset()..] })
    }

    /// As [`crate::Doc::is_alive`].
    #[inline]
    pub fn is_alive(&self) -> bool {
        self.is_alive
    }

    /// As [`crate::Doc::get`].
    pub fn get(&self, path: &[SmolStr]) -> Result<Option<Value>, DecodeError> {
        self.get_along(path, &mut Trail::default())
    }

    /// As [`DocView::get`], with the trail of [`DocView::look_along`].
    pub fn get_along(&self, path: &[SmolStr], trail: &mut Trail) -> Result<Option<Value>, DecodeError> {
        match self.look_along(path, trail)? {
            Some(FieldRef::Encoded(bytes)) => Ok(Some(codec::from_slice(bytes)?)),
            Some(FieldRef::Built(value)) => Ok(Some(value)),
            None => Ok(None),
        }
    }

    /// As [`DocView::get`], in place where that is possible.
    pub fn look(&self, path: &[SmolStr]) -> Result<Option<FieldRef<'a>>, DecodeError> {
        self.look_along(path, &mut Trail::default())
    }

    /// As [`DocView::look`], looking first where this path was in the last document, which `trail` remembers.
    pub fn look_along(
        &self,
        path: &[SmolStr],
        trail: &mut Trail,
    ) -> Result<Option<FieldRef<'a>>, DecodeError> {
        if !self.is_alive {
            return Ok(None);
        }
        let mut node = self.root;
        for (depth, name) in path.iter().enumerate() {
            match self.find_along(node, name, depth, trail)? {
                Found::Nothing => return Ok(None),
                Found::Map(child) => node = child,
                Found::Register(value) if depth + 1 == path.len() => {
                    return Ok(Some(FieldRef::Encoded(value)));
                }
                Found::Register(value) => {
                    return Ok(codec::get(value, &path[depth + 1..])?.map(FieldRef::Encoded));
                }
                Found::Mixed => return self.decoded(path),
            }
        }
        match self.object(node, path.len())? {
            // An empty map and a node of nothing but removals look alike from here.
            Some(object) if path.is_empty() || !object.is_empty() => {
                Ok(Some(FieldRef::Built(Value::Object(object))))
            }
            _ => self.decoded(path),
        }
    }

    fn decoded(&self, path: &[SmolStr]) -> Result<Option<FieldRef<'a>>, DecodeError> {
        Ok(decode(self.bytes, self.dict)?.get(path).map(FieldRef::Built))
    }

    /// As [`crate::Doc::get_typed`].
    pub fn get_typed(&self, path: &[SmolStr], kind_of: KindOf<'_>) -> Result<Option<Value>, DecodeError> {
        if !self.is_alive {
            return Ok(None);
        }
        let mut node = self.root;
        for (depth, name) in path.iter().enumerate() {
            let kind = kind_of(&path[..=depth]);
            match (self.find(node, name)?, kind) {
                (Found::Nothing, _) => return Ok(None),
                (Found::Register(value), FieldKind::Inferred | FieldKind::Register) => {
                    let inner = codec::get(value, &path[depth + 1..])?;
                    return Ok(inner.map(codec::from_slice).transpose()?);
                }
                (Found::Map(child), FieldKind::Inferred | FieldKind::Map) => node = child,
                // The one kind that is there is not the declared one.
                (Found::Register(_) | Found::Map(_), _) => return Ok(None),
                (Found::Mixed, _) => break,
            }
        }
        Ok(decode(self.bytes, self.dict)?.get_typed(path, kind_of))
    }

    /// As [`crate::Doc::to_object_typed`].
    pub fn to_object_typed(&self, kind_of: KindOf<'_>) -> Result<Object, DecodeError> {
        Ok(decode(self.bytes, self.dict)?.to_object_typed(kind_of))
    }

    /// Tells the visible fields in their order, with `_id` among them; `id` is the encoded id. `Ok(false)`: some path
    /// needs the stamps to decide what shows, and what was told until then is to be discarded.
    ///
    /// With `()` it only verifies: after `Ok(true)` no way of reading these bytes fails.
    pub fn visit(&self, id: &[u8], out: &mut impl Visit) -> Result<bool, DecodeError> {
        out.begin_object();
        let mut id = Some(id);
        if self.is_alive && self.visit_node(self.root, 0, &mut id, out)?.is_none() {
            return Ok(false);
        }
        if let Some(id) = id {
            tell_id(id, out)?;
        }
        out.end_object();
        Ok(true)
    }

    /// How many fields of a node were told; `None` when some path needs stamps to decide. `id` stands among the fields
    /// of the root.
    fn visit_node(
        &self,
        node: &'a [u8],
        depth: usize,
        id: &mut Option<&[u8]>,
        out: &mut impl Visit,
    ) -> Result<Option<usize>, DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(WireError::Depth(0).into());
        }
        let mut told = 0;
        let mut last: Option<(&str, u8)> = None;
        let Some(entries) = Entries::of(node, self.dict)? else { return Ok(Some(0)) };
        for entry in entries.iter() {
            let Entry { name, kind, payload } = entry?;
            let same = match last {
                Some((before, kind)) if before == name => Some(kind),
                Some((before, _)) if before > name => return Err(DecodeError::NotCanonical),
                _ => None,
            };
            if same.is_none() {
                // The mark before is the whole of its map.
                if let Some((empty, kind::MAP_MARK)) = last {
                    self.begin_field(empty, depth, id, out)?;
                    out.begin_object();
                    out.end_object();
                    told += 1;
                }
            }
            match (kind, same) {
                // What is left of the name, if anything, was told before.
                (kind::TOMB, None) => {
                    last = None;
                    continue;
                }
                (kind::TOMB, Some(_)) => continue,
                (kind::REG, None) => {
                    self.begin_field(name, depth, id, out)?;
                    let mut r = Reader::new(payload);
                    visit(&mut r, out)?;
                    r.finish()?;
                    told += 1;
                }
                // Told when it is known whether a node follows.
                (kind::MAP_MARK, None) => {}
                (kind::NODE, None | Some(kind::MAP_MARK)) => {
                    self.begin_field(name, depth, id, out)?;
                    out.begin_object();
                    match self.visit_node(payload, depth + 1, &mut None, out)? {
                        // A node of nothing but removals shows no map.
                        Some(0) if same.is_none() => return Ok(None),
                        None => return Ok(None),
                        Some(_) => {}
                    }
                    out.end_object();
                    told += 1;
                }
                _ => return Ok(None),
            }
            last = Some((name, kind));
        }
        if let Some((empty, kind::MAP_MARK)) = last {
            self.begin_field(empty, depth, id, out)?;
            out.begin_object();
            out.end_object();
            told += 1;
        }
        Ok(Some(told))
    }

    fn begin_field(
        &self,
        name: &str,
        depth: usize,
        id: &mut Option<&[u8]>,
        out: &mut impl Visit,
    ) -> Result<(), DecodeError> {
        if depth == 0 && name >= ID {
            if name == ID {
                return Err(WireError::Invalid { at: 0, what: "field name _id" }.into());
            }
            if let Some(id) = id.take() {
                tell_id(id, out)?;
            }
        }
        out.name(name);
        Ok(())
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
        let Some(entries) = Entries::of(node, self.dict)? else { return Ok(Found::Nothing) };
        Self::search(&entries, entries.first_of(name)?, name)
    }

    /// As [`DocView::find`] for the name of a path at `depth`.
    fn find_along(
        &self,
        node: &'a [u8],
        name: &str,
        depth: usize,
        trail: &mut Trail,
    ) -> Result<Found<'a>, DecodeError> {
        let Some(entries) = Entries::of(node, self.dict)? else { return Ok(Found::Nothing) };
        if let Some(Some(step)) = trail.0.get(depth)
            && let Some(found) = entries.follow(*step)?
        {
            return Ok(found);
        }
        let first = entries.first_of(name)?;
        let found = Self::search(&entries, first, name)?;
        if matches!(found, Found::Register(_) | Found::Map(_)) {
            trail.0.resize(trail.0.len().max(depth + 1), None);
            trail.0[depth] = entries.step(first)?;
        }
        Ok(found)
    }

    /// As [`crate::Doc::kinds_along`].
    pub fn kinds_along(
        &self,
        path: &[SmolStr],
        see: &mut dyn FnMut(usize, KindSet),
    ) -> Result<(), DecodeError> {
        self.kinds_on_trail(path, &Trail::default(), see)
    }

    /// As [`DocView::kinds_along`], looking first where [`DocView::look_along`] found this path in the last document.
    pub fn kinds_on_trail(
        &self,
        path: &[SmolStr],
        trail: &Trail,
        see: &mut dyn FnMut(usize, KindSet),
    ) -> Result<(), DecodeError> {
        let mut node = if self.is_alive { self.root } else { &[] };
        for (depth, name) in path.iter().enumerate() {
            let Some(entries) = Entries::of(node, self.dict)? else { return Ok(()) };
            if let Some(Some(step)) = trail.0.get(depth)
                && let Some(Found::Register(_)) = entries.follow(*step)?
            {
                see(depth, KindSet::REGISTER);
                return Ok(());
            }
            let mut kinds = KindSet::NONE;
            node = &[];
            for index in entries.first_of(name)?..entries.count() {
                let entry = entries.entry(index)?;
                if entry.name != name {
                    break;
                }
                kinds = kinds.with(match entry.kind {
                    kind::REG => KindSet::REGISTER,
                    kind::ATT => KindSet::ATTACHMENT,
                    kind::MAP_MARK => KindSet::MAP,
                    kind::CTR_BASE | kind::CTR => KindSet::COUNTER,
                    kind::PN => KindSet::PN_COUNTER,
                    kind::NODE => {
                        node = entry.payload;
                        // A node of nothing but removals is no map.
                        if self.has_leaves(node, depth)? { KindSet::MAP } else { KindSet::NONE }
                    }
                    _ => KindSet::NONE,
                });
            }
            if kinds.is_empty() {
                return Ok(());
            }
            see(depth, kinds);
        }
        Ok(())
    }

    /// Whether anything is written in a node.
    fn has_leaves(&self, node: &'a [u8], depth: usize) -> Result<bool, DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(WireError::Depth(0).into());
        }
        let Some(entries) = Entries::of(node, self.dict)? else { return Ok(false) };
        for entry in entries.iter() {
            let entry = entry?;
            let has = match entry.kind {
                kind::TOMB => false,
                kind::NODE => self.has_leaves(entry.payload, depth + 1)?,
                _ => true,
            };
            if has {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// What stands at a name whose first entry is `first`.
    fn search(entries: &Entries<'a>, first: usize, name: &str) -> Result<Found<'a>, DecodeError> {
        let mut found = Found::Nothing;
        for index in first..entries.count() {
            let entry = entries.entry(index)?;
            if entry.name != name {
                break;
            }
            found = match (entry.kind, &found) {
                (kind::TOMB, _) => continue,
                (kind::REG, Found::Nothing) => Found::Register(entry.payload),
                (kind::MAP_MARK, Found::Nothing) => Found::Map(&[]),
                (kind::NODE, Found::Nothing | Found::Map([])) => Found::Map(entry.payload),
                _ => return Ok(Found::Mixed),
            };
        }
        Ok(found)
    }

    /// The node `depth` names below the root as an object; `None` when some path in it needs stamps to decide.
    fn object(&self, node: &'a [u8], depth: usize) -> Result<Option<Object>, DecodeError> {
        if depth >= MAX_DEPTH {
            return Err(WireError::Depth(0).into());
        }
        let mut out = Object::new();
        let mut last: Option<(&str, bool)> = None;
        let Some(entries) = Entries::of(node, self.dict)? else { return Ok(Some(out)) };
        for entry in entries.iter() {
            let Entry { name, kind, payload } = entry?;
            let same = last.filter(|(before, _)| *before == name);
            let value = match kind {
                kind::TOMB => continue,
                kind::REG if same.is_none() => codec::from_slice(payload)?,
                kind::MAP_MARK if same.is_none() => Value::Object(Object::new()),
                kind::NODE if same.is_none_or(|(_, is_mark)| is_mark) => {
                    match self.object(payload, depth + 1)? {
                        // A node of nothing but removals shows no map.
                        Some(o) if same.is_some() || !o.is_empty() => Value::Object(o),
                        _ => return Ok(None),
                    }
                }
                _ => return Ok(None),
            };
            out.insert(SmolStr::new(name), value);
            last = Some((name, kind == kind::MAP_MARK));
        }
        Ok(Some(out))
    }
}

fn tell_id(id: &[u8], out: &mut impl Visit) -> Result<(), DecodeError> {
    out.name(ID);
    let mut r = Reader::new(id);
    visit(&mut r, out)?;
    r.finish()?;
    Ok(())
}
