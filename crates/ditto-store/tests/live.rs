//! Live queries against running them again: whatever an observer is given is what the query gives after some commit,
//! in the order of the commits, and the last one is what it gives at the end.
//!
//! A failure names its seed; `DITTO_TEST_SEED=<n>` runs that one alone.
#![allow(clippy::unwrap_used, reason = "tests")]
#![allow(dead_code, reason = "every test file uses its own part of the fixture")]

#[path = "common/fixture.rs"]
mod fixture;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ditto_store::{ItemBody, Observation, SignalNext, TransactionOptions};
use ditto_types::{Object, Value};
use fixture::*;

/// Histories of the usual run.
const SEEDS: u64 = 12;

/// Commits of a history.
const COMMITS: usize = 60;

/// A generator of numbers that are the same for the same seed (splitmix64).
struct Rng(u64);

impl Rng {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn one_of<'a>(&mut self, items: &[&'a str]) -> &'a str {
        items[self.below(items.len() as u64) as usize]
    }
}

/// Ids of the documents; few, so that they come back, and more than a window with its spare rows holds.
fn id(rng: &mut Rng) -> u64 {
    rng.below(80)
}

fn scalar(rng: &mut Rng) -> &'static str {
    rng.one_of(&["0", "1", "1.0", "2", "3", "-1.5", "null", "\"x\"", "\"y\"", "true", "[1]"])
}

