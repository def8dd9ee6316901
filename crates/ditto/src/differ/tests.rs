#![allow(clippy::unwrap_used, reason = "tests")]

use std::cell::Cell;
use std::cmp::Ordering;

use ditto_types::json;
use proptest::prelude::*;

use super::increasing::longest_increasing;
use super::*;

fn rows(texts: &[&str]) -> Vec<Value> {
    texts.iter().map(|t| json::from_str(t).unwrap()).collect()
}

fn between(old: &[Value], new: &[Value]) -> Diff {
    let differ = Differ::new();
    differ.diff_values(old);
    differ.diff_values(new)
}

fn diff(insertions: &[usize], deletions: &[usize], updates: &[usize], moves: &[(usize, usize)]) -> Diff {
    Diff {
        insertions: insertions.iter().copied().collect(),
        deletions: deletions.iter().copied().collect(),
        updates: updates.iter().copied().collect(),
        moves: moves.iter().map(|(from, to)| DiffMove { from: *from, to: *to }).collect(),
    }
}

/// Follows the description of [`Diff`]. Rows of the new list are only used where the diff says so.
fn apply(old: &[Value], diff: &Diff, new: &[Value]) -> Vec<Value> {
    let moved: HashSet<usize> = diff.moves.iter().map(|m| m.from).collect();
    let mut out: Vec<Value> = Vec::new();
    let stays = |i: &usize| !diff.deletions.contains(i) && !moved.contains(i);
    out.extend((0..old.len()).filter(stays).map(|i| old[i].clone()));
    let mut placed: Vec<(usize, Value)> = diff.moves.iter().map(|m| (m.to, old[m.from].clone())).collect();
    placed.extend(diff.insertions.iter().map(|i| (*i, new[*i].clone())));
    placed.sort_by_key(|(at, _)| *at);
    for (at, row) in placed {
        out.insert(at, row);
    }
    for at in &diff.updates {
        out[*at] = new[*at].clone();
    }
    out
}

