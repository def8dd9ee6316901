//! The virtual network: who reaches whom, links with latency and a speed, and how they end.
//!
//! A link is two pipes. What one side writes leaves at the speed of the link, one piece after the other, and arrives a latency
//! later. A link that is *silent* is dead and nobody was told: bytes vanish until a peer gives up or the radios find each other
//! again, as with a connection whose other end lost its power.

use std::collections::BTreeMap;

use ditto_mesh::transport::{ACCEPTED_LINK_BIT, DialTarget, LinkId, NetEvent, Role};

use crate::schedule::LinkClass;
use crate::world::{Event, World, link_of, token};

/// One end of a link.
type End = (usize, LinkId);

/// Bytes that one link may hold on their way out: the most that the mesh gives to one, and one TLS record.
const MAX_OUTSTANDING: usize = (256 << 10) + (64 << 10);

struct Pipe {
    to: End,
    class: LinkClass,
    /// When the last byte so far has left.
    free_at: u64,
    outstanding: usize,
    silent: bool,
}

/// Two devices that can reach each other.
#[derive(Clone, Copy)]
struct Reach {
    class: LinkClass,
    on: bool,
}

#[derive(Default)]
pub(crate) struct Network {
    reach: BTreeMap<(usize, usize), Reach>,
    pipes: BTreeMap<End, Pipe>,
    next_accepted: u64,
}

fn pair(a: usize, b: usize) -> (usize, usize) {
    (a.min(b), a.max(b))
}

impl Network {
    /// Two devices reach each other over links of this class.
    pub(crate) fn connect(&mut self, a: usize, b: usize, class: LinkClass) {
        self.reach.insert(pair(a, b), Reach { class, on: true });
    }

    /// Every pair that could reach each other.
    pub(crate) fn pairs(&self) -> Vec<(usize, usize)> {
        self.reach.keys().copied().collect()
    }

    pub(crate) fn is_on(&self, a: usize, b: usize) -> bool {
        self.reach.get(&pair(a, b)).is_some_and(|r| r.on)
    }

    pub(crate) fn class(&self, a: usize, b: usize) -> Option<LinkClass> {
        self.reach.get(&pair(a, b)).map(|r| r.class)
    }

    pub(crate) fn neighbours(&self, node: usize) -> Vec<usize> {
        let other = |(a, b): &(usize, usize)| match node {
            n if n == *a => Some(*b),
            n if n == *b => Some(*a),
            _ => None,
        };
        self.reach.iter().filter(|(_, r)| r.on).filter_map(|(pair, _)| other(pair)).collect()
    }

    /// The ends that a device has.
    fn ends_of(&self, node: usize) -> impl Iterator<Item = (&End, &Pipe)> {
        self.pipes.range((node, LinkId(0))..=(node, LinkId(u64::MAX)))
    }

    /// The links between two devices, those at the first before those at the other.
    fn between(&self, a: usize, b: usize) -> impl Iterator<Item = (&End, &Pipe)> {
        let ends = |node: usize, other: usize| self.ends_of(node).filter(move |(_, p)| p.to.0 == other);
        let (a, b) = pair(a, b);
        ends(a, b).chain(ends(b, a))
    }

    /// Whether any link between two devices is dead without their knowing.
    pub(crate) fn is_dead_between(&self, a: usize, b: usize) -> bool {
        self.between(a, b).any(|(_, p)| p.silent)
    }

    fn ends_between(&self, a: usize, b: usize) -> Vec<End> {
        self.between(a, b).map(|(end, _)| *end).collect()
    }

    /// A new speed for the links between two devices, also those that are open.
    pub(crate) fn set_rate(&mut self, a: usize, b: usize, rate: u64) {
        if let Some(r) = self.reach.get_mut(&pair(a, b)) {
            r.class.rate = rate.max(1);
        }
        for end in self.ends_between(a, b) {
            if let Some(p) = self.pipes.get_mut(&end) {
                p.class.rate = rate.max(1);
            }
        }
    }
}

