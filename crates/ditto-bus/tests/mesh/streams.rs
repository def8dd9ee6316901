//! Streams over meshes that lose hops, with readers that do not read.

use ditto_bus::{
    Action, Batch, BusError, Input, MAX_RELIABLE, MAX_UNRELIABLE, OpenError, Reliability, StreamEnd,
    StreamFailure, StreamId,
};

use crate::harness::identity;
use crate::world::{BusWorld, line};

const DIAMOND: [(usize, usize); 4] = [(0, 1), (1, 3), (0, 2), (2, 3)];

fn numbered(i: u64) -> Vec<u8> {
    let mut bytes = i.to_le_bytes().to_vec();
    bytes.resize(8 + (i % 50) as usize, i as u8);
    bytes
}

/// Enqueues messages one after the other, as fast as they are accepted.
fn flood(w: &mut BusWorld, node: usize, stream: StreamId, count: u64) {
    for i in 0..count {
        w.enqueue(node, stream, numbered(i));
        w.run_until(60_000, |w| {
            w.nodes[node].log.last().is_some() && w.nodes[node].enqueued(stream).len() as u64 > i
        });
    }
}

fn nothing_is_left(w: &BusWorld) {
    for (i, n) in w.nodes.iter().enumerate() {
        let s = w.w.nodes[i].mesh.circuit_stats();
        assert_eq!((n.bus.in_use(), s.relayed, s.ends, s.held), (0, 0, 0, 0), "node {i}");
    }
}

#[test]
fn messages_keep_their_boundaries_both_ways_over_one_and_over_three_hops() {
    for hops in [1, 3] {
        let mut w = BusWorld::new(hops + 1, &line(hops + 1));
        let (here, there) = w.open(0, hops, Reliability::Reliable);
        let sent = [vec![], b"hello".to_vec(), vec![7; MAX_RELIABLE], vec![1]];
        for m in &sent {
            w.enqueue(0, here, m.clone());
            w.run(2_000);
        }
        w.enqueue(hops, there, b"answer".to_vec());
        w.run(1_000);
        assert_eq!(w.nodes[hops].received(there), sent.iter().map(|m| &m[..]).collect::<Vec<_>>());
        assert_eq!(w.nodes[0].received(here), [b"answer"]);
        assert_eq!(w.nodes[0].enqueued(here), [1, 2, 3, 4]);
        assert_eq!(w.nodes[0].acknowledged(here).last(), Some(&4));
        let stats = w.nodes[0].bus.stream_stats(here).unwrap();
        assert_eq!((stats.messages_sent, stats.messages_received, stats.bytes_received), (4, 1, 6));
        assert_eq!((stats.messages_in_flight, stats.bytes_in_flight), (0, 0));
        assert!(stats.round_trip.is_some());
        // What was accepted before the end arrives.
        w.enqueue(0, here, b"last".to_vec());
        w.input(0, Input::Close { stream: here });
        w.run(10_000);
        assert_eq!(w.nodes[hops].received(there).last(), Some(&&b"last"[..]));
        assert_eq!(w.nodes[0].end_of(here), Some(StreamEnd::ClosedByLocal));
        assert_eq!(w.nodes[hops].end_of(there), Some(StreamEnd::ClosedByRemote));
        nothing_is_left(&w);
    }
}

#[test]
fn a_hop_dies_under_a_stream_and_nothing_is_lost_doubled_or_swapped() {
    let mut w = BusWorld::new(4, &DIAMOND);
    let (here, there) = w.open(0, 3, Reliability::Reliable);
    flood(&mut w, 0, here, 300);
    let relay = if w.w.nodes[1].mesh.circuit_stats().relayed > 0 { 1 } else { 2 };
    w.w.break_links(relay, 0);
    w.w.cut.insert((relay, 0));
    w.w.cut.insert((relay, 3));
    flood(&mut w, 0, here, 300);
    w.run_until(60_000, |w| w.nodes[3].received(there).len() == 600);
    let got: Vec<Vec<u8>> = w.nodes[3].received(there).into_iter().map(<[u8]>::to_vec).collect();
    let want: Vec<Vec<u8>> = (0..300).chain(0..300).map(numbered).collect();
    assert_eq!(got, want);
    w.run(1_000);
    let acks = w.nodes[0].acknowledged(here);
    assert!(acks.windows(2).all(|p| p[0] < p[1]), "cumulative acknowledgements grow");
    assert_eq!(acks.last(), Some(&600));
}

