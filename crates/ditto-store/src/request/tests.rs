//! Requests from their beginning to their end: timeout, cancellation, warnings, what is counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use ditto_types::{ErrorKind, Object, Value};

use super::Cancellation;
use crate::{Store, StoreError, StoreOptions, TransactionOptions, WallClock};

/// A clock on which a second passes whenever somebody looks at it, once it is let go.
struct Clock {
    elapsed: AtomicU64,
    step: AtomicU64,
}

impl WallClock for Clock {
    fn now_ms(&self) -> u64 {
        1_800_000_000_000
    }

    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.elapsed.fetch_add(self.step.load(Ordering::SeqCst), Ordering::SeqCst))
    }
}

struct Fixture {
    store: Store,
    clock: Arc<Clock>,
    _dir: tempfile::TempDir,
}

/// A store with 2,000 documents in `c`.
fn fixture() -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(Clock { elapsed: AtomicU64::new(0), step: AtomicU64::new(0) });
    let options = StoreOptions {
        clock: clock.clone(),
        environment: Arc::new(|_| None),
        ..StoreOptions::new(dir.path(), "a1b2c3d4-0000-4000-8000-000000000001".parse().unwrap())
    };
    let f = Fixture { store: Store::open(options).unwrap(), clock, _dir: dir };
    let docs: Vec<String> = (0..2000).map(|i| format!("({{'_id':{i},'n':{i}}})")).collect();
    f.run(&format!("INSERT INTO c DOCUMENTS {}", docs.join(","))).unwrap();
    f
}

impl Fixture {
    fn run(&self, text: &str) -> Result<usize, StoreError> {
        self.store.execute(text, &Object::new()).map(|r| r.item_count())
    }

    fn set(&self, name: &str, value: i64) {
        self.store.settings_cell().set(name, &Value::Int(value)).unwrap();
    }

    fn time_flies(&self, flies: bool) {
        self.clock.step.store(if flies { 1000 } else { 0 }, Ordering::SeqCst);
    }

    fn states(&self) -> Vec<&'static str> {
        let all = self.store.requests().history.entries();
        all.iter().map(|e| e.request.outcome.state()).collect()
    }
}

#[test]
fn a_request_ends_when_its_time_is_up_and_leaves_nothing() {
    let f = fixture();
    f.set("dql_request_timeout_seconds", 5);
    f.time_flies(true);
    for text in [
        "SELECT * FROM c WHERE n >= 0",
        "UPDATE c SET n = -1",
        "DELETE FROM c",
        "EVICT FROM c",
        "CREATE INDEX i ON c (n)",
        "INSERT INTO d DOCUMENTS ({'_id':1}), ({'_id':2}), ({'_id':3}), ({'_id':4}), ({'_id':5}), ({'_id':6})",
    ] {
        let e = f.run(text).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::QueryTimeout, "{text}: {e}");
        assert_eq!(e.to_string(), "the request exceeded its timeout of 5 seconds");
    }
    f.time_flies(false);
    assert_eq!(f.run("SELECT * FROM c WHERE n >= 0").unwrap(), 2000);
    assert_eq!(f.run("SELECT * FROM d").unwrap(), 0);
    assert!(f.states()[1..7].iter().all(|s| *s == "timeout"), "{:?}", f.states());
    assert_eq!(f.run("SELECT * FROM system:indexes").unwrap(), 0);
    f.set("dql_request_timeout_seconds", 0);
    f.time_flies(true);
    assert_eq!(f.run("SELECT * FROM c WHERE n >= 0").unwrap(), 2000);
    assert!(f.store.check().unwrap().is_clean());
}

#[test]
fn a_timeout_in_a_transaction_leaves_it_usable() {
    let f = fixture();
    f.set("dql_request_timeout_seconds", 5);
    for read_only in [false, true] {
        let tx = f.store.begin(TransactionOptions { read_only, hint: None }).unwrap();
        f.time_flies(true);
        let e = tx.execute("SELECT * FROM c WHERE n >= 0", &Object::new()).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::QueryTimeout);
        f.time_flies(false);
        assert_eq!(tx.execute("SELECT * FROM c", &Object::new()).unwrap().item_count(), 2000);
        tx.commit().unwrap();
    }
}

