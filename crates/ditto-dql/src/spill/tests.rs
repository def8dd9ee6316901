//! Statements that need more than their memory give what they give without a bound, and leave nothing behind.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use ditto_types::{DocId, ErrorKind, Object, SmolStr, Value, cbor, json};

use super::{SharedSpill, Spill, SpillFile};
use crate::{
    BindContext, CollectionRef, DqlError, Interrupt, Item, Items, LazyItem, Plan, Row, RunContext,
    SelectPlan, Source, TermScan, prepare,
};

/// Files in memory, of which it is known how many there are, and of whose calls one can fail.
#[derive(Default)]
pub(crate) struct Counters {
    open: AtomicUsize,
    created: AtomicUsize,
    /// Calls until one fails.
    left: AtomicUsize,
    lost: AtomicUsize,
}

impl Counters {
    fn call(&self) -> Result<(), DqlError> {
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |n| n.checked_sub(1)) {
            Ok(_) => Ok(()),
            Err(_) => Err(DqlError::new(ErrorKind::StoreFull, "no space")),
        }
    }
}

struct Space {
    memory: usize,
    counters: Arc<Counters>,
}

struct Temporary {
    bytes: Vec<u8>,
    counters: Arc<Counters>,
}

impl Spill for Space {
    fn memory(&self) -> usize {
        self.memory
    }

    fn create(&self) -> Result<Box<dyn SpillFile>, DqlError> {
        self.counters.call()?;
        self.counters.open.fetch_add(1, Ordering::SeqCst);
        self.counters.created.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Temporary { bytes: Vec::new(), counters: self.counters.clone() }))
    }

    fn restore(&self, stored: &[u8]) -> Option<Item> {
        let text = std::str::from_utf8(stored).ok()?;
        Some(Item::Lazy(Arc::new(Kept(json::from_str(text).ok()?))))
    }

    fn lost(&self, _: &DqlError) {
        self.counters.lost.fetch_add(1, Ordering::SeqCst);
    }
}

impl SpillFile for Temporary {
    fn append(&mut self, bytes: &[u8]) -> Result<(), DqlError> {
        self.counters.call()?;
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), DqlError> {
        self.counters.call()?;
        let at = at as usize;
        let bytes = self.bytes.get(at..at + out.len());
        out.copy_from_slice(bytes.ok_or_else(|| DqlError::new(ErrorKind::Io, "behind the end"))?);
        Ok(())
    }

    fn clear(&mut self) -> Result<(), DqlError> {
        self.counters.call()?;
        self.bytes.clear();
        Ok(())
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        self.counters.open.fetch_sub(1, Ordering::SeqCst);
    }
}

pub(crate) fn space(memory: usize) -> (SharedSpill, Arc<Counters>) {
    let counters = Arc::new(Counters { left: AtomicUsize::new(usize::MAX), ..Counters::default() });
    (Arc::new(Space { memory, counters: counters.clone() }), counters)
}

/// A document in a stored form of its own.
struct Kept(Value);

impl LazyItem for Kept {
    fn value(&self) -> Value {
        self.0.clone()
    }

    fn write_json(&self, out: &mut String) {
        out.push_str(&json::to_string(&self.0));
    }

    fn write_cbor(&self, out: &mut Vec<u8>) {
        out.extend(cbor::to_vec(&self.0));
    }

    fn weight(&self) -> usize {
        crate::eval::weight(&self.0)
    }

    fn store(&self, out: &mut Vec<u8>) -> bool {
        out.extend(json::to_string(&self.0).bytes());
        true
    }
}

struct Doc(DocId, Object);

impl Row for Doc {
    fn id(&self) -> &DocId {
        &self.0
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.1.get(first)?, |v, name| v.get(name)).cloned()
    }

    fn document(&self) -> Value {
        Value::Object(self.1.clone())
    }

    fn capture(&self) -> Item {
        Item::Lazy(Arc::new(Kept(self.document())))
    }
}

struct Docs(Vec<Doc>);

impl Source for Docs {
    type Error = DqlError;

    fn visit(
        &self,
        _: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, DqlError>,
    ) -> Result<(), DqlError> {
        for doc in &self.0 {
            if !visit(doc)? {
                break;
            }
        }
        Ok(())
    }

    fn count(&self, _: &CollectionRef) -> Result<u64, DqlError> {
        Ok(self.0.len() as u64)
    }
}

