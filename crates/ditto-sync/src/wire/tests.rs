//! Codecs: round trips, and bytes from a hostile peer.

use ditto_crdt::{DictReader, DictWriter, VersionVector};
use ditto_types::{Digest, DocId, Hlc, KeyHash, Object, SiteId, SmolStr, Stamp, Value};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use super::dict::{LaneReader, LaneWriter};
use super::*;
use crate::limits::MAX_DICT_ENTRIES;
use crate::sketch::{COUNTERS, Entry, Sketch, Symbol, add_entry};
use crate::store::RefusalCode;

fn site() -> impl Strategy<Value = SiteId> {
    (any::<[u8; 16]>(), any::<u32>()).prop_map(|(id, incarnation)| SiteId { id, incarnation })
}

fn id() -> impl Strategy<Value = DocId> {
    prop_oneof![
        "[a-z0-9]{0,12}".prop_map(|s| DocId::new(&Value::from(s)).unwrap()),
        any::<i64>().prop_map(|i| DocId::new(&Value::Int(i)).unwrap()),
    ]
}

fn key_digests() -> impl Strategy<Value = Vec<KeyDigest>> {
    vec((any::<u64>().prop_map(KeyHash), any::<u64>()), 0..5)
}

fn keys() -> impl Strategy<Value = Keys> {
    (option::of(any::<u64>()), option::of(any::<u64>()), key_digests()).prop_map(|(mark, token, keys)| Keys {
        mark,
        token,
        keys,
    })
}

fn name() -> impl Strategy<Value = SmolStr> {
    "\\PC{0,8}".prop_map(SmolStr::new)
}

fn text() -> impl Strategy<Value = SubText> {
    ("\\PC{0,40}", any::<i64>())
        .prop_map(|(query, v)| SubText { query, args: Object::from([("v".into(), Value::Int(v))]) })
}

fn sub_add() -> impl Strategy<Value = SubAdd> {
    let cursor = option::of(any::<u64>());
    (any::<u32>(), any::<[u8; 16]>(), option::of(text()), 0..4u8, cursor, key_digests(), any::<u64>())
        .prop_map(|(sid, hash, text, prio, cursor, own, held)| SubAdd {
            sid,
            hash,
            text,
            prio,
            cursor,
            own,
            held,
        })
}

fn item() -> impl Strategy<Value = TxnItem> {
    let base = vec((any::<u32>(), any::<u64>().prop_map(Hlc)), 0..3);
    let deltas = prop_oneof![base.clone().prop_map(Form::Delta), base.prop_map(Form::Newer)];
    let form = prop_oneof![Just(Form::Full), deltas, Just(Form::Tomb)];
    (any::<u32>(), id(), form, vec(any::<u8>(), 0..20)).prop_map(|(collection, id, form, body)| TxnItem {
        collection,
        id,
        form,
        body,
    })
}

fn txn() -> impl Strategy<Value = Txn> {
    let numbers = (option::of(any::<u64>()), option::of(any::<u32>()), option::of(any::<u64>()));
    (any::<[bool; 5]>(), numbers, vec(name(), 0..4), vec(site(), 0..3), vec(item(), 0..4)).prop_map(
        |([first, last, staged, answer, reset], (token, sid, generation), keys, sites, items)| Txn {
            first,
            last,
            staged,
            token,
            sid,
            generation,
            answer,
            reset,
            keys,
            sites,
            items,
        },
    )
}

fn subst() -> impl Strategy<Value = Subst> {
    let mode = prop_oneof![
        Just(SubMode::Resume),
        Just(SubMode::Recon),
        Just(SubMode::Full),
        Just(SubMode::Denied),
        Just(SubMode::Again),
        (any::<u8>(), "\\PC{0,20}").prop_map(|(code, text)| SubMode::Bad { code, text }),
    ];
    (any::<u32>(), mode, any::<u64>()).prop_map(|(sid, mode, count)| Subst { sid, mode, count })
}

fn want() -> impl Strategy<Value = Want> {
    let vv = vec((site(), any::<u64>()), 0..3).prop_map(|entries| {
        let mut vv = VersionVector::default();
        entries.into_iter().for_each(|(site, hlc)| vv.insert(Stamp::new(Hlc(hlc), site)));
        vv
    });
    (any::<u64>(), option::of(vv)).prop_map(|(key, vv)| Want { key: KeyHash(key), vv })
}

