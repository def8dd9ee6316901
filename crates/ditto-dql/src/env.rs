//! What an execution of a statement has besides rows: its arguments and its surroundings.

use std::sync::Arc;

use ditto_types::{Object, Value};

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
    pub(crate) env: Arc<Env>,
}

impl Bound {
    pub(crate) fn new(text: Arc<str>, args: Arc<[Value]>, env: Arc<Env>) -> Self {
        Self { text, args, env }
    }

    /// For expressions that are known without arguments.
    pub(crate) fn bare(text: &str) -> Self {
        Self::new(Arc::from(text), Arc::from([]), Arc::default())
    }
}