#[test]
fn a_cancelled_request_ends_and_leaves_nothing() {
    let f = fixture();
    let cancel = Cancellation::new();
    cancel.cancel();
    for text in ["SELECT * FROM c WHERE n >= 0", "DELETE FROM c"] {
        let e = f.store.execute_cancellable(text, Object::new(), &cancel).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::QueryCancelled, "{text}: {e}");
    }
    assert_eq!(f.run("SELECT * FROM c").unwrap(), 2000);
    assert_eq!(f.states(), ["completed", "cancelled", "cancelled", "completed"]);
    assert!(!f.store.cancel_request("0000000000000001"), "it does not run any more");
}

/// A mutation that waits for the writer ends when it is cancelled, and the writer does not do it later.
#[test]
fn a_request_that_waits_for_its_turn_can_be_cancelled() {
    let f = fixture();
    let tx = f.store.begin(TransactionOptions::default()).unwrap();
    let (store, requests) = (f.store.clone(), f.store.requests());
    let waiting = std::thread::spawn(move || store.execute("DELETE FROM c", &Object::new()));
    let id = loop {
        if let Some(r) = requests.running().first() {
            break r.id_text();
        }
        std::thread::yield_now();
    };
    assert!(f.store.cancel_request(&id));
    let e = waiting.join().unwrap().unwrap_err();
    assert_eq!(e.kind(), ErrorKind::QueryCancelled);
    tx.commit().unwrap();
    f.run("INSERT INTO d DOCUMENTS ({'_id':1})").unwrap();
    assert_eq!(f.run("SELECT * FROM c").unwrap(), 2000);
}

#[test]
fn slow_requests_are_warned_of_once_per_interval() {
    let f = fixture();
    f.set("dql_slow_request_warn_seconds", 10);
    let warnings = |seconds: &[u64]| {
        let requests = f.store.requests();
        let settings = requests.settings.snapshot();
        let request = requests.begin(super::Beginning {
            text: "SELECT".into(),
            query_type: "select",
            settings: &settings,
            started: Duration::ZERO,
            started_ms: 0,
            cancel: None,
        });
        let counted = seconds
            .iter()
            .map(|s| {
                request.warn(Duration::from_secs(*s));
                request.warned.load(Ordering::SeqCst)
            })
            .collect::<Vec<_>>();
        requests.end(&request, 0, 0, None);
        counted
    };
    assert_eq!(warnings(&[1, 9, 10, 11, 20, 45, 46]), [0, 0, 1, 1, 2, 4, 4]);
    f.set("dql_slow_request_warn_seconds", 0);
    assert_eq!(warnings(&[1, 1000]), [0, 0]);
}

#[test]
fn statements_and_texts_that_are_none_are_counted() {
    let f = fixture();
    for _ in 0..3 {
        f.run("SELECT * FROM c WHERE n < 2").unwrap();
    }
    f.run("SELECT").unwrap_err();
    f.run("UPDATE c SET _id = 1").unwrap_err();
    let requests = f.store.requests();
    let found = requests.statements.statements();
    let select = found.iter().find(|s| s.text.starts_with("SELECT")).unwrap();
    let get = |n: &AtomicU64| n.load(Ordering::SeqCst);
    assert_eq!(
        (get(&select.stats.executions), get(&select.stats.results), get(&select.stats.errors)),
        (3, 6, 0)
    );
    let v = &requests.vitals;
    assert_eq!((get(&v.selects), get(&v.mutations), get(&v.failed)), (3, 1, 2));
    assert_eq!((get(&v.cache_hits), get(&v.cache_misses)), (2, 2));
    assert_eq!((get(&v.rows), get(&v.mutated)), (6, 2000));
}

#[test]
fn the_texts_of_failed_requests_are_bounded() {
    let f = fixture();
    let text = format!("SELECT {}", "é".repeat(20_000));
    f.run(&text).unwrap_err();
    let kept = f.store.requests().history.entries().last().unwrap().request.request.text.clone();
    assert!(kept.len() <= super::MAX_FAILED_TEXT && text.starts_with(&*kept));
}