fn list() -> impl Strategy<Value = List> {
    let keys = proptest::collection::btree_map(any::<u64>().prop_map(KeyHash), any::<u64>(), 0..6);
    (any::<u32>(), any::<bool>(), keys).prop_map(|(sid, last, keys)| List {
        sid,
        last,
        keys: keys.into_iter().collect(),
    })
}

fn message() -> impl Strategy<Value = Message> {
    let subs = (any::<u64>(), vec(sub_add(), 0..3), vec(any::<u32>(), 0..3));
    let root = (any::<u32>(), any::<u64>(), any::<u64>(), any::<u128>());
    let symbol = (any::<u64>(), any::<u64>()).prop_map(|(key, version)| {
        let mut digest = [0; 16];
        digest[..8].copy_from_slice(&version.to_le_bytes());
        let mut cell = [Symbol::default()];
        add_entry(&mut cell, &Entry::new(KeyHash(key), &Digest(digest)));
        cell[0]
    });
    let ask = prop_oneof![
        Just(Ask::List),
        (any::<u64>(), any::<[i32; COUNTERS]>())
            .prop_map(|(count, counters)| Ask::Sketch(Sketch { count, counters: Box::new(counters) })),
        any::<u64>().prop_map(|symbols| Ask::More { symbols }),
    ];
    let reason =
        prop_oneof![Just(GoneReason::Covered), Just(GoneReason::NotHeld), Just(GoneReason::NotReadable)];
    let code = prop_oneof![
        Just(RefusalCode::Future),
        Just(RefusalCode::TooLarge),
        Just(RefusalCode::NotWritable),
        Just(RefusalCode::Gravestone),
        Just(RefusalCode::Other),
    ];
    prop_oneof![
        subs.prop_map(|(generation, add, drop)| Message::Subs(Subs { generation, add, drop })),
        vec(any::<[u8; 16]>(), 0..4).prop_map(Message::NeedQ),
        subst().prop_map(Message::Subst),
        txn().prop_map(Message::Txn),
        keys().prop_map(Message::Have),
        keys().prop_map(Message::Hint),
        vec(want(), 0..4).prop_map(Message::Want),
        vec(want(), 0..4).prop_map(Message::WantBack),
        (any::<u64>(), any::<bool>()).prop_map(|(token, dup)| Message::Ack { token, dup }),
        root.prop_map(|(sid, token, count, sum)| Message::Root(Root { sid, token, count, sum })),
        any::<u32>().prop_map(|sid| Message::RecOk { sid }),
        (any::<u32>(), ask).prop_map(|(sid, ask)| Message::RecGo { sid, ask }),
        (any::<u32>(), any::<u64>(), any::<u64>(), vec(symbol, 0..4))
            .prop_map(|(sid, index, more, symbols)| { Message::Sym(Symbols { sid, index, more, symbols }) }),
        list().prop_map(Message::List),
        (any::<u32>(), any::<bool>()).prop_map(|(sid, ok)| Message::RecEnd { sid, ok }),
        (reason, vec(any::<u64>().prop_map(KeyHash), 0..4))
            .prop_map(|(reason, keys)| Message::Gone { reason, keys }),
        (name(), id(), any::<u64>(), site(), code).prop_map(|(collection, id, hlc, site, code)| {
            Message::Rej(Reject { collection, id, dot: Stamp::new(Hlc(hlc), site), code })
        }),
        (any::<u64>(), any::<u8>(), any::<bool>())
            .prop_map(|(root, distance, child)| Message::Tree { place: Place { root, distance }, child }),
    ]
}

