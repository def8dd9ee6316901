//! The messages other than TXN.

use ditto_crdt::VersionVector;
use ditto_types::wire::{Reader, WireError, put_bytes, put_str, put_varint};
use ditto_types::{DocId, Hlc, KeyHash, Object, SiteId, Stamp, Value, codec};
use smol_str::SmolStr;

use super::txn::Txn;
use crate::limits::{LIST_ENTRIES, MAX_ARGS_BYTES, MAX_KEYS, MAX_QUERY_BYTES, MAX_REASON_BYTES};
use crate::peer::Lane;
use crate::store::RefusalCode;

/// A key hash and the low 8 bytes of a digest.
pub(crate) type KeyDigest = (KeyHash, u64);

/// Query text and arguments, sent when the other side does not know the hash.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubText {
    pub(crate) query: String,
    pub(crate) args: Object,
}

/// One wish in SUBS.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct SubAdd {
    pub(crate) sid: u32,
    pub(crate) hash: [u8; 16],
    pub(crate) text: Option<SubText>,
    pub(crate) prio: u8,
    /// Token of the cursor, if the receiver has one for the sender's epoch.
    pub(crate) cursor: Option<u64>,
    /// Documents changed at the receiver since the cursor was written.
    pub(crate) own: Vec<KeyDigest>,
    /// Documents that the receiver holds in the view; counted only without a cursor.
    pub(crate) held: u64,
}

/// Wishes of a receiver.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Subs {
    pub(crate) generation: u64,
    pub(crate) add: Vec<SubAdd>,
    pub(crate) drop: Vec<u32>,
}

/// How a sender serves a subscription.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum SubMode {
    Resume,
    Recon,
    Full,
    Bad {
        code: u8,
        text: String,
    },
    Denied,
    /// The sender fell behind and dropped the subscription: ask again.
    Again,
}

/// A sender's decision.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Subst {
    pub(crate) sid: u32,
    pub(crate) mode: SubMode,
    /// Documents to expect; an estimate.
    pub(crate) count: u64,
}

/// Body of HAVE and HINT. A HAVE with a mark is answered by a HINT with the same mark.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keys {
    pub(crate) mark: Option<u64>,
    pub(crate) keys: Vec<KeyDigest>,
}

/// A request for one document; without a version vector for all of it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Want {
    pub(crate) key: KeyHash,
    pub(crate) vv: Option<VersionVector>,
}

/// Fingerprint of a sender's view.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Root {
    pub(crate) sid: u32,
    pub(crate) token: u64,
    pub(crate) count: u64,
    pub(crate) sum: u128,
    pub(crate) salt: [u8; 8],
}

/// A coded symbol of a rateless set sketch.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Symbol {
    pub(crate) key: u64,
    pub(crate) digest: u64,
    pub(crate) check: u64,
    pub(crate) count: i64,
}

/// Part of a sender's view, ascending by key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct List {
    pub(crate) sid: u32,
    pub(crate) last: bool,
    pub(crate) keys: Vec<KeyDigest>,
}

/// Why a requested document does not come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum GoneReason {
    /// The requester knows everything that the sender knows about it.
    Covered,
    /// The sender does not hold it.
    NotHeld,
    /// The requester may not read it.
    NotReadable,
}

/// An item that was refused.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Reject {
    pub(crate) collection: SmolStr,
    pub(crate) id: DocId,
    pub(crate) dot: Stamp,
    pub(crate) code: RefusalCode,
}

/// Everything that peers say to each other.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Message {
    Subs(Subs),
    NeedQ(Vec<[u8; 16]>),
    Subst(Subst),
    Txn(Txn),
    Have(Keys),
    Hint(Keys),
    Want(Vec<Want>),
    Ack { token: u64, dup: bool },
    Root(Root),
    RecOk { sid: u32 },
    RecGo { sid: u32, mode: u8, count: u64 },
    Sym { sid: u32, index: u64, symbols: Vec<Symbol> },
    List(List),
    RecEnd { sid: u32, ok: bool },
    Gone { reason: GoneReason, keys: Vec<KeyHash> },
    Rej(Reject),
}

