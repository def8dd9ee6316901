use ditto_types::Object;

use super::message::Batch;
use super::record::{Edge, Record};
use super::*;
use crate::hello::PROTOCOL;
use crate::transport::LinkKind;

const DB: [u8; 16] = [5; 16];

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::generate(&mut |out| out.fill(seed)))
}

fn about(name: &str) -> About {
    let (os, sdk, token) = ("Linux".into(), "0.1.0".into(), String::new());
    About { name: name.into(), os, sdk, is_server: false, overlap_group: 0, token }
}

fn presence(seed: u8, limits: PresenceLimits) -> Presence {
    let mut p = Presence::new(identity(seed), DB, about("local"), limits);
    p.start(1000, 1000);
    p
}

fn info(seed: u8) -> PeerInfo {
    PeerInfo {
        peer: identity(seed).peer_key(),
        store_id: [seed; 16],
        store_epoch: [0; 8],
        device_name: format!("peer {seed}"),
        os: "iOS".into(),
        sdk_version: "9".into(),
        sync_group: 0,
        is_server: false,
        link_kind: LinkKind::AccessPoint,
        remote: String::new(),
        clock_offset_ms: 0,
        max_message: 1 << 20,
    }
}

fn record(id: &Identity, seq: u64, edges: &[PeerKey], meta: &[u8]) -> Record {
    Record {
        key: id.peer_key(),
        seq,
        ttl_s: 180,
        connected_to_server: false,
        is_server: false,
        proto: PROTOCOL,
        overlap_group: 0,
        token: [0; 8],
        name: "far".into(),
        os: "Linux".into(),
        sdk: "1".into(),
        meta_hash: record::metadata_hash(meta),
        edges: edges.iter().map(|e| Edge { to: e.short_id(), kind: 1, cost: 1 }).collect(),
    }
}

fn aged(age_s: u64, items: Vec<(SignedRecord, Option<&[u8]>)>) -> Vec<u8> {
    let mut batch = Batch::default();
    items.iter().for_each(|(signed, metadata)| batch.push(age_s, signed, *metadata));
    batch.finish().unwrap()
}

fn message(items: Vec<(SignedRecord, Option<&[u8]>)>) -> Vec<u8> {
    aged(0, items)
}

/// What is sent when nothing waits any more to be passed on.
fn sent(p: &mut Presence, now: u64) -> Vec<(PeerKey, Vec<u8>)> {
    p.advance(now + p.limits.gather);
    p.flush(now + p.limits.gather, |_| true)
}

/// Sequence numbers of a peer's record in what is sent to another, and whether its metadata goes with them.
fn items(messages: &[(PeerKey, Vec<u8>)], to: &PeerKey, of: &PeerKey) -> Vec<(u64, bool)> {
    let mut out = Vec::new();
    for (_, bytes) in messages.iter().filter(|(k, _)| k == to) {
        let Message::Records(items) = Message::decode(bytes).unwrap() else { continue };
        for packed in items {
            let (key, seq) = packed.head().unwrap();
            if key == *of.as_bytes() {
                out.push((seq, packed.metadata.is_some()));
            }
        }
    }
    out
}

fn seqs(messages: &[(PeerKey, Vec<u8>)], to: &PeerKey, of: &PeerKey) -> Vec<u64> {
    items(messages, to, of).into_iter().map(|(seq, _)| seq).collect()
}

#[test]
fn records_are_flooded_to_all_but_the_source() {
    let mut p = presence(1, PresenceLimits::default());
    let (b, c, far) = (info(2).peer, info(3).peer, identity(9));
    p.neighbour_up(info(2), 1000);
    p.neighbour_up(info(3), 1000);
    p.advance(1300);
    sent(&mut p, 1300);
    p.on_message(&b, message(vec![(record(&far, 7, &[], b"").sign(&far, &DB), None)]), 2000);
    let out = sent(&mut p, 2000);
    assert_eq!(seqs(&out, &c, &far.peer_key()), [7]);
    assert_eq!(seqs(&out, &b, &far.peer_key()), Vec::<u64>::new());
    // Again the same, or an older one: nothing new.
    p.on_message(&c, message(vec![(record(&far, 7, &[], b"").sign(&far, &DB), None)]), 2001);
    assert_eq!(sent(&mut p, 2001), []);
    p.on_message(&c, message(vec![(record(&far, 6, &[], b"").sign(&far, &DB), None)]), 2002);
    assert_eq!(p.records[&far.peer_key()].signed.record.seq, 7);
    assert_eq!(
        seqs(&sent(&mut p, 2002), &c, &far.peer_key()),
        Vec::<u64>::new(),
        "it has told that it knows 7"
    );
}

