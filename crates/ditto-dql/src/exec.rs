//! Running bound statements over a [`Source`](crate::Source).

mod distinct;
mod groups;
mod output;
mod ranked;
mod select;
mod stats;

use ditto_types::{ErrorKind, Value};

use crate::error::DqlError;
use crate::items::Items;
use crate::spill::SharedSpill;

pub(crate) use output::{is_whole, project};
pub(crate) use select::select;
pub(crate) use stats::Stats;

/// Memory that a run without [`Spill`](crate::Spill) may hold for sorting, and again for groups and for the rows of DISTINCT, in
/// bytes.
pub const MAX_BUFFER_BYTES: usize = 256 << 20;

/// Whether `held` bytes for `what` are too many.
pub(crate) fn check_buffer(held: usize, what: &str) -> Result<(), DqlError> {
    if held <= MAX_BUFFER_BYTES {
        return Ok(());
    }
    let message = format!("{what} needs to hold more than {MAX_BUFFER_BYTES} bytes");
    Err(DqlError::new(ErrorKind::SizeLimitExceeded, message))
}

/// Rows between two questions to the [`Interrupt`].
const INTERRUPT_EVERY: u32 = 256;

/// Ends a run early: a timeout, or somebody who does not want the result any more.
pub trait Interrupt: Send + Sync {
    /// Asked every 256 rows; an error ends the run with it.
    ///
    /// # Errors
    ///
    /// The reason to end.
    fn poll(&self) -> Result<(), DqlError>;
}

/// How a statement is run.
#[derive(Clone, Copy, Default)]
pub struct RunContext<'a> {
    /// Who may end it early.
    pub interrupt: Option<&'a dyn Interrupt>,
    /// Whether the plan with statistics is wanted.
    pub profile: bool,
    /// Nanoseconds of a clock that never goes back, for the times of the profile; this crate reads no clock.
    pub nanos: Option<&'a dyn Fn() -> u64>,
    /// Where the run puts what memory does not hold. Without it a run fails beyond [`MAX_BUFFER_BYTES`], and holds its result
    /// whatever that takes.
    pub spill: Option<&'a SharedSpill>,
}

/// The result of a SELECT.
#[derive(Clone, Debug, Default)]
pub struct Rows {
    /// The rows in order.
    pub items: Items,
    /// The plan whose operators have `#stats`, when it was asked for.
    pub profile: Option<Value>,
}

/// Counts rows and asks the [`Interrupt`] now and then.
#[derive(Clone, Copy)]
pub(crate) struct Poll<'a> {
    interrupt: Option<&'a dyn Interrupt>,
    rows: u32,
}

impl<'a> Poll<'a> {
    pub(crate) fn new(cx: &RunContext<'a>) -> Self {
        Self { interrupt: cx.interrupt, rows: 0 }
    }

    /// One row more. The first one asks, so that a run that was given up before it began ends at once.
    pub(crate) fn row(&mut self) -> Result<(), DqlError> {
        if let Some(interrupt) = self.interrupt {
            if self.rows == 0 {
                interrupt.poll()?;
            }
            self.rows = (self.rows + 1) % INTERRUPT_EVERY;
        }
        Ok(())
    }
}
