//! Streams while links break, bytes are lost, the mesh falls apart and heals. Everything follows from a seed.

use std::collections::BTreeSet;

use ditto_bus::{Batch, Input, Reliability, StreamEnd, StreamFailure, StreamId};
use ditto_mesh::RandomBytes;

use crate::harness::{config, rng};
use crate::world::{BusWorld, line};

/// Random numbers of a seed.
struct Dice(RandomBytes);

impl Dice {
    fn new(seed: u64) -> Self {
        Self(rng(seed))
    }

    fn below(&mut self, n: u64) -> u64 {
        let mut b = [0; 8];
        (self.0)(&mut b);
        u64::from_le_bytes(b) % n
    }
}

/// Recognisable by number and content.
fn message(stream: u64, i: u64, len: usize) -> Vec<u8> {
    let mut bytes = [stream.to_le_bytes(), i.to_le_bytes()].concat();
    bytes.resize(16 + len, (stream * 7 + i) as u8);
    bytes
}

/// One direction of a stream and what was accepted on it.
struct Flow {
    from: (usize, StreamId),
    to: (usize, StreamId),
    sent: Vec<Vec<u8>>,
}

impl Flow {
    /// Sends the next message, or some small ones together, if those before were accepted.
    fn push(&mut self, w: &mut BusWorld, tag: u64, dice: &mut Dice) {
        let (node, stream) = self.from;
        let accepted = w.nodes[node].enqueued(stream).last().copied().unwrap_or(0);
        if w.nodes[node].end_of(stream).is_some() || accepted < self.sent.len() as u64 {
            return;
        }
        let len = if dice.below(8) == 0 { dice.below(60_000) } else { dice.below(300) };
        let m = message(tag, self.sent.len() as u64, len as usize);
        self.sent.push(m.clone());
        let mut batch = Batch::from(m);
        if dice.below(3) == 0 {
            for _ in 0..dice.below(50) {
                let m = message(tag, self.sent.len() as u64, dice.below(300) as usize);
                if batch.push(m.clone()).is_ok() {
                    self.sent.push(m);
                }
            }
        }
        w.input(node, Input::Enqueue { stream, batch });
    }

    fn check(&self, w: &BusWorld) {
        let (node, stream) = self.from;
        let got = w.nodes[self.to.0].received(self.to.1);
        assert!(got.len() <= self.sent.len(), "more arrived than was sent");
        assert!(got.iter().zip(&self.sent).all(|(a, b)| a == b), "lost, doubled or swapped");
        let acks = w.nodes[node].acknowledged(stream);
        assert!(acks.windows(2).all(|p| p[0] < p[1]), "acknowledgements went back: {acks:?}");
        assert!(acks.last().is_none_or(|a| *a <= got.len() as u64), "acknowledged what has not arrived");
    }

    fn is_through(&self, w: &BusWorld) -> bool {
        let (node, stream) = self.from;
        w.nodes[self.to.0].received(self.to.1).len() == self.sent.len()
            && w.nodes[node].acknowledged(stream).last().copied().unwrap_or(0) == self.sent.len() as u64
    }
}

/// Five peers in a ring with a chord, so that most faults leave a way around.
const EDGES: [(usize, usize); 6] = [(0, 1), (1, 2), (2, 3), (3, 4), (4, 0), (1, 4)];

/// Both directions of a stream between two peers that are no neighbours; says whether it lived to the end.
fn storm(seed: u64) -> bool {
    let mut dice = Dice::new(seed);
    let mut w = BusWorld::new(5, &EDGES);
    let (here, there) = w.open(0, 2, Reliability::Reliable);
    let mut flows = [
        Flow { from: (0, here), to: (2, there), sent: Vec::new() },
        Flow { from: (2, there), to: (0, here), sent: Vec::new() },
    ];
    for _ in 0..40 {
        let (a, b) = EDGES[dice.below(6) as usize];
        match dice.below(6) {
            0 => w.w.break_links(a, b),
            // Bytes vanish and nobody is told.
            1 => drop(w.w.cut.insert((a, b))),
            2 => w.w.lose_link_at(a, b),
            3 => {
                let mut bytes = Dice::new(seed ^ 0xface);
                // A chunk that is lost or changed breaks its link, which TLS notices.
                w.w.tamper = Some(Box::new(move |_, _, part| {
                    if bytes.below(300) == 0 {
                        part.truncate(part.len() / 2);
                    }
                }));
            }
            4 => w.w.tamper = None,
            _ => w.w.cut.clear(),
        }
        for _ in 0..dice.below(20) {
            for (tag, flow) in flows.iter_mut().enumerate() {
                flow.push(&mut w, tag as u64, &mut dice);
            }
            let pause = dice.below(80);
            w.run(pause);
        }
        flows.iter().for_each(|f| f.check(&w));
    }
    w.w.cut.clear();
    w.w.tamper = None;
    w.run(60_000);
    flows.iter().for_each(|f| f.check(&w));
    let ends = [w.nodes[0].end_of(here), w.nodes[2].end_of(there)];
    if ends == [None, None] {
        assert!(flows.iter().all(|f| f.is_through(&w)), "seed {seed}: alive, but something did not arrive");
        for flow in &flows {
            let sum = flow.sent.iter().map(Vec::len).sum();
            assert_eq!(w.nodes[flow.from.0].settled, (flow.sent.len(), sum), "seed {seed}: each once");
        }
        w.input(0, Input::Close { stream: here });
        w.run(10_000);
        assert_eq!(w.nodes[2].end_of(there), Some(StreamEnd::ClosedByRemote), "seed {seed}");
    } else {
        let lost = Some(StreamEnd::Failed(StreamFailure::Lost));
        assert_eq!(ends, [lost, lost], "seed {seed}: one end knows and the other does not");
    }
    for (i, n) in w.nodes.iter().enumerate() {
        assert_eq!(n.bus.in_use(), 0, "seed {seed}: node {i}");
    }
    ends == [None, None]
}

