//! Cases about opening links.

use std::collections::BTreeSet;

use super::super::{EndCode, RadioEvent};
use super::side::{Failure, broken};
use super::{Bench, Case};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "a_connect_opens_one_link_with_two_ends",
        line: "A connect ends in one `link_up`, and in one `incoming` at the other side.",
        run: opens,
    },
    Case {
        name: "both_ends_agree_on_kind_and_profile",
        line: "Both ends of a link have the same profile.",
        run: agree,
    },
    Case {
        name: "a_connect_to_an_unknown_device_fails",
        line: "A connect to a device that was never discovered ends in one `link_failed`.",
        run: unknown,
    },
    Case {
        name: "a_connect_out_of_range_fails",
        line: "A connect to a device that has gone ends in one `link_failed` within 20 s.",
        run: out_of_range,
    },
    Case {
        name: "a_connect_to_a_stopped_radio_fails",
        line: "A radio that was stopped accepts nothing.",
        run: stopped,
    },
    Case {
        name: "a_connect_that_is_closed_ends_once",
        line: "`close` during a connect ends it: one `link_failed`, or one `link_up` and then one `link_down`.",
        run: closed_early,
    },
    Case {
        name: "many_connects_are_all_answered",
        line: "Every connect is answered, also when many are made at once.",
        run: many,
    },
    Case {
        name: "two_radios_may_connect_to_each_other_at_once",
        line: "Connects from both sides at once are two links, or at least end as connects do.",
        run: crossed,
    },
    Case {
        name: "a_radio_may_be_used_again_and_again",
        line: "Handles are not used up: connects and closes go on for ever.",
        run: again,
    },
];

fn opens(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    t.a.never("a second answer", |e| {
        matches!(e, RadioEvent::LinkUp { handle, .. } | RadioEvent::LinkFailed { handle, .. } if *handle == near)
    })?;
    t.b.never("a second incoming", |e| matches!(e, RadioEvent::Incoming { .. }))?;
    t.b.profile(far).map(drop)
}

fn agree(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    let (a, b) = (t.a.profile(near)?.0, t.b.profile(far)?.0);
    if a == b { Ok(()) } else { broken(format!("one end has the {a:?} profile, the other {b:?}")) }
}

fn unknown(t: &mut Bench<'_>) -> Result<(), Failure> {
    t.start()?;
    let handle = t.a.connect(u64::MAX - 1);
    t.a.failed(handle).map(drop)
}

fn out_of_range(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    t.set_in_range(false)?;
    let handle = t.a.connect(device);
    t.a.failed(handle).map(drop)
}

fn stopped(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    t.b.stop()?;
    let handle = t.a.connect(device);
    t.a.failed(handle).map(drop)
}

/// How a connect ended.
fn answer(t: &mut Bench<'_>, handle: u64) -> Result<Option<EndCode>, Failure> {
    t.a.find("answer to a connect", |event| match event {
        RadioEvent::LinkUp { handle: h, .. } if *h == handle => Some(None),
        RadioEvent::LinkFailed { handle: h, code } if *h == handle => Some(Some(*code)),
        _ => None,
    })
}

fn closed_early(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    for _ in 0..10 {
        let handle = t.a.connect(device);
        t.a.shim.close(handle);
        if answer(t, handle)?.is_none() {
            t.a.down(handle)?;
        }
    }
    t.link_to(device).map(drop)
}

fn many(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    let handles: BTreeSet<u64> = (0..16).map(|_| t.a.connect(device)).collect();
    for handle in handles {
        // A radio may have room for fewer; what counts is the answer.
        if answer(t, handle)?.is_none() {
            t.a.shim.close(handle);
            t.a.down(handle)?;
        }
    }
    Ok(())
}

fn crossed(t: &mut Bench<'_>) -> Result<(), Failure> {
    let to_b = t.start_and_find()?;
    t.b.shim.set_scanning(super::super::ScanMode::Burst);
    let to_a = t.b.discovered(b"a")?;
    let (one, other) = (t.a.connect(to_b), t.b.connect(to_a));
    answer(t, one)?;
    t.b.find("answer to a connect", |event| match event {
        RadioEvent::LinkUp { handle, .. } | RadioEvent::LinkFailed { handle, .. } if *handle == other => {
            Some(())
        }
        _ => None,
    })
}

fn again(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    for _ in 0..50 {
        let (near, far) = t.link_to(device)?;
        t.a.shim.close(near);
        t.a.down(near)?;
        t.b.down(far)?;
    }
    Ok(())
}
