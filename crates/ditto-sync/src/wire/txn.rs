//! TXN: documents on their way, with the dictionary entries that they need.
//!
//! ```text
//! txn  := flags u8 | [token] if bit 3 | [sid] if bit 4 | [generation] if bit 7
//!       | nkeys (len name)* | nsites site* | nitems item*
//! flags: 0 first, 1 last, 2 staged (reserved), 3 token, 4 sid, 5 answer, 6 reset,
//!        7 generation
//! item := key_ref of the collection | len id | form u8 | [base] | len body
//! form := 0 whole | 1 delta | 2 tombstone | 3 delta of one who knows the whole base
//! base := n (site_ref, hlc u64le)*        only for deltas
//! ```
//!
//! On the live lane `first` and `last` bound the messages of one commit. On the bulk lane `last` ends a scan.

use ditto_types::doc_id::MAX_ID_BYTES;
use ditto_types::wire::{Reader, WireError, put_bytes, put_str, put_varint};
use ditto_types::{DocId, Hlc, SiteId};
use smol_str::SmolStr;

use crate::limits::{MAX_DEFINITIONS, MAX_ITEMS, MAX_MESSAGE_BYTES};

/// How an item's body is to be read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Form {
    Full,
    /// With the sender's version vector before it, sites by reference. In an answer it is the requester's.
    Delta(Vec<(u32, Hlc)>),
    /// An answer of a sender that knows everything in the requester's version vector.
    Newer(Vec<(u32, Hlc)>),
    Tomb,
}

/// One document; names and sites are references into the lane's dictionary.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct TxnItem {
    pub(crate) collection: u32,
    pub(crate) id: DocId,
    pub(crate) form: Form,
    pub(crate) body: Vec<u8>,
}

/// The message.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Txn {
    pub(crate) first: bool,
    pub(crate) last: bool,
    /// Reserved for cuts that the receiver spools to disk.
    pub(crate) staged: bool,
    pub(crate) token: Option<u64>,
    /// The subscription whose scan the page belongs to.
    pub(crate) sid: Option<u32>,
    /// On the bulk lane: generation of the last SUBS that the sender of the page had sent. An older one than
    /// has arrived says that the sender may have evicted the documents since.
    pub(crate) generation: Option<u64>,
    /// Whether the items answer WANT.
    pub(crate) answer: bool,
    /// Whether the dictionary starts anew with this message.
    pub(crate) reset: bool,
    pub(crate) keys: Vec<SmolStr>,
    pub(crate) sites: Vec<SiteId>,
    pub(crate) items: Vec<TxnItem>,
}

impl TxnItem {
    /// Approximate bytes on the wire.
    pub(crate) fn size(&self) -> usize {
        let base = match &self.form {
            Form::Delta(base) | Form::Newer(base) => base.len() * 10,
            _ => 0,
        };
        self.body.len() + self.id.as_bytes().len() + base + 10
    }
}

impl Txn {
    pub(crate) fn encode(&self, o: &mut Vec<u8>) {
        let bits = [
            self.first,
            self.last,
            self.staged,
            self.token.is_some(),
            self.sid.is_some(),
            self.answer,
            self.reset,
            self.generation.is_some(),
        ];
        o.push(bits.iter().enumerate().fold(0, |acc, (i, b)| acc | u8::from(*b) << i));
        if let Some(token) = self.token {
            put_varint(o, token);
        }
        if let Some(sid) = self.sid {
            put_varint(o, sid.into());
        }
        if let Some(generation) = self.generation {
            put_varint(o, generation);
        }
        put_varint(o, self.keys.len() as u64);
        self.keys.iter().for_each(|k| put_str(o, k));
        put_varint(o, self.sites.len() as u64);
        self.sites.iter().for_each(|s| s.encode(o));
        put_varint(o, self.items.len() as u64);
        for item in &self.items {
            put_varint(o, item.collection.into());
            put_bytes(o, item.id.as_bytes());
            match &item.form {
                Form::Full => o.push(0),
                Form::Delta(base) | Form::Newer(base) => {
                    o.push(if matches!(item.form, Form::Delta(_)) { 1 } else { 3 });
                    put_varint(o, base.len() as u64);
                    for (site, hlc) in base {
                        put_varint(o, (*site).into());
                        o.extend_from_slice(&hlc.0.to_le_bytes());
                    }
                }
                Form::Tomb => o.push(2),
            }
            put_bytes(o, &item.body);
        }
    }

    pub(crate) fn decode(r: &mut Reader<'_>) -> Result<Self, WireError> {
        let flags = r.u8()?;
        let bit = |i: u8| flags >> i & 1 != 0;
        let token = if bit(3) { Some(r.varint()?) } else { None };
        let sid = if bit(4) { Some(reference(r)?) } else { None };
        let generation = if bit(7) { Some(r.varint()?) } else { None };
        let n = limited(r.count(1)?, MAX_DEFINITIONS, r)?;
        let mut keys = Vec::with_capacity(n.min(4_096));
        for _ in 0..n {
            keys.push(SmolStr::new(r.str(MAX_MESSAGE_BYTES)?));
        }
        let n = r.count(17)?;
        let mut sites = Vec::with_capacity(n);
        for _ in 0..n {
            sites.push(SiteId::decode(r)?);
        }
        // The smallest item has a reference, an id of one byte, a form and an empty body.
        let n = limited(r.count(5)?, MAX_ITEMS, r)?;
        let mut items = Vec::with_capacity(n.min(4_096));
        for _ in 0..n {
            let collection = reference(r)?;
            let id = DocId::from_bytes(r.bytes(MAX_ID_BYTES)?).map_err(|_| r.invalid("document id"))?;
            let form = match r.u8()? {
                0 => Form::Full,
                form @ (1 | 3) => {
                    let n = r.count(9)?;
                    let mut base = Vec::with_capacity(n);
                    for _ in 0..n {
                        base.push((reference(r)?, Hlc(r.u64_le()?)));
                    }
                    if form == 1 { Form::Delta(base) } else { Form::Newer(base) }
                }
                2 => Form::Tomb,
                _ => return Err(r.invalid("form of an item")),
            };
            let body = r.bytes(MAX_MESSAGE_BYTES)?.to_vec();
            items.push(TxnItem { collection, id, form, body });
        }
        Ok(Txn {
            first: bit(0),
            last: bit(1),
            staged: bit(2),
            token,
            sid,
            generation,
            answer: bit(5),
            reset: bit(6),
            keys,
            sites,
            items,
        })
    }
}

fn limited(n: usize, limit: usize, r: &Reader<'_>) -> Result<usize, WireError> {
    if n > limit {
        return Err(WireError::TooLong { at: r.offset(), len: n as u64, limit: limit as u64 });
    }
    Ok(n)
}

fn reference(r: &mut Reader<'_>) -> Result<u32, WireError> {
    Ok(r.len(u32::MAX as usize)? as u32)
}