/// Small messages that wait together travel together: one acknowledgement, one word, and boundaries are kept.
#[test]
fn messages_that_wait_together_are_handed_on_in_numbers() {
    let mut w = BusWorld::new(3, &line(3));
    let (here, there) = w.open(0, 2, Reliability::Reliable);
    let messages: Vec<Vec<u8>> = (0..100).map(|i| numbered(i)[..8].repeat(i as usize % 9)).collect();
    let mut batch = Batch::from(messages[0].clone());
    for m in &messages[1..] {
        assert_eq!(batch.push(m.clone()), Ok(()));
    }
    let bytes = batch.bytes();
    w.input(0, Input::Enqueue { stream: here, batch });
    assert_eq!(w.nodes[0].enqueued(here), [100], "the number of the last");
    w.run(1_000);
    assert_eq!(w.nodes[2].received(there), messages);
    assert_eq!(w.nodes[0].acknowledged(here), [100]);
    assert_eq!(w.nodes[0].settled, (100, bytes));
    let stats = (w.nodes[0].bus.stream_stats(here).unwrap(), w.nodes[2].bus.stream_stats(there).unwrap());
    assert_eq!(
        (stats.0.messages_sent, stats.0.bytes_sent, stats.0.messages_in_flight),
        (100, bytes as u64, 0)
    );
    assert_eq!((stats.1.messages_received, stats.1.bytes_received), (100, bytes as u64));
    // Unreliable ones have a datagram each.
    let (here, there) = w.open(0, 2, Reliability::Unreliable);
    let mut batch = Batch::from(vec![1; 10]);
    assert_eq!(batch.push(vec![2; 20]), Ok(()));
    w.input(0, Input::Enqueue { stream: here, batch });
    w.run(1_000);
    assert_eq!(w.nodes[2].received(there), [&[1; 10][..], &[2; 20]]);
    assert_eq!(w.nodes[0].enqueued(here), [2]);
}

/// More than a window of them, to a reader that does not read: what is held is bounded by bytes.
#[test]
fn a_flood_in_numbers_stops_at_the_window() {
    let mut w = BusWorld::new(2, &line(2));
    w.nodes[1].takes = false;
    let (here, there) = w.open(0, 1, Reliability::Reliable);
    let mut sent = 0;
    loop {
        let mut batch = Batch::from(vec![7; 64]);
        while batch.push(vec![7; 64]).is_ok() {}
        sent += batch.len();
        w.input(0, Input::Enqueue { stream: here, batch });
        w.run(100);
        if w.nodes[0].enqueued(here).last() != Some(&(sent as u64)) {
            break;
        }
    }
    let held = w.nodes[1].received(there).len();
    assert!(held * 65 <= 128 << 10, "{held} messages of 64 bytes are held");
    assert!(w.nodes[0].bus.stream_stats(here).unwrap().messages_in_flight <= 8_192);
    w.nodes[1].takes = true;
    // The kinds of batches that were taken in part count later.
    w.input(1, Input::Taken { stream: there, messages: held, bytes: held * 65 });
    w.run(2_000);
    assert_eq!(w.nodes[1].received(there).len(), sent);
}

#[test]
fn a_reader_that_does_not_read_stops_the_sender_and_nobody_else() {
    let mut w = BusWorld::new(4, &line(4));
    let (slow, slow_there) = w.open(0, 3, Reliability::Reliable);
    let (fast, fast_there) = w.open(0, 3, Reliability::Reliable);
    w.nodes[3].takes = false;
    let mut accepted = 0;
    for i in 0..100u64 {
        w.enqueue(0, slow, vec![i as u8; 16 << 10]);
        w.run(50);
        accepted = w.nodes[0].enqueued(slow).len();
        if accepted as u64 == i {
            break;
        }
    }
    // 512 KiB on the way, 128 KiB and a message held there.
    assert!(accepted <= 42, "{accepted} messages of 16 KiB were accepted");
    // The stream says so when it is asked again.
    w.enqueue(0, slow, vec![1]);
    let early = Action::Enqueued { stream: slow, result: Err(BusError::SendBeforeCompletion) };
    assert_eq!(w.nodes[0].log.last(), Some(&early));
    let stats = w.nodes[0].bus.stream_stats(slow).unwrap();
    assert!(stats.bytes_in_flight <= 512 << 10, "{stats:?}");
    for relay in [1, 2] {
        let stats = w.w.nodes[relay].mesh.circuit_stats();
        assert!(stats.held <= 2 * (128 << 10) && stats.peak <= 128 << 10, "relay {relay}: {stats:?}");
    }
    // Another stream of the same two peers is not held up.
    w.enqueue(0, fast, b"past".to_vec());
    w.run(100);
    assert_eq!(w.nodes[3].received(fast_there), [b"past"]);
    // Once the app reads, all goes on.
    let held = w.nodes[3].received(slow_there).len();
    w.nodes[3].takes = true;
    w.input(3, Input::Taken { stream: slow_there, messages: held, bytes: held * ((16 << 10) + 1) });
    w.run(2_000);
    assert_eq!(w.nodes[0].enqueued(slow).len(), accepted + 1);
    assert_eq!(w.nodes[3].received(slow_there).len(), accepted + 1);
}

