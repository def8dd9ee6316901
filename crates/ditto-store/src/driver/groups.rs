//! INSERT of many rows.
//!
//! To begin and to end a statement takes the engine about as long as to insert a row at a place that is at hand. So many
//! rows go into statements of [`GROUP`] rows each.

use super::{Db, Param};
use crate::StoreError;

/// Rows of a statement. More save hardly anything.
pub(crate) const GROUP: usize = 16;

/// An INSERT of rows with `N` parameters each, for one row and for a group.
///
/// Its conflicts must be ignored, or fail without taking the rows before them back (OR FAIL): otherwise the engine copies
/// every page that such a statement changes.
#[derive(Debug)]
pub(crate) struct GroupInsert<const N: usize> {
    one: String,
    group: String,
}

impl<const N: usize> GroupInsert<N> {
    /// `head` is the statement up to VALUES, `row` the row in its parentheses, with `N` parameters without numbers.
    pub(crate) fn new(head: &str, row: &str) -> Self {
        debug_assert_eq!(row.matches('?').count(), N, "{row}");
        Self { one: format!("{head} {row}"), group: format!("{head} {}", vec![row; GROUP].join(", ")) }
    }

    /// Inserts a whole group with one statement and anything else row by row. Gives the number of rows that were inserted.
    pub(crate) fn exec(&self, db: &Db, rows: &[[Param<'_>; N]]) -> Result<usize, StoreError> {
        if rows.len() == GROUP {
            return db.exec(&self.group, rows.as_flattened());
        }
        rows.iter().map(|row| db.exec(&self.one, row)).sum()
    }

    /// Inserts all rows in their order.
    pub(crate) fn all<'p>(
        &self,
        db: &Db,
        rows: impl IntoIterator<Item = [Param<'p>; N]>,
    ) -> Result<(), StoreError> {
        let mut group = Vec::with_capacity(GROUP);
        for row in rows {
            group.push(row);
            if group.len() == GROUP {
                self.exec(db, &group)?;
                group.clear();
            }
        }
        self.exec(db, &group).map(drop)
    }
}