#[test]
fn api_085_to_089_it_remembers_the_last_list_only() {
    let differ = Differ::new();
    let first = rows(&[r#"{"_id":1}"#, r#"{"_id":2}"#]);
    assert_eq!(differ.diff_values(&first), diff(&[0, 1], &[], &[], &[]));
    assert!(differ.diff_values(&first).is_empty());
    assert_eq!(differ.diff_values(&[]), diff(&[], &[0, 1], &[], &[]));
    assert_eq!(differ.diff_values(&first), diff(&[0, 1], &[], &[], &[]));
}

#[test]
fn api_090_to_093_indexes_of_each_kind() {
    let old = rows(&[r#"{"_id":"a","n":1}"#, r#"{"_id":"b","n":1}"#, r#"{"_id":"c","n":1}"#]);
    let new = rows(&[r#"{"_id":"x","n":1}"#, r#"{"_id":"a","n":2}"#, r#"{"_id":"c","n":1}"#]);
    // a shifts, which is no move.
    assert_eq!(between(&old, &new), diff(&[0], &[1], &[1], &[]));
}

#[test]
fn api_093_moved_and_changed_is_in_both() {
    let old = rows(&[r#"{"_id":"a"}"#, r#"{"_id":"b"}"#, r#"{"_id":"c","n":1}"#]);
    let new = rows(&[r#"{"_id":"c","n":2}"#, r#"{"_id":"a"}"#, r#"{"_id":"b"}"#]);
    assert_eq!(between(&old, &new), diff(&[], &[], &[0], &[(2, 0)]));
}

#[test]
fn composite_ids_ignore_the_order_of_their_fields() {
    let old = rows(&[r#"{"_id":{"x":1,"y":2},"n":1}"#]);
    let new = rows(&[r#"{"n":2,"_id":{"y":2,"x":1}}"#]);
    assert_eq!(between(&old, &new), diff(&[], &[], &[0], &[]));
}

#[test]
fn rows_of_a_join_are_known_by_the_ids_of_their_documents() {
    let old = rows(&[r#"{"c":{"_id":1},"o":{"_id":5,"n":1}}"#, r#"{"c":{"_id":2},"o":null}"#]);
    let new = rows(&[r#"{"c":{"_id":2,"m":1},"o":null}"#, r#"{"c":{"_id":1},"o":{"_id":5,"n":2}}"#]);
    assert_eq!(between(&old, &new), diff(&[], &[], &[0, 1], &[(1, 0)]));
}

#[test]
fn rows_without_id_are_known_by_their_content() {
    let old = rows(&[r#"{"n":1}"#, r#"{"n":2}"#, r#"{"n":2}"#]);
    let new = rows(&[r#"{"n":2}"#, r#"{"n":3}"#]);
    assert_eq!(between(&old, &new), diff(&[1], &[0, 2], &[], &[]));
    // A row whose only field happens to look like an id of another row is not that row.
    assert_eq!(between(&rows(&["5"]), &rows(&[r#"{"_id":5}"#])), diff(&[0], &[0], &[], &[]));
}

#[test]
fn duplicates_are_paired_by_content_and_then_in_order() {
    let a = |n: i32| json::from_str(&format!(r#"{{"_id":"a","n":{n}}}"#)).unwrap();
    assert_eq!(between(&[a(1), a(2)], &[a(2)]), diff(&[], &[0], &[], &[]));
    assert_eq!(between(&[a(1), a(2), a(3)], &[a(3), a(9), a(8)]), diff(&[], &[], &[1, 2], &[(2, 0)]));
    assert_eq!(between(&[a(1)], &[a(2), a(1)]), diff(&[1], &[], &[0], &[]));
}

#[test]
fn api_094_to_100_equality_text_and_names() {
    let d = diff(&[4, 0], &[], &[2], &[(3, 0), (1, 5)]);
    assert_eq!(d, diff(&[0, 4], &[], &[2], &[(1, 5), (3, 0)]));
    assert_ne!(d, diff(&[0, 4], &[], &[2], &[(1, 5)]));
    assert_eq!(d.to_string(), "insertions: [0, 4], deletions: [], updates: [2], moves: [3 -> 0, 1 -> 5]");
    assert_eq!(DiffMove { from: 3, to: 0 }.to_string(), "3 -> 0");
    let text = serde_json::to_string(&d).unwrap();
    let wanted =
        r#"{"insertions":[0,4],"deletions":[],"updates":[2],"moves":[{"from":3,"to":0},{"from":1,"to":5}]}"#;
    assert_eq!(text, wanted);
    assert_eq!(serde_json::from_str::<Diff>(&text).unwrap(), d);
    let mut bytes = Vec::new();
    ciborium::into_writer(&d, &mut bytes).unwrap();
    assert_eq!(ciborium::from_reader::<Diff, _>(bytes.as_slice()).unwrap(), d);
}

thread_local! {
    static COMPARISONS: Cell<u64> = const { Cell::new(0) };
}

#[derive(PartialEq, Eq)]
struct Counted(usize);

impl Ord for Counted {
    fn cmp(&self, other: &Self) -> Ordering {
        COMPARISONS.set(COMPARISONS.get() + 1);
        self.0.cmp(&other.0)
    }
}

impl PartialOrd for Counted {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[test]
fn a_hundred_thousand_rows_take_n_log_n_comparisons() {
    const N: usize = 100_000;
    // Steps of a generator with full period: every row moves.
    let shuffled: Vec<Counted> = (0..N).map(|i| Counted((i * 48_271 + 7) % N)).collect();
    for items in [shuffled, (0..N).rev().map(Counted).collect(), (0..N).map(Counted).collect()] {
        COMPARISONS.set(0);
        longest_increasing(&items);
        let limit = N as u64 * (N.ilog2() as u64 + 3);
        assert!(COMPARISONS.get() <= limit, "{} comparisons", COMPARISONS.get());
    }
    // The whole way, with updates, moves, insertions and deletions.
    let row = |id: usize, n: usize| {
        Value::Object([("_id".into(), Value::from(id as u64)), ("n".into(), Value::from(n as u64))].into())
    };
    let old: Vec<Value> = (0..N).map(|i| row(i, 0)).collect();
    let new: Vec<Value> = (0..N).map(|i| row((i * 48_271 + 7) % N + 10, i % 2)).collect();
    let d = between(&old, &new);
    assert_eq!((d.insertions.len(), d.deletions.len()), (10, 10));
    assert_eq!(apply(&old, &d, &new), new);
}

/// Length of a longest increasing subsequence, the slow way.
fn longest(items: &[usize]) -> usize {
    let mut best = vec![1; items.len()];
    for i in 0..items.len() {
        for j in 0..i {
            if items[j] < items[i] {
                best[i] = best[i].max(best[j] + 1);
            }
        }
    }
    best.into_iter().max().unwrap_or(0)
}

fn list() -> impl Strategy<Value = Vec<Value>> {
    // Few ids and few contents, so that rows recur, change and share ids.
    let row = prop_oneof![
        6 => (0u64..12, 0u64..3).prop_map(|(id, n)| format!(r#"{{"_id":{id},"n":{n}}}"#)),
        1 => (0u64..4).prop_map(|n| format!(r#"{{"n":{n}}}"#)),
    ];
    prop::collection::vec(row.prop_map(|t| json::from_str(&t).unwrap()), 0..24)
}

proptest! {
    #[test]
    fn applying_the_difference_to_the_old_list_gives_the_new_one(old in list(), new in list()) {
        let d = between(&old, &new);
        prop_assert_eq!(apply(&old, &d, &new), new.clone());
        // Nothing is reported twice, and what is reported as changed has changed.
        prop_assert!(d.insertions.is_disjoint(&d.updates));
        prop_assert_eq!(old.len() - d.deletions.len(), new.len() - d.insertions.len());
        prop_assert_eq!(between(&old, &old), Diff::default());
    }

    #[test]
    fn moves_are_as_few_as_possible(ids in Just((0usize..16).collect::<Vec<_>>()).prop_shuffle()) {
        let list = |ids: &[usize]| -> Vec<Value> {
            ids.iter().map(|i| json::from_str(&format!(r#"{{"_id":{i}}}"#)).unwrap()).collect()
        };
        let sorted: Vec<usize> = (0..16).collect();
        let d = between(&list(&sorted), &list(&ids));
        prop_assert_eq!(d.moves.len(), ids.len() - longest(&ids));
    }
}
