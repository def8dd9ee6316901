//! What a statement gives, and whether an answer agrees with it.

use std::cmp::Ordering;

use ditto_types::Value;

use crate::reference::operators::equal;
use crate::reference::order::order;

/// What the reference evaluator says about a statement.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// Rows of a SELECT.
    Rows(Rows),
    /// Ids of written or removed documents, and the rows of RETURNING.
    Mutation {
        /// In no order.
        ids: Vec<Value>,
        /// Of RETURNING; empty without it.
        rows: Rows,
    },
    /// The statement fails; the text is ours, not that of the engine.
    Error(String),
}

/// Result rows of which only the order of the sort keys is fixed.
#[derive(Clone, Debug)]
pub struct Rows {
    /// Rows with equal sort keys, in the order of the keys.
    ties: Vec<Vec<Value>>,
    limit: Option<u64>,
    offset: Option<u64>,
    /// Whether integers and floats of one value are the same: of a group of equal values any may be shown.
    loose: bool,
}

/// What an engine answered.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Rows and ids of mutated documents.
    Result {
        /// Result rows in order.
        rows: Vec<Value>,
        /// Ids of mutated documents.
        ids: Vec<Value>,
    },
    /// Its text.
    Error(String),
}

impl Rows {
    pub(crate) fn none() -> Self {
        Self { ties: Vec::new(), limit: None, offset: None, loose: false }
    }

    pub(crate) fn new(
        mut rows: Vec<(Vec<Option<Value>>, Value)>,
        descending: &[bool],
        limit: Option<u64>,
        offset: Option<u64>,
        loose: bool,
    ) -> Self {
        let compare = |a: &Vec<Option<Value>>, b: &Vec<Option<Value>>| {
            for ((a, b), descending) in a.iter().zip(b).zip(descending) {
                let found = order(a.as_ref(), b.as_ref());
                if found != Ordering::Equal {
                    return if *descending { found.reverse() } else { found };
                }
            }
            Ordering::Equal
        };
        rows.sort_by(|a, b| compare(&a.0, &b.0));
        let mut ties: Vec<Vec<Value>> = Vec::new();
        let mut last: Option<Vec<Option<Value>>> = None;
        for (key, row) in rows {
            match &last {
                Some(l) if compare(l, &key) == Ordering::Equal => {
                    if let Some(tie) = ties.last_mut() {
                        tie.push(row);
                    }
                }
                _ => ties.push(vec![row]),
            }
            last = Some(key);
        }
        Self { ties, limit, offset, loose }
    }

    /// One choice of the rows.
    pub fn any(&self) -> Vec<Value> {
        let all = self.ties.iter().flatten().cloned();
        let from = usize::try_from(self.offset.unwrap_or(0)).unwrap_or(usize::MAX);
        let count = self.limit.map_or(usize::MAX, |l| usize::try_from(l).unwrap_or(usize::MAX));
        all.skip(from).take(count).collect()
    }

    /// Whether `rows` are what the statement may give; says what is wrong.
    fn agree(&self, rows: &[Value]) -> Result<(), String> {
        let expected = self.any();
        if rows.len() != expected.len() {
            return Err(format!("{} rows instead of {}", rows.len(), expected.len()));
        }
        let mut at = self.offset.unwrap_or(0).min(self.ties.iter().map(|t| t.len() as u64).sum()) as usize;
        let mut left = rows;
        let mut start = 0;
        for tie in &self.ties {
            let end = start + tie.len();
            // The part of the window that lies in this tie.
            let take = end.saturating_sub(at.max(start)).min(left.len());
            if at < end && take > 0 {
                let (mine, rest) = left.split_at(take);
                let mut open: Vec<&Value> = tie.iter().collect();
                for row in mine {
                    let found = open.iter().position(|e| self.same(e, row));
                    let Some(found) = found else {
                        return Err(format!("row {row:?} is not among {open:?}"));
                    };
                    open.swap_remove(found);
                }
                left = rest;
                at += take;
            }
            start = end;
        }
        Ok(())
    }

