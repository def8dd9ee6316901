//! The messages other than TXN.

use std::collections::BTreeSet;

use ditto_crdt::VersionVector;
use ditto_types::wire::{Reader, WireError, put_bytes, put_str, put_varint, put_zigzag};
use ditto_types::{DocId, Hlc, KeyHash, Object, SiteId, Stamp, Value, codec};
use smol_str::SmolStr;

use super::txn::Txn;
use crate::limits::{LIST_ENTRIES, MAX_ARGS_BYTES, MAX_KEYS, MAX_QUERY_BYTES, MAX_REASON_BYTES};
use crate::peer::Lane;
use crate::sketch::{COUNTERS, SYMBOL_BYTES, Symbol};
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

/// Body of HAVE and HINT. A HAVE with a mark is answered by a HINT with the same mark. A HAVE with a token is an offer of
/// a lazy link: the token counts when the receiver has all of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Keys {
    pub(crate) mark: Option<u64>,
    pub(crate) token: Option<u64>,
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
}

/// What the receiver wants to compare views by.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Ask {
    /// A listing.
    List,
    /// Symbols, or a listing if that is shorter: the receiver's count and counters tell how many it takes.
    Sketch { count: u64, counters: Box<[i32; COUNTERS]> },
    /// More symbols than have come.
    More { symbols: u64 },
    /// The fingerprint once more: documents have gone to and fro since.
    Root,
}

/// Part of the symbols of a sender's view, in order.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Symbols {
    pub(crate) sid: u32,
    /// Place of the first one.
    pub(crate) index: u64,
    /// Symbols that follow without being asked for.
    pub(crate) more: u64,
    pub(crate) symbols: Vec<Symbol>,
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