impl World {
    pub(crate) fn dial(&mut self, node: usize, link: LinkId, target: &DialTarget) {
        let DialTarget::Platform { device, .. } = target else { return };
        let to = usize::try_from(*device).ok().filter(|n| *n < self.nodes.len());
        let class = to.and_then(|to| self.network.class(node, to));
        let up = to.is_some_and(|to| self.network.is_on(node, to) && self.nodes[to].started);
        let (Some(to), Some(class), true) = (to, class, up) else {
            let reason = "unreachable".into();
            return self.net_event(self.now + 20_000, node, NetEvent::DialFailed { link, reason });
        };
        self.network.next_accepted += 1;
        let accepted = LinkId(ACCEPTED_LINK_BIT | self.network.next_accepted);
        for (end, other) in [((node, link), (to, accepted)), ((to, accepted), (node, link))] {
            let pipe = Pipe { to: other, class, free_at: self.now, outstanding: 0, silent: false };
            self.network.pipes.insert(end, pipe);
        }
        let up = |link, role, remote: usize| NetEvent::LinkUp {
            link,
            kind: class.kind,
            role,
            remote: format!("peer-{remote}"),
        };
        self.net_event(self.now + class.latency_us, to, up(accepted, Role::Acceptor, node));
        self.net_event(self.now + 2 * class.latency_us, node, up(link, Role::Dialer, to));
    }

    pub(crate) fn write(&mut self, node: usize, link: LinkId, bytes: &[u8]) {
        self.stats.link_bytes += bytes.len() as u64;
        let now = self.now;
        let Some(pipe) = self.network.pipes.get_mut(&(node, link)) else { return };
        pipe.outstanding += bytes.len();
        if pipe.outstanding > MAX_OUTSTANDING {
            let text = format!("peer {node} gave {} bytes to one link", pipe.outstanding);
            self.broken.push(text);
        }
        self.stats.most_outstanding = self.stats.most_outstanding.max(pipe.outstanding);
        let (rate, latency, to, silent) = (pipe.class.rate, pipe.class.latency_us, pipe.to, pipe.silent);
        // Pieces of about ten milliseconds.
        let piece = usize::try_from(rate / 100).unwrap_or(usize::MAX).clamp(256, 64 << 10);
        let mut events = Vec::new();
        for part in bytes.chunks(piece) {
            pipe.free_at = pipe.free_at.max(now) + (part.len() as u64 * 1_000_000).div_ceil(rate);
            events.push((pipe.free_at, part));
        }
        for (left, part) in events {
            self.net_event(left, node, NetEvent::Written { link, bytes: part.len() });
            if !silent {
                let bytes = part.to_vec();
                self.net_event(left + latency, to.0, NetEvent::Bytes { link: to.1, bytes });
            }
        }
    }

    /// One side closes; the other hears of it behind what was written.
    pub(crate) fn close(&mut self, node: usize, link: LinkId) {
        let Some(pipe) = self.network.pipes.remove(&(node, link)) else { return };
        if !pipe.silent && self.network.pipes.contains_key(&pipe.to) {
            let when = pipe.free_at.max(self.now) + pipe.class.latency_us;
            let reason = "closed by peer".into();
            self.net_event(when, pipe.to.0, NetEvent::LinkDown { link: pipe.to.1, reason });
        }
    }

    /// An event reaches a process, unless its link is gone by now.
    pub(crate) fn arrive(&mut self, node: usize, event: NetEvent) -> Option<NetEvent> {
        let Some(link) = link_of(&event) else { return Some(event) };
        let end = (node, link);
        self.trace.note(self.now, || match &event {
            NetEvent::Bytes { bytes, .. } => format!("{node} {link} gets {} bytes", bytes.len()),
            NetEvent::Written { bytes, .. } => format!("{node} {link} wrote {bytes} bytes"),
            other => format!("{node} {other:?}"),
        });
        match &event {
            NetEvent::DialFailed { .. } => return Some(event),
            NetEvent::LinkDown { .. } => return self.network.pipes.remove(&end).map(|_| event),
            _ => {}
        }
        let pipe = self.network.pipes.get_mut(&end)?;
        match &event {
            NetEvent::Written { bytes, .. } => pipe.outstanding = pipe.outstanding.saturating_sub(*bytes),
            NetEvent::Bytes { .. } if pipe.silent => return None,
            _ => {}
        }
        Some(event)
    }

