//! Documents as rows of the query language: read in place from the stored bytes, or from a decoded document.

use std::cell::{Cell, OnceCell, RefCell};
use std::sync::Arc;

use ditto_crdt::{DecodeError, Doc, DocView, FieldRef, Trail};
use ditto_dql::{IndexDef, Item, LazyItem, Row, RowFilter, TypeDecls, ValueRef};
use ditto_types::cbor::CborBytes;
use ditto_types::codec::Scalar;
use ditto_types::json::JsonText;
use ditto_types::wire::{Reader, put_varint};
use ditto_types::{DocId, KindSet, Object, SmolStr, Value, codec};

use crate::dict::Dict;
use crate::driver::{Keep, Stored};
use crate::fields::crdt_kind;

const ID: &str = "_id";

/// How a statement reads fields: the kinds that it declares, and strict mode (`dql.md` 3.3 and 3.4).
#[derive(Clone, Copy)]
pub(crate) struct Reading<'a> {
    declared: Option<&'a TypeDecls>,
    strict: bool,
    trails: Option<&'a Trails>,
}

impl<'a> Reading<'a> {
    /// The newest kind of each field.
    pub(crate) const NEWEST: Reading<'static> = Reading { declared: None, strict: false, trails: None };

    pub(crate) fn new(declared: &'a TypeDecls, strict: bool) -> Self {
        Self { declared: (!declared.is_empty()).then_some(declared), strict, trails: None }
    }

    /// For one of many rows: where a field was in the row before is remembered.
    pub(crate) fn along(self, trails: &'a Trails) -> Self {
        Self { trails: Some(trails), ..self }
    }

    /// Whether every field is read as its newest kind.
    pub(crate) fn is_newest(&self) -> bool {
        self.declared.is_none() && !self.strict
    }

    /// Whether the entries of an index with these kinds hold what is read.
    pub(crate) fn is_held_by(&self, index: &IndexDef) -> bool {
        index.serves(self.declared.unwrap_or(&TypeDecls::default()), self.strict)
    }

    /// The kind that a field is read as.
    fn kind(&self, path: &[SmolStr]) -> ditto_crdt::FieldKind {
        let declared = self.declared.map(|d| d.kind_of(path)).unwrap_or_default();
        match crdt_kind(declared) {
            ditto_crdt::FieldKind::Inferred if self.strict => ditto_crdt::FieldKind::Register,
            kind => kind,
        }
    }
}

/// Where the rows of one pass have their fields, by path.
#[derive(Default)]
pub(crate) struct Trails(RefCell<Vec<(Box<[SmolStr]>, Trail)>>);

/// Paths that are remembered: more than most conditions have, and few enough to look through.
const MAX_TRAILS: usize = 16;

impl Trails {
    fn look<'a>(&self, view: &DocView<'a>, path: &[SmolStr]) -> Result<Option<FieldRef<'a>>, DecodeError> {
        let mut known = self.0.borrow_mut();
        if let Some((_, trail)) = known.iter_mut().find(|(p, _)| **p == *path) {
            return view.look_along(path, trail);
        }
        if known.len() >= MAX_TRAILS {
            return view.look(path);
        }
        let mut trail = Trail::default();
        let found = view.look_along(path, &mut trail);
        known.push((path.into(), trail));
        found
    }
}

/// A document in its stored form.
///
/// [`Row`] has no way to report damage, so the row remembers it; whoever handed the row out asks with
/// [`ViewRow::damage`].
pub(crate) struct ViewRow<'a> {
    id_bytes: &'a [u8],
    id: OnceCell<DocId>,
    /// Its row id.
    rid: i64,
    body: &'a [u8],
    view: DocView<'a>,
    dict: &'a Arc<Dict>,
    reading: Reading<'a>,
    damage: Cell<Option<String>>,
}

impl<'a> ViewRow<'a> {
    pub(crate) fn new(
        (rid, id, body): Stored<'a>,
        dict: &'a Arc<Dict>,
        reading: Reading<'a>,
    ) -> Result<Self, DecodeError> {
        let view = DocView::new(body, &**dict)?;
        let damage = Cell::new(None);
        Ok(Self { id_bytes: id, id: OnceCell::new(), rid, body, view, dict, reading, damage })
    }

    /// Whether the document is not deleted.
    pub(crate) fn is_alive(&self) -> bool {
        self.view.is_alive()
    }