impl Message {
    /// The message's name, for logs.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Message::Subs(_) => "SUBS",
            Message::NeedQ(_) => "NEEDQ",
            Message::Subst(_) => "SUBST",
            Message::Txn(_) => "TXN",
            Message::Have(_) => "HAVE",
            Message::Hint(_) => "HINT",
            Message::Want(_) => "WANT",
            Message::Ack { .. } => "ACK",
            Message::Root(_) => "ROOT",
            Message::RecOk { .. } => "RECOK",
            Message::RecGo { .. } => "RECGO",
            Message::Sym { .. } => "SYM",
            Message::List(_) => "LIST",
            Message::RecEnd { .. } => "RECEND",
            Message::Gone { .. } => "GONE",
            Message::Rej(_) => "REJ",
        }
    }

    /// Whether the message may come on `lane`.
    pub(crate) fn allowed_on(&self, lane: Lane) -> bool {
        match self {
            Message::Hint(_) => true,
            Message::Txn(t) => (lane == Lane::Bulk) == (t.sid.is_some() || t.answer),
            Message::Root(_) | Message::Sym { .. } | Message::List(_) | Message::Gone { .. } => {
                lane == Lane::Bulk
            }
            _ => lane == Lane::Live,
        }
    }

    /// The message's bytes.
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        let o = &mut out;
        match self {
            Message::Subs(s) => {
                o.push(1);
                put_varint(o, s.generation);
                put_varint(o, s.add.len() as u64);
                s.add.iter().for_each(|a| put_sub_add(o, a));
                put_varint(o, s.drop.len() as u64);
                s.drop.iter().for_each(|sid| put_varint(o, (*sid).into()));
            }
            Message::NeedQ(hashes) => {
                o.push(2);
                put_varint(o, hashes.len() as u64);
                hashes.iter().for_each(|h| o.extend_from_slice(h));
            }
            Message::Subst(s) => {
                o.push(3);
                put_varint(o, s.sid.into());
                o.push(match s.mode {
                    SubMode::Resume => 0,
                    SubMode::Recon => 1,
                    SubMode::Full => 2,
                    SubMode::Bad { .. } => 3,
                    SubMode::Denied => 4,
                    SubMode::Again => 5,
                });
                put_varint(o, s.count);
                if let SubMode::Bad { code, text } = &s.mode {
                    o.push(*code);
                    put_str(o, text);
                }
            }
            Message::Txn(t) => {
                o.push(4);
                t.encode(o);
            }
            Message::Have(k) => {
                o.push(5);
                put_keys(o, k);
            }
            Message::Hint(k) => {
                o.push(6);
                put_keys(o, k);
            }
            Message::Want(wants) => {
                o.push(7);
                put_varint(o, wants.len() as u64);
                for w in wants {
                    o.extend_from_slice(&w.key.0.to_le_bytes());
                    o.push(w.vv.is_some().into());
                    if let Some(vv) = &w.vv {
                        vv.encode(o);
                    }
                }
            }
            Message::Ack { token, dup } => {
                o.push(8);
                put_varint(o, *token);
                o.push((*dup).into());
            }
            Message::Root(r) => {
                o.push(9);
                put_varint(o, r.sid.into());
                put_varint(o, r.token);
                put_varint(o, r.count);
                o.extend_from_slice(&r.sum.to_le_bytes());
                o.extend_from_slice(&r.salt);
            }
            Message::RecOk { sid } => {
                o.push(10);
                put_varint(o, (*sid).into());
            }
            Message::RecGo { sid, mode, count } => {
                o.push(11);
                put_varint(o, (*sid).into());
                o.push(*mode);
                put_varint(o, *count);
            }
            Message::Sym { sid, index, symbols } => {
                o.push(12);
                put_varint(o, (*sid).into());
                put_varint(o, *index);
                put_varint(o, symbols.len() as u64);
                for s in symbols {
                    o.extend_from_slice(&s.key.to_le_bytes());
                    o.extend_from_slice(&s.digest.to_le_bytes());
                    o.extend_from_slice(&s.check.to_le_bytes());
                    ditto_types::wire::put_zigzag(o, s.count);
                }
            }
            Message::List(l) => {
                o.push(13);
                put_varint(o, l.sid.into());
                o.push(l.last.into());
                put_varint(o, l.keys.len() as u64);
                let mut before = 0;
                for (k, d) in &l.keys {
                    put_varint(o, k.0.wrapping_sub(before));
                    before = k.0;
                    o.extend_from_slice(&d.to_le_bytes());
                }
            }
            Message::RecEnd { sid, ok } => {
                o.push(14);
                put_varint(o, (*sid).into());
                o.push((*ok).into());
            }
            Message::Gone { reason, keys } => {
                o.push(15);
                o.push(match reason {
                    GoneReason::Covered => 0,
                    GoneReason::NotHeld => 1,
                    GoneReason::NotReadable => 2,
                });
                put_varint(o, keys.len() as u64);
                keys.iter().for_each(|k| o.extend_from_slice(&k.0.to_le_bytes()));
            }
            Message::Rej(r) => {
                o.push(16);
                put_str(o, &r.collection);
                put_bytes(o, r.id.as_bytes());
                o.extend_from_slice(&r.dot.hlc.0.to_le_bytes());
                r.dot.site.encode(o);
                o.push(refusal_byte(r.code));
            }
        }
        out
    }

    /// Reads a message. Accepts only what [`Message::encode`] writes.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Message, WireError> {
        let r = &mut Reader::new(bytes);
        let message = match r.u8()? {
            1 => Message::Subs(subs(r)?),
            2 => {
                let n = bounded(r, 16, MAX_KEYS)?;
                Message::NeedQ((0..n).map(|_| r.array()).collect::<Result<_, _>>()?)
            }
            3 => Message::Subst(subst(r)?),
            4 => Message::Txn(Txn::decode(r)?),
            5 => Message::Have(keys(r)?),
            6 => Message::Hint(keys(r)?),
            7 => {
                let n = bounded(r, 9, MAX_KEYS)?;
                let mut wants = Vec::with_capacity(n);
                for _ in 0..n {
                    let key = KeyHash(r.u64_le()?);
                    let vv = if flag(r)? { Some(VersionVector::decode(r)?) } else { None };
                    wants.push(Want { key, vv });
                }
                Message::Want(wants)
            }
            8 => Message::Ack { token: r.varint()?, dup: flag(r)? },
            9 => Message::Root(Root {
                sid: sid(r)?,
                token: r.varint()?,
                count: r.varint()?,
                sum: u128::from_le_bytes(r.array()?),
                salt: r.array()?,
            }),
            10 => Message::RecOk { sid: sid(r)? },
            11 => Message::RecGo { sid: sid(r)?, mode: r.u8()?, count: r.varint()? },
            12 => {
                let (sid, index) = (sid(r)?, r.varint()?);
                let n = bounded(r, 25, LIST_ENTRIES)?;
                let mut symbols = Vec::with_capacity(n);
                for _ in 0..n {
                    symbols.push(Symbol {
                        key: r.u64_le()?,
                        digest: r.u64_le()?,
                        check: r.u64_le()?,
                        count: r.zigzag()?,
                    });
                }
                Message::Sym { sid, index, symbols }
            }
            13 => Message::List(list(r)?),
            14 => Message::RecEnd { sid: sid(r)?, ok: flag(r)? },
            15 => {
                let reason = match r.u8()? {
                    0 => GoneReason::Covered,
                    1 => GoneReason::NotHeld,
                    2 => GoneReason::NotReadable,
                    _ => return Err(r.invalid("reason of GONE")),
                };
                let n = bounded(r, 8, MAX_KEYS)?;
                let keys = (0..n).map(|_| r.u64_le().map(KeyHash)).collect::<Result<_, _>>()?;
                Message::Gone { reason, keys }
            }
            16 => Message::Rej(reject(r)?),
            _ => return Err(r.invalid("message type")),
        };
        r.finish()?;
        Ok(message)
    }
}

