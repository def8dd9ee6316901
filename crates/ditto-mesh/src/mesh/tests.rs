//! Attacks on admission by somebody who speaks TLS well and holds a key of their own.

use std::sync::Arc;

use ditto_types::DatabaseId;

use super::*;
use crate::api::Input;
use crate::config::Admission;
use crate::event::Refusal;
use crate::frame::Frame;
use crate::hello::{Greeting, Hello, Proof};
use crate::identity::Identity;
use crate::tls::SecureChannel;
use crate::transport::{ACCEPTED_LINK_BIT, DialTarget, LinkKind, Role};

const NOW: u64 = 1_790_000_000_000;
const DIALLED: LinkId = LinkId(1);
const ACCEPTED: LinkId = LinkId(ACCEPTED_LINK_BIT | 1);

/// An honest machine at one end of a link, and what it does.
struct Honest {
    mesh: Mesh,
    link: LinkId,
    closed: bool,
    connected: bool,
    refusals: Vec<(bool, Refusal)>,
}

/// The attacker's end of a link.
struct Attacker {
    channel: SecureChannel,
    /// What the honest side has sent inside TLS.
    plain: Vec<u8>,
}

fn identity(seed: u8) -> Arc<Identity> {
    Arc::new(Identity::generate(&mut |out| out.fill(seed)))
}

fn config(seed: u8, keyed: bool) -> MeshConfig {
    let mut c = MeshConfig::new(identity(seed), DatabaseId::DEFAULT, [seed; 16], [1; 8]);
    if keyed {
        c.admission = Admission::SharedKey(Zeroizing::new(vec![7; 32]));
    }
    c
}

impl Honest {
    fn new(seed: u8, role: Role, keyed: bool) -> Self {
        let mut c = config(seed, keyed);
        if role == Role::Dialer {
            c.static_targets = vec![DialTarget::Memory("victim".into())];
        }
        let mesh = Mesh::new(c, Box::new(move |out| out.fill(seed)));
        let link = if role == Role::Dialer { DIALLED } else { ACCEPTED };
        let mut out = Self { mesh, link, closed: false, connected: false, refusals: Vec::new() };
        out.mesh.handle(Input::Start, NOW);
        let (kind, remote) = (LinkKind::Memory, String::new());
        out.mesh.handle(Input::Net(NetEvent::LinkUp { link, kind, role, remote }), NOW);
        out
    }

    /// Everything it writes.
    fn drain(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        while let Some(a) = self.mesh.poll() {
            match a {
                Action::Write { bytes, .. } => out.extend(bytes),
                Action::Close { .. } => self.closed = true,
                Action::PeerConnected(_) => self.connected = true,
                Action::Event(ConnectionEvent::Refused { by_us, reason, .. }) => {
                    self.refusals.push((by_us, reason))
                }
                _ => {}
            }
        }
        out
    }

    fn feed(&mut self, bytes: Vec<u8>) {
        if !bytes.is_empty() && !self.closed {
            self.mesh.handle(Input::Net(NetEvent::Bytes { link: self.link, bytes }), NOW);
        }
    }
}

impl Attacker {
    fn new(seed: u8, role: Role) -> Self {
        Self { channel: TlsFactory::new(&identity(seed)).unwrap().channel(role).unwrap(), plain: Vec::new() }
    }

    fn send(&mut self, plain: &[u8]) {
        self.channel.send(plain).unwrap();
    }

    /// Moves bytes both ways until nothing moves.
    fn exchange(&mut self, honest: &mut Honest) {
        loop {
            let to_us = honest.drain();
            let _ = self.channel.receive(&to_us, &mut self.plain);
            let to_them = self.channel.take_output();
            if to_us.is_empty() && to_them.is_empty() {
                return;
            }
            honest.feed(to_them);
        }
    }

    /// The HELLO that the honest side has sent, as bytes and parsed.
    fn hello(&self) -> (Vec<u8>, Box<Hello>) {
        match Greeting::take(&mut self.plain.clone()) {
            Ok(Some(Greeting::Hello(h))) => (self.plain.clone(), h),
            other => panic!("no HELLO: {other:?}"),
        }
    }

    fn refusal(&self) -> Refusal {
        match Greeting::take(&mut self.plain.clone()) {
            Ok(Some(Greeting::Refused(r))) => r,
            other => panic!("no refusal: {other:?}"),
        }
    }
}

#[test]
fn a_machine_in_the_middle_cannot_forward_the_proof() {
    // T3.1: two honest peers of one shared key, and somebody with a TLS session to each.
    let (mut a, mut b) = (Honest::new(1, Role::Dialer, true), Honest::new(2, Role::Acceptor, true));
    let (mut to_a, mut to_b) = (Attacker::new(66, Role::Acceptor), Attacker::new(66, Role::Dialer));
    to_a.exchange(&mut a);
    to_b.exchange(&mut b);
    let (hello, _) = to_a.hello();
    to_b.send(&hello);
    to_b.exchange(&mut b);
    assert_eq!(b.refusals, [(true, Refusal::WrongSharedKey)]);
    // The acceptor has said nothing about itself.
    assert_eq!(to_b.refusal(), Refusal::WrongSharedKey);
    assert!(b.closed && !b.connected);
    // Nor does the dialer take anything that the attacker can say.
    to_a.send(&hello);
    to_a.exchange(&mut a);
    assert_eq!(a.refusals, [(true, Refusal::WrongSharedKey)]);
    assert!(a.closed && !a.connected);
}