    fn same(&self, a: &Value, b: &Value) -> bool {
        if self.loose { close(a, b) } else { identical(a, b) }
    }
}

/// The same value of the same type. Both zeros are the same: which is kept is not said.
fn identical(a: &Value, b: &Value) -> bool {
    match (a, b) {
        (Value::Float(a), Value::Float(b)) => a == b || (a.is_nan() && b.is_nan()),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| identical(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|((ak, a), (bk, b))| ak == bk && identical(a, b))
        }
        _ => a == b,
    }
}

/// Equal by the order of values.
fn close(a: &Value, b: &Value) -> bool {
    equal(a, b)
}

impl Outcome {
    /// Whether an answer agrees; says what is wrong.
    pub fn agree(&self, answer: &Answer) -> Result<(), String> {
        match (self, answer) {
            (Outcome::Error(_), Answer::Error(_)) => Ok(()),
            (Outcome::Error(why), Answer::Result { .. }) => Err(format!("no error, though: {why}")),
            (_, Answer::Error(text)) => Err(format!("unexpected error: {text}")),
            (Outcome::Rows(expected), Answer::Result { rows, ids }) => {
                if !ids.is_empty() {
                    return Err(format!("SELECT reports {} mutated documents", ids.len()));
                }
                expected.agree(rows)
            }
            (Outcome::Mutation { ids: expected, rows: returned }, Answer::Result { rows, ids }) => {
                let all = expected.iter().all(|e| ids.iter().any(|i| identical(i, e)));
                if !all || expected.len() != ids.len() {
                    return Err(format!("mutated {ids:?} instead of {expected:?}"));
                }
                returned.agree(rows)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(keys: &[(i64, &str)], limit: Option<u64>, offset: Option<u64>) -> Rows {
        let rows = keys.iter().map(|(k, v)| (vec![Some(Value::Int(*k))], Value::from(*v)));
        Rows::new(rows.collect(), &[false], limit, offset, false)
    }

    fn agrees(rows: &Rows, answer: &[&str]) -> bool {
        rows.agree(&answer.iter().map(|v| Value::from(*v)).collect::<Vec<_>>()).is_ok()
    }

    #[test]
    fn rows_with_equal_keys_may_come_in_any_order_and_others_not() {
        let all = rows(&[(2, "c"), (1, "a"), (1, "b"), (3, "d")], None, None);
        assert!(agrees(&all, &["a", "b", "c", "d"]) && agrees(&all, &["b", "a", "c", "d"]));
        for wrong in [&["a", "c", "b", "d"][..], &["a", "b", "c"], &["a", "a", "c", "d"], &[]] {
            assert!(!agrees(&all, wrong), "{wrong:?}");
        }
        let window = rows(&[(1, "a"), (1, "b"), (2, "c"), (2, "d"), (3, "e")], Some(2), Some(1));
        assert!(agrees(&window, &["a", "d"]) && agrees(&window, &["b", "c"]));
        for wrong in [&["c", "d"][..], &["a", "b"], &["a", "e"], &["d", "a"], &["a"]] {
            assert!(!agrees(&window, wrong), "{wrong:?}");
        }
        assert!(agrees(&rows(&[(1, "a")], None, Some(7)), &[]));
        assert!(agrees(&rows(&[(1, "a")], Some(0), None), &[]));
    }

    #[test]
    fn types_count_unless_equal_values_were_merged() {
        let of = |loose| Rows::new(vec![(vec![], Value::Int(1))], &[], None, None, loose);
        assert!(of(true).agree(&[Value::Float(1.0)]).is_ok());
        assert!(of(false).agree(&[Value::Float(1.0)]).is_err());
        assert!(of(true).agree(&[Value::from("1")]).is_err());
    }
}