/// A place in the spanning tree of the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    /// The number of the root.
    pub(crate) root: u64,
    /// Links from there.
    pub(crate) distance: u8,
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
    Ack {
        token: u64,
        dup: bool,
    },
    Root(Root),
    RecOk {
        sid: u32,
    },
    RecGo {
        sid: u32,
        ask: Ask,
    },
    Sym(Symbols),
    List(List),
    RecEnd {
        sid: u32,
        ok: bool,
    },
    Gone {
        reason: GoneReason,
        keys: Vec<KeyHash>,
    },
    Rej(Reject),
    /// Where the sender is in the tree, and whether the receiver is its parent.
    Tree {
        place: Place,
        child: bool,
    },
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
            Message::Sym(_) => "SYM",
            Message::List(_) => "LIST",
            Message::RecEnd { .. } => "RECEND",
            Message::Gone { .. } => "GONE",
            Message::Rej(_) => "REJ",
            Message::Tree { .. } => "TREE",
        }
    }

    /// Whether the message may come on `lane`.
    pub(crate) fn allowed_on(&self, lane: Lane) -> bool {
        match self {
            Message::Hint(_) => true,
            Message::Txn(t) => (lane == Lane::Bulk) == (t.sid.is_some() || t.answer),
            Message::Root(_) | Message::Sym(_) | Message::List(_) | Message::Gone { .. } => {
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
                put_wants(o, wants);
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
            }
            Message::RecOk { sid } => {
                o.push(10);
                put_varint(o, (*sid).into());
            }
            Message::RecGo { sid, ask } => {
                o.push(11);
                put_varint(o, (*sid).into());
                match ask {
                    Ask::List => o.push(0),
                    Ask::Sketch { count, counters } => {
                        o.push(1);
                        put_varint(o, *count);
                        counters.iter().for_each(|c| put_zigzag(o, (*c).into()));
                    }
                    Ask::More { symbols } => {
                        o.push(2);
                        put_varint(o, *symbols);
                    }
                    Ask::Root => o.push(3),
                }
            }
            Message::Sym(s) => {
                o.push(12);
                put_varint(o, s.sid.into());
                put_varint(o, s.index);
                put_varint(o, s.more);
                put_varint(o, s.symbols.len() as u64);
                s.symbols.iter().for_each(|s| s.encode(o));
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
            Message::Tree { place, child } => {
                o.push(17);
                o.extend_from_slice(&place.root.to_le_bytes());
                o.push(place.distance);
                o.push((*child).into());
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
            7 => Message::Want(wants(r)?),
            8 => Message::Ack { token: r.varint()?, dup: flag(r)? },
            9 => Message::Root(Root {
                sid: sid(r)?,
                token: r.varint()?,
                count: r.varint()?,
                sum: u128::from_le_bytes(r.array()?),
            }),
            10 => Message::RecOk { sid: sid(r)? },
            11 => Message::RecGo { sid: sid(r)?, ask: ask(r)? },
            12 => {
                let (sid, index, more) = (sid(r)?, r.varint()?, r.varint()?);
                let n = bounded(r, SYMBOL_BYTES, LIST_ENTRIES)?;
                let symbols = (0..n).map(|_| Symbol::decode(r)).collect::<Result<_, _>>()?;
                Message::Sym(Symbols { sid, index, more, symbols })
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
            17 => {
                let place = Place { root: r.u64_le()?, distance: r.u8()? };
                Message::Tree { place, child: flag(r)? }
            }
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

/// Sites are spelled out once for all requests, times are relative to the earliest one.
fn put_wants(o: &mut Vec<u8>, wants: &[Want]) {
    let entries = || wants.iter().filter_map(|w| w.vv.as_ref()).flat_map(|vv| vv.iter());
    let sites: BTreeSet<SiteId> = entries().map(|(site, _)| *site).collect();
    let first = entries().map(|(_, hlc)| hlc.0).min().unwrap_or(0);
    put_varint(o, sites.len() as u64);
    sites.iter().for_each(|s| s.encode(o));
    put_varint(o, first);
    put_varint(o, wants.len() as u64);
    for w in wants {
        o.extend_from_slice(&w.key.0.to_le_bytes());
        // Nothing known and nothing said are different things, hence one more.
        put_varint(o, w.vv.as_ref().map_or(0, |vv| vv.len() as u64 + 1));
        for (site, hlc) in w.vv.iter().flat_map(|vv| vv.iter()) {
            put_varint(o, sites.range(..site).count() as u64);
            put_varint(o, hlc.0 - first);
        }
    }
}

fn wants(r: &mut Reader<'_>) -> Result<Vec<Want>, WireError> {
    let mut start = r.clone();
    let n = r.count(17)?;
    let mut sites: Vec<SiteId> = Vec::with_capacity(n);
    for _ in 0..n {
        let site = SiteId::decode(r)?;
        if sites.last().is_some_and(|before| *before >= site) {
            return Err(r.invalid("order of sites of WANT"));
        }
        sites.push(site);
    }
    let first = r.varint()?;
    let n = bounded(r, 9, MAX_KEYS)?;
    let mut wants = Vec::with_capacity(n);
    for _ in 0..n {
        let key = KeyHash(r.u64_le()?);
        // One more than the entries; a single byte would count as an entry without this.
        let n = r.varint()?;
        let limit = (sites.len() as u64).saturating_add(1);
        if n > limit {
            return Err(WireError::TooLong { at: r.offset(), len: n, limit });
        }
        let mut vv = VersionVector::default();
        for _ in 1..n {
            let at = r.varint()?;
            let site = usize::try_from(at).ok().and_then(|at| sites.get(at));
            let site = *site.ok_or_else(|| r.invalid("site of WANT"))?;
            let hlc = first.checked_add(r.varint()?).ok_or_else(|| r.invalid("time of WANT"))?;
            vv.insert(Stamp::new(Hlc(hlc), site));
        }
        wants.push(Want { key, vv: (n > 0).then_some(vv) });
    }
    // There is one way to say the same.
    let mut again = Vec::new();
    put_wants(&mut again, &wants);
    let len = r.offset() - start.offset();
    if start.take(len)? == again { Ok(wants) } else { Err(r.invalid("WANT")) }
}

fn put_keys(o: &mut Vec<u8>, k: &Keys) {
    o.push(u8::from(k.mark.is_some()) | u8::from(k.token.is_some()) << 1);
    k.mark.into_iter().chain(k.token).for_each(|n| put_varint(o, n));
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
    let flags = r.u8()?;
    if flags > 3 {
        return Err(r.invalid("flags of HAVE or HINT"));
    }
    let mark = if flags & 1 != 0 { Some(r.varint()?) } else { None };
    let token = if flags & 2 != 0 { Some(r.varint()?) } else { None };
    Ok(Keys { mark, token, keys: key_digests(r)? })
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

fn ask(r: &mut Reader<'_>) -> Result<Ask, WireError> {
    match r.u8()? {
        0 => Ok(Ask::List),
        1 => {
            let count = r.varint()?;
            let mut counters = Box::new([0; COUNTERS]);
            for counter in counters.iter_mut() {
                *counter = i32::try_from(r.zigzag()?).map_err(|_| r.invalid("counter of RECGO"))?;
            }
            Ok(Ask::Sketch { count, counters })
        }
        2 => Ok(Ask::More { symbols: r.varint()? }),
        3 => Ok(Ask::Root),
        _ => Err(r.invalid("mode of RECGO")),
    }
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
