#![allow(clippy::unwrap_used, reason = "tests")]

use std::borrow::Cow;
use std::collections::BTreeMap;

use ditto_types::{DocId, Object, SmolStr, Value, json};
use proptest::prelude::*;

use super::*;
use crate::catalog::CollectionRef;
use crate::plan::Plan;
use crate::source::TermScan;

#[derive(Clone, Debug)]
struct Doc {
    id: DocId,
    position: i64,
    fields: Object,
}

impl Row for Doc {
    fn id(&self) -> &DocId {
        &self.id
    }

    fn field(&self, path: &[SmolStr]) -> Option<Value> {
        let (first, rest) = path.split_first()?;
        rest.iter().try_fold(self.fields.get(first)?, |v, name| v.get(name)).cloned()
    }

    fn document(&self) -> Value {
        Value::Object(self.fields.clone())
    }

    fn position(&self) -> i64 {
        self.position
    }
}

/// Documents by position.
#[derive(Default)]
struct Store(BTreeMap<i64, Doc>);

impl Source for Store {
    type Error = DqlError;

    fn visit(
        &self,
        _: &TermScan<'_>,
        visit: &mut dyn FnMut(&dyn Row) -> Result<bool, DqlError>,
    ) -> Result<(), DqlError> {
        for doc in self.0.values() {
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

fn plan(text: &str) -> Arc<SelectPlan> {
    let prepared = crate::prepare(text).unwrap_or_else(|e| panic!("{text}: {e}"));
    match prepared.bind(&Object::new(), &crate::BindContext::bare()).unwrap() {
        Plan::Select(plan) => Arc::new(plan),
        other => panic!("{other:?}"),
    }
}

fn doc(position: i64, fields: &str) -> Doc {
    let Value::Object(fields) = json::from_str(fields).unwrap() else { panic!("{fields}") };
    Doc { id: DocId::new(&Value::Int(position)).unwrap(), position, fields }
}

/// A store, and a live result over it that is run again only when it says so.
struct Watched {
    store: Store,
    plan: Arc<SelectPlan>,
    live: LiveResult,
    runs: usize,
}

impl Watched {
    fn new(text: &str, docs: impl IntoIterator<Item = Doc>) -> Self {
        let store = Store(docs.into_iter().map(|d| (d.position, d)).collect());
        let plan = plan(text);
        let live = LiveResult::run(plan.clone(), &store, &RunContext::default()).unwrap().unwrap();
        Self { store, plan, live, runs: 0 }
    }

    fn set(&mut self, position: i64, new: Option<Doc>) {
        let old = match &new {
            Some(doc) => self.store.0.insert(position, doc.clone()),
            None => self.store.0.remove(&position),
        };
        let matching = |d: &Doc| self.plan.matches(d).unwrap();
        let (old, new) = (old.filter(matching), new.filter(matching));
        let row = |d: &Option<Doc>| d.clone();
        let (old, new) = (row(&old), row(&new));
        let known = self
            .live
            .change(old.as_ref().map(|d| d as &dyn Row), new.as_ref().map(|d| d as &dyn Row))
            .unwrap();
        if !known {
            self.live =
                LiveResult::run(self.plan.clone(), &self.store, &RunContext::default()).unwrap().unwrap();
            self.runs += 1;
        }
    }

    fn rows(&mut self) -> Vec<String> {
        self.live.items().iter().map(|i| json::to_string(&i.value())).collect()
    }

    /// What running the statement gives.
    fn again(&self) -> Vec<String> {
        let rows = self.plan.run(&self.store, &RunContext::default()).unwrap();
        rows.iter().map(|i| json::to_string(&i.value())).collect()
    }
}

fn numbered(range: std::ops::Range<i64>) -> Vec<Doc> {
    range.map(|n| doc(n, &format!(r#"{{"n":{n}}}"#))).collect()
}

#[test]
fn a_result_that_is_too_large_is_not_held() {
    let store = |n: i64| Store(numbered(0..n).into_iter().map(|d| (d.position, d)).collect());
    let (spill, _) = crate::spill::tests::space(8000);
    let cx = RunContext { spill: Some(&spill), ..RunContext::default() };
    for text in ["SELECT n FROM c", "SELECT * FROM c ORDER BY n DESC"] {
        let run = |n: i64| LiveResult::run(plan(text), &store(n), &cx).unwrap();
        assert!(run(1000).is_none(), "{text}");
        // It may grow until it is as large, and not a row more.
        let mut live = run(10).unwrap();
        let mut n = 10;
        while live.change(None, Some(&doc(n, &format!(r#"{{"n":{n}}}"#)))).unwrap() {
            n += 1;
        }
        assert!(run(n).is_some() && run(n + 1).is_none(), "{text}: {n}");
        // What leaves makes room.
        let mut live = run(n).unwrap();
        for i in 0..1000 {
            let row = |i: i64| doc(i, &format!(r#"{{"n":{i}}}"#));
            assert!(live.change(Some(&row(i)), Some(&row(n + i))).unwrap(), "{text}: {i}");
        }
    }
    // With LIMIT only what can be shown counts.
    let few = LiveResult::run(plan("SELECT n FROM c ORDER BY n LIMIT 3"), &store(5000), &cx).unwrap();
    assert_eq!(few.unwrap().items().len(), 3);
}

#[test]
fn rows_that_leave_are_replaced_by_spare_ones_before_the_store_is_asked() {
    let mut w = Watched::new("SELECT n FROM c ORDER BY n LIMIT 3 OFFSET 1", numbered(0..100));
    for n in 0..SPARE as i64 {
        w.set(n, None);
        assert_eq!(w.rows(), w.again());
    }
    assert_eq!(w.runs, 0);
    w.set(SPARE as i64, None);
    assert_eq!((w.rows(), w.runs), (w.again(), 1));
}

#[test]
fn rows_behind_those_that_are_kept_are_not_looked_at() {
    let mut w = Watched::new("SELECT n FROM c ORDER BY n DESC LIMIT 3", numbered(0..1000));
    for n in 0..900 {
        w.set(n, if n % 2 == 0 { None } else { Some(doc(n, &format!(r#"{{"n":{}}}"#, n - 1))) });
    }
    // One that comes to the front pushes others out, and so on without end.
    for n in 0..200 {
        w.set(n, Some(doc(n, &format!(r#"{{"n":{}}}"#, 2000 + n))));
        assert!(w.live.rows.len() <= 3 + 2 * SPARE);
    }
    assert_eq!((w.rows(), w.runs), (w.again(), 0));
}

#[test]
fn no_limit_never_runs_again_and_limit_0_never_has_rows() {
    let mut all = Watched::new("SELECT * FROM c WHERE n >= 0", []);
    let mut none = Watched::new("SELECT * FROM c LIMIT 0", []);
    for n in (0..500).rev() {
        all.set(n, Some(doc(n, &format!(r#"{{"n":{n}}}"#))));
        none.set(n, Some(doc(n, "{}")));
    }
    assert_eq!((all.rows(), all.runs), (all.again(), 0));
    for n in 0..500 {
        all.set(n, None);
    }
    assert!(all.rows().is_empty() && none.rows().is_empty());
    assert_eq!((all.runs, none.runs), (0, 0));
}

#[test]
fn what_has_not_changed_is_shared_with_the_result_before() {
    let mut w = Watched::new("SELECT n FROM c ORDER BY n", numbered(0..1000));
    let before = w.live.items();
    w.set(500, Some(doc(500, r#"{"n":500.5}"#)));
    let after = w.live.items();
    assert!(!after.same_rows(&before));
    let at = |items: &Items, i| items.get(i).map(Cow::into_owned);
    let shared = (0..1000).filter(|i| match (at(&before, *i), at(&after, *i)) {
        (Some(Item::Lazy(a)), Some(Item::Lazy(b))) => Arc::ptr_eq(&a, &b),
        _ => false,
    });
    assert_eq!(shared.count(), 999);
    w.set(500, Some(doc(500, r#"{"n":500}"#)));
    assert!(w.live.items().same_rows(&before));
}

#[test]
fn shapes_that_need_all_rows_are_not_incremental() {
    for (text, incremental) in [
        ("SELECT * FROM c WHERE a = 1 ORDER BY b LIMIT 3 OFFSET 2", true),
        ("SELECT upper(a) AS x, c.* FROM c", true),
        ("SELECT count(*) FROM c", false),
        ("SELECT a FROM c GROUP BY a", false),
        ("SELECT DISTINCT a FROM c", false),
        ("SELECT request_info() AS r FROM c", false),
    ] {
        assert_eq!(plan(text).is_incremental(), incremental, "{text}");
    }
}

fn fields() -> impl Strategy<Value = String> {
    let value = || prop::sample::select(vec!["0", "1", "1.0", "2", "3", "null", r#""a""#, "[1]", "true"]);
    (prop::option::of(value()), value(), 0..4u8).prop_map(|(a, b, n)| match a {
        Some(a) => format!(r#"{{"a":{a},"b":{b},"n":{n}}}"#),
        None => format!(r#"{{"b":{b},"n":{n}}}"#),
    })
}

fn statement() -> impl Strategy<Value = String> {
    let filter = prop::sample::select(vec!["", " WHERE n > 0", " WHERE a = 1", " WHERE a IS NOT MISSING"]);
    let order = prop::sample::select(vec![
        "",
        " ORDER BY a",
        " ORDER BY a DESC, n",
        " ORDER BY n % 2, b",
        " ORDER BY 'x'",
    ]);
    let window = prop_oneof![
        Just(String::new()),
        (0..25u8).prop_map(|l| format!(" LIMIT {l}")),
        (0..6u8, 0..6u8).prop_map(|(l, o)| format!(" LIMIT {l} OFFSET {o}")),
        (0..9u8).prop_map(|o| format!(" OFFSET {o}")),
    ];
    let output = prop::sample::select(vec!["*", "a, n", "n + 1 AS m", "c.*, MISSING a"]);
    (output, filter, order, window).prop_map(|(o, f, s, w)| format!("SELECT {o} FROM c{f}{s}{w}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn it_shows_what_running_again_shows(
        statement in statement(),
        start in prop::collection::vec((0..60i64, fields()), 0..60),
        changes in prop::collection::vec((0..60i64, prop::option::weighted(0.7, fields())), 0..120),
    ) {
        let mut w = Watched::new(&statement, start.iter().map(|(at, f)| doc(*at, f)));
        for (at, fields) in changes {
            w.set(at, fields.map(|f| doc(at, &f)));
            prop_assert_eq!(w.rows(), w.again(), "{}", statement);
        }
    }
}