proptest! {
    #[test]
    fn round_trip(m in message()) {
        let bytes = m.encode();
        prop_assert_eq!(Message::decode(&bytes).unwrap(), m);
        // Nothing may be left over, and nothing may be missing.
        for cut in 0..bytes.len() {
            prop_assert!(Message::decode(&bytes[..cut]).is_err());
        }
        let mut longer = bytes;
        longer.push(0);
        prop_assert!(Message::decode(&longer).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_panic(kind in 0..20u8, mut bytes in vec(any::<u8>(), 0..200)) {
        bytes.insert(0, kind);
        if let Ok(m) = Message::decode(&bytes) {
            prop_assert_eq!(m.encode(), bytes);
        }
    }

    #[test]
    fn damaged_messages_never_panic(m in message(), at: usize, value: u8) {
        let mut bytes = m.encode();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Ok(m) = Message::decode(&bytes) {
            prop_assert_eq!(m.encode(), bytes);
        }
    }
}

#[test]
fn counts_are_checked_before_memory_is_taken() {
    // A NEEDQ, a HAVE, a WANT, a LIST, a GONE and a TXN that promise more than they hold.
    for head in [&[2u8][..], &[5, 0], &[7], &[13, 1, 0], &[15, 0], &[4, 0], &[4, 0, 0], &[4, 0, 0, 0]] {
        let mut bytes = head.to_vec();
        bytes.extend_from_slice(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert!(Message::decode(&bytes).is_err(), "{head:?}");
    }
    // More keys than one message may have.
    let keys = (0..4_097).map(|k| (KeyHash(k), k)).collect();
    assert!(Message::decode(&Message::Have(Keys { keys, ..Keys::default() }).encode()).is_err());
}

#[test]
fn listings_must_ascend() {
    let list = |keys: &[u64]| {
        let keys = keys.iter().map(|k| (KeyHash(*k), 0)).collect();
        Message::decode(&Message::List(List { sid: 1, last: true, keys }).encode())
    };
    assert!(list(&[0, 1, u64::MAX]).is_ok());
    assert!(list(&[1, 1]).is_err());
    assert!(list(&[2, 1]).is_err());
}

#[test]
fn lanes_of_messages() {
    use crate::Lane::{Bulk, Live};
    let live = Message::Txn(Txn::default());
    let page = Message::Txn(Txn { sid: Some(1), ..Txn::default() });
    let answer = Message::Txn(Txn { answer: true, ..Txn::default() });
    let hint = Message::Hint(Keys::default());
    let have = Message::Have(Keys::default());
    assert!(live.allowed_on(Live) && !live.allowed_on(Bulk));
    assert!(page.allowed_on(Bulk) && !page.allowed_on(Live));
    assert!(answer.allowed_on(Bulk) && !answer.allowed_on(Live));
    assert!(hint.allowed_on(Bulk) && hint.allowed_on(Live));
    assert!(have.allowed_on(Live) && !have.allowed_on(Bulk));
}

/// What a dictionary makes of a message.
fn exchange(writer: &mut LaneWriter, reader: &mut LaneReader, names: &[String]) -> bool {
    writer.begin();
    let refs: Vec<_> = names.iter().map(|n| writer.key_ref(n)).collect();
    let mut txn = Txn::default();
    writer.finish(&mut txn);
    let reset = txn.reset;
    reader.define(&mut txn).unwrap();
    for (name, r) in names.iter().zip(refs) {
        assert_eq!(reader.key(r).map(SmolStr::as_str), Some(name.as_str()));
    }
    reset
}

#[test]
fn dictionaries_start_anew_when_they_are_full() {
    let (mut writer, mut reader) = (LaneWriter::default(), LaneReader::default());
    let mut resets = 0;
    for round in 0..5 {
        let names: Vec<_> = (0..30_000).map(|i| format!("{round}-{i}")).collect();
        resets += usize::from(exchange(&mut writer, &mut reader, &names));
        resets += usize::from(exchange(&mut writer, &mut reader, &names[..10]));
    }
    assert_eq!(resets, 1);
    // Messages that were not sent leave no trace.
    writer.begin();
    writer.key_ref("lost");
    writer.site_ref(&SiteId::ZERO);
    writer.restart();
    assert!(exchange(&mut writer, &mut reader, &["x".to_owned()]));
}

#[test]
fn a_dictionary_that_does_not_start_anew_is_refused() {
    let mut reader = LaneReader::default();
    let keys = vec![SmolStr::default(); MAX_DICT_ENTRIES + 1];
    reader.define(&mut Txn { keys: keys.clone(), ..Txn::default() }).unwrap();
    assert!(reader.define(&mut Txn { keys: vec![SmolStr::default()], ..Txn::default() }).is_err());
    reader.define(&mut Txn { keys, reset: true, ..Txn::default() }).unwrap();
}
