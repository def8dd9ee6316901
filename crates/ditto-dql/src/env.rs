//! What an execution of a statement has besides rows: its arguments and its surroundings.

use std::sync::{Arc, OnceLock};

use ditto_types::{Object, Value};

use crate::arith::Members;
use crate::eval::Exceeded;
use crate::pattern::Pattern;
use crate::scalar::Memo;

/// The surroundings of one execution. The crate reads no clock, so the caller says what time it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Env {
    /// The time of the execution, in milliseconds since 1970-01-01T00:00:00Z: what `clock()` gives on every row.
    pub now_ms: i64,
    /// What `request_info()` gives.
    pub request: Object,
}

/// The parts of a bound statement that all of its rows share. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Bound {
    /// The statement, for the places of errors.
    pub(crate) text: Arc<str>,
    /// Arguments by [`Scalar::Param`](crate::scalar::Scalar::Param).
    pub(crate) args: Arc<[Value]>,
    /// The attachment tokens in the arguments.
    pub(crate) tokens: Arc<[Value]>,
    pub(crate) env: Arc<Env>,
    memos: Arc<[OnceLock<Memoized>]>,
}

/// What is remembered of a part of an expression that is the same for all rows.
#[derive(Clone, Debug)]
pub(crate) enum Memoized {
    Value(Option<Value>),
    Members(Members),
    Pattern(Result<Option<Pattern>, Exceeded>),
}

impl Bound {
    /// `memos` is the number of [`Memo`] in the statement.
    pub(crate) fn new(text: Arc<str>, args: Arc<[Value]>, env: Arc<Env>, memos: usize) -> Self {
        // Most have none; an empty list of its own would have to be allocated.
        let memos = match memos {
            0 => Arc::default(),
            n => std::iter::repeat_with(OnceLock::new).take(n).collect(),
        };
        Self { text, args, tokens: Arc::default(), env, memos }
    }

    /// For expressions that are known without arguments and remember nothing.
    pub(crate) fn bare(text: &str) -> Self {
        Self::new(Arc::from(text), Arc::from([]), Arc::default(), 0)
    }

    /// The place of a memo; `None` for a number that the statement does not have.
    pub(crate) fn memo(&self, memo: Memo) -> Option<&OnceLock<Memoized>> {
        self.memos.get(memo.0)
    }
}