#[test]
fn streams_stay_whole_while_links_break_and_the_mesh_falls_apart_and_heals() {
    // More seeds: DITTO_BUS_STORMS=500.
    let seeds = std::env::var("DITTO_BUS_STORMS").ok().and_then(|n| n.parse().ok()).unwrap_or(12);
    let survived = (0..seeds).filter(|seed| storm(*seed)).count();
    assert!(survived * 2 > seeds as usize, "only {survived} of {seeds} streams lived");
}

#[test]
fn a_short_partition_is_bridged_and_a_long_one_fails_both_ends_once() {
    for (away, bridged) in [(10_000, true), (70_000, false)] {
        let mut w = BusWorld::new(3, &line(3));
        let (here, there) = w.open(0, 2, Reliability::Reliable);
        let mut flow = Flow { from: (0, here), to: (2, there), sent: Vec::new() };
        let mut dice = Dice::new(1);
        for _ in 0..50 {
            flow.push(&mut w, 0, &mut dice);
            w.run(5);
        }
        w.w.cut.insert((1, 2));
        flow.push(&mut w, 0, &mut dice);
        w.run(away);
        w.w.cut.clear();
        w.run(30_000);
        let ends = [w.nodes[0].end_of(here), w.nodes[2].end_of(there)];
        flow.check(&w);
        if bridged {
            assert_eq!(ends, [None, None]);
            assert!(flow.is_through(&w));
        } else {
            assert_eq!(ends, [Some(StreamEnd::Failed(StreamFailure::Lost)); 2]);
        }
    }
}

#[test]
fn the_other_end_of_a_killed_process_fails_within_the_limits_of_ping_and_patience() {
    for hops in [1, 2] {
        let mut w = BusWorld::new(hops + 1, &line(hops + 1));
        let (here, there) = w.open(0, hops, Reliability::Reliable);
        w.enqueue(0, here, vec![1; 100]);
        w.run_until(5_000, |w| w.nodes[hops].received(there).len() == 1);
        // Nothing tells of it: the machine is gone, and its neighbour's bytes vanish.
        w.w.replace(hops, config("away", 99, |_| {}));
        w.w.cut.insert((hops - 1, hops));
        let died = w.w.now;
        w.enqueue(0, here, vec![2; 100]);
        w.run_until(120_000, |w| w.nodes[0].end_of(here).is_some());
        assert_eq!(w.nodes[0].end_of(here), Some(StreamEnd::Failed(StreamFailure::Lost)));
        // A ping when nothing was heard for 5 s, its answer within 5 s, then 30 s in search of another way.
        assert!(w.w.now - died <= 41_000, "{} ms", w.w.now - died);
    }
}

#[test]
fn ten_thousand_messages_keep_their_order_while_their_links_break() {
    let mut w = BusWorld::new(3, &line(3));
    let (here, there) = w.open(0, 2, Reliability::Reliable);
    let mut dice = Dice::new(7);
    let mut breaks = 0;
    for i in 0..10_000u64 {
        w.enqueue(0, here, message(0, i, (i % 40) as usize));
        if dice.below(250) == 0 {
            breaks += 1;
            let a = dice.below(2) as usize;
            w.w.break_links(a, a + 1);
        }
        if i % 500 == 0 {
            w.nodes[0].log.clear();
        }
        w.run_until(60_000, |w| w.nodes[0].bus.stream_stats(here).is_none_or(|s| s.messages_sent > i));
    }
    let arrived = |w: &BusWorld| w.nodes[2].bus.stream_stats(there).map(|s| s.messages_received);
    w.run_until(60_000, |w| arrived(w) == Some(10_000));
    assert!(breaks > 20);
    let got = w.nodes[2].received(there);
    assert!(got.iter().enumerate().all(|(i, m)| **m == message(0, i as u64, i % 40)));
}

#[test]
fn unreliable_messages_come_at_most_once_and_whole_through_loss_doubles_and_disorder() {
    let mut w = BusWorld::new(3, &line(3));
    let (here, there) = w.open(0, 2, Reliability::Unreliable);
    w.disturb_datagrams(20, 3);
    let mut dice = Dice::new(5);
    let mut sent = Vec::new();
    for i in 0..2_000u64 {
        let len = if i % 10 == 0 { dice.below(5_000) } else { dice.below(200) };
        sent.push(message(1, i, len as usize));
        w.enqueue(0, here, sent[i as usize].clone());
        w.run(10);
        assert_eq!(w.nodes[0].enqueued(here).len() as u64, i + 1, "a lost message delays no other");
    }
    w.run(10_000);
    let got = w.nodes[2].received(there);
    let numbers: Vec<u64> = got.iter().map(|m| u64::from_le_bytes(m[8..16].try_into().unwrap())).collect();
    for (m, i) in got.iter().zip(&numbers) {
        assert_eq!(*m, sent[*i as usize], "mixed up");
    }
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), numbers.len(), "one came twice");
    assert!(numbers.windows(2).any(|p| p[0] > p[1]), "nothing was swapped");
    // One in five datagrams is lost; messages of several parts suffer more.
    assert!((1_300..1_700).contains(&got.len()), "{} of 2,000", got.len());
    assert_eq!(w.nodes[0].end_of(here), None);
    assert_eq!(w.nodes[0].settled, (2_000, sent.iter().map(Vec::len).sum()), "each once");
}