fn document(rng: &mut Rng) -> String {
    let (id, a, b, n) = (id(rng), scalar(rng), scalar(rng), rng.below(50));
    match rng.below(4) {
        0 => format!(r#"{{"_id":"{id}","b":{b},"n":{n}}}"#),
        1 => format!(r#"{{"_id":"{id}","a":{a},"n":{n},"o":{{"x":{b}}}}}"#),
        _ => format!(r#"{{"_id":"{id}","a":{a},"b":{b},"n":{n}}}"#),
    }
}

fn query(rng: &mut Rng) -> String {
    let output = rng.one_of(&["*", "*", "a, n", "_id", "n + 1 AS m, a", "c.*, MISSING a", "upper(a) AS u"]);
    let filter = match rng.below(9) {
        0 | 1 => String::new(),
        2 => format!(" WHERE n > {}", rng.below(50)),
        3 => format!(" WHERE n > {} AND n <= {}", rng.below(30), 20 + rng.below(30)),
        4 => format!(" WHERE a IN ({}, {}, 2)", scalar(rng).replace('"', "'"), scalar(rng).replace('"', "'")),
        5 => " WHERE a = 1 OR b = 'x'".to_string(),
        6 => " WHERE a IS MISSING".to_string(),
        7 => " WHERE NOT (n < 20 OR b = 1)".to_string(),
        _ => " WHERE o.x = 1 OR upper(b) = 'Y'".to_string(),
    };
    match rng.below(12) {
        0 => return format!("SELECT count(*) AS n, max(n) AS m FROM c{filter}"),
        1 => return format!("SELECT DISTINCT a FROM c{filter} ORDER BY a"),
        2 => return format!("SELECT a, count(*) AS k FROM c{filter} GROUP BY a ORDER BY a"),
        3 => return "SELECT c.n, d.k FROM c JOIN d ON d._id = c.b ORDER BY c._id".to_string(),
        4 => return format!("SELECT n FROM c USE IDS '1', '2', '{}'{filter} ORDER BY _id", rng.below(30)),
        5 => return format!("SELECT * FROM c WHERE _id IN ('1', '{}', '3') ORDER BY n, _id", rng.below(30)),
        _ => {}
    }
    let order =
        rng.one_of(&["", "", " ORDER BY n", " ORDER BY a DESC, n", " ORDER BY b", " ORDER BY n DESC"]);
    let window = match rng.below(4) {
        0 => format!(" LIMIT {}", rng.below(12)),
        1 => format!(" LIMIT {} OFFSET {}", 1 + rng.below(5), rng.below(5)),
        2 => format!(" OFFSET {}", rng.below(5)),
        _ => String::new(),
    };
    format!("SELECT {output} FROM c{filter}{order}{window}")
}

/// One commit.
fn commit(f: &Fixture, rng: &mut Rng, at: u64) {
    f.clock.set(T0 + at * 10);
    match rng.below(13) {
        0..=3 => upsert(f, &document(rng)),
        4 | 5 => drop(f.run(&format!("UPDATE c SET n = {} WHERE _id = '{}'", rng.below(50), id(rng)))),
        6 => drop(f.run(&format!("UPDATE c SET a = {} WHERE n > {}", rng.below(3), 20 + rng.below(30)))),
        7 => drop(f.run(&format!("DELETE FROM c WHERE _id = '{}'", id(rng)))),
        8 => drop(f.run(&format!("DELETE FROM c WHERE n < {}", rng.below(25)))),
        9 => drop(f.run(&format!("EVICT FROM c WHERE n > {}", 25 + rng.below(25)))),
        10 => {
            let (id, k) = (scalar(rng), rng.below(9));
            let id = if id.starts_with('"') { id } else { "\"z\"" };
            f.run_with(
                "INSERT INTO d DOCUMENTS (:d) ON ID CONFLICT DO UPDATE",
                &format!(r#"{{"d":{{"_id":{id},"k":{k}}}}}"#),
            );
        }
        11 => {
            // What others wrote, a little before or after what is here.
            let items = (0..=rng.below(4)).map(|_| {
                let text = document(rng);
                let Value::Object(mut fields) = value(&text) else { panic!("{text}") };
                let id = fields.remove("_id").unwrap();
                let wall = T0 + (at * 10 + 15).saturating_sub(rng.below(30));
                let fields = ditto_types::json::to_string(&Value::Object(fields));
                let sent = doc(&fields, stamp(wall, 1 + rng.below(3) as u8));
                item("c", id.as_str().unwrap(), ItemBody::full(&sent))
            });
            // A batch may name a document once.
            let mut items: Vec<_> = items.collect();
            items.sort_by(|a, b| a.id.cmp(&b.id));
            items.dedup_by(|a, b| a.id == b.id);
            f.store.apply(batch(items)).unwrap();
        }
        _ => {
            let txn = f.store.begin(TransactionOptions::default()).unwrap();
            for _ in 0..1 + rng.below(4) {
                let (gone, moved, d) = (id(rng), id(rng), document(rng));
                let run = |text: &str, args: &Object| txn.execute(text, args).unwrap();
                run(&format!("DELETE FROM c WHERE _id = '{gone}'"), &Object::new());
                run(&format!("EVICT FROM c WHERE _id = '{moved}'"), &Object::new());
                run(INSERT, &object(&format!(r#"{{"d":{d}}}"#)));
            }
            txn.commit().unwrap();
        }
    }
}

const INSERT: &str = "INSERT INTO c DOCUMENTS (:d) ON ID CONFLICT DO UPDATE";

fn upsert(f: &Fixture, document: &str) {
    f.run_with(INSERT, &format!(r#"{{"d":{document}}}"#));
}

type Rows = Vec<String>;

struct Watched {
    query: String,
    /// The same over the whole collection, whose order does not depend on indexes.
    scan: String,
    /// What the query gave after each commit since the registration.
    again: Vec<Rows>,
    delivered: Arc<Mutex<Vec<Rows>>>,
    /// Signals not yet given; `None` for an observer that signals at once.
    signals: Option<Arc<Mutex<Vec<SignalNext>>>>,
    observation: Observation,
}

impl Watched {
    fn new(f: &Fixture, rng: &mut Rng) -> Self {
        let query = query(rng);
        // Which of 1 and 1.0 stands for both depends on the access path.
        let by_index = [" JOIN ", " USE IDS ", "DISTINCT", "GROUP BY"].iter().any(|w| query.contains(w));
        let scan = if by_index { query.clone() } else { query.replace("FROM c", "FROM c USE INDEX ''") };
        let delivered: Arc<Mutex<Vec<Rows>>> = Arc::default();
        let signals: Option<Arc<Mutex<Vec<SignalNext>>>> = (rng.below(3) == 0).then(Arc::default);
        let (results, kept) = (delivered.clone(), signals.clone());
        let callback = Box::new(move |r: ditto_store::QueryResult, next: SignalNext| {
            results.lock().unwrap().push(rows(&r));
            match &kept {
                Some(kept) => kept.lock().unwrap().push(next),
                None => next(),
            }
        });
        let again = vec![f.rows(&scan)];
        let observation = f.store.observe_with_signal(&query, &Object::new(), callback).unwrap();
        Self { query, scan, again, delivered, signals, observation }
    }

    fn signal(&self) {
        let next = self.signals.as_ref().and_then(|s| s.lock().unwrap().pop());
        if let Some(next) = next {
            next();
        }
    }

    fn check(&self, seed: u64) {
        let newest = self.again.last();
        let what = format!("seed {seed}: {}: the newest result", self.query);
        eventually(&what, || {
            self.signal();
            self.delivered.lock().unwrap().last() == newest
        });
        let delivered = self.delivered.lock().unwrap();
        let mut at = 0;
        for (i, rows) in delivered.iter().enumerate() {
            let found = self.again[at..].iter().position(|r| r == rows);
            let Some(found) = found else {
                panic!("seed {seed}: {}: result {i}, {rows:?}, is of no commit after {at}", self.query);
            };
            at += found;
            assert!(i == 0 || delivered[i - 1] != *rows, "seed {seed}: {}: {rows:?} came twice", self.query);
        }
    }
}

fn history(seed: u64) {
    let f = Fixture::new();
    let mut rng = Rng(seed);
    if seed % 2 == 1 {
        for index in ["n (n)", "a (a, n DESC)", "b (b)"] {
            f.run(&format!("CREATE INDEX {}", index.replacen(' ', " ON c ", 1)));
        }
    }
    for _ in 0..70 {
        upsert(&f, &document(&mut rng));
    }
    let mut watched: Vec<Watched> = Vec::new();
    for at in 0..COMMITS as u64 {
        if at % 8 == 0 {
            for _ in 0..4 {
                watched.push(Watched::new(&f, &mut rng));
            }
        }
        commit(&f, &mut rng, at);
        for w in &mut watched {
            w.again.push(f.rows(&w.scan));
            if rng.below(4) == 0 {
                w.signal();
            }
        }
        if rng.below(3) == 0 {
            // Lets some of the results be of this very commit.
            std::thread::sleep(Duration::from_millis(rng.below(6)));
        }
        if rng.below(10) == 0 {
            let gone = watched.swap_remove(rng.below(watched.len() as u64) as usize);
            gone.observation.cancel();
        }
    }
    for w in &watched {
        w.check(seed);
    }
    f.clean();
}

#[test]
fn results_are_those_of_running_again() {
    match std::env::var("DITTO_TEST_SEED").ok().and_then(|s| s.parse().ok()) {
        Some(seed) => history(seed),
        None => (0..SEEDS).for_each(history),
    }
}

#[test]
#[ignore = "long"]
fn results_are_those_of_running_again_at_length() {
    (1000..1400).for_each(history);
}
