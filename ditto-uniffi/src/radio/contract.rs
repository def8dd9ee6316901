//! The tests of the contract between the library and a radio, for radios in every language.

use std::sync::Arc;
use std::time::Duration;

use ditto::radio::{self as core, conformance};

use crate::app::App;

use super::{Driver, RadioCondition, RadioError, RadioShim};

/// Two radios and what surrounds them: two devices, two simulated controllers, or a radio made of memory.
#[uniffi::export(with_foreign)]
pub trait RadioRig: Send + Sync {
    /// Two radios that are not started and hear each other, and no third one. Called once for a rig.
    fn radios(&self) -> Result<RadioPair, RadioError>;

    /// Puts the radios out of each other's range, or back into it. False when the rig cannot; what needs it is skipped.
    fn set_in_range(&self, in_range: bool) -> Result<bool, RadioError>;

    /// Switches a radio, 0 or 1, off or on, as its user would. False when the rig cannot.
    fn set_power(&self, side: u32, on: bool) -> Result<bool, RadioError>;
}

/// The radios of a rig.
#[derive(uniffi::Record)]
pub struct RadioPair {
    /// Number 0.
    pub a: Arc<dyn RadioShim>,
    /// Number 1.
    pub b: Arc<dyn RadioShim>,
}

/// One line of the contract.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Record)]
pub struct RadioCase {
    /// Its name, for filters and reports.
    pub name: String,
    /// What it demands.
    pub line: String,
}

/// What a case has come to.
#[derive(Clone, Debug, PartialEq, Eq, uniffi::Enum)]
pub enum RadioOutcome {
    /// The radio keeps this line.
    Passed,
    /// The rig cannot bring the situation about.
    Skipped {
        /// Why.
        reason: String,
    },
    /// The radio breaks this line, or one that holds always.
    Failed {
        /// How.
        reason: String,
    },
}

/// Every line of the contract.
#[uniffi::export]
pub fn radio_contract() -> Vec<RadioCase> {
    conformance::cases()
        .map(|case| RadioCase { name: case.name.to_owned(), line: case.line.to_owned() })
        .collect()
}

/// Tests one line of the contract on a fresh rig. It blocks the calling thread.
///
/// The contract allows 60 s for a device that is lost, 20 s for a connect and 2 s for an end; reports that do not come within
/// the patience count as missing. Quiet is how long it listens for reports that must not come, as 150 ms.
#[uniffi::export]
pub fn check_radio(
    case: String,
    rig: Arc<dyn RadioRig>,
    patience_ms: u64,
    quiet_ms: u64,
) -> Result<RadioOutcome, RadioError> {
    let Some(case) = conformance::cases().find(|c| c.name == case) else {
        let reason = format!("the contract has no case {case:?}");
        return Err(RadioError::Unusable { condition: RadioCondition::Failure, reason });
    };
    let rig = Rig {
        radios: rig.radios()?,
        rig,
        patience: Duration::from_millis(patience_ms),
        quiet: Duration::from_millis(quiet_ms),
    };
    Ok(match case.run(&rig) {
        conformance::Outcome::Passed => RadioOutcome::Passed,
        conformance::Outcome::Skipped(reason) => RadioOutcome::Skipped { reason },
        conformance::Outcome::Failed(reason) => RadioOutcome::Failed { reason },
    })
}

fn driver(radio: &Arc<dyn RadioShim>) -> Driver {
    Driver(App::new(radio.clone()))
}

struct Rig {
    radios: RadioPair,
    rig: Arc<dyn RadioRig>,
    patience: Duration,
    quiet: Duration,
}

impl conformance::Rig for Rig {
    fn radios(&self) -> [Arc<dyn core::RadioShim>; 2] {
        [Arc::new(driver(&self.radios.a)), Arc::new(driver(&self.radios.b))]
    }

    fn set_in_range(&self, in_range: bool) -> conformance::Able {
        able("set_in_range", self.rig.set_in_range(in_range))
    }

    fn set_power(&self, side: usize, on: bool) -> conformance::Able {
        able("set_power", self.rig.set_power(u32::from(side != 0), on))
    }

    fn patience(&self) -> Duration {
        self.patience
    }

    fn quiet(&self) -> Duration {
        self.quiet
    }
}

fn able(call: &str, outcome: Result<bool, RadioError>) -> conformance::Able {
    match super::report(call, Some(outcome)) {
        Some(true) => conformance::Able::Yes,
        Some(false) | None => conformance::Able::No,
    }
}
