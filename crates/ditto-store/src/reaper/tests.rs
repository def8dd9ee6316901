//! Tombstones and gravestones, alone and between two stores (design T1.8).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use ditto_crdt::Doc;
use ditto_types::{DocId, KeyHash, Object, Value, json};

use super::{DAY_MS, GRAVESTONE_DAYS, HOUR_MS, ReapReport, open_graves};
use crate::replication::{ApplyBatch, ApplyItem, ItemBody, ItemOutcome};
use crate::{Store, StoreOptions, WallClock};

const T0: u64 = 1_800_000_000_000;

struct Clock(AtomicU64);

impl WallClock for Clock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Peer {
    store: Store,
    clock: Arc<Clock>,
    _dir: tempfile::TempDir,
}

fn peer() -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Clock(AtomicU64::new(T0)));
    let options = StoreOptions {
        clock: clock.clone(),
        environment: Arc::new(|_| None),
        ..StoreOptions::new(dir.path(), "a1b2c3d4-0000-4000-8000-000000000001".parse().unwrap())
    };
    let store = Store::open(options).unwrap();
    // It would run as soon as the clock has moved.
    store.stop_reaper();
    Peer { store, clock, _dir: dir }
}

fn id(text: &str) -> DocId {
    DocId::new(&Value::from(text)).unwrap()
}

impl Peer {
    fn run(&self, text: &str) -> Vec<String> {
        let result = self.store.execute(text, &Object::new()).unwrap_or_else(|e| panic!("{text}: {e}"));
        result.items().iter().map(json::to_string).collect()
    }

    fn pass(&self, ms: u64) {
        self.clock.0.fetch_add(ms, Ordering::SeqCst);
    }

    fn key(&self, id_text: &str) -> KeyHash {
        self.store.hash_key().key_hash("c", &id(id_text))
    }

    fn doc(&self, id_text: &str) -> Option<Doc> {
        self.store.load(self.key(id_text)).unwrap().map(|d| d.doc)
    }

    fn clean(&self) -> (usize, usize) {
        let report = self.store.check().unwrap();
        assert!(report.is_clean(), "{:#?}", report.problems);
        (report.tombstones, report.gravestones)
    }

    /// Takes in a document as another peer has it.
    fn receive(&self, id_text: &str, doc: Doc) -> ItemOutcome {
        let body = if doc.is_alive() { ItemBody::full(&doc) } else { ItemBody::Tomb(doc) };
        let items = vec![ApplyItem { collection: "c".into(), id: id(id_text), body }];
        let batch = ApplyBatch { source: b"peer".to_vec(), items, ..ApplyBatch::default() };
        self.store.apply(batch).unwrap().items.remove(0)
    }

    fn subscription(&self) -> Arc<crate::CompiledQuery> {
        self.store.compile_subscription("SELECT * FROM c", &Object::new()).unwrap()
    }

    fn all(&self) -> Vec<String> {
        self.run("SELECT * FROM c ORDER BY _id")
    }
}

/// Brings `to` up to date with everything that changed at `from` after commit `after`, as a resumed subscription does.
fn follow(from: &Peer, to: &Peer, after: u64) -> u64 {
    let (query, mut after) = (from.subscription(), after);
    loop {
        let page = from.store.changes(&query, after, 2, usize::MAX).unwrap();
        for d in page.docs {
            to.receive(d.id.to_value().as_str().unwrap(), d.doc);
        }
        after = page.scanned_to;
        if page.done {
            return after;
        }
    }
}

fn buried(examined: usize, buried: usize, dropped: usize) -> ReapReport {
    ReapReport { examined, buried, dropped }
}

