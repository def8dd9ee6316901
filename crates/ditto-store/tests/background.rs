//! What a store does by itself: the reaper on its thread, and the log of transactions that hold the writer for long.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use ditto_store::TransactionOptions;
use ditto_types::Object;
use fixture::{Fixture, T0};
use tracing::field::{Field, Visit};
use tracing::span;

const HOUR_MS: u64 = 3_600_000;
const DAY_MS: u64 = 24 * HOUR_MS;

/// Waits for a condition; a minute is more than any machine needs.
fn wait_for(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Tombstones and gravestones.
fn stones(f: &Fixture) -> (usize, usize) {
    let report = f.store.check().unwrap();
    assert!(report.is_clean(), "{:?}", report.problems);
    (report.tombstones, report.gravestones)
}

/// Has the thread of the reaper look at the clock, which tests move by hand.
fn look(f: &Fixture) {
    f.run("ALTER SYSTEM SET example_parameter = 1");
}

#[test]
fn the_reaper_runs_by_itself_when_it_is_due() {
    let f = Fixture::new();
    f.run("INSERT INTO c DOCUMENTS ({'_id':1}), ({'_id':2}), ({'_id':3})");
    f.run("DELETE FROM c WHERE _id = 1");
    assert_eq!(stones(&f), (1, 0));
    // Old enough, and the first run is long due.
    f.clock.set(T0 + 169 * HOUR_MS);
    f.run("DELETE FROM c WHERE _id = 2");
    look(&f);
    wait_for("the first run", || stones(&f) == (1, 1));
    // The second one became old enough after that run, and the next run is a day later.
    f.clock.set(T0 + (169 + 168) * HOUR_MS + 1);
    look(&f);
    wait_for("the next run", || stones(&f) == (0, 2));
    // It does not run while tombstones do not expire, and does once they do again.
    f.run("ALTER SYSTEM SET tombstone_ttl_enabled = false");
    f.run("DELETE FROM c WHERE _id = 3");
    f.clock.set(T0 + (169 + 168 + 168) * HOUR_MS + DAY_MS);
    look(&f);
    assert_eq!(stones(&f), (1, 2));
    f.run("ALTER SYSTEM SET tombstone_ttl_enabled = true");
    wait_for("a run after the setting was changed", || stones(&f) == (0, 3));
    f.store.close();
}

#[test]
fn a_preferred_hour_is_kept_by_the_thread() {
    let f = Fixture::new();
    // T0 is eight o'clock.
    assert_eq!(T0 % DAY_MS, 8 * HOUR_MS);
    f.run("ALTER SYSTEM SET reaper_preferred_hour = 3");
    f.run("ALTER SYSTEM SET enable_reaper_preferred_hour_scheduling = true");
    f.run("ALTER SYSTEM SET tombstone_ttl_hours = 1");
    f.run("INSERT INTO c DOCUMENTS ({'_id':1})");
    f.run("DELETE FROM c");
    f.clock.set(T0 + 2 * HOUR_MS);
    look(&f);
    assert_eq!(stones(&f), (1, 0));
    // Three o'clock of the next day.
    f.clock.set(T0 + 19 * HOUR_MS + 1);
    look(&f);
    wait_for("the preferred hour", || stones(&f) == (0, 1));
}

/// Collects the hints of transactions that are reported to hold the writer.
struct Log(Mutex<Vec<(String, u64)>>);

static LOG: Log = Log(Mutex::new(Vec::new()));

impl Log {
    fn times(&self, hint: &str) -> usize {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().filter(|(h, _)| h == hint).count()
    }
}

#[derive(Default)]
struct Fields {
    message: String,
    hint: String,
    waiting: u64,
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.message = format!("{value:?}");
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        if field.name() == "hint" {
            self.hint = value.to_owned();
        }
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        if field.name() == "waiting" {
            self.waiting = value;
        }
    }
}

struct Subscriber;

impl tracing::Subscriber for Subscriber {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() == tracing::Level::WARN
    }

    fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields::default();
        event.record(&mut fields);
        if fields.message == "a transaction holds the writer" {
            LOG.0.lock().unwrap_or_else(PoisonError::into_inner).push((fields.hint, fields.waiting));
        }
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

#[test]
fn a_transaction_that_holds_the_writer_is_logged_again_and_again() {
    // The only test of this program that looks at the log.
    tracing::subscriber::set_global_default(Subscriber).unwrap();
    let f = Fixture::new();
    let begin = |hint: &str| {
        f.store.begin(TransactionOptions { read_only: false, hint: Some(hint.to_owned()) }).unwrap()
    };
    let year = 366 * DAY_MS;
    // After the default of ten seconds nothing could be waited for here; it is for transactions that are short.
    begin("short").commit().unwrap();
    f.run("ALTER SYSTEM SET transaction_duration_before_logging_ms = 1");
    f.run("ALTER SYSTEM SET transaction_trace_interval_ms = 1");
    let t = begin("often");
    t.execute("INSERT INTO c DOCUMENTS ({'_id':1})", &Object::new()).unwrap();
    wait_for("three lines", || LOG.times("often") >= 3);
    // Others that wait are counted.
    std::thread::scope(|scope| {
        scope.spawn(|| f.run("INSERT INTO c DOCUMENTS ({'_id':2})"));
        wait_for("a line with one who waits", || {
            LOG.0.lock().unwrap().iter().any(|(hint, waiting)| hint == "often" && *waiting == 1)
        });
        t.commit().unwrap();
    });
    // The interval is read anew for each line.
    f.run(&format!("ALTER SYSTEM SET transaction_trace_interval_ms = {year}"));
    let once = begin("once");
    wait_for("one line", || LOG.times("once") == 1);
    once.rollback().unwrap();
    let other = begin("other");
    wait_for("one line of another", || LOG.times("other") == 1);
    other.commit().unwrap();
    assert_eq!((LOG.times("once"), LOG.times("other"), LOG.times("short")), (1, 1, 0));
    // Those that only read hold nothing.
    let reading =
        f.store.begin(TransactionOptions { read_only: true, hint: Some("reading".to_owned()) }).unwrap();
    let last = begin("last");
    wait_for("a line of the one that writes", || LOG.times("last") == 1);
    assert_eq!(LOG.times("reading"), 0);
    last.commit().unwrap();
    reading.commit().unwrap();
}
