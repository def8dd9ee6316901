//! How circuits begin and end at a hop.

use super::{Leg, LegEvent, LegId, MAX_CONTROL, Role, Switch};
use crate::circuit::wire::{Code, Message};
use crate::peer_key::{PeerKey, ShortId};
use crate::rope::Rope;
use crate::session::Violation;
use crate::transport::LinkKind;

impl Switch {
    /// Opens a circuit of ours along a route that begins with us.
    pub(in crate::circuit) fn open(&mut self, route: &[PeerKey], now: u64) -> Result<LegId, Code> {
        let [_, next, ..] = route else { return Err(Code::NoRoute) };
        let ids: Vec<ShortId> = route.iter().map(PeerKey::short_id).collect();
        self.check_room(next)?;
        let source = self.short;
        let id = self.add_leg(next, Role::End, 0, source, now)?;
        self.ends += 1;
        self.send_open(id, ids);
        Ok(id)
    }

    /// Whether a neighbour may have one more circuit.
    fn check_room(&self, peer: &PeerKey) -> Result<(), Code> {
        let n = self.neighbours.get(peer).ok_or(Code::NoRoute)?;
        let full = n.legs.len() >= self.limits.max_circuits_per_peer
            || self.relayed + self.ends >= self.limits.max_circuits
            || n.control_bytes >= MAX_CONTROL;
        if full { Err(Code::Capacity) } else { Ok(()) }
    }

    /// Bytes that one side of a hop may send before it is granted more.
    fn window(&self, role: Role, kind: LinkKind) -> usize {
        match role {
            // The stream inside has a window of its own, which may grow to this.
            Role::End => self.limits.circuit_stream_window_max as usize,
            Role::Relay(_) if kind == LinkKind::Bluetooth => self.limits.circuit_window_bluetooth as usize,
            Role::Relay(_) if self.relayed >= self.limits.max_wide_circuits => {
                self.limits.circuit_window_many as usize
            }
            Role::Relay(_) => self.limits.circuit_window as usize,
        }
    }

    /// A leg that we open; the caller sends OPEN.
    fn add_leg(
        &mut self,
        peer: &PeerKey,
        role: Role,
        at: u8,
        source: ShortId,
        now: u64,
    ) -> Result<LegId, Code> {
        let kind = self.neighbours.get(peer).ok_or(Code::NoRoute)?.kind;
        let window = self.window(role, kind);
        let n = self.neighbours.get_mut(peer).ok_or(Code::NoRoute)?;
        let label = n.next_own;
        // Labels are never used again; a session that has used them all opens nothing more.
        n.next_own = label.checked_add(2).ok_or(Code::Capacity)?;
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        n.legs.insert(label, id);
        let leg = Leg {
            peer: *peer,
            label,
            role,
            at,
            source,
            opened_by_us: true,
            open: false,
            credit: 0,
            granted: 0,
            left: window,
            window,
            owed: 0,
            out: Rope::default(),
            active: false,
            served: 0,
            used: now,
        };
        self.legs.insert(id, leg);
        self.opening.push_back((now + self.limits.circuit_patience, id));
        Ok(id)
    }

    fn send_open(&mut self, id: LegId, route: Vec<ShortId>) {
        let Some(leg) = self.legs.get(&id) else { return };
        let index = usize::from(leg.at) + 1;
        let message = Message::Open { label: leg.label, window: leg.window, index, route };
        self.send(leg.peer, &message);
    }

    fn send(&mut self, peer: PeerKey, message: &Message<'_>) {
        if let Some(n) = self.neighbours.get_mut(&peer) {
            n.push(message);
            self.touched.insert(peer);
        }
    }

    pub(super) fn on_open(
        &mut self,
        peer: PeerKey,
        label: u32,
        window: usize,
        index: usize,
        route: Vec<ShortId>,
        now: u64,
    ) -> Result<(), Violation> {
        let Some(n) = self.neighbours.get_mut(&peer) else { return Ok(()) };
        if label % 2 != n.next_theirs % 2 || label < n.next_theirs {
            return Err(Violation(format!("opened circuit {label} out of turn")));
        }
        n.next_theirs = label.saturating_add(2);
        // The neighbour has to check the same before it forwards, so it is to blame.
        if route.get(index) != Some(&self.short) || route.get(index - 1) != Some(&n.short) {
            return Err(Violation("opened a circuit on a route that is not its own".into()));
        }
        if let Err(code) = self.accept(peer, label, window, index, route, now) {
            self.send(peer, &Message::Close { label, code, at: index as u8 });
        }
        Ok(())
    }

