//! Messages into bytes.

use std::collections::BTreeSet;

use ditto_types::wire::{put_bytes, put_str, put_varint, put_zigzag};
use ditto_types::{SiteId, Value, codec};

use super::*;

impl Message {
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
            Message::WantBack(wants) => {
                o.push(19);
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
                    Ask::Sketch(Sketch { count, counters }) => {
                        o.push(1);
                        put_varint(o, *count);
                        counters.iter().for_each(|c| put_zigzag(o, (*c).into()));
                    }
                    Ask::More { symbols } => {
                        o.push(2);
                        put_varint(o, *symbols);
                    }
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
pub(super) fn put_wants(o: &mut Vec<u8>, wants: &[Want]) {
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
