//! What sync reads: change pages, views, own changes, and cursors under EVICT.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::sync::Arc;

use ditto_crdt::Doc;
use ditto_store::{ApplyBatch, CompiledQuery, CursorWrite, ItemBody, ItemOutcome};
use ditto_types::{ErrorKind, Object};
use fixture::*;

fn compile(f: &Fixture, text: &str) -> Arc<CompiledQuery> {
    f.store.compile_subscription(text, &Object::new()).unwrap()
}

/// 30 documents in 10 commits of 3, of which every second matches `n >= 1`; one is deleted later.
fn filled() -> Fixture {
    let f = Fixture::new();
    for i in 0..10 {
        let docs: Vec<String> =
            (0..3).map(|k| format!(r#"{{"_id":"{i}-{k}","n":{}}}"#, (i + k) % 2)).collect();
        f.run_with("INSERT INTO c DOCUMENTS (:d)", &format!(r#"{{"d":[{}]}}"#, docs.join(",")));
        f.insert("other", &format!(r#"{{"_id":{i}}}"#));
    }
    f.run("DELETE FROM c WHERE _id = '0-0'");
    f
}

#[test]
fn subscriptions_are_compiled_with_their_restrictions() {
    let f = Fixture::new();
    let q = f.store.compile_subscription("SELECT * FROM c WHERE n > :min", &object(r#"{"min":1}"#)).unwrap();
    assert_eq!((q.collection(), q.is_whole_collection()), ("c", false));
    let at = stamp(T0, 1);
    assert!(q.matches(&doc_id("a"), &doc(r#"{"n":2}"#, at)));
    assert!(!q.matches(&doc_id("a"), &doc(r#"{"n":1}"#, at)));
    assert!(!q.matches(&doc_id("a"), &Doc::default()));
    assert!(compile(&f, "SELECT * FROM c").is_whole_collection());
    let e = f.store.compile_subscription("SELECT * FROM c LIMIT 1", &Object::new()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryUnsupported);
    let e = f.store.compile_subscription("SELECT * FROM c WHERE n = :x", &Object::new()).unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryArguments);
}

#[test]
fn change_pages_hold_whole_commits_and_cover_everything() {
    let f = filled();
    let q = compile(&f, "SELECT * FROM c WHERE n >= 1");
    let (mut docs, mut others, mut after, mut pages) = (Vec::new(), Vec::new(), 0, 0);
    loop {
        let page = f.store.changes(&q, after, 2, usize::MAX).unwrap();
        // Within a commit of three there is no cut, so the limit is exceeded by less than a commit.
        assert!(page.docs.len() <= 4, "{}", page.docs.len());
        assert!(page.scanned_to > after);
        assert!(page.docs.iter().all(|d| d.seq > after && d.seq <= page.scanned_to));
        docs.extend(page.docs);
        others.extend(page.others);
        (after, pages) = (page.scanned_to, pages + 1);
        if page.done {
            break;
        }
    }
    assert!(pages > 3);
    assert_eq!(after, f.store.head());
    assert_eq!(docs.len(), 15 + 1);
    assert!(docs.is_sorted_by_key(|d| d.seq));
    let dead: Vec<_> = docs.iter().filter(|d| !d.doc.is_alive()).map(|d| d.id.clone()).collect();
    assert_eq!(dead, [doc_id("0-0")]);
    assert_eq!(others.len(), 14);
    for d in &docs {
        assert_eq!(d.digest, d.doc.digest(f.store.hash_key()));
        assert_eq!(d.key, f.store.hash_key().key_hash("c", &d.id));
        assert_eq!(f.store.load(d.key).unwrap().as_ref(), Some(d));
    }
    // Bytes bound a page as well, and after the head there is nothing.
    assert_eq!(f.store.changes(&q, 0, usize::MAX, 1).unwrap().docs.len() / 4, 0);
    let end = f.store.changes(&q, f.store.head(), 10, usize::MAX).unwrap();
    assert!(end.done && end.docs.is_empty() && end.scanned_to == f.store.head());
    let beyond = f.store.changes(&q, u64::MAX, 10, usize::MAX).unwrap();
    assert!(beyond.done && beyond.docs.is_empty());
}

#[test]
fn pages_of_an_unknown_collection_are_empty_and_up_to_date() {
    let f = filled();
    let q = compile(&f, "SELECT * FROM nowhere");
    let page = f.store.changes(&q, 0, 10, usize::MAX).unwrap();
    assert_eq!((page.scanned_to, page.done, page.docs.len()), (f.store.head(), true, 0));
    assert!(f.store.view(&q).unwrap().is_empty());
    assert!(f.store.view_page(&q, None, (10, 10), &mut Names::default()).unwrap().next.is_none());
    assert_eq!(f.store.own_changes(&q, 0, 10).unwrap(), Some(vec![]));
}

#[test]
fn views_are_paged_without_gaps() {
    let f = filled();
    for (text, count) in [("SELECT * FROM c", 29), ("SELECT * FROM c WHERE n >= 1", 15)] {
        let q = compile(&f, text);
        let view = f.store.view(&q).unwrap();
        assert_eq!(view.len(), count, "{text}");
        assert!(view.is_sorted());
        for (max_docs, max_bytes) in [(1, usize::MAX), (4, usize::MAX), (100, 1), (100, usize::MAX)] {
            let (mut seen, mut after, mut names) = (Vec::new(), None, Names::default());
            loop {
                let page = f.store.view_page(&q, after, (max_docs, max_bytes), &mut names).unwrap();
                assert!(page.docs.len() <= max_docs);
                for d in page.docs {
                    let held = f.store.load(d.key).unwrap().unwrap();
                    assert_eq!((held.id, held.digest), (d.id, d.digest));
                    assert_eq!(ditto_crdt::decode(&d.body, &names).unwrap(), held.doc);
                    seen.push((d.key, d.digest));
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
            seen.sort_unstable();
            assert_eq!(seen, view, "{text} by {max_docs}, {max_bytes}");
        }
    }
}

#[test]
fn own_changes_count_matching_documents_only() {
    let f = filled();
    let q = compile(&f, "SELECT * FROM c WHERE n >= 1");
    assert_eq!(f.store.own_changes(&q, 0, 15).unwrap().unwrap().len(), 15);
    assert_eq!(f.store.own_changes(&q, 0, 14).unwrap(), None);
    let before = f.store.head();
    f.run("UPDATE c SET m = 1 WHERE _id IN ('1-0', '1-1')");
    let own = f.store.own_changes(&q, before, 10).unwrap().unwrap();
    assert_eq!(own.iter().map(|(k, _)| *k).collect::<Vec<_>>(), [f.key("c", "1-0")]);
}

#[test]
fn the_newest_documents_of_a_view_come_last_commit_first() {
    let f = filled();
    let q = compile(&f, "SELECT * FROM c WHERE n >= 1");
    // Changed since they came: one that stays in the view, one that enters it, one that leaves it.
    f.run("UPDATE c SET m = 1 WHERE _id = '2-1'");
    f.run("UPDATE c SET n = 5 WHERE _id = '4-0'");
    f.run("UPDATE c SET n = 0 WHERE _id = '6-1'");
    let newest = f.store.newest(&q, 100).unwrap();
    let mut expected: Vec<_> = f.store.changes(&q, 0, 100, usize::MAX).unwrap().docs;
    expected.retain(|d| d.doc.is_alive());
    assert_eq!(newest.len(), expected.len());
    assert!(newest.windows(2).all(|w| w[0].seq >= w[1].seq), "{newest:?}");
    let keys: Vec<_> = newest.iter().take(2).map(|n| n.key).collect();
    assert_eq!(keys, [f.key("c", "4-0"), f.key("c", "2-1")]);
    for doc in expected {
        let found = newest.iter().find(|n| n.key == doc.key).unwrap();
        assert_eq!((found.seq, found.digest), (doc.seq, doc.digest));
        assert!((10..100).contains(&found.bytes), "{found:?}");
    }
    assert_eq!(f.store.newest(&q, 3).unwrap(), newest[..3]);
    assert!(f.store.newest(&q, 0).unwrap().is_empty());
    assert!(f.store.newest(&compile(&f, "SELECT * FROM nowhere"), 3).unwrap().is_empty());
    // Four documents are looked at, of which one is in the view.
    assert!(f.store.newest(&compile(&f, "SELECT * FROM c WHERE m = 1"), 1).unwrap().len() == 1);
    for id in ["x", "y", "z"] {
        f.insert("c", &format!(r#"{{"_id":"{id}","n":0}}"#));
    }
    assert!(f.store.newest(&compile(&f, "SELECT * FROM c WHERE m = 1"), 1).unwrap().is_empty());
}

#[test]
fn two_stores_converge_over_pages() {
    let (a, b) = (filled(), Fixture::new());
    let q = compile(&a, "SELECT * FROM c");
    let mut after = 0;
    loop {
        let page = a.store.changes(&q, after, 5, usize::MAX).unwrap();
        let items = page
            .docs
            .into_iter()
            .map(|d| ditto_store::ApplyItem {
                collection: d.collection,
                id: d.id,
                body: ItemBody::full(&d.doc),
            })
            .collect();
        let out =
            b.store.apply(ApplyBatch { cursors: vec![cursor(1, page.scanned_to)], ..batch(items) }).unwrap();
        assert!(out.items.iter().all(|o| matches!(o, ItemOutcome::Changed { .. } | ItemOutcome::NotHeld)));
        after = page.scanned_to;
        if page.done {
            break;
        }
    }
    assert_eq!(a.store.view(&q).unwrap(), b.store.view(&q).unwrap());
    assert_eq!(b.store.cursor(&cursor_key(1)).unwrap().unwrap().token, a.store.head());
    let r = b.rows("SELECT * FROM c ORDER BY _id");
    assert_eq!(r, a.rows("SELECT * FROM c ORDER BY _id"));
    b.clean();
}

#[test]
fn evict_deletes_the_cursors_of_its_collection_in_the_same_commit() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    f.insert("d", r#"{"_id":"a"}"#);
    let cursors = vec![cursor(1, 7), CursorWrite { collection: "d".into(), ..cursor(2, 7) }, cursor(3, 7)];
    let write = |seen_seq| {
        let batch = ApplyBatch { cursors: cursors.clone(), seen_seq, ..batch(vec![]) };
        f.store.apply(batch).unwrap()
    };
    write(f.store.head());
    let held = || [1, 2, 3].map(|n| f.store.cursor(&cursor_key(n)).unwrap().is_some());
    assert_eq!(held(), [true, true, true]);
    f.run("EVICT FROM c WHERE _id = 'none'");
    assert_eq!(held(), [true, true, true]);
    let seen = f.store.head();
    f.run("EVICT FROM c");
    assert_eq!(held(), [false, true, false]);
    // A batch that was made before its author heard of the eviction must not bring them back.
    write(seen);
    assert_eq!(held(), [false, true, false]);
    write(f.store.head());
    assert_eq!(held(), [true, true, true]);
    f.clean();
}

#[test]
fn a_rolled_back_eviction_keeps_the_cursors() {
    let f = Fixture::new();
    f.insert("c", r#"{"_id":"a"}"#);
    f.store.apply(ApplyBatch { cursors: vec![cursor(1, 7)], ..batch(vec![]) }).unwrap();
    let t = f.store.begin(Default::default()).unwrap();
    t.execute("EVICT FROM c", &Object::new()).unwrap();
    t.rollback().unwrap();
    assert!(f.store.cursor(&cursor_key(1)).unwrap().is_some());
}

#[test]
fn deltas_of_commits_lead_from_the_old_state_to_the_new_one() {
    let f = Fixture::new();
    let commits = f.store.subscribe_commits();
    f.insert("c", r#"{"_id":"a","n":1,"o":{"x":1}}"#);
    for text in [
        "UPDATE c SET n = 2, o.y = 3",
        "UPDATE c UNSET o.x",
        "UPDATE c APPLY k INCREMENT BY 4",
        "DELETE FROM c",
        "INSERT INTO c DOCUMENTS ({'_id':'a','z':1})",
    ] {
        f.run(text);
    }
    let mut state = Doc::default();
    for commit in commits.try_iter() {
        for change in &commit.changes {
            assert_eq!(change.old.as_deref().cloned().unwrap_or_default(), state);
            assert_eq!(**change.base(), state.vv());
            state.merge(change.delta());
            assert_eq!(change.new_state().map(|d| &**d), Some(&state));
            assert_eq!(change.digest, state.digest(f.store.hash_key()));
        }
    }
    assert_eq!(f.rows("SELECT * FROM c"), [r#"{"_id":"a","z":1}"#]);
    assert_eq!(f.store.head(), 6);
}

#[test]
fn changes_concern_the_subscriptions_that_match_and_few_others() {
    let f = Fixture::new();
    let compile =
        |text: &str, n: i64| f.store.compile_subscription(text, &object(&format!(r#"{{"n":{n}}}"#))).unwrap();
    let mut all: Vec<_> = (0..200).map(|n| compile("SELECT * FROM c WHERE owner = :n", n)).collect();
    all.extend((0..20).map(|n| compile("SELECT * FROM c WHERE size > :n AND size <= :n + 5", n * 5)));
    all.push(compile("SELECT * FROM c", 0));
    all.push(compile("SELECT * FROM c WHERE upper(name) = 'X'", 0));
    all.push(compile("SELECT * FROM d", 0));
    let states = [r#"{"owner":7,"size":12,"name":"x"}"#, r#"{"owner":8,"size":100}"#, r#"{"size":"12"}"#];
    for text in states {
        let state = doc(text, stamp(T0, 1));
        let id = doc_id("a");
        let concerned = f.store.concerned("c", &id, [&state]);
        for q in all.iter().filter(|q| q.collection() == "c") {
            assert!(!q.matches(&id, &state) || q.is_in(&concerned), "{text}: {q:?}");
        }
        // Owner, size, everything, and the one without a test of a field.
        assert!(concerned.len() <= 5, "{text}: {concerned:?}");
        assert!(f.store.concerned("e", &id, [&state]).is_empty());
    }
    drop(all);
    let state = doc(states[0], stamp(T0, 1));
    assert!(f.store.concerned("c", &doc_id("a"), [&state]).is_empty());
}