#[test]
fn sizes_are_checked_to_the_byte() {
    let mut w = BusWorld::new(2, &line(2));
    for (reliability, limit) in
        [(Reliability::Reliable, MAX_RELIABLE), (Reliability::Unreliable, MAX_UNRELIABLE)]
    {
        let (here, there) = w.open(0, 1, reliability);
        w.enqueue(0, here, vec![3; limit + 1]);
        let refused = BusError::PayloadTooLarge { size: limit + 1, limit };
        assert_eq!(w.nodes[0].log.last(), Some(&Action::Enqueued { stream: here, result: Err(refused) }));
        w.enqueue(0, here, vec![3; limit]);
        w.run(1_000);
        assert_eq!(w.nodes[1].received(there), [&vec![3; limit][..]]);
    }
}

fn meet(w: &mut BusWorld, node: usize, with: usize, label: &str, stream: u64) -> StreamId {
    let (own, peer) = (w.w.nodes[node].key, w.w.nodes[with].key);
    let stream = StreamId(stream);
    let (reliability, label) = (Reliability::Reliable, label.to_owned());
    w.input(node, Input::Meet { stream, peer, reliability, label, opens: own < peer });
    stream
}

#[test]
fn both_ends_ask_for_a_stream_and_there_is_one() {
    // At once, and either of them first: before the other end's word is there, and after.
    for (first, pause) in [(0, 0), (2, 0), (0, 500), (2, 500)] {
        let mut w = BusWorld::new(3, &line(3));
        // Nobody takes streams that are not asked for.
        w.input(0, Input::SetAccepting(false));
        w.input(2, Input::SetAccepting(false));
        let second = 2 - first;
        let one = meet(&mut w, first, second, "chat", 100);
        w.run(pause);
        assert!(!w.nodes[first].is_open(one));
        let other = meet(&mut w, second, first, "chat", 200);
        w.run(1_000);
        assert!(w.nodes[first].is_open(one) && w.nodes[second].is_open(other), "{first} {pause}");
        assert!(w.nodes[first].incoming().is_empty() && w.nodes[second].incoming().is_empty());
        w.enqueue(first, one, b"hello".to_vec());
        w.enqueue(second, other, b"you too".to_vec());
        w.run(1_000);
        assert_eq!(w.nodes[second].received(other), [b"hello"]);
        assert_eq!(w.nodes[first].received(one), [b"you too"]);
        w.input(first, Input::Close { stream: one });
        w.run(10_000);
        assert_eq!(w.nodes[second].end_of(other), Some(StreamEnd::ClosedByRemote));
        nothing_is_left(&w);
    }
}

#[test]
fn who_is_not_met_hears_of_it_after_10_s() {
    let mut w = BusWorld::new(3, &line(3));
    // Another label is another stream, and a stream that only one end asks for is for nobody else.
    let (one, other) = (meet(&mut w, 0, 2, "chat", 100), meet(&mut w, 2, 0, "talk", 200));
    let twice = meet(&mut w, 2, 0, "talk", 200);
    assert_eq!(w.nodes[2].open_failure(twice), Some(OpenError::BadId));
    w.run(9_900);
    assert!(w.nodes[0].open_failure(one).is_none() && w.nodes[0].incoming().is_empty());
    w.run(200);
    assert_eq!(w.nodes[0].open_failure(one), Some(OpenError::TimedOut));
    assert!(w.nodes[2].log.contains(&Action::OpenFailed { stream: other, reason: OpenError::TimedOut }));
    // Whoever waits or opens may think better of it.
    for (node, with) in [(0, 2), (2, 0)] {
        let stream = meet(&mut w, node, with, "chat", 300);
        w.input(node, Input::Close { stream });
        assert_eq!(w.nodes[node].open_failure(stream), Some(OpenError::Cancelled));
    }
    w.run(30_000);
    nothing_is_left(&w);
}

