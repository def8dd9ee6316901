//! Messages from bytes, which may be hostile.

use ditto_types::wire::{Reader, WireError};
use ditto_types::{Hlc, SiteId, Value, codec};

use super::encode::put_wants;
use super::*;
use crate::limits::{LIST_ENTRIES, MAX_ARGS_BYTES, MAX_KEYS, MAX_QUERY_BYTES, MAX_REASON_BYTES};
use crate::sketch::SYMBOL_BYTES;

impl Message {
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
            // 18 is a packed message.
            19 => Message::WantBack(wants(r)?),
            _ => return Err(r.invalid("message type")),
        };
        r.finish()?;
        Ok(message)
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
            Ok(Ask::Sketch(Sketch { count, counters }))
        }
        2 => Ok(Ask::More { symbols: r.varint()? }),
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
