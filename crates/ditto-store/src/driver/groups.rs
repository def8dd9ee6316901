//! INSERT of many rows.
//!
//! To begin and to end a statement takes the engine about as long as to insert a row at a place that is at hand. So many
//! rows go into statements of [`GROUP`] rows each.

use super::{Db, Param, Statement};
use crate::StoreError;

/// Rows of a statement. More save hardly anything.
pub(crate) const GROUP: usize = 16;

/// An INSERT of rows with `N` parameters each, and `S` that all rows share, for one row and for a group.
///
/// Its conflicts must be ignored, or fail without taking the rows before them back (OR FAIL): otherwise the engine copies
/// every page that such a statement changes.
#[derive(Debug)]
pub(crate) struct GroupInsert<const S: usize, const N: usize> {
    one: String,
    group: String,
}

impl<const S: usize, const N: usize> GroupInsert<S, N> {
    /// `head` is the statement up to VALUES, `row` the row in its parentheses: `?1` and so on are the shared parameters, `?`
    /// without a number is one of the row.
    pub(crate) fn new(head: &str, row: &str) -> Self {
        let mut next = S;
        let mut row = || {
            let mut out = String::new();
            for (i, part) in row.split('?').enumerate() {
                if i > 0 {
                    out.push('?');
                    if !part.starts_with(|c: char| c.is_ascii_digit()) {
                        next += 1;
                        out.push_str(&next.to_string());
                    }
                }
                out.push_str(part);
            }
            out
        };
        let rows: Vec<_> = (0..GROUP).map(|_| row()).collect();
        debug_assert_eq!(next, S + GROUP * N);
        Self { one: format!("{head} {}", rows[0]), group: format!("{head} {}", rows.join(", ")) }
    }

    /// Begins to insert rows with these shared parameters.
    pub(crate) fn with<'i>(&'i self, db: &'i Db, shared: [Param<'i>; S]) -> Inserting<'i, S, N> {
        Inserting { insert: self, db, shared, group: None, one: None }
    }
}

/// Rows on their way into a table, by statements that are looked up once.
pub(crate) struct Inserting<'i, const S: usize, const N: usize> {
    insert: &'i GroupInsert<S, N>,
    db: &'i Db,
    shared: [Param<'i>; S],
    group: Option<Statement<'i>>,
    one: Option<Statement<'i>>,
}

impl<const S: usize, const N: usize> Inserting<'_, S, N> {
    /// Inserts a whole group with one statement and anything else row by row. Gives the number of rows that were inserted.
    pub(crate) fn exec(&mut self, rows: &[[Param<'_>; N]]) -> Result<usize, StoreError> {
        let (db, insert, shared) = (self.db, self.insert, &self.shared);
        if rows.len() == GROUP {
            let group = match &mut self.group {
                Some(group) => group,
                none => none.insert(db.prepare(&insert.group)?),
            };
            return group.exec(shared.iter().chain(rows.as_flattened()));
        }
        let mut inserted = 0;
        for row in rows {
            let one = match &mut self.one {
                Some(one) => one,
                none => none.insert(db.prepare(&insert.one)?),
            };
            inserted += one.exec(shared.iter().chain(row))?;
        }
        Ok(inserted)
    }

    /// Inserts all rows in their order.
    pub(crate) fn all<'p>(
        mut self,
        rows: impl IntoIterator<Item = [Param<'p>; N]>,
    ) -> Result<(), StoreError> {
        let mut group = Vec::with_capacity(GROUP);
        for row in rows {
            group.push(row);
            if group.len() == GROUP {
                self.exec(&group)?;
                group.clear();
            }
        }
        self.exec(&group).map(drop)
    }
}