#[test]
fn a_reflected_hello_is_refused_in_both_modes() {
    for (keyed, reason) in [(true, Refusal::WrongSharedKey), (false, Refusal::SelfConnection)] {
        let mut a = Honest::new(1, Role::Dialer, keyed);
        let mut evil = Attacker::new(66, Role::Acceptor);
        evil.exchange(&mut a);
        let (hello, _) = evil.hello();
        evil.send(&hello);
        evil.exchange(&mut a);
        assert_eq!(a.refusals, [(true, reason)]);
        assert!(a.closed && !a.connected);
    }
}

#[test]
fn a_recorded_hello_is_of_no_use_later() {
    // A former member kept what a peer once sent to it.
    let mut a = Honest::new(1, Role::Dialer, true);
    let mut evil = Attacker::new(66, Role::Acceptor);
    evil.exchange(&mut a);
    let (hello, _) = evil.hello();
    for keyed in [true, false] {
        let mut b = Honest::new(2, Role::Acceptor, keyed);
        let mut evil = Attacker::new(66, Role::Dialer);
        evil.exchange(&mut b);
        evil.send(&hello);
        evil.exchange(&mut b);
        let reason = if keyed { Refusal::WrongSharedKey } else { Refusal::ModeMismatch };
        assert_eq!(b.refusals, [(true, reason)]);
    }
}

#[test]
fn an_acceptor_stays_silent_until_the_dialer_has_proven_itself() {
    let mut b = Honest::new(2, Role::Acceptor, true);
    let mut evil = Attacker::new(66, Role::Dialer);
    evil.exchange(&mut b);
    assert_eq!(evil.plain, b"", "nothing before the dialer's HELLO");
    // Frames instead of HELLO are not processed.
    let mut frames = Vec::new();
    Frame::Ping { nonce: 1 }.encode(&mut frames);
    evil.send(&frames);
    evil.exchange(&mut b);
    b.mesh.handle(Input::Tick, NOW + 10_000);
    evil.exchange(&mut b);
    assert!(b.closed && !b.connected);
    assert!(matches!(b.refusals[..], [(true, Refusal::Malformed(_) | Refusal::Timeout)]));
}

#[test]
fn an_open_hello_carries_nothing_that_depends_on_a_secret() {
    let mut a = Honest::new(1, Role::Dialer, false);
    let mut evil = Attacker::new(66, Role::Acceptor);
    evil.exchange(&mut a);
    let (_, hello) = evil.hello();
    assert_eq!(hello.proof, Proof::Open);
    assert_ne!(&hello.db_id_hash, DatabaseId::DEFAULT.as_bytes());
}

/// An attacker that is admitted (open mode) and may send frames.
fn admitted(role: Role) -> (Honest, Attacker) {
    let other = if role == Role::Dialer { Role::Acceptor } else { Role::Dialer };
    let mut a = Honest::new(1, role, false);
    let mut evil = Attacker::new(66, other);
    evil.exchange(&mut a);
    let greeter = Greeter::new(&config(66, false), &Limits::default());
    let hello = greeter.hello(&evil.channel, other, LinkKind::Memory, NOW, ([0; 8], 0)).unwrap();
    evil.send(&hello);
    evil.exchange(&mut a);
    let mut switch = Vec::new();
    Frame::Switch { session: [9; 8], frames: 0 }.encode(&mut switch);
    evil.send(&switch);
    evil.exchange(&mut a);
    (a, evil)
}

#[test]
fn hostile_frames_end_the_session_and_nothing_else() {
    let long = vec![0xff; 40];
    let empty_data = vec![2, 0x20, 1];
    let unopened = vec![3, 0x20, 99, 0];
    let lies: Vec<u8> = [Frame::Fack { frames: 1 << 40 }].iter().fold(Vec::new(), |mut v, f| {
        f.encode(&mut v);
        v
    });
    let flood: Vec<u8> = (1..300u64).fold(Vec::new(), |mut v, channel| {
        Frame::Open { channel: 20 + channel, service: 99, class: 1, window: 1 }.encode(&mut v);
        v
    });
    for role in [Role::Dialer, Role::Acceptor] {
        for bytes in [&long, &empty_data, &unopened, &lies, &flood] {
            let (mut a, mut evil) = admitted(role);
            evil.send(bytes);
            evil.exchange(&mut a);
            assert!(a.closed, "{role:?} {bytes:x?}");
            assert!(a.mesh.peers.is_empty() && a.mesh.graph().local_peer.connections.is_empty());
        }
    }
}

#[test]
fn a_peer_that_provokes_answers_and_reads_none_is_thrown_out() {
    let (mut a, mut evil) = admitted(Role::Acceptor);
    // The transport of the honest side takes nothing: no `Written` ever comes.
    let mut pings = Vec::new();
    for nonce in 0..500 {
        Frame::Ping { nonce }.encode(&mut pings);
    }
    let mut written = 0;
    for _ in 0..1000 {
        evil.send(&pings);
        let bytes = evil.channel.take_output();
        a.feed(bytes);
        written += a.drain().len();
        if a.closed {
            break;
        }
    }
    assert!(a.closed);
    assert!(written < a.mesh.limits.in_flight + (64 << 10), "{written}");
}