/// The rows of a union are gathered before the first one is given: that is looked at as well.
#[test]
fn a_search_for_rows_can_be_ended_before_its_first_row() {
    let f = fixture();
    for text in ["UPDATE c SET m = n", "CREATE INDEX n ON c (n)", "CREATE INDEX m ON c (m)"] {
        f.run(text).unwrap();
    }
    let union = "SELECT * FROM c WHERE n >= 0 OR m >= 0 LIMIT 1";
    let plan = f.store.execute(&format!("EXPLAIN {union}"), &Object::new()).unwrap();
    let plan = ditto_types::json::to_string(&plan.items()[0]);
    assert!(plan.contains("unionScan"), "{plan}");
    f.set("dql_request_timeout_seconds", 12);
    f.time_flies(true);
    assert_eq!(f.run(union).unwrap_err().kind(), ErrorKind::QueryTimeout);
    assert_eq!(f.run("SELECT * FROM c WHERE n = 1 OR m = 1 LIMIT 1").unwrap(), 1);
}

#[test]
fn a_history_row_has_the_plan_unless_its_arguments_are_large() {
    let f = fixture();
    for bytes in [10, 5000] {
        let args = Object::from([("v".into(), Value::from("x".repeat(bytes)))]);
        f.store.execute("SELECT * FROM c WHERE n = :v", &args).unwrap();
    }
    let text = "SELECT plan FROM system:request_history WHERE text LIKE '%:v'";
    let rows = f.store.execute(text, &Object::new()).unwrap();
    let shown: Vec<bool> = rows.items().iter().map(|r| r.get("plan").is_some()).collect();
    assert_eq!(shown, [true, false]);
}

#[test]
fn a_history_row_has_the_plan_of_its_time() {
    let f = fixture();
    f.run("CREATE INDEX by_n ON c (n)").unwrap();
    f.run("PROFILE SELECT * FROM c WHERE n = 1").unwrap();
    f.run("DROP INDEX by_n ON c").unwrap();
    let text = "SELECT plan FROM system:request_history WHERE text LIKE 'PROFILE%'";
    let rows = f.store.execute(text, &Object::new()).unwrap();
    let shown = ditto_types::json::to_string(&rows.items()[0]);
    assert!(shown.contains("by_n"), "{shown}");
}

#[test]
fn a_run_of_an_observer_is_a_request() {
    let f = fixture();
    let (say, said) = crossbeam_channel::unbounded();
    let text = "SELECT COUNT(*) AS n FROM c WHERE n >= 0";
    let observe = || {
        let say = say.clone();
        let callback = move |r: crate::QueryResult| drop(say.send(r.into_items()));
        f.store.observe(text, &Object::new(), Box::new(callback)).unwrap()
    };
    let observer = observe();
    let first = said.recv_timeout(Duration::from_secs(60)).unwrap();
    assert_eq!(first[0].get("n"), Some(&Value::from(2000u64)));
    observer.cancel();
    let runs = || {
        let all = f.store.requests().history.entries();
        let runs = all.iter().filter(|e| &*e.request.request.text == text);
        runs.map(|e| (e.request.outcome, e.request.result_count)).collect::<Vec<_>>()
    };
    assert_eq!(runs(), [(super::Outcome::Completed, 1)]);
    // One that takes too long ends, and says so.
    f.set("dql_request_timeout_seconds", 5);
    f.time_flies(true);
    let observer = observe();
    let end = std::time::Instant::now() + Duration::from_secs(60);
    while runs().len() < 2 && std::time::Instant::now() < end {
        std::thread::yield_now();
    }
    assert_eq!(runs()[1], (super::Outcome::Timeout, 0));
    assert!(said.is_empty());
    observer.cancel();
}

#[test]
fn an_observer_says_which_commit_it_shows() {
    let f = fixture();
    let (say, said) = crossbeam_channel::unbounded();
    for text in ["SELECT * FROM c WHERE n < 5", "SELECT COUNT(*) AS n FROM c"] {
        let say = say.clone();
        let callback = move |r: crate::QueryResult| say.send((r.commit_id(), r.is_mutation())).unwrap();
        let observer = f.store.observe(text, &Object::new(), Box::new(callback)).unwrap();
        let next = || said.recv_timeout(Duration::from_secs(60)).unwrap();
        let head = f.store.head();
        assert_eq!(next(), (Some(head), false), "{text}");
        f.run("INSERT INTO c DOCUMENTS ({'n': 1})").unwrap();
        assert_eq!(next(), (Some(head + 1), false), "{text}");
        observer.cancel();
    }
}
