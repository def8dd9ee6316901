//! The routes of streams: opening, proving who is at the other end, losing, searching again.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{Pending, Streams};
use crate::api::Action;
use crate::circuit::conn::Conn;
use crate::circuit::stream::Stream;
use crate::circuit::switch::{LegId, Switch};
use crate::circuit::wire::{Code, Greeting};
use crate::circuit::{CircuitEnd, CircuitId, Context, route};
use crate::peer_key::{PeerKey, ShortId};
use crate::transport::Role;

impl Streams {
    /// Looks for a route and opens it.
    pub(super) fn attempt(&mut self, id: CircuitId, switch: &mut Switch, cx: &mut Context<'_>) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        self.touched = true;
        s.retry_at = None;
        let avoid = s.avoided(cx.now);
        let Some(route) = route::find(cx.topology, &s.peer, &avoid) else {
            // A circuit that never was up fails at once if waiting promises nothing.
            let any = !avoid.is_empty() && route::find(cx.topology, &s.peer, &BTreeSet::new()).is_some();
            let reason = if any { s.last_end } else { CircuitEnd::NoRoute };
            if !s.established && reason != CircuitEnd::Lost && !(any && reason == CircuitEnd::NoRoute) {
                return self.finish(id, reason, switch);
            }
            return s.retry_later(cx.now);
        };
        match switch.open(&route, cx.now) {
            Ok(leg) => {
                s.leg = Some(leg);
                s.route = route;
                s.attempt_until = Some(cx.now + self.limits.handshake_timeout);
                self.by_leg.insert(leg, id);
            }
            Err(Code::Capacity) if !s.established => self.finish(id, CircuitEnd::Capacity, switch),
            Err(code) => {
                s.route = route;
                s.blame(code, 0, cx.now);
                s.retry_later(cx.now);
            }
        }
    }

    /// The graph has changed: whoever waits for a route looks again.
    pub(in crate::circuit) fn retry_now(&mut self, now: u64) {
        for s in self.streams.values_mut() {
            if let Some(at) = s.retry_at.as_mut() {
                *at = now.min(*at);
                self.touched = true;
            }
        }
    }

    /// The target has agreed to a route of ours.
    pub(in crate::circuit) fn on_opened(&mut self, leg: LegId, switch: &mut Switch, cx: &mut Context<'_>) {
        let Some(id) = self.by_leg.get(&leg).copied() else { return switch.close(leg, Code::Done) };
        let Some(s) = self.streams.get_mut(&id) else { return };
        let conn = match (s.route.len(), cx.tls) {
            (2, _) => Ok(Conn::direct(s.peer, Role::Dialer)),
            (_, Some(tls)) => Conn::tls(tls, Role::Dialer).map_err(drop),
            (_, None) => Err(()),
        };
        match conn {
            Ok(conn) => s.conn = Some(conn),
            Err(()) => return self.finish(id, CircuitEnd::Untrusted, switch),
        }
        self.progress(id, switch, cx);
    }

    /// A circuit to us.
    pub(in crate::circuit) fn on_incoming(
        &mut self,
        leg: LegId,
        peer: PeerKey,
        source: ShortId,
        direct: bool,
        switch: &mut Switch,
        cx: &mut Context<'_>,
    ) {
        let conn = match (direct, cx.tls) {
            (true, _) => Some(Conn::direct(peer, Role::Acceptor)),
            (false, Some(tls)) => Conn::tls(tls, Role::Acceptor).ok(),
            (false, None) => None,
        };
        let Some(conn) = conn else { return switch.close(leg, Code::Untrusted) };
        let until = cx.now + self.limits.handshake_timeout;
        self.pending.insert(leg, Pending { conn, source, until });
        self.touched = true;
    }

    /// Bytes of a circuit that ends here.
    pub(in crate::circuit) fn on_data(
        &mut self,
        leg: LegId,
        bytes: Bytes,
        switch: &mut Switch,
        cx: &mut Context<'_>,
    ) {
        self.touched = true;
        switch.activate(leg);
        if self.pending.contains_key(&leg) {
            return self.on_pending_data(leg, bytes, switch, cx);
        }
        let Some(id) = self.by_leg.get(&leg).copied() else { return };
        let Some(s) = self.streams.get_mut(&id) else { return };
        let Some(conn) = s.conn.as_mut() else { return };
        let outcome = conn.receive(bytes);
        if outcome.is_ok() {
            s.heard(cx.now);
        }
        // What came before the fault is good.
        self.progress(id, switch, cx);
        if outcome.is_err() && self.by_leg.contains_key(&leg) {
            self.give_up_route(id, Code::Untrusted, switch, cx);
        }
    }

    /// Lets the opener's end of a route prove and greet, then reads what has arrived.
    fn progress(&mut self, id: CircuitId, switch: &mut Switch, cx: &mut Context<'_>) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        let greeting = s.greeting(&self.limits);
        let Some(conn) = s.conn.as_mut() else { return };
        if !conn.has_greeted() {
            let said = match conn.peer() {
                Ok(None) => return,
                Ok(Some(peer)) if peer == s.peer => conn.greet(greeting, cx.greeter),
                // A relay that answers in the target's place ends here, before it has heard a word.
                Ok(Some(_)) | Err(_) => return self.give_up_route(id, Code::Untrusted, switch, cx),
            };
            if said.is_err() {
                return self.give_up_route(id, Code::Untrusted, switch, cx);
            }
        }
        let mut out = Vec::new();
        if conn.greeting.is_none() {
            match conn.hear(cx.greeter) {
                Ok(None) => return,
                Ok(Some(greeting)) => {
                    let first = !s.established;
                    if !s.resume(&greeting, cx.now, &mut out) {
                        return self.finish(id, CircuitEnd::Violation, switch);
                    }
                    if first {
                        self.actions.push_back(Action::CircuitOpened { circuit: id });
                    }
                }
                Err(_) => return self.give_up_route(id, Code::Untrusted, switch, cx),
            }
        }
        self.read(id, out, switch, cx);
    }

