//! Cases about the end of links and of the radio.

use super::super::{Profile, RadioEvent, SendResult};
use super::side::{Failure, broken};
use super::{Bench, Case};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "close_ends_both_ends_once",
        line: "`close` ends in one `link_down` at either side.",
        run: close,
    },
    Case {
        name: "what_was_accepted_is_sent_before_the_end",
        line: "On a stream `close` comes after the bytes that were accepted before.",
        run: last_words,
    },
    Case { name: "the_accepting_side_may_close", line: "Either side may close a link.", run: close_far },
    Case {
        name: "a_lost_link_goes_down",
        line: "A link whose radios cannot hear each other any more ends in one `link_down` at either side.",
        run: cut,
    },
    Case {
        name: "closing_again_changes_nothing",
        line: "`close` of a handle that has ended, or never was, is ignored.",
        run: close_again,
    },
    Case {
        name: "sending_after_the_end_changes_nothing",
        line: "`send` for a handle that is not up answers `Busy`, and no `writable` follows.",
        run: send_after,
    },
    Case {
        name: "a_radio_that_is_switched_off_ends_its_links",
        line: "Links end when the radio is switched off.",
        run: power,
    },
    Case {
        name: "stop_ends_everything",
        line: "`stop` ends every link and connect within 2 s, and then there is silence.",
        run: stop,
    },
    Case {
        name: "a_stopped_radio_starts_again",
        line: "A radio that was stopped may be started again.",
        run: restart,
    },
    Case {
        name: "stopping_twice_is_harmless",
        line: "`stop` may be called at any time, also before `start`.",
        run: stop_twice,
    },
];

fn close(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    t.a.shim.close(near);
    t.a.down(near)?;
    t.b.down(far)?;
    t.a.never("a second link_down", |e| matches!(e, RadioEvent::LinkDown { .. }))
}

fn close_far(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    t.b.shim.close(far);
    t.b.down(far)?;
    t.a.down(near).map(drop)
}

fn last_words(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    if t.a.profile(near)?.0 == Profile::Packet {
        return Err(Failure::CannotTest("packets may be lost".to_owned()));
    }
    let data: Vec<u8> = (0..2000_u32).map(|i| (i % 253) as u8).collect();
    t.a.send_all(near, &data)?;
    t.a.shim.close(near);
    let mut arrived = Vec::new();
    while arrived.len() < data.len() {
        arrived.extend(t.b.received(far)?);
    }
    t.b.down(far)?;
    if arrived == data { Ok(()) } else { broken("the last bytes were changed") }
}

fn cut(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    t.set_in_range(false)?;
    t.a.down(near)?;
    t.b.down(far).map(drop)
}

fn close_again(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    t.a.shim.close(near);
    t.a.shim.close(near);
    t.a.down(near)?;
    t.b.down(far)?;
    t.a.shim.close(near);
    t.b.shim.close(far);
    t.a.shim.close(424_242);
    for side in [&mut t.a, &mut t.b] {
        side.never("a report about an ended link", |e| {
            matches!(e, RadioEvent::LinkDown { .. } | RadioEvent::LinkFailed { .. })
        })?;
    }
    Ok(())
}

fn send_after(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    t.a.shim.close(near);
    t.a.down(near)?;
    t.b.down(far)?;
    for (at_a, handle) in [(true, near), (false, far), (true, 424_242)] {
        let side = if at_a { &mut t.a } else { &mut t.b };
        side.forget_writable();
        if side.shim.send(handle, vec![1]) != SendResult::Busy {
            return broken(format!("{}: a send to a link that is gone was accepted", side.name));
        }
        side.never("writable of a link that is gone", |e| matches!(e, RadioEvent::Writable { .. }))?;
    }
    Ok(())
}

fn power(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    t.set_power(0, false)?;
    t.a.down(near)?;
    t.b.down(far)?;
    t.set_power(0, true)
}

fn stop(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    let (_, far) = t.link_to(device)?;
    t.a.connect(device);
    t.a.stop()?;
    t.b.down(far).map(drop)
}

fn restart(t: &mut Bench<'_>) -> Result<(), Failure> {
    t.link()?;
    t.a.stop()?;
    t.b.stop()?;
    let device = t.start_and_find()?;
    t.link_to(device).map(drop)
}

fn stop_twice(t: &mut Bench<'_>) -> Result<(), Failure> {
    t.a.shim.stop();
    t.start_and_find()?;
    t.a.shim.stop();
    t.a.shim.stop();
    t.start_and_find().map(drop)
}
