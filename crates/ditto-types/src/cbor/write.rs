//! CBOR from a walk over an encoded value, without building the value.

use ciborium_ll::{Encoder, Header, simple};

use crate::codec::Visit;

/// Appends the CBOR of a value that is [walked](crate::codec::visit): the same bytes as [`to_vec`](super::to_vec).
pub struct CborBytes<'o> {
    out: &'o mut Vec<u8>,
    /// The arrays and objects that have not ended: where each begins, and how many items it has so far.
    open: Vec<(usize, usize)>,
}

impl<'o> CborBytes<'o> {
    /// Appends to `out`.
    pub fn new(out: &'o mut Vec<u8>) -> Self {
        Self { out, open: Vec::new() }
    }

    fn push(&mut self, header: Header) {
        // Writing to memory cannot fail.
        let _ = Encoder::from(&mut *self.out).push(header);
    }

    /// The header has the number of items, which is known in the end; that of up to 23 items takes one byte.
    fn begin(&mut self) {
        self.open.push((self.out.len(), 0));
        self.out.push(0);
    }

    fn count(&mut self) {
        if let Some((_, items)) = self.open.last_mut() {
            *items += 1;
        }
    }

    fn end(&mut self, header: impl FnOnce(Option<usize>) -> Header) {
        let Some((start, items)) = self.open.pop() else { return };
        let mut head = Vec::with_capacity(9);
        let _ = Encoder::from(&mut head).push(header(Some(items)));
        self.out.splice(start..=start, head);
    }
}

impl Visit for CborBytes<'_> {
    fn null(&mut self) {
        self.push(Header::Simple(simple::NULL));
    }

    fn bool(&mut self, v: bool) {
        self.push(Header::Simple(if v { simple::TRUE } else { simple::FALSE }));
    }

    fn int(&mut self, v: i64) {
        self.push(match u64::try_from(v) {
            Ok(v) => Header::Positive(v),
            Err(_) => Header::Negative(!v as u64),
        });
    }

    fn uint(&mut self, v: u64) {
        self.push(Header::Positive(v));
    }

    fn float(&mut self, v: f64) {
        self.push(Header::Float(v));
    }

    fn bytes(&mut self, v: &[u8]) {
        self.push(Header::Bytes(Some(v.len())));
        self.out.extend_from_slice(v);
    }

    fn str(&mut self, v: &str) {
        self.push(Header::Text(Some(v.len())));
        self.out.extend_from_slice(v.as_bytes());
    }

    fn begin_array(&mut self) {
        self.begin();
    }

    fn item(&mut self) {
        self.count();
    }

    fn end_array(&mut self) {
        self.end(Header::Array);
    }

    fn begin_object(&mut self) {
        self.begin();
    }

    fn name(&mut self, name: &str) {
        self.count();
        self.str(name);
    }

    fn end_object(&mut self) {
        self.end(Header::Map);
    }
}
