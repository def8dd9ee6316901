//! Cases about advertising and scanning.

use super::super::{ConditionCode, RadioEvent, ScanMode};
use super::side::{Failure, broken};
use super::{Bench, Case};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "advertised_payloads_are_discovered",
        line: "What one radio advertises, a scanning one reports, byte for byte.",
        run: |t| t.start_and_find().map(drop),
    },
    Case {
        name: "both_sides_discover_each_other",
        line: "A radio advertises and scans at the same time.",
        run: both,
    },
    Case {
        name: "without_scanning_nothing_is_discovered",
        line: "Scanning is off until it is asked for.",
        run: without_scanning,
    },
    Case {
        name: "a_new_payload_is_discovered_again",
        line: "`set_advertising` replaces the payload, and others report the new one.",
        run: new_payload,
    },
    Case {
        name: "what_is_not_advertised_any_more_is_lost",
        line: "`set_advertising(None)` ends the advertisement, and others report the device as lost.",
        run: no_payload,
    },
    Case {
        name: "a_device_out_of_range_is_lost_and_found_again",
        line: "A device that has gone is reported as lost within 60 s, and is discovered again when it is back.",
        run: out_of_range,
    },
    Case {
        name: "conditions_are_reported",
        line: "A radio that is switched off or on says so by `condition`.",
        run: conditions,
    },
];

fn both(t: &mut Bench<'_>) -> Result<(), Failure> {
    t.start()?;
    t.a.shim.set_scanning(ScanMode::Low);
    t.b.shim.set_scanning(ScanMode::Burst);
    t.a.discovered(b"b")?;
    t.b.discovered(b"a").map(drop)
}

fn without_scanning(t: &mut Bench<'_>) -> Result<(), Failure> {
    t.start()?;
    t.b.never("discovered without scanning", |e| matches!(e, RadioEvent::Discovered { .. }))?;
    t.a.shim.set_scanning(ScanMode::Burst);
    t.a.discovered(b"b")?;
    t.a.never("discovered itself", |e| matches!(e, RadioEvent::Discovered { payload, .. } if payload == b"a"))
}

fn new_payload(t: &mut Bench<'_>) -> Result<(), Failure> {
    t.start_and_find()?;
    t.b.shim.set_advertising(Some(b"other".to_vec()));
    let device = t.a.discovered(b"other")?;
    t.link_to(device).map(drop)
}

fn no_payload(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    t.b.shim.set_advertising(None);
    t.a.lost(device)
}

fn out_of_range(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    t.set_in_range(false)?;
    t.a.lost(device)?;
    t.set_in_range(true)?;
    let device = t.a.discovered(b"b")?;
    t.link_to(device).map(drop)
}

fn conditions(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    t.link_to(device)?;
    for on in [false, true] {
        t.set_power(0, on)?;
        let code = t.a.find("condition", |event| match event {
            RadioEvent::Condition { code, .. } => Some(*code),
            _ => None,
        })?;
        if (code == ConditionCode::Ok) != on {
            return broken(format!(
                "condition {code:?} when the radio is switched {}",
                if on { "on" } else { "off" }
            ));
        }
    }
    let device = t.a.discovered(b"b")?;
    t.link_to(device).map(drop)
}