fn put_sub_add(o: &mut Vec<u8>, a: &SubAdd) {
    put_varint(o, a.sid.into());
    o.extend_from_slice(&a.hash);
    o.push(u8::from(a.text.is_some()) | u8::from(a.cursor.is_some()) << 1 | (a.prio & 3) << 2);
    if let Some(t) = &a.text {
        put_str(o, &t.query);
        put_bytes(o, &codec::to_vec(&Value::Object(t.args.clone())));
    }
    if let Some(token) = a.cursor {
        put_varint(o, token);
    }
    put_key_digests(o, &a.own);
    put_varint(o, a.held);
}

fn put_keys(o: &mut Vec<u8>, k: &Keys) {
    o.push(k.mark.is_some().into());
    if let Some(mark) = k.mark {
        put_varint(o, mark);
    }
    put_key_digests(o, &k.keys);
}

fn put_key_digests(o: &mut Vec<u8>, keys: &[KeyDigest]) {
    put_varint(o, keys.len() as u64);
    for (k, d) in keys {
        o.extend_from_slice(&k.0.to_le_bytes());
        o.extend_from_slice(&d.to_le_bytes());
    }
}

fn refusal_byte(code: RefusalCode) -> u8 {
    match code {
        RefusalCode::Future => 0,
        RefusalCode::TooLarge => 1,
        RefusalCode::NotWritable => 2,
        RefusalCode::Gravestone => 3,
        RefusalCode::Other => 4,
    }
}

