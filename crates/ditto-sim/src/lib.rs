//! Deterministic simulation of whole peers.
//!
//! One seed is one run: some peers, each with the real mesh, Bus and replication machines and the real store on disk, wired as
//! the SDK wires them, on virtual time and a virtual network. A run makes a schedule of what users and the world do (writes,
//! subscriptions, broken links, partitions, wrong clocks, killed processes, power cuts, restored and copied stores), carries
//! it out, and checks the promises whenever everything has come to rest. The same seed gives the same run, byte for byte.
//!
//! | module | owns |
//! |---|---|
//! | `schedule`, `steps` | what happens, as data, and carrying it out |
//! | `world`, `process`, `adapter` | time, peers, the wiring of their parts, rules that can be broken on purpose |
//! | `network`, `disk`, `clock`, `crypto` | links, files, time and randomness of the devices |
//! | `check`, `pairs`, `log`, `trace` | the promises, and the record of a run |
//! | `run`, `shrink`, `regressions` | one run, the steps of it that matter, the runs that once failed |
//! | `swarm`, `slow` | many peers without stores; a slow link |

mod adapter;
mod check;
mod clock;
mod crypto;
mod disk;
mod log;
mod network;
mod pairs;
mod process;
mod regressions;
mod run;
mod schedule;
mod shrink;
mod slow;
mod steps;
mod swarm;
mod trace;
mod world;

pub use adapter::{Fault, Faults};
pub use regressions::{Regression, regressions};
pub use run::{Report, RunOptions, run};
pub use schedule::{LinkClass, Schedule, Step, What};
pub use shrink::shrink;
pub use slow::{SlowReport, slow_link};
pub use swarm::{SwarmOptions, SwarmReport, swarm};
pub use world::{Broken, Stats};
