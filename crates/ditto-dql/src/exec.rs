//! Running bound statements over a [`Source`](crate::Source).

mod distinct;
mod groups;
mod output;
mod ranked;
mod select;
mod stats;

use ditto_types::ErrorKind;

use crate::error::DqlError;
use crate::spill::SharedSpill;

pub(crate) use output::{is_whole, project};
pub(crate) use select::select;
pub use stats::RunStats;
pub(crate) use stats::{TermStats, Terms};

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

/// Rows between two reports to the [`Profiler`] of a run that is not over.
const REPORT_EVERY: u64 = 4096;

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

/// Who wants to know how a run goes.
pub trait Profiler: Send + Sync {
    /// Whether times are wanted besides counts: PROFILE. Reading a clock for each row costs as much as the row.
    fn measures(&self) -> bool {
        true
    }

    /// Nanoseconds of a clock that never goes back; this crate reads no clock.
    fn nanos(&self) -> u64;

    /// Takes what a run did, when it is over and now and then before: for [`Plan::profile`](crate::Plan::profile).
    fn report(&self, stats: RunStats);
}

/// How a statement is run.
#[derive(Clone, Copy, Default)]
pub struct RunContext<'a> {
    /// Who may end it early.
    pub interrupt: Option<&'a dyn Interrupt>,
    /// Who is told what it did.
    pub profiler: Option<&'a dyn Profiler>,
    /// Where the run puts what memory does not hold. Without it a run fails beyond [`MAX_BUFFER_BYTES`], and holds its result
    /// whatever that takes.
    pub spill: Option<&'a SharedSpill>,
}

impl RunContext<'_> {
    /// Whether somebody measures.
    pub(crate) fn measures(&self) -> bool {
        self.profiler.is_some_and(Profiler::measures)
    }

    /// The time, if somebody measures.
    pub(crate) fn nanos(&self) -> u64 {
        self.profiler.filter(|p| p.measures()).map_or(0, Profiler::nanos)
    }
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