    fn read(
        &mut self,
        id: CircuitId,
        mut out: Vec<crate::session::Delivery>,
        switch: &mut Switch,
        cx: &mut Context<'_>,
    ) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        let outcome = s.read(cx.now, &mut out);
        self.deliver(id, out, cx.now);
        if outcome.is_err() {
            self.finish(id, CircuitEnd::Violation, switch);
        }
    }

    /// Lets the opener of a circuit to us prove itself, and makes or continues its stream.
    fn on_pending_data(&mut self, leg: LegId, bytes: Bytes, switch: &mut Switch, cx: &mut Context<'_>) {
        let Some(p) = self.pending.get_mut(&leg) else { return };
        let heard = p.conn.receive(bytes).and_then(|()| match p.conn.peer()? {
            None => Ok(None),
            Some(peer) => Ok(p.conn.hear(cx.greeter)?.map(|greeting| (peer, greeting))),
        });
        let (peer, greeting) = match heard {
            Ok(None) => return,
            Ok(Some((peer, greeting))) if peer.short_id() == p.source => (peer, greeting),
            Ok(Some(_)) | Err(_) => {
                self.pending.remove(&leg);
                return switch.close(leg, Code::Untrusted);
            }
        };
        let Some(p) = self.pending.remove(&leg) else { return };
        if let Err(code) = self.adopt(leg, p.conn, peer, &greeting, switch, cx) {
            switch.close(leg, code);
        }
    }

    /// A proven opener has greeted.
    fn adopt(
        &mut self,
        leg: LegId,
        conn: Conn,
        peer: PeerKey,
        greeting: &Greeting,
        switch: &mut Switch,
        cx: &mut Context<'_>,
    ) -> Result<(), Code> {
        let known = self.by_key.get(&(peer, greeting.stream)).copied();
        let id = match known {
            Some(id) if id.is_incoming() => id,
            Some(_) => return Err(Code::Untrusted),
            None if greeting.resume => return Err(Code::UnknownStream),
            None => {
                let of_peer = self.by_key.range((peer, [0; 16])..=(peer, [0xff; 16])).count();
                if of_peer >= self.limits.max_circuits_per_peer
                    || self.streams.len() >= self.limits.max_circuits
                {
                    return Err(Code::Capacity);
                }
                let id = CircuitId(self.next_incoming);
                self.next_incoming += 1;
                let s = Stream::new(id, peer, greeting.stream, greeting.purpose, &self.limits, cx.now);
                self.streams.insert(id, s);
                self.by_key.insert((peer, greeting.stream), id);
                self.actions.push_back(Action::CircuitIncoming {
                    circuit: id,
                    peer,
                    purpose: greeting.purpose,
                });
                id
            }
        };
        let Some(s) = self.streams.get_mut(&id) else { return Err(Code::UnknownStream) };
        if let Some(old) = s.leg.replace(leg) {
            self.by_leg.remove(&old);
            switch.close(old, Code::Done);
        }
        self.by_leg.insert(leg, id);
        let mut out = Vec::new();
        let answer = s.greeting(&self.limits);
        s.conn = Some(conn);
        if !s.resume(greeting, cx.now, &mut out) {
            self.finish(id, CircuitEnd::Violation, switch);
            return Ok(());
        }
        let said = s.conn.as_mut().map(|c| c.greet(answer, cx.greeter));
        if !matches!(said, Some(Ok(()))) {
            self.give_up_route(id, Code::Untrusted, switch, cx);
            return Ok(());
        }
        self.read(id, out, switch, cx);
        Ok(())
    }

    /// A circuit that ends here was closed from outside.
    pub(in crate::circuit) fn on_closed(
        &mut self,
        leg: LegId,
        code: Code,
        at: u8,
        switch: &mut Switch,
        cx: &mut Context<'_>,
    ) {
        self.touched = true;
        self.pending.remove(&leg);
        let Some(id) = self.by_leg.remove(&leg) else { return };
        let Some(s) = self.streams.get_mut(&id) else { return };
        s.lost(&self.limits, cx.now);
        if s.is_told() {
            return self.finish(id, CircuitEnd::Local, switch);
        }
        if code == Code::UnknownStream {
            // What the other end has forgotten after our last word was complete.
            let reason = if s.closing.is_some() { CircuitEnd::Local } else { CircuitEnd::Lost };
            return self.finish(id, reason, switch);
        }
        s.blame(code, usize::from(at), cx.now);
    }

    /// We give the route of a stream up.
    pub(super) fn give_up_route(
        &mut self,
        id: CircuitId,
        code: Code,
        switch: &mut Switch,
        cx: &mut Context<'_>,
    ) {
        let Some(s) = self.streams.get_mut(&id) else { return };
        if let Some(leg) = s.leg {
            self.by_leg.remove(&leg);
            switch.close(leg, code);
        }
        s.lost(&self.limits, cx.now);
        // Who is at fault does not show from here.
        s.last_end = if code == Code::Untrusted { CircuitEnd::Untrusted } else { CircuitEnd::Lost };
        s.blame_relays(cx.now);
        self.touched = true;
    }
}
