//! A store in a temporary directory, with a clock that tests move by hand.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ditto_crdt::{DictReader, DictWriter, Doc, Op};
use ditto_store::{
    ApplyBatch, ApplyItem, CheckReport, Cursor, CursorKey, CursorWrite, ItemBody, OsRandom, QueryResult,
    Store, StoreError, StoreOptions, WallClock,
};
use ditto_types::{DocId, Hlc, KeyHash, Object, Path, SiteId, SmolStr, Stamp, Value, json};

pub(crate) const T0: u64 = 1_800_000_000_000;

pub(crate) struct ManualClock(AtomicU64);

impl WallClock for ManualClock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

impl ManualClock {
    pub(crate) fn set(&self, ms: u64) {
        self.0.store(ms, Ordering::SeqCst);
    }
}

pub(crate) struct Fixture {
    pub(crate) store: Store,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) dir: tempfile::TempDir,
}

pub(crate) fn options(dir: &std::path::Path, clock: &Arc<ManualClock>) -> StoreOptions {
    StoreOptions {
        clock: clock.clone(),
        random: Arc::new(OsRandom),
        ..StoreOptions::new(dir, "a1b2c3d4-0000-4000-8000-000000000001".parse().unwrap())
    }
}

impl Fixture {
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock(AtomicU64::new(T0)));
        let store = Store::open(options(dir.path(), &clock)).unwrap();
        Self { store, clock, dir }
    }

    /// Closes the store and opens it again.
    pub(crate) fn reopen(&mut self) {
        self.store.close();
        self.store = Store::open(options(self.dir.path(), &self.clock)).unwrap();
    }

    pub(crate) fn try_run(&self, text: &str, args: &str) -> Result<QueryResult, StoreError> {
        self.store.execute(text, &object(args))
    }

    pub(crate) fn run(&self, text: &str) -> QueryResult {
        self.run_with(text, "{}")
    }

    pub(crate) fn run_with(&self, text: &str, args: &str) -> QueryResult {
        self.try_run(text, args).unwrap_or_else(|e| panic!("{text}: {e}"))
    }

    /// Rows of a query as JSON texts.
    pub(crate) fn rows(&self, text: &str) -> Vec<String> {
        rows(&self.run(text))
    }

    pub(crate) fn insert(&self, collection: &str, document: &str) -> QueryResult {
        self.run_with(&format!("INSERT INTO {collection} DOCUMENTS (:d)"), &format!(r#"{{"d":{document}}}"#))
    }

    pub(crate) fn key(&self, collection: &str, id: &str) -> KeyHash {
        self.store.hash_key().key_hash(collection, &doc_id(id))
    }

    pub(crate) fn clean(&self) -> CheckReport {
        let report = self.store.check().unwrap();
        assert!(report.is_clean(), "{:#?}", report.problems);
        report
    }
}

pub(crate) fn rows(result: &QueryResult) -> Vec<String> {
    result.items().iter().map(json::to_string).collect()
}

pub(crate) fn ids(result: &QueryResult) -> Vec<String> {
    result.mutated_document_ids().iter().map(|id| json::to_string(&id.to_value())).collect()
}

pub(crate) fn value(text: &str) -> Value {
    json::from_str(text).unwrap()
}

pub(crate) fn object(text: &str) -> Object {
    match value(text) {
        Value::Object(o) => o,
        other => panic!("{other:?} is no object"),
    }
}

pub(crate) fn doc_id(id: &str) -> DocId {
    DocId::new(&Value::from(id)).unwrap()
}

pub(crate) fn site(n: u8) -> SiteId {
    SiteId { id: [n; 16], incarnation: 0 }
}

pub(crate) fn stamp(ms: u64, n: u8) -> Stamp {
    Stamp::new(Hlc::from_ms(ms), site(n))
}

/// A document as another peer might have made it.
pub(crate) fn doc(fields: &str, at: Stamp) -> Doc {
    Doc::fresh(&object(fields), at)
}

pub(crate) fn set(doc: &mut Doc, name: &str, value: Value, at: Stamp) {
    let kind = ditto_crdt::FieldKind::Inferred;
    doc.apply(&Op::Set { path: Path::new([name]), value, kind }, at).unwrap();
}

pub(crate) fn item(collection: &str, id: &str, body: ItemBody) -> ApplyItem {
    ApplyItem { collection: SmolStr::new(collection), id: doc_id(id), body }
}

pub(crate) fn batch(items: Vec<ApplyItem>) -> ApplyBatch {
    ApplyBatch { source: b"peer-1".to_vec(), items, ..ApplyBatch::default() }
}

pub(crate) fn cursor_key(n: u8) -> CursorKey {
    CursorKey { store_id: [n; 16], epoch: [n; 8], query_hash: [n; 16], perm_hash: [n; 8] }
}

/// A cursor on collection `c`.
pub(crate) fn cursor(n: u8, token: u64) -> CursorWrite {
    CursorWrite { key: cursor_key(n), collection: "c".into(), cursor: Cursor { token, own_seq: 0 } }
}

/// Waits until `f` holds; fails the test after ten seconds.
pub(crate) fn eventually(what: &str, mut f: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !f() {
        assert!(Instant::now() < deadline, "timeout: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The dictionary of whoever asks.
#[derive(Default)]
pub(crate) struct Names(Vec<SmolStr>, Vec<SiteId>);

impl DictWriter for Names {
    fn key_ref(&mut self, name: &str) -> u32 {
        let at = self.0.iter().position(|n| n == name);
        at.unwrap_or_else(|| {
            self.0.push(name.into());
            self.0.len() - 1
        }) as u32
    }

    fn site_ref(&mut self, site: &SiteId) -> u32 {
        let at = self.1.iter().position(|s| s == site);
        at.unwrap_or_else(|| {
            self.1.push(*site);
            self.1.len() - 1
        }) as u32
    }
}

impl DictReader for Names {
    fn key(&self, number: u32) -> Option<&SmolStr> {
        self.0.get(number as usize)
    }

    fn site(&self, number: u32) -> Option<SiteId> {
        self.1.get(number as usize).copied()
    }
}