#[test]
fn both_ends_close_at_once_and_each_hears_of_it_once() {
    let mut w = BusWorld::new(3, &line(3));
    let (here, there) = w.open(0, 2, Reliability::Reliable);
    w.input(0, Input::Close { stream: here });
    w.input(2, Input::Close { stream: there });
    w.run(10_000);
    assert_eq!(w.nodes[0].end_of(here), Some(StreamEnd::ClosedByLocal));
    assert_eq!(w.nodes[2].end_of(there), Some(StreamEnd::ClosedByLocal));
    // A stream that is gone takes nothing.
    w.enqueue(0, here, vec![1]);
    let refused = Action::Enqueued { stream: here, result: Err(BusError::StreamClosed) };
    assert_eq!(w.nodes[0].log.last(), Some(&refused));
    nothing_is_left(&w);
}

#[test]
fn a_close_that_cannot_finish_ends_after_5_s_and_an_abort_at_once() {
    let mut w = BusWorld::new(2, &line(2));
    w.nodes[1].takes = false;
    let (here, there) = w.open(0, 1, Reliability::Reliable);
    w.enqueue(0, here, vec![0; MAX_RELIABLE]);
    w.enqueue(0, here, vec![0; MAX_RELIABLE]);
    w.input(0, Input::Close { stream: here });
    let begin = w.w.now;
    w.run(4_900);
    let ended = w.nodes[0].end_of(here);
    w.run(10_000);
    assert_eq!(w.nodes[0].end_of(here), Some(StreamEnd::ClosedByLocal), "{ended:?} {begin}");
    assert_eq!(w.nodes[1].end_of(there), Some(StreamEnd::ClosedByRemote));
    let (here, there) = w.open(0, 1, Reliability::Reliable);
    w.enqueue(0, here, vec![0; MAX_RELIABLE]);
    w.input(0, Input::Abort { stream: here });
    assert_eq!(w.nodes[0].end_of(here), Some(StreamEnd::ClosedByLocal));
    w.run(10_000);
    assert_eq!(w.nodes[1].end_of(there), Some(StreamEnd::ClosedByRemote));
    nothing_is_left(&w);
}

#[test]
fn streams_are_refused_without_a_delegate_and_their_failures_are_typed() {
    let mut w = BusWorld::new(3, &line(3));
    w.input(2, Input::SetAccepting(false));
    let refused = w.ask(0, 2, Reliability::Reliable);
    w.run(1_000);
    assert_eq!(w.nodes[0].open_failure(refused), Some(OpenError::Refused));
    let to = identity(77).peer_key();
    let nobody = StreamId(100);
    w.input(0, Input::Open { stream: nobody, to, reliability: Reliability::Reliable, label: String::new() });
    assert_eq!(w.nodes[0].open_failure(nobody), Some(OpenError::NoRoute));
    let long = StreamId(102);
    w.input(0, Input::Open { stream: long, to, reliability: Reliability::Reliable, label: "x".repeat(129) });
    assert_eq!(w.nodes[0].open_failure(long), Some(OpenError::LabelTooLong));
    // Bytes vanish, and nobody answers.
    w.w.cut.insert((1, 2));
    let begin = w.w.now;
    let silent = w.ask(0, 2, Reliability::Reliable);
    w.run_until(20_000, |w| w.nodes[0].open_failure(silent).is_some());
    assert_eq!(w.nodes[0].open_failure(silent), Some(OpenError::TimedOut));
    assert_eq!(w.w.now - begin, 10_000);
}

#[test]
fn a_hundred_streams_run_side_by_side() {
    let mut w = BusWorld::new(2, &line(2));
    w.nodes[1].takes = false;
    let pairs: Vec<_> = (0..100).map(|_| w.open(0, 1, Reliability::Reliable)).collect();
    // The first is stuck.
    w.enqueue(0, pairs[0].0, vec![0; MAX_RELIABLE]);
    w.enqueue(0, pairs[0].0, vec![0; MAX_RELIABLE]);
    w.run(1_000);
    for (n, (here, _)) in pairs.iter().enumerate().skip(1) {
        w.enqueue(0, *here, numbered(n as u64));
    }
    w.run(1_000);
    for (n, (_, there)) in pairs.iter().enumerate().skip(1) {
        assert_eq!(w.nodes[1].received(*there), [&numbered(n as u64)[..]]);
    }
}

