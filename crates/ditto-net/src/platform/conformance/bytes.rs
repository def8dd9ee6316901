//! Cases about bytes on a link.

use std::thread;

use super::super::{Profile, SendResult};
use super::side::{Failure, Side, broken};
use super::{Bench, Case};

/// More than any radio has buffers for.
const MUCH: usize = 256 << 10;
/// Packets of one round.
const PACKETS: u32 = 200;

pub(super) const CASES: &[Case] = &[
    Case {
        name: "bytes_arrive_in_order",
        line: "Bytes arrive in order. On a stream none is lost; a packet arrives whole, unchanged, at most once, or not at all.",
        run: |t| {
            let (near, far) = t.link()?;
            carry(&mut t.a, near, &mut t.b, far)
        },
    },
    Case {
        name: "bytes_arrive_in_order_the_other_way",
        line: "The same holds from the accepting side to the connecting one.",
        run: |t| {
            let (near, far) = t.link()?;
            carry(&mut t.b, far, &mut t.a, near)
        },
    },
    Case {
        name: "both_directions_work_at_once",
        line: "Neither direction of a link waits for the other.",
        run: both_ways,
    },
    Case {
        name: "busy_is_followed_by_writable",
        line: "`Busy` takes nothing, and `writable` follows as soon as there is room.",
        run: busy,
    },
    Case {
        name: "the_largest_write_is_taken",
        line: "A send of `max_write` bytes is taken: as one packet on a packet link, at least in part on a stream.",
        run: largest,
    },
    Case {
        name: "single_bytes_are_taken",
        line: "A send of one byte is taken, and arrives without waiting for more.",
        run: single,
    },
    Case { name: "an_empty_send_is_harmless", line: "A send of no bytes changes nothing.", run: empty },
    Case {
        name: "links_do_not_mix",
        line: "Two links at once carry their own bytes. Calls about them may come from any thread.",
        run: two_links,
    },
];

fn pattern(len: usize, salt: u8) -> Vec<u8> {
    (0..len as u64).map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0] ^ salt).collect()
}

/// Carries bytes one way, as the profile of the link promises.
fn carry(from: &mut Side, sender: u64, to: &mut Side, receiver: u64) -> Result<(), Failure> {
    match from.profile(sender)? {
        (Profile::Stream, _) => {
            let data = pattern(MUCH, 0);
            from.send_all(sender, &data)?;
            take(to, receiver, &data)
        }
        (Profile::Packet, max_write) => {
            for number in 0..PACKETS {
                from.send_all(sender, &packet(number, max_write))?;
            }
            packets(to, receiver, max_write)
        }
    }
}

/// Receives exactly `data` on a stream.
fn take(side: &mut Side, handle: u64, data: &[u8]) -> Result<(), Failure> {
    let mut at = 0;
    while at < data.len() {
        let bytes = side.received(handle)?;
        match data.get(at..at + bytes.len()) {
            Some(expected) if expected == bytes => at += bytes.len(),
            _ => return broken(format!("{}: bytes differ at about {at} of {}", side.name, data.len())),
        }
    }
    Ok(())
}

/// A packet that says which one it is, of some size.
fn packet(number: u32, max_write: usize) -> Vec<u8> {
    let len = 4 + (number as usize * 37) % (max_write - 3);
    let mut packet = number.to_be_bytes().to_vec();
    packet.extend(pattern(len - 4, number as u8));
    packet
}

/// Receives packets in order; some may be missing, but not all.
fn packets(side: &mut Side, handle: u64, max_write: usize) -> Result<(), Failure> {
    let mut last = None;
    let mut count = 0;
    while let Some(bytes) = next_packet(side, handle)? {
        let number = bytes.get(..4).and_then(|b| b.try_into().ok()).map(u32::from_be_bytes);
        let Some(number) = number.filter(|n| *n < PACKETS && bytes == packet(*n, max_write)) else {
            return broken(format!("{}: a packet of {} bytes was changed", side.name, bytes.len()));
        };
        if last.is_some_and(|last| number <= last) {
            return broken(format!("{}: packet {number} after packet {last:?}", side.name));
        }
        last = Some(number);
        count += 1;
        if number == PACKETS - 1 {
            break;
        }
    }
    // A radio that loses more than half of its packets is broken, whatever it is made of.
    if count * 2 < PACKETS {
        broken(format!("{}: only {count} of {PACKETS} packets arrived", side.name))
    } else {
        Ok(())
    }
}

/// The next packet, unless there is none: those at the end may be lost.
fn next_packet(side: &mut Side, handle: u64) -> Result<Option<Vec<u8>>, Failure> {
    use super::super::RadioEvent;
    let is_ours =
        |event: &RadioEvent| matches!(event, RadioEvent::Received { handle: h, .. } if *h == handle);
    for _ in 0..10 {
        if side.seen.iter().any(is_ours) {
            return side.received(handle).map(Some);
        }
        side.listen();
    }
    Ok(None)
}

