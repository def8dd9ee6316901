//! The contract of `docs/radios.md` as tests that run against any [`RadioShim`], in whatever language it is written.
//!
//! Each [`Case`] proves one line of the contract. It needs two radios that hear each other, which a [`Rig`] provides: two
//! phones, two virtual controllers, or a [`LoopbackAir`](super::loopback::LoopbackAir). Besides its own line every case
//! checks the rules that hold always: one answer to each connect, one end to each link, nothing after the end, new odd
//! handles for incoming links, and silence after `stop`.
//!
//! The kit blocks the calling thread and needs no runtime. It is meant for tests; an application has no use for it.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::RadioShim;

mod bytes;
mod connecting;
mod discovering;
mod ending;
mod side;

pub use side::Failure;
use side::Side;

/// Whether a rig could do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Able {
    /// It did.
    Yes,
    /// It cannot: the case is skipped.
    No,
}

/// Two radios, and what surrounds them.
pub trait Rig {
    /// Two radios that are not started and hear each other, and no third one. Called once for a rig.
    fn radios(&self) -> [Arc<dyn RadioShim>; 2];

    /// Puts the radios out of each other's range, or back into it.
    fn set_in_range(&self, in_range: bool) -> Able;

    /// Switches a radio off or on, as its user would. The sides are 0 and 1.
    fn set_power(&self, side: usize, on: bool) -> Able;

    /// How long the kit waits for a report before it counts as missing. The contract allows 60 s for a device that is
    /// lost, 20 s for a connect and 2 s for `close` and `stop`; the default is the longest of them for all, so that a
    /// loaded machine does not fail a good shim.
    fn patience(&self) -> Duration {
        Duration::from_secs(60)
    }

    /// How long the kit listens for reports that must not come.
    fn quiet(&self) -> Duration {
        Duration::from_millis(150)
    }
}

/// One line of the contract.
pub struct Case {
    /// Its name, for filters and reports.
    pub name: &'static str,
    /// The line of `docs/radios.md`.
    pub line: &'static str,
    run: fn(&mut Bench<'_>) -> Result<(), Failure>,
}

impl fmt::Debug for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// What a case has come to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The shim keeps this line.
    Passed,
    /// The rig cannot bring the situation about.
    Skipped(String),
    /// The shim breaks this line, or one that holds always.
    Failed(String),
}

/// Every case.
pub fn cases() -> impl Iterator<Item = &'static Case> {
    [discovering::CASES, connecting::CASES, bytes::CASES, ending::CASES].into_iter().flatten()
}

impl Case {
    /// Runs the case on a fresh rig.
    pub fn run(&self, rig: &dyn Rig) -> Outcome {
        let [a, b] = rig.radios();
        let side = |shim, name| Side::new(shim, name, rig.patience(), rig.quiet());
        let mut bench = Bench { rig, a: side(a, "a"), b: side(b, "b") };
        let outcome = (self.run)(&mut bench).and_then(|()| bench.finish());
        match outcome {
            Ok(()) => Outcome::Passed,
            Err(Failure::CannotTest(why)) => Outcome::Skipped(why),
            Err(Failure::Broken(what)) => Outcome::Failed(what),
        }
    }
}

/// Two sides and the rig around them.
struct Bench<'a> {
    rig: &'a dyn Rig,
    a: Side,
    b: Side,
}

impl Bench<'_> {
    /// Starts both radios, which advertise `a` and `b`.
    fn start(&mut self) -> Result<(), Failure> {
        self.a.start(b"a")?;
        self.b.start(b"b")
    }

    /// Starts both, and side a scans until it has found side b. Returns b's name there.
    fn start_and_find(&mut self) -> Result<u64, Failure> {
        self.start()?;
        self.a.shim.set_scanning(super::ScanMode::Burst);
        self.a.discovered(b"b")
    }

    /// One link from a to b: both handles.
    fn link(&mut self) -> Result<(u64, u64), Failure> {
        let device = self.start_and_find()?;
        self.link_to(device)
    }

    fn link_to(&mut self, device: u64) -> Result<(u64, u64), Failure> {
        let handle = self.a.connect(device);
        self.a.up(handle)?;
        Ok((handle, self.b.incoming()?))
    }

    fn set_in_range(&self, in_range: bool) -> Result<(), Failure> {
        able(self.rig.set_in_range(in_range), "the rig cannot move radios")
    }

    fn set_power(&self, side: usize, on: bool) -> Result<(), Failure> {
        able(self.rig.set_power(side, on), "the rig cannot switch radios off")
    }

    /// Stops both radios and checks what holds always.
    fn finish(&mut self) -> Result<(), Failure> {
        self.a.stop()?;
        self.b.stop()
    }
}

fn able(able: Able, why: &str) -> Result<(), Failure> {
    match able {
        Able::Yes => Ok(()),
        Able::No => Err(Failure::CannotTest(why.to_owned())),
    }
}