    fn accept(
        &mut self,
        peer: PeerKey,
        label: u32,
        window: usize,
        index: usize,
        route: Vec<ShortId>,
        now: u64,
    ) -> Result<(), Code> {
        self.check_room(&peer)?;
        let (Some(source), Some(target)) = (route.first().copied(), route.last().copied()) else {
            return Err(Code::NoRoute);
        };
        let at = index as u8;
        let onward = match route.get(index + 1) {
            None => None,
            Some(_) if !self.relay => return Err(Code::Refused),
            Some(next) => {
                let next = *self.by_short.get(next).ok_or(Code::NoRoute)?;
                self.check_room(&next)?;
                Some(next)
            }
        };
        let id = LegId(self.next_leg);
        self.next_leg += 1;
        let role = match &onward {
            None => Role::End,
            Some(next) => Role::Relay(self.add_leg(next, Role::Relay(id), at, source, now)?),
        };
        let Some(n) = self.neighbours.get_mut(&peer) else { return Err(Code::Lost) };
        n.legs.insert(label, id);
        let kind = n.kind;
        let leg = Leg {
            peer,
            label,
            role,
            at,
            source: target,
            opened_by_us: false,
            open: false,
            credit: window,
            granted: window,
            left: 0,
            window: self.window(role, kind),
            owed: 0,
            out: Rope::default(),
            active: false,
            served: 0,
            used: now,
        };
        self.legs.insert(id, leg);
        match role {
            Role::End => {
                self.ends += 1;
                self.agree(id);
                let direct = index == 1;
                self.events.push_back(LegEvent::Incoming { leg: id, peer, source, direct });
            }
            Role::Relay(next) => {
                self.relayed += 1;
                self.send_open(next, route);
            }
        }
        Ok(())
    }

    /// Answers the neighbour that has opened a leg.
    fn agree(&mut self, id: LegId) {
        let Some(leg) = self.legs.get_mut(&id) else { return };
        leg.open = true;
        leg.left = leg.window;
        let (peer, message) = (leg.peer, Message::Ok { label: leg.label, window: leg.window });
        self.send(peer, &message);
    }

    pub(super) fn on_ok(&mut self, peer: &PeerKey, label: u32, window: usize) -> Result<(), Violation> {
        let Some(id) = self.find(peer, label)? else { return Ok(()) };
        let Some(leg) = self.legs.get_mut(&id) else { return Ok(()) };
        if leg.open || !leg.opened_by_us {
            return Err(Violation(format!("agreed to circuit {label} out of turn")));
        }
        leg.open = true;
        (leg.credit, leg.granted) = (window, window);
        match leg.role {
            Role::End => {
                leg.active = true;
                self.touched.insert(*peer);
                self.events.push_back(LegEvent::Opened { leg: id });
            }
            Role::Relay(other) => self.agree(other),
        }
        Ok(())
    }

    /// The neighbour of a leg has closed it.
    pub(super) fn on_close(&mut self, id: LegId, code: Code, at: u8) {
        let Some(leg) = self.take(id) else { return };
        match leg.role {
            Role::End => self.events.push_back(LegEvent::Closed { leg: id, code, at }),
            Role::Relay(other) => self.close_with(other, code, at),
        }
    }

    /// A leg is of no use any more: tells both sides.
    pub(super) fn break_leg(&mut self, id: LegId, code: Code) {
        let Some(leg) = self.legs.get(&id) else { return };
        let (at, role) = (leg.at, leg.role);
        self.close_with(id, code, at);
        match role {
            Role::End => self.events.push_back(LegEvent::Closed { leg: id, code, at }),
            Role::Relay(other) => self.close_with(other, code, at),
        }
    }

    /// One of our streams gives its leg up.
    pub(in crate::circuit) fn close(&mut self, id: LegId, code: Code) {
        let at = self.legs.get(&id).map_or(0, |l| l.at);
        self.close_with(id, code, at);
    }

    fn close_with(&mut self, id: LegId, code: Code, at: u8) {
        if let Some(leg) = self.take(id) {
            self.send(leg.peer, &Message::Close { label: leg.label, code, at });
        }
    }

    fn take(&mut self, id: LegId) -> Option<Leg> {
        let leg = self.legs.remove(&id)?;
        if let Some(n) = self.neighbours.get_mut(&leg.peer) {
            n.legs.remove(&leg.label);
        }
        match leg.role {
            Role::End => self.ends -= 1,
            // Both legs of a relay are taken; the one that the source's side opened counts.
            Role::Relay(_) if !leg.opened_by_us => self.relayed -= 1,
            Role::Relay(_) => {}
        }
        Some(leg)
    }

    /// A stream has something to send.
    pub(in crate::circuit) fn activate(&mut self, id: LegId) {
        if let Some(leg) = self.legs.get_mut(&id) {
            leg.active = true;
            self.touched.insert(leg.peer);
        }
    }

    /// Nobody is there any more.
    pub(in crate::circuit) fn clear(&mut self) {
        let (local, relay, limits, next) = (self.local, self.relay, self.limits.clone(), self.next_leg);
        let peak = self.peak;
        *self = Self { next_leg: next, peak, ..Self::new(local, relay, limits) };
    }
}