/// Documents with many equal values, of all types, and integers beside floats that equal them.
fn docs(n: i64) -> Docs {
    let doc = |i: i64| {
        // A fixed sequence without a pattern that sorting could profit from.
        let r = (i * 7919 + 13) % 10_007;
        let mut fields = Object::from([("_id".into(), Value::Int(i)), ("r".into(), Value::Int(r))]);
        let a = match r % 7 {
            0 => Some(Value::Int(r % 5)),
            1 => Some(Value::Float((r % 5) as f64)),
            2 => Some(Value::from(format!("s{}\u{0}", r % 50))),
            3 => Some(Value::Null),
            4 => Some(Value::Array(vec![Value::Int(r % 3), Value::Bool(r % 2 == 0)])),
            5 => Some(Value::Bytes(vec![0, (r % 4) as u8])),
            _ => None,
        };
        fields.extend(a.map(|a| ("a".into(), a)));
        fields.insert("b".into(), Value::from("text ".repeat((r % 9) as usize)));
        fields.insert("x".into(), if r % 3 == 0 { Value::Float(r as f64 / 2.0) } else { Value::Int(r % 97) });
        Doc(DocId::new(&Value::Int(i)).expect("an id"), fields)
    };
    Docs((0..n).map(doc).collect())
}

fn plan(text: &str) -> SelectPlan {
    match prepare(text).and_then(|p| p.bind(&Object::new(), &BindContext::bare())) {
        Ok(Plan::Select(plan)) => plan,
        other => panic!("{text}: {other:?}"),
    }
}

fn run(text: &str, docs: &Docs, spill: Option<&SharedSpill>) -> Result<Items, DqlError> {
    plan(text).run(docs, &RunContext { spill, ..RunContext::default() })
}

fn shown(items: &Items) -> Vec<String> {
    items.iter().map(|item| json::to_string(&item.value())).collect()
}

const ORDERED: &[&str] = &[
    "SELECT * FROM c",
    "SELECT * FROM c LIMIT 300 OFFSET 10",
    "SELECT r, b FROM c WHERE r > 500",
    "SELECT * FROM c ORDER BY a, b DESC",
    "SELECT a, x FROM c ORDER BY a DESC, x LIMIT 400 OFFSET 350",
    "SELECT r FROM c ORDER BY b LIMIT 5",
    "SELECT r FROM c ORDER BY b OFFSET 1100",
    "SELECT DISTINCT a, b FROM c ORDER BY b, a",
    "SELECT DISTINCT a FROM c ORDER BY b DESC, r LIMIT 20 OFFSET 3",
    "SELECT a, COUNT(*) n, COUNT(x) k, SUM(x) s, AVG(x) v, MIN(b) l, MAX(b) g, MID(x) m FROM c GROUP BY a",
    "SELECT b, COUNT(DISTINCT a) n, SUM(DISTINCT x) s, MEDIAN(x) m, MEDIAN(DISTINCT x) d FROM c GROUP BY b",
    "SELECT r, MEDIAN(x) m, MIN(DISTINCT a) l FROM c GROUP BY r",
    "SELECT a, b, COUNT(*) n FROM c GROUP BY a, b HAVING COUNT(*) > 2 ORDER BY n DESC, b LIMIT 30",
    "SELECT DISTINCT COUNT(*) n FROM c GROUP BY a, b ORDER BY n",
    "SELECT MEDIAN(x) m, MEDIAN(DISTINCT r) d, COUNT(DISTINCT r) n, SUM(x) s FROM c",
    "SELECT MEDIAN(x) m, SUM(x) s, COUNT(*) n FROM c WHERE r < 0",
];

#[test]
fn statements_give_the_same_with_little_memory() {
    let docs = docs(1200);
    for memory in [1, 600, 20_000, 4 << 20] {
        for text in ORDERED {
            let (spill, counters) = space(memory);
            let (want, got) =
                (run(text, &docs, None).expect(text), run(text, &docs, Some(&spill)).expect(text));
            assert_eq!(shown(&got), shown(&want), "{text} in {memory} bytes");
            assert!(got.same_rows(&want) && want.same_rows(&got));
            // Any row, in any order.
            for i in (0..want.len()).rev().step_by(7) {
                let row = |items: &Items| items.get(i).map(|item| json::to_string(&item.value()));
                assert_eq!(row(&got), row(&want), "{text}: row {i}");
            }
            assert!(got.get(want.len()).is_none());
            drop(got);
            assert_eq!(counters.open.load(Ordering::SeqCst), 0, "{text}: files are left");
            let created = counters.created.load(Ordering::SeqCst);
            assert!(memory > 600 || created > 0 || text.contains("r < 0"), "{text}: no file");
            assert!(memory < 4 << 20 || created == 0, "{text} uses {created} files and needs none");
        }
    }
}

#[test]
fn distinct_rows_without_an_order_are_the_same_set() {
    let docs = docs(1200);
    for text in ["SELECT DISTINCT a FROM c", "SELECT DISTINCT a, b FROM c", "SELECT DISTINCT * FROM c"] {
        for memory in [1, 600, 20_000] {
            let (spill, _) = space(memory);
            let sorted = |spill| {
                let mut rows = shown(&run(text, &docs, spill).expect(text));
                rows.sort();
                rows
            };
            assert_eq!(sorted(Some(&spill)), sorted(None), "{text} in {memory} bytes");
            let limited = run(&format!("{text} LIMIT 10"), &docs, Some(&spill)).expect(text);
            assert_eq!(limited.len(), 10);
        }
    }
}