#[test]
fn forged_and_replayed_records_are_refused() {
    let mut p = presence(1, PresenceLimits::default());
    let (b, far, thief) = (info(2).peer, identity(9), identity(66));
    p.neighbour_up(info(2), 1000);
    let good = record(&far, 7, &[b], b"");
    p.on_message(&b, message(vec![(good.clone().sign(&far, &DB), None)]), 2000);
    assert_eq!(p.take_faults(), []);
    // Signed by another key, or for another database.
    let newer = record(&far, 8, &[b], b"");
    for forged in [newer.clone().sign(&thief, &DB), newer.sign(&far, &[6; 16])] {
        p.on_message(&b, message(vec![(forged, None)]), 2000);
        assert!(matches!(&p.take_faults()[..], [Fault::Refused { from, .. }] if *from == b));
    }
    // Of ourselves.
    let own = record(&thief, 1 << 60, &[], b"");
    let own = Record { key: p.local, ..own }.sign(&thief, &DB);
    let seq = p.seq;
    p.on_message(&b, message(vec![(own, None)]), 2000);
    assert_eq!(p.seq, seq);
    assert_eq!(p.records[&far.peer_key()].signed.record.seq, 7);
    // Garbage is a violation.
    p.on_message(&b, vec![9, 9], 2000);
    assert!(matches!(&p.take_faults()[..], [Fault::Violation { .. }]));
}

#[test]
fn an_earlier_life_of_ours_is_outdone() {
    let mut p = presence(1, PresenceLimits::default());
    let (me, b) = (identity(1), info(2).peer);
    p.neighbour_up(info(2), 1000);
    p.advance(1300);
    sent(&mut p, 1300);
    p.on_message(&b, message(vec![(record(&me, 1 << 50, &[], b"").sign(&me, &DB), None)]), 1400);
    p.advance(1700);
    assert_eq!(seqs(&sent(&mut p, 1700), &b, &p.local.clone()), [(1 << 50) + 1]);
}

#[test]
fn a_flood_of_one_origin_is_slowed_and_its_last_record_arrives() {
    let mut p = presence(1, PresenceLimits::default());
    let (b, c, far) = (info(2).peer, info(3).peer, identity(9));
    p.neighbour_up(info(2), 1000);
    p.neighbour_up(info(3), 1000);
    let mut forwarded = Vec::new();
    for seq in 1..=200 {
        p.on_message(&b, message(vec![(record(&far, seq, &[], b"").sign(&far, &DB), None)]), 2000);
        forwarded.extend(seqs(&sent(&mut p, 2000), &c, &far.peer_key()));
    }
    assert!(forwarded.len() <= 21, "{} of 200 records went on", forwarded.len());
    let at = p.next_deadline().unwrap();
    assert!(at <= 2300, "{at}");
    p.advance(2300);
    assert_eq!(seqs(&sent(&mut p, 2300), &c, &far.peer_key()), [200]);
}

#[test]
fn a_neighbour_that_floods_is_held_back() {
    let limits =
        PresenceLimits { neighbour_burst: 10, neighbour_rate: 10, gather: 0, ..PresenceLimits::default() };
    let mut p = presence(1, limits);
    let b = info(2).peer;
    p.neighbour_up(info(2), 1000);
    let far = identity(9);
    let bytes = message(vec![(record(&far, 1, &[], b"").sign(&far, &DB), None)]);
    for _ in 0..100 {
        p.on_message(&b, bytes.clone(), 1000);
    }
    // Each costs two tokens; the rest is not consumed, so the window of the channel stops the neighbour.
    assert_eq!(p.take_consumed().len(), 5);
    assert!(p.next_deadline().is_some_and(|at| at <= 1000));
    p.advance(1000);
    assert_eq!(p.next_deadline(), Some(1100));
    p.advance(2000);
    assert_eq!(p.take_consumed().len(), 5);
}

#[test]
fn records_expire_with_their_age_and_make_room_by_reach() {
    let limits = PresenceLimits { max_records: 3, ..PresenceLimits::default() };
    let mut p = presence(1, limits);
    let (b, far) = (info(2).peer, identity(9));
    p.neighbour_up(info(2), 1000);
    p.advance(1300);
    let old = record(&far, 1, &[], b"").sign(&far, &DB);
    p.on_message(&b, aged(170, vec![(old.clone(), None)]), 2000);
    assert!(p.records.contains_key(&far.peer_key()));
    p.advance(12_000);
    assert!(!p.records.contains_key(&far.peer_key()));
    p.on_message(&b, aged(180, vec![(old, None)]), 12_000);
    assert!(!p.records.contains_key(&far.peer_key()));
    for seed in 10..20 {
        let id = identity(seed);
        p.on_message(&b, message(vec![(record(&id, 1, &[], b"").sign(&id, &DB), None)]), 12_000);
        assert!(p.records.len() <= 3);
    }
}

