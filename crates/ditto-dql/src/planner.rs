//! From a condition to an access path.
//!
//! When a statement is prepared, [`conditions`] reduces the conditions to what it says about single fields. When it is
//! bound, [`Wish::choose`] picks a [`Route`] for it from the indexes there are, and [`Route::open`] fills in the values:
//! at once for the first term of FROM, for a joined term whenever the rows before it are known.

mod choose;
mod condition;
mod limits;
mod route;
mod set;

pub(crate) use choose::Wish;
pub(crate) use condition::{Cond, FieldCond, Grade, Test, conditions};
pub(crate) use limits::Limits;
pub(crate) use route::{IdTest, Route, UseIds};
pub(crate) use set::Interval;