#[test]
fn a_thousand_streams_opened_and_closed_leave_nothing() {
    let mut w = BusWorld::new(3, &line(3));
    for _ in 0..20 {
        let some: Vec<_> = (0..50).map(|_| w.ask(0, 2, Reliability::Reliable)).collect();
        w.run_until(10_000, |w| some.iter().all(|s| w.nodes[0].is_open(*s)));
        for s in &some {
            w.enqueue(0, *s, vec![1]);
            w.input(0, Input::Close { stream: *s });
        }
        w.run_until(20_000, |w| some.iter().all(|s| w.nodes[0].end_of(*s).is_some()));
        for n in &mut w.nodes {
            n.log.clear();
        }
    }
    w.run(30_000);
    nothing_is_left(&w);
}

/// 50 messages a second of 160 bytes for a minute, over two hops of 1 MB/s that a bulk transfer fills.
#[test]
fn a_voice_arrives_in_time_and_evenly_beside_a_bulk_transfer() {
    const FRAMES: u64 = 3_000;
    let mut w = BusWorld::new(3, &line(3));
    w.w.rate = 1_000;
    let (bulk, bulk_there) = w.open(0, 2, Reliability::Reliable);
    let (voice, voice_there) = w.open(0, 2, Reliability::Unreliable);
    let begin = w.w.now;
    let (mut bulk_sent, mut delays) = (0, Vec::new());
    for i in 0..FRAMES {
        if w.nodes[0].enqueued(bulk).len() as u64 == bulk_sent {
            w.enqueue(0, bulk, vec![0; 32 << 10]);
            bulk_sent += 1;
        }
        let mut frame = w.w.now.to_le_bytes().to_vec();
        frame.resize(160, 0);
        w.enqueue(0, voice, frame);
        let due = begin + 20 * (i + 1);
        loop {
            let more = w.w.now < due && w.step(due);
            for m in w.nodes[2].received(voice_there) {
                delays.push(w.w.now - u64::from_le_bytes(m[..8].try_into().unwrap()));
            }
            w.nodes[2]
                .log
                .retain(|a| !matches!(a, Action::Received { stream, .. } if *stream == voice_there));
            if !more || w.w.now >= due {
                break;
            }
        }
    }
    let stats = w.nodes[0].bus.stream_stats(voice).unwrap();
    assert_eq!((stats.messages_sent, stats.bytes_sent), (FRAMES, FRAMES * 160));
    let carried = w.nodes[2].bus.stream_stats(bulk_there).unwrap().bytes_received;
    assert!(carried > 20_000_000, "{carried} bytes of the bulk transfer");
    // The last ones may be on the way.
    assert!(delays.len() as u64 >= FRAMES - 10, "{} of {FRAMES} arrived", delays.len());
    let worst = delays.iter().max().unwrap();
    let jitter = delays.windows(2).map(|p| p[0].abs_diff(p[1])).sum::<u64>() as f64 / delays.len() as f64;
    println!("{} frames, worst {worst} ms, jitter {jitter:.1} ms, {carried} bytes beside", delays.len());
    assert!(*worst <= 100, "a frame took {worst} ms");
    assert!(jitter <= 20.0, "jitter {jitter} ms");
}

#[test]
fn unreliable_messages_that_nobody_takes_are_bounded() {
    let mut w = BusWorld::new(2, &line(2));
    let (here, there) = w.open(0, 1, Reliability::Unreliable);
    w.nodes[1].takes = false;
    for _ in 0..1_100 {
        w.enqueue(0, here, vec![1; 100]);
        w.run(5);
    }
    assert_eq!(w.nodes[1].received(there).len(), 1_024);
    assert_eq!(w.nodes[1].bus.stream_stats(there).unwrap().dropped_incoming, 76);
}

#[test]
fn stopping_the_mesh_fails_streams_with_a_reason() {
    let mut w = BusWorld::new(2, &line(2));
    let (here, there) = w.open(0, 1, Reliability::Reliable);
    w.w.input(0, ditto_mesh::Input::Stop);
    w.run(1);
    assert_eq!(w.nodes[0].end_of(here), Some(StreamEnd::Failed(StreamFailure::Stopped)));
    // The other end finds no way back and gives up.
    w.run(60_000);
    assert_eq!(w.nodes[1].end_of(there), Some(StreamEnd::Failed(StreamFailure::Lost)));
}