    /// The kinds of values on a path.
    pub(crate) fn kinds_along(&self, path: &[SmolStr], see: &mut dyn FnMut(usize, KindSet)) {
        self.sound(self.view.kinds_along(path, see));
    }

    pub(crate) fn id_bytes(&self) -> &'a [u8] {
        self.id_bytes
    }

    /// What was wrong with the bytes that were read so far.
    pub(crate) fn damage(&self) -> Option<String> {
        self.damage.take()
    }

    /// The value, or its absence and a note of the damage.
    fn sound<T, E: std::fmt::Display>(&self, read: Result<T, E>) -> Option<T> {
        read.map_err(|e| self.damage.set(Some(e.to_string()))).ok()
    }

    fn id_field(&self, path: &[SmolStr]) -> Option<Value> {
        let bytes = self.sound(codec::get(self.id_bytes, path))??;
        self.sound(codec::from_slice(bytes))
    }

    /// The newest value at a path.
    fn newest(&self, path: &[SmolStr]) -> Option<FieldRef<'a>> {
        self.sound(match (path.split_first(), self.reading.trails) {
            (Some((first, rest)), _) if first == ID => {
                codec::get(self.id_bytes, rest).map(|v| v.map(FieldRef::Encoded)).map_err(DecodeError::from)
            }
            (_, Some(trails)) => trails.look(&self.view, path),
            (_, None) => self.view.look(path),
        })
        .flatten()
    }
}

impl Row for ViewRow<'_> {
    fn id(&self) -> &DocId {
        self.id.get_or_init(|| {
            // What stands in for a damaged id is never seen: the damage ends the visit.
            self.sound(DocId::from_bytes(self.id_bytes)).unwrap_or_else(|| DocId::from(false))
        })
    }

    fn position(&self) -> i64 {
        self.rid
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        match path.split_first() {
            _ if self.reading.is_newest() => match self.newest(path)? {
                FieldRef::Encoded(bytes) => self.sound(codec::from_slice(bytes)),
                FieldRef::Built(value) => Some(value),
            },
            Some((first, rest)) if first == ID => self.id_field(rest),
            _ => self.sound(self.view.get_typed(path, &|p| self.reading.kind(p)))?,
        }
    }

    fn look(&self, path: &[SmolStr], look: &mut dyn FnMut(Option<ValueRef<'_>>)) {
        if !self.reading.is_newest() {
            return look(self.field(path).as_ref().map(ValueRef::of));
        }
        match self.newest(path) {
            None => look(None),
            Some(FieldRef::Built(value)) => look(Some(ValueRef::of(&value))),
            Some(FieldRef::Encoded(bytes)) => match self.sound(codec::scalar(bytes)) {
                Some(Some(scalar)) => look(Some(match scalar {
                    Scalar::Null => ValueRef::Null,
                    Scalar::Bool(b) => ValueRef::Bool(b),
                    Scalar::Int(i) => ValueRef::Int(i),
                    Scalar::Float(f) => ValueRef::Float(f),
                    Scalar::Str(s) => ValueRef::Str(s),
                })),
                Some(None) => look(self.sound(codec::from_slice(bytes)).as_ref().map(ValueRef::of)),
                None => look(None),
            },
        }
    }

    fn document(&self) -> Value {
        let object = if self.reading.is_newest() {
            self.view.to_object()
        } else {
            self.view.to_object_typed(&|p| self.reading.kind(p))
        };
        let mut object = self.sound(object).unwrap_or_default();
        if let Some(id) = self.id_field(&[]) {
            object.insert(SmolStr::new_static(ID), id);
        }
        Value::Object(object)
    }

    fn capture(&self) -> Item {
        if !self.reading.is_newest() {
            return Item::Value(self.document());
        }
        // Verified here, because nobody can be told of damage later.
        match self.sound(self.view.visit(self.id_bytes, &mut ())) {
            Some(true) => Item::Lazy(Arc::new(Kept::new(self.id_bytes, self.body, self.dict))),
            Some(false) => Item::Value(self.document()),
            None => Item::Value(Value::Null),
        }
    }
}

/// Tests documents by their bodies. What the condition says about a damaged one, or about the id, is for the visitor to
/// find: such a row is kept.
pub(crate) fn keep(filter: RowFilter, dict: Arc<Dict>) -> Keep {
    let trails = Trails::default();
    Box::new(move |body| {
        let reading = Reading::NEWEST.along(&trails);
        match ViewRow::new((0, &[], body), &dict, reading) {
            Ok(row) => row.is_alive() && (!filter.excludes(&row) || row.damage().is_some()),
            Err(_) => true,
        }
    })
}