    /// All links between two devices break now.
    pub(crate) fn break_links(&mut self, a: usize, b: usize) {
        for (node, link) in self.network.ends_between(a, b) {
            if let Some(pipe) = self.network.pipes.get_mut(&(node, link)) {
                // Nothing that is under way arrives any more.
                pipe.silent = true;
            }
            self.net_event(self.now + 1_000, node, NetEvent::LinkDown { link, reason: "broken".into() });
        }
    }

    /// Two devices come into reach of each other, or leave it.
    pub(crate) fn set_reach(&mut self, a: usize, b: usize, on: bool, silent: bool) {
        let Some(reach) = self.network.reach.get_mut(&pair(a, b)) else { return };
        if std::mem::replace(&mut reach.on, on) == on {
            return;
        }
        if on {
            // The other side has forgotten connections that were dead, and says so.
            self.break_dead(a, b);
            self.introduce(a, b);
            self.introduce(b, a);
        } else if silent {
            for end in self.network.ends_between(a, b) {
                if let Some(p) = self.network.pipes.get_mut(&end) {
                    p.silent = true;
                }
            }
        } else {
            self.break_links(a, b);
            for (node, other) in [(a, b), (b, a)] {
                let life = self.nodes[other].life;
                self.at(self.now + 1_000_000, Event::Lost { node, other, life });
            }
        }
    }

    fn break_dead(&mut self, a: usize, b: usize) {
        if self.network.is_dead_between(a, b) {
            self.break_links(a, b);
        }
    }

    /// Discovery tells `node` of `other`, if that is to be found.
    fn introduce(&mut self, node: usize, other: usize) {
        if self.nodes[node].started && self.nodes[other].started && self.network.is_on(node, other) {
            let token = token(other, self.nodes[other].life);
            let Some(class) = self.network.class(node, other) else { return };
            // The kind is told, so that a dial counts against the limit of what carries it.
            let radio = "air".to_owned();
            let targets = vec![DialTarget::Platform { radio, device: other as u64, kind: class.kind }];
            let delay = self.rng.below(300_000);
            self.net_event(self.now + delay, node, NetEvent::Discovered { token, targets });
        }
    }

    /// A process that has just started is discovered by its neighbours, and discovers them.
    pub(crate) fn announce(&mut self, node: usize) {
        for other in self.network.neighbours(node) {
            self.break_dead(node, other);
            self.introduce(node, other);
            self.introduce(other, node);
        }
    }

    /// Its announcement is taken back.
    pub(crate) fn withdraw(&mut self, node: usize) {
        // A process that was killed has the next number already.
        let life = self.nodes[node].life - u64::from(self.nodes[node].process.is_none());
        for other in self.network.neighbours(node) {
            self.at(self.now + 200_000, Event::Lost { node: other, other: node, life });
        }
    }

    /// Discovery tells `node` that an announcement is over, unless it has been seen again.
    pub(crate) fn lose(&mut self, node: usize, other: usize, life: u64) {
        let o = &self.nodes[other];
        if !(o.life == life && o.started && self.network.is_on(node, other)) {
            self.mesh_input(node, ditto_mesh::Input::Net(NetEvent::Lost { token: token(other, life) }));
        }
    }

    /// The links of a process that is gone.
    pub(crate) fn drop_links(&mut self, node: usize, noticed: bool) {
        let ends: Vec<End> = self.network.ends_of(node).map(|(end, _)| *end).collect();
        for end in ends {
            let Some(pipe) = self.network.pipes.remove(&end) else { continue };
            let Some(other) = self.network.pipes.get_mut(&pipe.to) else { continue };
            other.silent = true;
            if noticed {
                let reason = "reset".into();
                let when = self.now + pipe.class.latency_us;
                self.net_event(when, pipe.to.0, NetEvent::LinkDown { link: pipe.to.1, reason });
            }
        }
    }
}