/// A count of items of at least `min_size` bytes, which must not exceed `limit`.
fn bounded(r: &mut Reader<'_>, min_size: usize, limit: usize) -> Result<usize, WireError> {
    let at = r.offset();
    let n = r.count(min_size)?;
    if n > limit {
        return Err(WireError::TooLong { at, len: n as u64, limit: limit as u64 });
    }
    Ok(n)
}

fn flag(r: &mut Reader<'_>) -> Result<bool, WireError> {
    match r.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(r.invalid("flag")),
    }
}

fn sid(r: &mut Reader<'_>) -> Result<u32, WireError> {
    Ok(r.len(u32::MAX as usize)? as u32)
}

fn key_digests(r: &mut Reader<'_>) -> Result<Vec<KeyDigest>, WireError> {
    let n = bounded(r, 16, MAX_KEYS)?;
    (0..n).map(|_| Ok((KeyHash(r.u64_le()?), r.u64_le()?))).collect()
}

fn keys(r: &mut Reader<'_>) -> Result<Keys, WireError> {
    let mark = if flag(r)? { Some(r.varint()?) } else { None };
    Ok(Keys { mark, keys: key_digests(r)? })
}

fn subs(r: &mut Reader<'_>) -> Result<Subs, WireError> {
    let generation = r.varint()?;
    let n = bounded(r, 20, MAX_KEYS)?;
    let mut add = Vec::with_capacity(n);
    for _ in 0..n {
        let (sid, hash, flags) = (sid(r)?, r.array()?, r.u8()?);
        if flags >> 4 != 0 {
            return Err(r.invalid("flags of SUBS"));
        }
        let text = if flags & 1 != 0 {
            let query = r.str(MAX_QUERY_BYTES)?.to_owned();
            let Value::Object(args) = codec::from_slice(r.bytes(MAX_ARGS_BYTES)?)? else {
                return Err(r.invalid("arguments of SUBS"));
            };
            Some(SubText { query, args })
        } else {
            None
        };
        let cursor = if flags & 2 != 0 { Some(r.varint()?) } else { None };
        let own = key_digests(r)?;
        let held = r.varint()?;
        add.push(SubAdd { sid, hash, text, prio: flags >> 2, cursor, own, held });
    }
    let n = bounded(r, 1, MAX_KEYS)?;
    let drop = (0..n).map(|_| sid(r)).collect::<Result<_, _>>()?;
    Ok(Subs { generation, add, drop })
}

fn subst(r: &mut Reader<'_>) -> Result<Subst, WireError> {
    let (sid, mode, count) = (sid(r)?, r.u8()?, r.varint()?);
    let mode = match mode {
        0 => SubMode::Resume,
        1 => SubMode::Recon,
        2 => SubMode::Full,
        3 => SubMode::Bad { code: r.u8()?, text: r.str(MAX_REASON_BYTES)?.to_owned() },
        4 => SubMode::Denied,
        5 => SubMode::Again,
        _ => return Err(r.invalid("mode of SUBST")),
    };
    Ok(Subst { sid, mode, count })
}

fn list(r: &mut Reader<'_>) -> Result<List, WireError> {
    let (sid, last) = (sid(r)?, flag(r)?);
    let n = bounded(r, 9, LIST_ENTRIES)?;
    let mut keys: Vec<KeyDigest> = Vec::with_capacity(n);
    for i in 0..n {
        let step = r.varint()?;
        let before = keys.last().map_or(0, |k| k.0.0);
        let key = before.checked_add(step).filter(|_| step > 0 || i == 0);
        let key = key.ok_or_else(|| r.invalid("order of LIST"))?;
        keys.push((KeyHash(key), r.u64_le()?));
    }
    Ok(List { sid, last, keys })
}

fn reject(r: &mut Reader<'_>) -> Result<Reject, WireError> {
    let collection = SmolStr::new(r.str(MAX_REASON_BYTES)?);
    let id = DocId::from_bytes(r.bytes(ditto_types::doc_id::MAX_ID_BYTES)?)
        .map_err(|_| r.invalid("document id of REJ"))?;
    let dot = Stamp::new(Hlc(r.u64_le()?), SiteId::decode(r)?);
    let code = match r.u8()? {
        0 => RefusalCode::Future,
        1 => RefusalCode::TooLarge,
        2 => RefusalCode::NotWritable,
        3 => RefusalCode::Gravestone,
        4 => RefusalCode::Other,
        _ => return Err(r.invalid("code of REJ")),
    };
    Ok(Reject { collection, id, dot, code })
}
