//! Commits with so many changes that these are not listed (ADR 0036).
#![allow(clippy::unwrap_used, reason = "tests")]

#[path = "common/fixture.rs"]
#[allow(dead_code, reason = "each test uses a part")]
mod fixture;

use std::sync::mpsc::channel;
use std::time::Duration;

use ditto_types::Value;

use fixture::Fixture;

/// Sixty documents of 64 KiB: their states before and after weigh more than a commit lists while somebody listens.
fn filled() -> Fixture {
    let f = Fixture::new();
    let text = "x".repeat(64 << 10);
    for i in 0..60 {
        f.insert("c", &format!(r#"{{"_id":{i},"n":0,"t":"{text}"}}"#));
    }
    f
}

#[test]
fn a_large_commit_names_its_collections_and_a_small_one_its_documents() {
    let f = filled();
    let feed = f.store.commit_feed();
    f.run("UPDATE c SET n = 1");
    f.run("UPDATE c SET n = 2 WHERE _id = 7");
    // One commit of a large and a small statement lists neither.
    let t = f.store.begin(Default::default()).unwrap();
    for text in ["INSERT INTO d DOCUMENTS ({'_id':1})", "UPDATE c SET n = 3", "DELETE FROM c WHERE _id = 1"] {
        t.execute(text, &Default::default()).unwrap();
    }
    t.commit().unwrap();
    let commits: Vec<_> = feed.receiver().try_iter().collect();
    let shape = |i: usize| {
        let c = &commits[i];
        assert!(!feed.taken(c));
        (c.changes.len(), c.unlisted_collections.clone())
    };
    assert_eq!(commits.len(), 3);
    assert_eq!(shape(0), (0, vec!["c".into()]));
    assert_eq!(shape(1), (1, vec![]));
    assert_eq!(shape(2), (0, vec!["c".into(), "d".into()]));
    assert_eq!(commits[2].seq, f.store.head());
    assert!(f.store.check().unwrap().is_clean());
}

#[test]
fn observers_see_what_a_large_commit_did() {
    let f = filled();
    let (sender, results) = channel();
    for (at, text) in ["SELECT _id FROM c WHERE n = 1", "SELECT n FROM c WHERE _id = 7", "SELECT * FROM d"]
        .into_iter()
        .enumerate()
    {
        let sender = sender.clone();
        let callback = Box::new(move |r: ditto_store::QueryResult| sender.send((at, r)).unwrap_or(()));
        f.store.observe(text, &Default::default(), callback).unwrap();
    }
    let next = || results.recv_timeout(Duration::from_secs(60)).unwrap();
    let mut first: Vec<_> = (0..3).map(|_| next()).map(|(at, r)| (at, r.item_count())).collect();
    first.sort_unstable();
    assert_eq!(first, [(0, 0), (1, 1), (2, 0)]);
    f.run("UPDATE c SET n = 1");
    let (mut all, mut one) = (None, None);
    while all.is_none() || one.is_none() {
        match next() {
            (0, r) => all = Some(r.item_count()),
            (1, r) => one = r.items()[0].get("n").cloned(),
            (at, _) => panic!("observer {at} was told of a collection that it does not read"),
        }
    }
    assert_eq!((all, one), (Some(60), Some(Value::Int(1))));
    // They go on to follow small commits.
    f.run("UPDATE c SET n = 2 WHERE _id = 7");
    let mut after = [next(), next()].map(|(at, r)| (at, r.item_count()));
    after.sort_unstable();
    assert_eq!(after, [(0, 59), (1, 1)]);
}