#[test]
fn metadata_travels_once_and_must_match_its_hash() {
    let mut p = presence(1, PresenceLimits::default());
    let (b, c, far) = (info(2).peer, info(3).peer, identity(9));
    p.neighbour_up(info(2), 1000);
    p.neighbour_up(info(3), 1000);
    p.advance(1300);
    sent(&mut p, 1300);
    let meta: &[u8] = br#"{"role":"kitchen"}"#;
    let with = |seq| record(&far, seq, &[b], meta).sign(&far, &DB);
    p.on_message(&b, message(vec![(with(1), Some(b"{\"role\":\"forged\"}"))]), 2000);
    assert_eq!(p.records[&far.peer_key()].metadata, None);
    p.on_message(&b, message(vec![(with(1), Some(meta))]), 2000);
    assert_eq!(items(&sent(&mut p, 2000), &c, &far.peer_key()), [(1, true)]);
    p.on_message(&b, message(vec![(with(2), None)]), 2000);
    assert_eq!(items(&sent(&mut p, 2100), &c, &far.peer_key()), [(2, false)]);
    let value = &p.records[&far.peer_key()].facts.metadata;
    assert_eq!(value.get("role").and_then(Value::as_str), Some("kitchen"));
}

#[test]
fn records_of_others_are_gathered_and_not_sent_to_who_has_them() {
    let mut p = presence(1, PresenceLimits::default());
    let [b, c, d] = [2, 3, 4].map(|i| info(i).peer);
    [2, 3, 4].into_iter().for_each(|i| p.neighbour_up(info(i), 1000));
    p.advance(1300);
    sent(&mut p, 1300);
    let (one, two) = (identity(8), identity(9));
    let bytes = |id: &Identity| message(vec![(record(id, 7, &[], b"").sign(id, &DB), None)]);
    p.on_message(&b, bytes(&one), 2000);
    p.on_message(&b, bytes(&two), 2000);
    // The third has it from elsewhere.
    p.on_message(&c, bytes(&one), 2000);
    p.advance(2000);
    let due = p.next_deadline().unwrap();
    assert!(due <= 2000 + p.limits.gather || p.neighbours[&d].later.is_empty(), "{due}");
    let out = sent(&mut p, 2000);
    assert_eq!(out.iter().filter(|(to, _)| *to == d).count(), 1, "both go in one message");
    let keys = [one.peer_key(), two.peer_key()];
    assert_eq!(keys.map(|k| seqs(&out, &d, &k).len()), [1, 1]);
    assert_eq!(keys.map(|k| seqs(&out, &c, &k).len()), [0, 1]);
    assert_eq!(keys.map(|k| seqs(&out, &b, &k).len()), [0, 0]);
    // Our own record does not wait.
    p.set_overlap_group(3, 3000);
    p.advance(3300);
    assert_eq!(p.flush(3300, |_| true).len(), 3);
}

#[test]
fn a_message_with_a_broken_record_changes_nothing() {
    let mut p = presence(1, PresenceLimits::default());
    let (b, far) = (info(2).peer, identity(9));
    p.neighbour_up(info(2), 1000);
    let good = record(&far, 7, &[], b"").sign(&far, &DB);
    let broken = SignedRecord { bytes: good.bytes[..good.bytes.len() - 1].to_vec(), ..good.clone() };
    p.on_message(&b, message(vec![(good.clone(), None), (broken.clone(), None)]), 2000);
    assert!(matches!(&p.take_faults()[..], [Fault::Violation { .. }]));
    assert!(!p.records.contains_key(&far.peer_key()));
    // Twice in one message is no fault.
    p.on_message(&b, message(vec![(good.clone(), None), (good, None)]), 2000);
    assert_eq!(p.take_faults(), []);
    assert_eq!(p.records[&far.peer_key()].signed.record.seq, 7);
}

#[test]
fn metadata_limits() {
    assert_eq!(check_metadata(&Value::from(1)), Err(MetadataError::NotAnObject("integer")));
    let with = |n: usize| Value::Object(Object::from([("k".into(), Value::from("x".repeat(n)))]));
    let frame = r#"{"k":""}"#.len();
    assert!(check_metadata(&with(MAX_METADATA - frame)).is_ok());
    assert_eq!(
        check_metadata(&with(MAX_METADATA - frame + 1)),
        Err(MetadataError::TooLarge(MAX_METADATA + 1))
    );
    let mut deep = Value::Null;
    for _ in 0..ditto_types::MAX_DEPTH {
        deep = Value::Array(vec![deep]);
    }
    let deep = Value::Object(Object::from([("k".into(), deep)]));
    assert_eq!(check_metadata(&deep), Err(MetadataError::TooDeep));
}

#[test]
fn a_quiet_mesh_sleeps() {
    let mut p = presence(1, PresenceLimits::default());
    p.neighbour_up(info(2), 1000);
    p.advance(1300);
    sent(&mut p, 1300);
    assert_eq!(p.next_deadline(), Some(1300 + 60_000));
    p.stop();
    assert_eq!(p.next_deadline(), None);
}
