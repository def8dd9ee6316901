//! Wall clock and CPU time of a piece of work.

use std::time::Instant;

use cpu_time::ProcessTime;

use crate::Outcome;

/// What a piece of work took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// Seconds on the clock.
    pub(crate) wall: f64,
    /// Seconds of user and system CPU of this process, all threads.
    pub(crate) cpu: f64,
}

impl Taken {
    /// Microseconds of CPU for each of `n`.
    pub(crate) fn cpu_us(self, n: usize) -> f64 {
        self.cpu * 1e6 / n as f64
    }
}

/// A running measurement.
pub(crate) struct Stopwatch {
    start: Instant,
    cpu: f64,
}

impl Stopwatch {
    pub(crate) fn start() -> Outcome<Self> {
        Ok(Self { cpu: process_cpu()?, start: Instant::now() })
    }

    pub(crate) fn stop(&self) -> Outcome<Taken> {
        Ok(Taken { wall: self.start.elapsed().as_secs_f64(), cpu: process_cpu()? - self.cpu })
    }
}

/// User and system CPU seconds of this process so far, threads that have ended included.
pub(crate) fn process_cpu() -> Outcome<f64> {
    Ok(ProcessTime::try_now()?.as_duration().as_secs_f64())
}

/// The value at quantile `q` of unsorted samples.
pub(crate) fn quantile(samples: &mut [f64], q: f64) -> f64 {
    samples.sort_by(f64::total_cmp);
    let last = samples.len().saturating_sub(1);
    samples.get((last as f64 * q).round() as usize).copied().unwrap_or(f64::NAN)
}
