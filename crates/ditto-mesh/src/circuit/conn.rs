//! One route of a stream: its end-to-end security, greeting and datagrams. A stream that goes on over another route
//! gets a new one.

use bytes::Bytes;

use super::sealed::Sealed;
use super::wire::Greeting;
use crate::mesh::Greeter;
use crate::peer_key::PeerKey;
use crate::rope::Rope;
use crate::tls::{RECORD_OVERHEAD, SecureChannel, TlsFactory};
use crate::transport::Role;

/// Most bytes that may arrive before the greeting: a TLS handshake and what came with its end.
const MAX_UNPROVEN: usize = 96 << 10;

/// What protects the bytes.
enum Secure {
    /// One hop: the TLS of the link ends at the same two peers, so a second one inside would protect nothing more.
    Link { peer: PeerKey, out: Rope },
    /// Relays lie between: TLS from end to end.
    Tls(Box<SecureChannel>),
}

/// Why a route cannot be used. The text is for the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ConnError {
    /// Changed bytes, another protocol, or a key that is not the target's.
    #[error("{0}")]
    Untrusted(String),
}

fn untrusted(e: impl ToString) -> ConnError {
    ConnError::Untrusted(e.to_string())
}

pub(super) struct Conn {
    secure: Secure,
    role: Role,
    /// Decrypted and not parsed.
    pub(super) plain: Vec<u8>,
    /// What comes after that, as it has arrived; only on a circuit of one hop.
    pub(super) fresh: Bytes,
    received: usize,
    said: bool,
    /// The other end's greeting, once it is verified.
    pub(super) greeting: Option<Greeting>,
    datagrams: Option<Sealed>,
    /// A PONG that is due.
    pub(super) pong: Option<u64>,
    /// A PING that is due.
    pub(super) ping: Option<u64>,
}

impl Conn {
    /// Over one hop, to a peer that the link has proven.
    pub(super) fn direct(peer: PeerKey, role: Role) -> Self {
        let mut out = Self::with(Secure::Link { peer, out: Rope::default() }, role);
        out.datagrams = Some(Sealed::plain());
        out
    }

    /// Over relays. The opener is the TLS client.
    pub(super) fn tls(factory: &TlsFactory, role: Role) -> Result<Self, ConnError> {
        let channel = factory.channel(role).map_err(untrusted)?;
        Ok(Self::with(Secure::Tls(Box::new(channel)), role))
    }

    fn with(secure: Secure, role: Role) -> Self {
        Self {
            secure,
            role,
            plain: Vec::new(),
            fresh: Bytes::new(),
            received: 0,
            said: false,
            greeting: None,
            datagrams: None,
            pong: None,
            ping: None,
        }
    }

    /// Takes bytes of the circuit. What they decrypt to is in `plain` also when a later part of them fails.
    pub(super) fn receive(&mut self, bytes: Bytes) -> Result<(), ConnError> {
        if self.greeting.is_none() {
            self.received += bytes.len();
            if self.received > MAX_UNPROVEN {
                return Err(untrusted("too much before the greeting"));
            }
        }
        let whole = self.is_up() && self.plain.is_empty() && self.fresh.is_empty();
        match &mut self.secure {
            Secure::Link { .. } if whole => self.fresh = bytes,
            Secure::Link { .. } => {
                self.plain.extend_from_slice(&std::mem::take(&mut self.fresh));
                self.plain.extend_from_slice(&bytes);
            }
            Secure::Tls(channel) => channel.receive(&bytes, &mut self.plain).map_err(untrusted)?,
        }
        Ok(())
    }

    /// The proven key of the other end, once the handshake is complete.
    pub(super) fn peer(&self) -> Result<Option<PeerKey>, ConnError> {
        match &self.secure {
            Secure::Link { peer, .. } => Ok(Some(*peer)),
            Secure::Tls(channel) => channel.peer().map_err(untrusted),
        }
    }

    /// Reads the other end's greeting, if it has arrived, and checks its proof.
    pub(super) fn hear(&mut self, greeter: &Greeter) -> Result<Option<Greeting>, ConnError> {
        let Some(greeting) = Greeting::take(&mut self.plain).map_err(untrusted)? else { return Ok(None) };
        if let Secure::Tls(channel) = &self.secure {
            let theirs = if self.role == Role::Dialer { Role::Acceptor } else { Role::Dialer };
            if !greeter.verify(channel, theirs, greeting.proof.as_ref()).map_err(untrusted)? {
                return Err(untrusted("the proof of the shared key is not valid"));
            }
        }
        self.greeting = Some(greeting.clone());
        Ok(Some(greeting))
    }

    pub(super) fn has_greeted(&self) -> bool {
        self.said
    }

    /// Says our greeting, with the proof where TLS is ours. The key of the other end is proven by now.
    pub(super) fn greet(&mut self, mut greeting: Greeting, greeter: &Greeter) -> Result<(), ConnError> {
        if let Secure::Tls(channel) = &self.secure {
            greeting.proof = greeter.prove(channel, self.role).map_err(untrusted)?;
            self.datagrams = Some(Sealed::new(channel, self.role).map_err(untrusted)?);
        }
        self.said = true;
        self.send(greeting.encode().into())
    }

    pub(super) fn send(&mut self, plain: Rope) -> Result<(), ConnError> {
        match &mut self.secure {
            Secure::Link { out, .. } => out.append(plain),
            Secure::Tls(channel) => channel.send_rope(&plain).map_err(untrusted)?,
        }
        Ok(())
    }

    /// Bytes that `send` adds to a piece of at most one record.
    pub(super) fn overhead(&self) -> usize {
        match &self.secure {
            Secure::Link { .. } => 0,
            Secure::Tls(_) => RECORD_OVERHEAD,
        }
    }

    /// Bytes for the circuit.
    pub(super) fn take_output(&mut self) -> Rope {
        match &mut self.secure {
            Secure::Link { out, .. } => std::mem::take(out),
            Secure::Tls(channel) => channel.take_output().into(),
        }
    }

    /// Both ends have greeted, so the stream may use the route.
    pub(super) fn is_up(&self) -> bool {
        self.said && self.greeting.is_some()
    }

    pub(super) fn seal(&mut self, content: &[u8]) -> Option<Vec<u8>> {
        if self.is_up() { self.datagrams.as_mut()?.seal(content) } else { None }
    }

    pub(super) fn open(&mut self, datagram: &[u8]) -> Option<Vec<u8>> {
        if self.is_up() { self.datagrams.as_mut()?.open(datagram) } else { None }
    }
}