#[test]
fn a_tombstone_becomes_a_gravestone_when_its_time_is_over() {
    let p = peer();
    p.run("INSERT INTO c DOCUMENTS ({'_id':'a','n':1}), ({'_id':'b'}), ({'_id':'keep'})");
    p.run("DELETE FROM c WHERE _id = 'a'");
    p.pass(HOUR_MS);
    p.run("DELETE FROM c WHERE _id = 'b'");
    p.pass(168 * HOUR_MS - HOUR_MS);
    assert_eq!(p.store.reap().unwrap(), buried(2, 0, 0), "exactly the age is not older");
    p.pass(1);
    let (before, seq) = (p.doc("a").unwrap(), p.store.head());
    assert_eq!(p.store.reap().unwrap(), buried(2, 1, 0));
    assert_eq!(p.clean(), (1, 1));
    assert_eq!(p.doc("a").unwrap(), before, "nothing of the state is lost");
    assert_eq!(p.store.head(), seq, "reaping is no commit of the sequence");
    p.pass(HOUR_MS);
    assert_eq!(p.store.reap().unwrap(), buried(1, 1, 0));
    assert_eq!((p.clean(), p.all()), ((0, 2), vec![r#"{"_id":"keep"}"#.to_string()]));
}

#[test]
fn the_settings_decide() {
    let p = peer();
    p.run(
        "INSERT INTO c DOCUMENTS ({'_id':'a'}), ({'_id':'b'}), ({'_id':'c'}), ({'_id':'d'}), ({'_id':'e'})",
    );
    p.run("DELETE FROM c");
    let settings = p.store.settings_cell();
    settings.set("tombstone_ttl_enabled", &Value::Bool(false)).unwrap();
    p.pass(1000 * HOUR_MS);
    assert_eq!(p.store.reap().unwrap(), ReapReport::default());
    settings.set("tombstone_ttl_enabled", &Value::Bool(true)).unwrap();
    settings.set("tombstone_ttl_hours", &Value::Int(1001)).unwrap();
    assert_eq!(p.store.reap().unwrap(), buried(5, 0, 0));
    settings.set("tombstone_ttl_hours", &Value::Int(999)).unwrap();
    settings.set("tombstone_reap_batch_size", &Value::Int(2)).unwrap();
    let groups = p.store.writer_stats().group_commits;
    assert_eq!(p.store.reap().unwrap(), buried(5, 5, 0));
    // Three batches of tombstones and three of gravestones.
    assert_eq!(p.store.writer_stats().group_commits - groups, 6);
    assert_eq!(p.clean(), (0, 5));
}

#[test]
fn gravestones_go_after_400_days_and_a_new_incarnation_begins() {
    let p = peer();
    p.run("INSERT INTO c DOCUMENTS ({'_id':'a'})");
    p.run("DELETE FROM c");
    p.pass(8 * DAY_MS);
    assert_eq!(p.store.reap().unwrap(), buried(1, 1, 0));
    p.pass((GRAVESTONE_DAYS - 8) * DAY_MS);
    assert_eq!(p.store.reap().unwrap(), buried(0, 0, 0));
    let site = |p: &Peer| {
        p.run("INSERT INTO c DOCUMENTS ({'_id':'x'}) ON ID CONFLICT DO UPDATE");
        p.doc("x").unwrap().born().unwrap().site.incarnation
    };
    assert_eq!(site(&p), 0);
    p.pass(1);
    assert_eq!(p.store.reap().unwrap(), buried(0, 0, 1));
    assert_eq!((p.doc("a"), site(&p)), (None, 1));
    p.clean();
}

#[test]
fn what_is_written_to_a_gravestone_is_written_to_the_deleted_document() {
    let p = peer();
    p.run("INSERT INTO c DOCUMENTS ({'_id':'a','n':1}), ({'_id':'b'})");
    p.run("DELETE FROM c");
    p.pass(8 * DAY_MS);
    p.store.reap().unwrap();
    p.run("INSERT INTO c INITIAL DOCUMENTS ({'_id':'a','n':1})");
    assert!(p.all().is_empty(), "a seed does not bring back what was deleted");
    p.run("UPDATE c SET n = 2 WHERE _id = 'a'");
    assert!(p.all().is_empty());
    p.run("INSERT INTO c DOCUMENTS ({'_id':'a','m':3})");
    assert_eq!(p.all(), [r#"{"_id":"a","m":3}"#]);
    assert_eq!(p.clean(), (0, 1));
}

/// The rule: a peer that was away for less than 400 days does not bring a deleted document back.
#[test]
fn an_old_copy_does_not_resurrect_and_gravestones_are_why() {
    for graves in [true, false] {
        let (s, away) = (peer(), peer());
        s.run("INSERT INTO c DOCUMENTS ({'_id':'a','n':1})");
        let token = follow(&s, &away, 0);
        s.run("DELETE FROM c");
        s.pass(9 * DAY_MS);
        s.store.reap().unwrap();
        if !graves {
            s.store.with_core(|core| open_graves(&core.db).unwrap());
        }
        let outcome = s.receive("a", away.doc("a").unwrap());
        if graves {
            assert!(matches!(outcome, ItemOutcome::LocalNewer { .. }), "{outcome:?}");
            assert!(s.all().is_empty());
            assert_eq!(s.clean(), (0, 1), "the gravestone stays as it is");
            // It is told, by what changed since as well as by the key.
            assert!(!s.doc("a").unwrap().is_alive());
            follow(&s, &away, token);
            assert!(away.all().is_empty());
        } else {
            assert!(matches!(outcome, ItemOutcome::Changed { .. }));
            assert_eq!(s.all(), [r#"{"_id":"a","n":1}"#]);
        }
    }
}

#[test]
fn two_stores_are_equal_after_reaping_on_one_side() {
    let (a, b) = (peer(), peer());
    for i in 0..20 {
        a.run(&format!("INSERT INTO c DOCUMENTS ({{'_id':'d{i:02}','n':{i}}})"));
    }
    let (mut at_a, mut at_b) = (follow(&a, &b, 0), follow(&b, &a, 0));
    a.run("DELETE FROM c WHERE n < 5");
    b.run("DELETE FROM c WHERE n >= 3 AND n < 10");
    b.run("UPDATE c SET m = 1 WHERE n = 12");
    a.pass(8 * DAY_MS);
    b.pass(8 * DAY_MS);
    assert_eq!(a.store.reap().unwrap(), buried(5, 5, 0));
    // Born again at one side, changed at the other while it was away.
    a.run("INSERT INTO c DOCUMENTS ({'_id':'d03','again':true})");
    for _ in 0..2 {
        at_a = follow(&a, &b, at_a);
        at_b = follow(&b, &a, at_b);
    }
    assert_eq!((a.all(), a.all().len()), (b.all(), 11));
    let (qa, qb) = (a.subscription(), b.subscription());
    assert_eq!(a.store.view(&qa).unwrap(), b.store.view(&qb).unwrap());
    for i in 0..10 {
        let name = format!("d{i:02}");
        assert_eq!(a.doc(&name), b.doc(&name), "{name}");
    }
    a.clean();
    b.clean();
    // Nothing is left to tell, and a tombstone that is heard of again changes nothing.
    assert_eq!((follow(&a, &b, at_a), follow(&b, &a, at_b)), (a.store.head(), b.store.head()));
    let head = a.store.head();
    let outcome = a.receive("d00", b.doc("d00").unwrap());
    assert!(matches!(outcome, ItemOutcome::Unchanged { .. }), "{outcome:?}");
    assert_eq!(a.store.head(), head);
}

#[test]
fn changes_list_gravestones_in_their_place() {
    let p = peer();
    for i in 0..6 {
        p.run(&format!("INSERT INTO c DOCUMENTS ({{'_id':'{i}'}})"));
    }
    p.run("DELETE FROM c WHERE _id IN ('1', '3')");
    p.run("INSERT INTO c DOCUMENTS ({'_id':'6'})");
    let query = p.subscription();
    let list = |after| {
        let page = p.store.changes(&query, after, 100, usize::MAX).unwrap();
        assert!(page.done);
        page.docs
    };
    let before = list(0);
    p.pass(8 * DAY_MS);
    assert_eq!(p.store.reap().unwrap().buried, 2);
    let after = list(0);
    assert_eq!(
        after.iter().map(|d| d.seq).collect::<Vec<_>>(),
        before.iter().map(|d| d.seq).collect::<Vec<_>>()
    );
    for d in &before {
        assert!(after.contains(d), "{d:?}");
    }
    assert_eq!(list(7).len(), 1);
    assert_eq!(list(6).len(), 3);
    // A page of one document ends with its commit.
    let page = p.store.changes(&query, 6, 1, usize::MAX).unwrap();
    assert_eq!((page.docs.len(), page.scanned_to, page.done), (2, 7, false));
}

/// Figures of ADR 0011, for ids of 36 characters.
#[test]
fn gravestones_are_smaller() {
    let p = peer();
    let pages = |p: &Peer| {
        let (sender, receiver) = std::sync::mpsc::channel();
        p.store.with_core(move |core| {
            let used =
                core.db.int_pragma("page_count").unwrap() - core.db.int_pragma("freelist_count").unwrap();
            sender.send(used * 4096).unwrap();
        });
        receiver.recv().unwrap()
    };
    let empty = pages(&p);
    let n = 5_000;
    for chunk in 0..n / 1000 {
        let docs: Vec<String> = (0..1000)
            .map(|i| format!("({{'_id':'12345678-1234-4123-8123-{:012}'}})", chunk * 1000 + i))
            .collect();
        p.run(&format!("INSERT INTO c DOCUMENTS {}", docs.join(",")));
    }
    p.run("DELETE FROM c");
    let tombstones = (pages(&p) - empty) / n;
    p.pass(8 * DAY_MS);
    p.store.reap().unwrap();
    let gravestones = (pages(&p) - empty) / n;
    assert!(gravestones * 4 < tombstones * 3, "{gravestones} bytes, tombstones {tombstones}");
}
