//! Wall clock and CPU time of this process.

use std::time::Instant;

use cpu_time::ProcessTime;

use crate::Outcome;

pub(crate) struct Stopwatch {
    start: Instant,
    cpu: ProcessTime,
}

impl Stopwatch {
    pub(crate) fn start() -> Outcome<Self> {
        Ok(Self { start: Instant::now(), cpu: ProcessTime::try_now()? })
    }

    /// Seconds on the clock, and of CPU.
    pub(crate) fn stop(&self) -> Outcome<(f64, f64)> {
        Ok((self.start.elapsed().as_secs_f64(), self.cpu.try_elapsed()?.as_secs_f64()))
    }
}
