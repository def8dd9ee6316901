//! Machines of the mesh with a Bus on each.

use std::collections::VecDeque;

use ditto_bus::{
    Action, Bus, BusConfig, Delivery, Input, OpenError, Reliability, StreamEnd, StreamId, is_bus_purpose,
};
use ditto_mesh::{Action as Mesh, Lane, RandomBytes};

use crate::harness::{World, rng, target};

pub(crate) struct BusWorld {
    pub(crate) w: World,
    pub(crate) nodes: Vec<BusNode>,
    disturbance: Option<Disturbance>,
}

/// What happens to datagrams between the circuit and the Bus.
struct Disturbance {
    /// Per cent that are lost; half as many come twice, or late.
    loss: u64,
    random: RandomBytes,
    late: VecDeque<(usize, Mesh)>,
}

pub(crate) struct BusNode {
    pub(crate) bus: Bus,
    /// Everything the Bus reported, oldest first.
    pub(crate) log: Vec<Action>,
    /// Whether messages of streams are taken as they arrive.
    pub(crate) takes: bool,
    /// Messages and bytes of all streams that were settled.
    pub(crate) settled: (usize, usize),
    /// How much of the log of the machine below was read.
    seen: usize,
    next_stream: u64,
}

/// 0 - 1 - 2 - ... in a row.
pub(crate) fn line(n: usize) -> Vec<(usize, usize)> {
    (1..n).map(|i| (i - 1, i)).collect()
}

impl BusWorld {
    /// Machines with links between them, everybody seeing everybody and accepting streams.
    pub(crate) fn new(n: usize, edges: &[(usize, usize)]) -> Self {
        let mut w = World::new();
        for i in 0..n {
            w.add(&format!("n{i}"), |c| {
                let to = edges.iter().filter(|(a, _)| *a == i).map(|(_, b)| target(&format!("n{b}")));
                c.static_targets = to.collect();
            });
            w.nodes[i].consumes = false;
        }
        w.start_all();
        let nodes = (0..n)
            .map(|_| {
                let mut bus = Bus::new(BusConfig::default());
                bus.handle(Input::SetAccepting(true), w.now);
                BusNode { bus, log: Vec::new(), takes: true, settled: (0, 0), seen: 0, next_stream: 2 }
            })
            .collect();
        let mut world = Self { w, nodes, disturbance: None };
        let all = edges.len();
        let see =
            move |w: &BusWorld| w.w.nodes.iter().all(|n| n.mesh.graph().all_connections_by_id().len() == all);
        world.run_until(10_000, see);
        world
    }

    pub(crate) fn input(&mut self, node: usize, input: Input) {
        let now = self.w.now;
        self.nodes[node].bus.handle(input, now);
        self.settle();
    }

    /// Carries actions between the machines until there are none.
    fn settle(&mut self) {
        let now = self.w.now;
        loop {
            let mut idle = true;
            for i in 0..self.nodes.len() {
                let log = &self.w.nodes[i].log;
                // A machine that was replaced begins anew.
                let fresh: Vec<Mesh> = log[self.nodes[i].seen.min(log.len())..].to_vec();
                self.nodes[i].seen = log.len();
                for action in fresh {
                    idle = false;
                    self.up(i, action, now);
                }
                while let Some(action) = self.nodes[i].bus.poll() {
                    idle = false;
                    self.down(i, action, now);
                }
            }
            if idle {
                return;
            }
        }
    }

    /// From now on datagrams are lost, doubled and swapped.
    pub(crate) fn disturb_datagrams(&mut self, loss: u64, seed: u64) {
        self.disturbance = Some(Disturbance { loss, random: rng(seed), late: VecDeque::new() });
    }

    fn up(&mut self, i: usize, action: Mesh, now: u64) {
        if let (Some(d), Mesh::CircuitDatagram { .. }) = (&mut self.disturbance, &action) {
            let mut dice = [0; 8];
            (d.random)(&mut dice);
            let at = u64::from_le_bytes(dice) % 200;
            let (lost, doubled, late) = (2 * d.loss, 3 * d.loss, 4 * d.loss);
            if at < lost {
                return;
            }
            if (doubled..late).contains(&at) {
                return d.late.push_back((i, action));
            }
            let before = d.late.pop_front();
            if at < doubled {
                self.tell(i, action.clone(), now);
            }
            self.tell(i, action, now);
            if let Some((i, action)) = before {
                self.tell(i, action, now);
            }
            return;
        }
        self.tell(i, action, now);
    }

    fn tell(&mut self, i: usize, action: Mesh, now: u64) {
        let input = match action {
            Mesh::PeerConnected(info) => Input::PeerConnected(info.peer),
            Mesh::PeerDisconnected { peer, .. } => Input::PeerDisconnected(peer),
            Mesh::Message { peer, lane: Lane::Bus, bytes } => {
                let consumed = bytes.len();
                self.w.input(i, ditto_mesh::Input::Consumed { peer, lane: Lane::Bus, bytes: consumed });
                Input::Message { peer, bytes }
            }
            Mesh::Datagram { peer, bytes } => Input::Datagram { peer, bytes },
            Mesh::Transmitted { tag, .. } => Input::Transmitted { tag },
            Mesh::SendFailed { tag, reason, .. } => Input::SendFailed { tag, reason },
            Mesh::CircuitIncoming { purpose, .. } if !is_bus_purpose(purpose) => return,
            circuit => Input::Circuit(circuit),
        };
        self.nodes[i].bus.handle(input, now);
    }