fn both_ways(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    let (profile, max_write) = t.a.profile(near)?;
    let (there, back) = (pattern(MUCH / 4, 1), pattern(MUCH / 4, 2));
    let (mut sent, mut returned) = (0, 0);
    let len = if profile == Profile::Packet { there.len() / 8 } else { there.len() };
    let mut stuck = false;
    while sent < len || returned < len {
        let before = sent + returned;
        sent += push(&mut t.a, near, &there[sent..len], max_write)?;
        returned += push(&mut t.b, far, &back[returned..len], max_write)?;
        if sent + returned == before {
            // Both are busy: nothing is read before the reports say so.
            if stuck {
                if sent < len { t.a.writable(near)? } else { t.b.writable(far)? }
            }
            t.a.listen();
            t.b.listen();
        }
        stuck = sent + returned == before;
    }
    if profile == Profile::Stream {
        take(&mut t.b, far, &there)?;
        take(&mut t.a, near, &back)?;
    }
    Ok(())
}

/// One send of what is left; 0 when busy.
fn push(side: &mut Side, handle: u64, bytes: &[u8], max_write: usize) -> Result<usize, Failure> {
    if bytes.is_empty() {
        return Ok(0);
    }
    side.forget_writable();
    let piece = &bytes[..bytes.len().min(max_write)];
    Ok(side.send_once(handle, piece)?.unwrap_or(0))
}

fn busy(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, _) = t.link()?;
    let (_, max_write) = t.a.profile(near)?;
    let data = pattern(max_write, 3);
    let mut storms = 0;
    // Fast radios are never busy; then there is nothing to prove.
    for _ in 0..4096 {
        t.a.forget_writable();
        if t.a.send_once(near, &data)?.is_none() {
            t.a.writable(near)?;
            storms += 1;
            if storms == 5 {
                break;
            }
        }
    }
    Ok(())
}

fn largest(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    let (profile, max_write) = t.a.profile(near)?;
    let data = pattern(max_write, 4);
    // A packet may be lost; not always.
    for _ in 0..20 {
        t.a.send_all(near, &data)?;
        match profile {
            Profile::Stream => return take(&mut t.b, far, &data),
            Profile::Packet => match next_packet(&mut t.b, far)? {
                Some(packet) if packet == data => return Ok(()),
                Some(packet) => return broken(format!("{} of {max_write} bytes arrived", packet.len())),
                None => {}
            },
        }
    }
    broken("no packet of the largest size arrived")
}

fn single(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    let (profile, _) = t.a.profile(near)?;
    for byte in 0..20 {
        t.a.send_all(near, &[byte])?;
        match profile {
            Profile::Stream => take(&mut t.b, far, &[byte])?,
            Profile::Packet => {
                if next_packet(&mut t.b, far)?.is_some() {
                    return Ok(());
                }
            }
        }
    }
    if profile == Profile::Packet { broken("no packet of one byte arrived") } else { Ok(()) }
}

fn empty(t: &mut Bench<'_>) -> Result<(), Failure> {
    let (near, far) = t.link()?;
    match t.a.shim.send(near, Vec::new()) {
        SendResult::Accepted { bytes: 0 } | SendResult::Busy => {}
        SendResult::Accepted { bytes } => return broken(format!("{bytes} of no bytes accepted")),
    }
    t.a.forget_writable();
    carry(&mut t.a, near, &mut t.b, far)
}

fn two_links(t: &mut Bench<'_>) -> Result<(), Failure> {
    let device = t.start_and_find()?;
    let (one, far_one) = t.link_to(device)?;
    let handle = t.a.connect(device);
    // A radio may allow one link between two devices only.
    if t.a.up(handle).is_err() {
        return Err(Failure::CannotTest("the radio opens one link to a device only".to_owned()));
    }
    let far_two = t.b.incoming()?;
    let (profile, max_write) = t.a.profile(one)?;
    if profile == Profile::Packet {
        t.a.send_all(one, &packet(1, max_write))?;
        t.a.send_all(handle, &packet(2, max_write))?;
        for (far, number) in [(far_one, 1), (far_two, 2)] {
            if next_packet(&mut t.b, far)?.is_some_and(|bytes| bytes != packet(number, max_write)) {
                return broken("a packet arrived on the wrong link");
            }
        }
        return Ok(());
    }
    let data = [pattern(2000, 5), pattern(2000, 6)];
    let shim = t.a.shim.clone();
    let accepted: Vec<usize> = thread::scope(|scope| {
        let threads: Vec<_> = [(one, &data[0]), (handle, &data[1])]
            .into_iter()
            .map(|(handle, data)| {
                let shim = shim.clone();
                scope.spawn(move || match shim.send(handle, data[..data.len().min(max_write)].to_vec()) {
                    SendResult::Accepted { bytes } => bytes as usize,
                    SendResult::Busy => 0,
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap_or(0)).collect()
    });
    for ((far, data), accepted) in [far_one, far_two].into_iter().zip(&data).zip(accepted) {
        take(&mut t.b, far, &data[..accepted])?;
    }
    Ok(())
}