#[test]
fn a_failure_of_any_call_is_the_error_and_leaves_no_file() {
    let docs = docs(300);
    for text in [ORDERED[0], ORDERED[3], ORDERED[7], ORDERED[10]] {
        let (mut n, mut failures) = (0, 0);
        loop {
            let (spill, counters) = space(2000);
            counters.left.store(n, Ordering::SeqCst);
            let result = run(text, &docs, Some(&spill));
            match &result {
                Ok(_) => {}
                Err(e) => {
                    assert_eq!(e.kind(), ErrorKind::StoreFull, "{text}: {e}");
                    failures += 1;
                }
            }
            let done = result.is_ok();
            drop(result);
            assert_eq!(counters.open.load(Ordering::SeqCst), 0, "{text}: call {n}");
            if done {
                break;
            }
            n += 1;
        }
        assert!(failures > 1, "{text}: {failures}");
    }
}

#[test]
fn a_row_that_cannot_be_read_back_is_null_and_reported() {
    let docs = docs(300);
    let (spill, counters) = space(2000);
    let items = run("SELECT * FROM c", &docs, Some(&spill)).expect("a result");
    counters.left.store(0, Ordering::SeqCst);
    assert_eq!(items.get(7).map(|item| item.value()), Some(Value::Null));
    assert_eq!(counters.lost.load(Ordering::SeqCst), 1);
    // It is asked for again, not remembered.
    counters.left.store(usize::MAX, Ordering::SeqCst);
    assert_eq!(items.get(7).and_then(|item| item.value().get("_id").cloned()), Some(Value::Int(7)));
}

#[test]
fn a_long_merge_can_be_interrupted() {
    struct After(Mutex<Cell<usize>>);
    impl Interrupt for After {
        fn poll(&self) -> Result<(), DqlError> {
            let left = self.0.lock().expect("a lock");
            match left.get().checked_sub(1) {
                Some(n) => {
                    left.set(n);
                    Ok(())
                }
                None => Err(DqlError::new(ErrorKind::QueryCancelled, "enough")),
            }
        }
    }
    let docs = docs(2000);
    let polls = |spill: Option<&SharedSpill>| {
        let mut n = 0;
        loop {
            let after = After(Mutex::new(Cell::new(n)));
            let cx = RunContext { interrupt: Some(&after), spill, ..RunContext::default() };
            match plan("SELECT * FROM c ORDER BY r").run(&docs, &cx) {
                Ok(_) => return n,
                Err(e) => assert_eq!(e.kind(), ErrorKind::QueryCancelled),
            }
            n += 1;
        }
    };
    let (spill, counters) = space(2000);
    // Once more for the runs that are written, and once more for what they become.
    assert!(polls(Some(&spill)) >= 2 * polls(None));
    assert_eq!(counters.open.load(Ordering::SeqCst), 0);
}

#[test]
fn damaged_files_are_errors() {
    /// Gives other bytes than were written.
    struct Bad(Space);
    struct BadFile(Box<dyn SpillFile>, u8);
    impl Spill for Bad {
        fn memory(&self) -> usize {
            self.0.memory()
        }
        fn create(&self) -> Result<Box<dyn SpillFile>, DqlError> {
            Ok(Box::new(BadFile(self.0.create()?, self.0.memory as u8)))
        }
        fn restore(&self, stored: &[u8]) -> Option<Item> {
            self.0.restore(stored)
        }
        fn lost(&self, error: &DqlError) {
            self.0.lost(error);
        }
    }
    impl SpillFile for BadFile {
        fn append(&mut self, bytes: &[u8]) -> Result<(), DqlError> {
            self.0.append(bytes)
        }
        fn read(&self, at: u64, out: &mut [u8]) -> Result<(), DqlError> {
            self.0.read(at, out)?;
            out.iter_mut().step_by(17).for_each(|b| *b ^= self.1);
            Ok(())
        }
        fn clear(&mut self) -> Result<(), DqlError> {
            self.0.clear()
        }
    }
    let docs = docs(200);
    for memory in 500..550 {
        for text in [ORDERED[0], ORDERED[3], ORDERED[7], ORDERED[10], ORDERED[11]] {
            let (_, counters) = space(memory);
            let bad: SharedSpill = Arc::new(Bad(Space { memory, counters: counters.clone() }));
            // It may notice or not, but neither panics nor takes more memory than there are bytes.
            match run(text, &docs, Some(&bad)) {
                Ok(items) => assert!(shown(&items).len() <= 200),
                Err(e) => assert_eq!(e.kind(), ErrorKind::Io, "{e}"),
            }
            assert_eq!(counters.open.load(Ordering::SeqCst), 0);
        }
    }
}