    fn down(&mut self, i: usize, action: Action, now: u64) {
        use ditto_mesh::Input as In;
        match action {
            Action::SendReliable { peer, bytes, tag } => {
                self.w.input(i, In::Send { peer, lane: Lane::Bus, bytes: bytes.into(), tag });
            }
            Action::SendDatagram { peer, bytes, tag } => {
                self.w.input(i, In::SendDatagram { peer, bytes, tag });
            }
            Action::Circuit(input) => self.w.input(i, input),
            Action::Violation { peer, reason } => panic!("{peer} broke the protocol: {reason}"),
            Action::Settled { messages, bytes, .. } => {
                self.nodes[i].settled.0 += messages;
                self.nodes[i].settled.1 += bytes;
            }
            action => {
                let node = &mut self.nodes[i];
                if let Action::Received { stream, mut batch } = action {
                    // Each message has an entry of its own, as the app would see it.
                    while let Some((data, bytes)) = batch.pop() {
                        if node.takes {
                            node.bus.handle(Input::Taken { stream, messages: 1, bytes }, now);
                        }
                        node.log.push(Action::Received { stream, batch: data.into() });
                    }
                } else {
                    node.log.push(action);
                }
            }
        }
    }

    /// One event or deadline; `false` when nothing is left before `until`.
    pub(crate) fn step(&mut self, until: u64) -> bool {
        let due = self.nodes.iter().filter_map(|n| n.bus.next_deadline()).min().unwrap_or(u64::MAX);
        let more = self.w.step(until.min(due.max(self.w.now)));
        if self.w.now >= due {
            for i in 0..self.nodes.len() {
                let now = self.w.now;
                self.nodes[i].bus.handle(Input::Tick, now);
            }
        }
        self.settle();
        more || self.w.now < until
    }

    pub(crate) fn run(&mut self, ms: u64) {
        let until = self.w.now + ms;
        let mut steps = 0u64;
        while self.step(until) {
            steps += 1;
            assert!(steps < 5_000_000, "the machines do not come to rest");
        }
    }

    /// Runs until `done` holds; fails after `ms`.
    pub(crate) fn run_until(&mut self, ms: u64, done: impl Fn(&BusWorld) -> bool) {
        let until = self.w.now + ms;
        while !done(self) {
            assert!(self.step(until), "not reached within {ms} ms");
        }
    }

    /// Asks for a stream without waiting for it.
    pub(crate) fn ask(&mut self, from: usize, to: usize, reliability: Reliability) -> StreamId {
        let stream = StreamId(self.nodes[from].next_stream);
        self.nodes[from].next_stream += 2;
        let to = self.w.nodes[to].key;
        self.input(from, Input::Open { stream, to, reliability, label: "test".into() });
        stream
    }

    /// An open stream, and its name at the other end.
    pub(crate) fn open(&mut self, from: usize, to: usize, reliability: Reliability) -> (StreamId, StreamId) {
        let before = self.nodes[to].incoming().len();
        let here = self.ask(from, to, reliability);
        self.run_until(10_000, |w| w.nodes[from].is_open(here));
        (here, self.nodes[to].incoming()[before])
    }

    pub(crate) fn enqueue(&mut self, node: usize, stream: StreamId, data: Vec<u8>) {
        self.input(node, Input::Enqueue { stream, batch: data.into() });
    }
}

impl BusNode {
    pub(crate) fn is_open(&self, id: StreamId) -> bool {
        self.log.contains(&Action::Opened { stream: id })
    }

    pub(crate) fn incoming(&self) -> Vec<StreamId> {
        let of = |a: &Action| if let Action::Incoming { stream, .. } = a { Some(*stream) } else { None };
        self.log.iter().filter_map(of).collect()
    }

    pub(crate) fn received(&self, id: StreamId) -> Vec<&[u8]> {
        let of = |a| match a {
            &Action::Received { stream, ref batch } if stream == id => batch.first(),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    /// Numbers of the messages that were accepted.
    pub(crate) fn enqueued(&self, id: StreamId) -> Vec<u64> {
        let of = |a: &Action| match a {
            Action::Enqueued { stream, result: Ok(n) } if *stream == id => Some(*n),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    pub(crate) fn acknowledged(&self, id: StreamId) -> Vec<u64> {
        let of = |a: &Action| match a {
            Action::Acknowledged { stream, sequence } if *stream == id => Some(*sequence),
            _ => None,
        };
        self.log.iter().filter_map(of).collect()
    }

    pub(crate) fn open_failure(&self, id: StreamId) -> Option<OpenError> {
        let of = |a: &Action| match a {
            Action::OpenFailed { stream, reason } if *stream == id => Some(*reason),
            _ => None,
        };
        self.log.iter().find_map(of)
    }

    /// How a stream ended, checking that it did so once and that nothing came after.
    pub(crate) fn end_of(&self, id: StreamId) -> Option<StreamEnd> {
        let mut end = None;
        for a in &self.log {
            let of = match a {
                Action::Received { stream, .. }
                | Action::Enqueued { stream, result: Ok(_) }
                | Action::Acknowledged { stream, .. }
                | Action::Closed { stream, .. } => *stream,
                _ => continue,
            };
            if of == id {
                assert_eq!(end, None, "{a:?} after the end");
                if let Action::Closed { reason, .. } = a {
                    end = Some(*reason);
                }
            }
        }
        end
    }

    pub(crate) fn completed(&self, of: u64) -> Option<Result<Delivery, ditto_bus::BusError>> {
        let of = |a: &Action| match a {
            Action::Completed { id, result } if *id == of => Some(*result),
            _ => None,
        };
        self.log.iter().find_map(of)
    }
}