/// A document as the row of a result, in its stored form. Its bytes were verified.
struct Kept {
    /// The id, then the body.
    bytes: Box<[u8]>,
    id_len: usize,
    dict: Arc<Dict>,
}

impl Kept {
    fn new(id: &[u8], body: &[u8], dict: &Arc<Dict>) -> Self {
        Self { bytes: [id, body].concat().into(), id_len: id.len(), dict: dict.clone() }
    }

    fn view(&self) -> Option<(&[u8], DocView<'_>)> {
        let (id, body) = self.bytes.split_at(self.id_len);
        Some((id, DocView::new(body, &*self.dict).ok()?))
    }
}

impl LazyItem for Kept {
    fn value(&self) -> Value {
        let read = || {
            let (id, view) = self.view()?;
            let mut object = view.to_object().ok()?;
            object.insert(SmolStr::new_static(ID), codec::from_slice(id).ok()?);
            Some(Value::Object(object))
        };
        read().unwrap_or(Value::Null)
    }

    fn write_json(&self, out: &mut String) {
        out.reserve(self.bytes.len() * 2);
        if let Some((id, view)) = self.view() {
            // Verified when the row was captured, so that it cannot fail.
            let _ = view.visit(id, &mut JsonText::new(out));
        }
    }

    fn write_cbor(&self, out: &mut Vec<u8>) {
        out.reserve(self.bytes.len());
        if let Some((id, view)) = self.view() {
            let _ = view.visit(id, &mut CborBytes::new(out));
        }
    }

    fn weight(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }

    fn store(&self, out: &mut Vec<u8>) -> bool {
        put_varint(out, self.id_len as u64);
        out.extend_from_slice(&self.bytes);
        true
    }
}

/// The row that [`LazyItem::store`] wrote; `None` for bytes that are no document.
pub(crate) fn restore(stored: &[u8], dict: &Arc<Dict>) -> Option<Item> {
    let mut r = Reader::new(stored);
    let id_len = r.len(r.remaining()).ok()?;
    let bytes: Box<[u8]> = stored.get(r.offset()..)?.into();
    let kept = Kept { bytes, id_len, dict: dict.clone() };
    // Everything is read once more: who looks at the row later cannot be told of damage.
    let sound = kept.bytes.split_at_checked(id_len).is_some_and(|(id, body)| {
        DocView::new(body, &**dict).is_ok_and(|view| view.visit(id, &mut ()).is_ok_and(|is_plain| is_plain))
    });
    sound.then(|| Item::Lazy(Arc::new(kept)))
}

/// A decoded document.
pub(crate) struct DocRow<'a> {
    id: &'a DocId,
    id_value: OnceCell<Value>,
    doc: &'a Doc,
    reading: Reading<'a>,
    position: i64,
}

impl<'a> DocRow<'a> {
    pub(crate) fn new(id: &'a DocId, doc: &'a Doc) -> Self {
        Self::reading(id, doc, Reading::NEWEST)
    }

    /// With declared kinds.
    pub(crate) fn reading(id: &'a DocId, doc: &'a Doc, reading: Reading<'a>) -> Self {
        Self { id, id_value: OnceCell::new(), doc, reading, position: 0 }
    }

    /// With its place in the order of arrival.
    pub(crate) fn at(self, position: i64) -> Self {
        Self { position, ..self }
    }
}

impl Row for DocRow<'_> {
    fn id(&self) -> &DocId {
        self.id
    }

    fn position(&self) -> i64 {
        self.position
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        match path.split_first() {
            Some((first, rest)) if first == ID => {
                step(self.id_value.get_or_init(|| self.id.to_value()), rest).cloned()
            }
            _ if self.reading.is_newest() => self.doc.get(path),
            _ => self.doc.get_typed(path, &|p| self.reading.kind(p)),
        }
    }

    fn document(&self) -> Value {
        let object = if self.reading.is_newest() {
            self.doc.to_object()
        } else {
            self.doc.to_object_typed(&|p| self.reading.kind(p))
        };
        with_id(object, self.id.to_value())
    }
}

fn with_id(mut object: Object, id: Value) -> Value {
    object.insert(SmolStr::new_static(ID), id);
    Value::Object(object)
}

/// The value below `value` at `path`.
pub(crate) fn step<'v>(value: &'v Value, path: &[SmolStr]) -> Option<&'v Value> {
    path.iter().try_fold(value, |v, name| v.get(name))
}
