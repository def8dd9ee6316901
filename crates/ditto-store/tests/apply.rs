//! Merging what peers send: outcomes, change sets, cursors, and what is refused.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use ditto_crdt::{Doc, Op, VersionVector};
use ditto_store::{ApplyBatch, Cursor, ItemBody, ItemOutcome, RefusalCode};
use ditto_types::hlc::MAX_FUTURE_MS;
use ditto_types::{Hlc, SiteId, Stamp, Value};
use fixture::*;

fn full(f: &Fixture, id: &str, doc: &Doc) -> ItemOutcome {
    f.store.apply(batch(vec![item("c", id, ItemBody::full(doc))])).unwrap().items.remove(0)
}

fn deleted(mut doc: Doc, at: Stamp) -> Doc {
    doc.apply(&Op::Delete, at).unwrap();
    doc
}

#[test]
fn a_new_document_is_stored_and_published_as_its_own_delta() {
    let f = Fixture::new();
    let commits = f.store.subscribe_commits();
    let sent = doc(r#"{"n":1,"o":{"x":true}}"#, stamp(T0, 1));
    let out = f.store.apply(batch(vec![item("c", "a", ItemBody::full(&sent))])).unwrap();
    let digest = sent.digest(f.store.hash_key());
    assert_eq!((out.seq, out.items), (1, vec![ItemOutcome::Changed { digest }]));
    let commit = commits.recv().unwrap();
    assert_eq!((commit.seq, commit.source.as_deref()), (1, Some(b"peer-1".as_slice())));
    let change = &commit.changes[0];
    assert_eq!((change.collection.as_str(), &change.id, change.digest), ("c", &doc_id("a"), digest));
    assert_eq!(change.key, f.key("c", "a"));
    assert!(change.old.is_none() && change.base().is_empty());
    assert_eq!((change.new_state().map(|d| &**d), change.delta().as_ref()), (Some(&sent), &sent));
    let loaded = f.store.load(f.key("c", "a")).unwrap().unwrap();
    assert_eq!((loaded.doc, loaded.seq, loaded.digest), (sent, 1, digest));
    assert_eq!(f.store.head(), 1);
    f.clean();
}

#[test]
fn outcomes_tell_who_knows_more() {
    let f = Fixture::new();
    let old = doc(r#"{"n":1}"#, stamp(T0, 1));
    let mut new = old.clone();
    set(&mut new, "n", Value::Int(2), stamp(T0 + 5, 2));
    let digest = |d: &Doc| d.digest(f.store.hash_key());
    assert_eq!(full(&f, "a", &new), ItemOutcome::Changed { digest: digest(&new) });
    assert_eq!(full(&f, "a", &new), ItemOutcome::Unchanged { digest: digest(&new) });
    assert_eq!(full(&f, "a", &old), ItemOutcome::LocalNewer { digest: digest(&new) });
    // Nothing changed since the first, so no number was used.
    assert_eq!(f.store.head(), 1);
    // Concurrent: both know something.
    let mut other = old.clone();
    set(&mut other, "m", Value::Int(3), stamp(T0 + 6, 3));
    let mut merged = new.clone();
    merged.merge(&other);
    assert_eq!(full(&f, "a", &other), ItemOutcome::Changed { digest: digest(&merged) });
    assert_eq!(f.store.head(), 2);
    f.clean();
}

#[test]
fn deltas_need_their_base() {
    let f = Fixture::new();
    let old = doc(r#"{"n":1}"#, stamp(T0, 1));
    let mut new = old.clone();
    set(&mut new, "n", Value::Int(2), stamp(T0 + 5, 2));
    let base = old.vv();
    let delta = new.delta(&base);
    let send = |f: &Fixture| {
        let body = ItemBody::Delta { base: base.clone(), doc: delta.clone() };
        f.store.apply(batch(vec![item("c", "a", body)])).unwrap().items.remove(0)
    };
    assert_eq!(send(&f), ItemOutcome::NeedsBase { vv: VersionVector::default() });
    // A document that lacks the base in part answers with what it has.
    let mut partial = doc(r#"{"z":1}"#, stamp(T0 - 10, 7));
    full(&f, "a", &partial);
    assert_eq!(send(&f), ItemOutcome::NeedsBase { vv: partial.vv() });
    full(&f, "a", &old);
    partial.merge(&new);
    let digest = partial.digest(f.store.hash_key());
    assert_eq!(send(&f), ItemOutcome::Changed { digest });
    // We know the field `z` besides, which the sender of the delta does not.
    assert_eq!(send(&f), ItemOutcome::LocalNewer { digest });
    assert_eq!(f.store.load(f.key("c", "a")).unwrap().unwrap().doc, partial);
    f.clean();
}

#[test]
fn a_delta_that_is_known_already_is_unchanged() {
    let f = Fixture::new();
    let old = doc(r#"{"n":1}"#, stamp(T0, 1));
    let mut new = old.clone();
    set(&mut new, "n", Value::Int(2), stamp(T0 + 5, 2));
    full(&f, "a", &new);
    let body = ItemBody::Delta { base: old.vv(), doc: new.delta(&old.vv()) };
    let out = f.store.apply(batch(vec![item("c", "a", body)])).unwrap();
    assert_eq!(out.items, [ItemOutcome::Unchanged { digest: new.digest(f.store.hash_key()) }]);
}

#[test]
fn tombstones_are_kept_only_for_documents_that_were_held() {
    let f = Fixture::new();
    let alive = doc(r#"{"n":1}"#, stamp(T0, 1));
    let dead = deleted(alive.clone(), stamp(T0 + 9, 2));
    let tomb = |f: &Fixture| {
        f.store.apply(batch(vec![item("c", "a", ItemBody::Tomb(dead.clone()))])).unwrap().items.remove(0)
    };
    assert_eq!(tomb(&f), ItemOutcome::NotHeld);
    // A full state that is dead is a tombstone as well.
    assert_eq!(full(&f, "a", &dead), ItemOutcome::NotHeld);
    assert_eq!(f.store.load(f.key("c", "a")).unwrap(), None);
    assert_eq!(f.store.head(), 0);
    full(&f, "a", &alive);
    let digest = dead.digest(f.store.hash_key());
    assert_eq!(tomb(&f), ItemOutcome::Changed { digest });
    assert_eq!(tomb(&f), ItemOutcome::Unchanged { digest });
    // The old state does not come back.
    assert_eq!(full(&f, "a", &alive), ItemOutcome::LocalNewer { digest });
    let loaded = f.store.load(f.key("c", "a")).unwrap().unwrap();
    assert!(!loaded.doc.is_alive());
    assert_eq!(f.clean().tombstones, 1);
}

#[test]
fn stamps_far_in_the_future_are_refused_and_the_rest_is_applied() {
    let f = Fixture::new();
    let edge = doc(r#"{"n":1}"#, stamp(T0 + MAX_FUTURE_MS, 1));
    let beyond = doc(r#"{"n":1}"#, stamp(T0 + MAX_FUTURE_MS + 1, 1));
    let body = |d: &Doc| ItemBody::full(d);
    let out = f.store.apply(batch(vec![item("c", "z", body(&beyond)), item("c", "a", body(&edge))])).unwrap();
    assert_eq!(out.items[0], ItemOutcome::Refused(RefusalCode::Future));
    assert!(matches!(out.items[1], ItemOutcome::Changed { .. }));
    assert_eq!(f.store.load(f.key("c", "z")).unwrap(), None);
    f.clean();
}

#[test]
fn a_device_without_a_clock_still_accepts_the_present() {
    let f = Fixture::new();
    f.clock.set(0);
    let now = doc(r#"{"n":1}"#, stamp(1_790_000_000_000, 1));
    assert!(matches!(full(&f, "a", &now), ItemOutcome::Changed { .. }));
}

#[test]
fn names_that_are_no_collections_are_refused() {
    let f = Fixture::new();
    let d = doc(r#"{"n":1}"#, stamp(T0, 1));
    for name in ["", "system:x", &"x".repeat(256)] {
        let out = f.store.apply(batch(vec![item(name, "a", ItemBody::full(&d))])).unwrap();
        assert_eq!(out.items, [ItemOutcome::Refused(RefusalCode::Collection)], "{name}");
    }
    assert_eq!(f.clean().collections, 0);
}

#[test]
fn outcomes_are_in_the_order_of_the_batch_and_repeated_documents_add_up() {
    let f = Fixture::new();
    let commits = f.store.subscribe_commits();
    let first = doc(r#"{"n":1}"#, stamp(T0, 1));
    let mut second = first.clone();
    set(&mut second, "m", Value::Int(2), stamp(T0 + 1, 1));
    let gone = deleted(first.clone(), stamp(T0 + 1, 9));
    let out = f
        .store
        .apply(batch(vec![
            item("c", "z", ItemBody::full(&first)),
            item("b", "q", ItemBody::Tomb(gone)),
            item("c", "a", ItemBody::full(&first)),
            item("c", "z", ItemBody::full(&second)),
        ]))
        .unwrap();
    let digest = |d: &Doc| d.digest(f.store.hash_key());
    assert_eq!(
        out.items,
        [
            ItemOutcome::Changed { digest: digest(&first) },
            ItemOutcome::NotHeld,
            ItemOutcome::Changed { digest: digest(&first) },
            ItemOutcome::Changed { digest: digest(&second) },
        ]
    );
    let commit = commits.recv().unwrap();
    let seen: Vec<_> = commit.changes.iter().map(|c| (c.id.clone(), c.old.is_none(), c.digest)).collect();
    assert_eq!(seen, [(doc_id("a"), true, digest(&first)), (doc_id("z"), true, digest(&second))]);
    f.clean();
}

#[test]
fn cursors_are_written_with_and_without_documents() {
    let mut f = Fixture::new();
    let d = doc(r#"{"n":1}"#, stamp(T0, 1));
    let with = ApplyBatch {
        cursors: vec![cursor(1, 40), cursor(2, u64::MAX)],
        ..batch(vec![item("c", "a", ItemBody::full(&d))])
    };
    assert_eq!(f.store.apply(with).unwrap().seq, 1);
    assert_eq!(f.store.cursor(&cursor_key(1)).unwrap(), Some(Cursor { token: 40, own_seq: 0 }));
    assert_eq!(f.store.cursor(&cursor_key(2)).unwrap(), Some(Cursor { token: u64::MAX, own_seq: 0 }));
    let without =
        ApplyBatch { cursors: vec![cursor(1, 41)], delete_cursors: vec![cursor_key(2)], ..batch(vec![]) };
    assert_eq!(f.store.apply(without).unwrap().seq, 1);
    assert_eq!(f.store.head(), 1);
    f.reopen();
    assert_eq!(f.store.cursor(&cursor_key(1)).unwrap(), Some(Cursor { token: 41, own_seq: 0 }));
    assert_eq!(f.store.cursor(&cursor_key(2)).unwrap(), None);
    f.store.delete_cursors([1; 16]).unwrap();
    assert_eq!(f.store.cursor(&cursor_key(1)).unwrap(), None);
    f.clean();
}

#[test]
fn the_clock_has_seen_what_was_merged_also_after_a_restart() {
    let mut f = Fixture::new();
    let ahead = T0 + 60_000;
    full(&f, "a", &doc(r#"{"n":1}"#, stamp(ahead, 1)));
    f.reopen();
    let commits = f.store.subscribe_commits();
    f.insert("c", r#"{"_id":"b"}"#);
    let commit = commits.recv().unwrap();
    assert!(commit.changes[0].delta().max_hlc() > Hlc::from_ms(ahead));
}

#[test]
fn hostile_states_merge_without_damage() {
    let f = Fixture::new();
    // The same stamp with different contents, stamps at zero, and a site that claims to be the seed's.
    let states = [
        doc(r#"{"n":1}"#, stamp(T0, 1)),
        doc(r#"{"n":2}"#, stamp(T0, 1)),
        doc(r#"{"n":{"deep":{"er":[1,2]}}}"#, Stamp::ZERO),
        doc(r#"{"x":null}"#, Stamp::new(Hlc(1), SiteId::ZERO)),
        Doc::default(),
    ];
    let mut expected = Doc::default();
    for s in &states {
        expected.merge(s);
        full(&f, "a", s);
    }
    assert_eq!(f.store.load(f.key("c", "a")).unwrap().unwrap().doc, expected);
    f.clean();
}
