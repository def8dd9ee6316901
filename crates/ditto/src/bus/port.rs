//! The Bus machine inside the network task, and who waits for its answers.

use std::collections::HashMap;
use std::sync::Arc;

use ditto_bus::{
    Action, Bus, BusConfig, BusError, Delivery, Input, OpenError, Reliability, StreamId, StreamStats,
};
use ditto_mesh::{Lane, PeerKey};
use tokio::sync::{mpsc, oneshot};

use super::inbox::Inbox;
use super::stream::{BusStream, Shared, Taken, Wake};
use crate::node::{Command, Driver};

/// What handles ask for.
pub(crate) enum BusCommand {
    Send {
        to: PeerKey,
        data: Vec<u8>,
        reliability: Reliability,
        done: oneshot::Sender<Result<Delivery, BusError>>,
    },
    Open {
        to: PeerKey,
        reliability: Reliability,
        label: String,
        meet: Option<Meet>,
        done: oneshot::Sender<Result<BusStream, OpenError>>,
    },
    /// The handle has put messages into an empty queue.
    Flush(StreamId),
    Taken {
        stream: StreamId,
        messages: usize,
        bytes: usize,
    },
    Close(StreamId),
    Abort(StreamId),
    Stats {
        stream: StreamId,
        done: oneshot::Sender<Option<StreamStats>>,
    },
    Strict(bool),
}

/// What this end does for a stream that both ask for.
#[derive(Clone, Copy)]
pub(crate) enum Meet {
    Open,
    Wait,
}

/// A stream that is being opened.
struct Opening {
    to: PeerKey,
    reliability: Reliability,
    label: String,
    done: oneshot::Sender<Result<BusStream, OpenError>>,
}

pub(crate) struct BusPort {
    bus: Bus,
    config: BusConfig,
    inbox: Arc<Inbox>,
    commands: mpsc::WeakUnboundedSender<Command>,
    driver: Driver,
    /// Who is to be woken at the end of the round.
    woken: Vec<Wake>,
    /// Completions of single messages by their id.
    waiting: HashMap<u64, oneshot::Sender<Result<Delivery, BusError>>>,
    opening: HashMap<StreamId, Opening>,
    streams: HashMap<StreamId, Arc<Shared>>,
    next_message: u64,
    next_stream: u64,
}

impl BusPort {
    pub(crate) fn new(
        inbox: Arc<Inbox>,
        commands: mpsc::WeakUnboundedSender<Command>,
        driver: Driver,
    ) -> Self {
        let config = BusConfig::default();
        Self {
            bus: Bus::new(config.clone()),
            config,
            inbox,
            commands,
            driver,
            woken: Vec::new(),
            waiting: HashMap::new(),
            opening: HashMap::new(),
            streams: HashMap::new(),
            next_message: 1,
            next_stream: 2,
        }
    }

    pub(crate) fn next_deadline(&self) -> Option<u64> {
        self.bus.next_deadline()
    }

    /// Something of the mesh.
    pub(crate) fn handle(&mut self, input: Input, now: u64) {
        // It may be for a stream.
        if let Input::Circuit(ditto_mesh::Action::CircuitIncoming { .. }) = &input {
            self.bus.handle(Input::SetAccepting(self.inbox.takes_streams()), now);
        }
        self.bus.handle(input, now);
    }

    /// Something of the app.
    pub(crate) fn command(&mut self, command: BusCommand, now: u64) {
        let input = match command {
            BusCommand::Send { to, data, reliability, done } => {
                let id = self.next_message;
                self.next_message += 1;
                self.waiting.insert(id, done);
                Input::Send { id, to, data, reliability }
            }
            BusCommand::Open { to, reliability, label, meet, done } => {
                let stream = StreamId(self.next_stream);
                self.next_stream += 2;
                self.opening.insert(stream, Opening { to, reliability, label: label.clone(), done });
                match meet {
                    None => Input::Open { stream, to, reliability, label },
                    Some(meet) => {
                        let opens = matches!(meet, Meet::Open);
                        Input::Meet { stream, peer: to, reliability, label, opens }
                    }
                }
            }
            BusCommand::Flush(stream) => return self.flush(stream, now),
            BusCommand::Taken { stream, messages, bytes } => Input::Taken { stream, messages, bytes },
            BusCommand::Close(stream) => {
                self.flush(stream, now);
                Input::Close { stream }
            }
            BusCommand::Abort(stream) => Input::Abort { stream },
            BusCommand::Stats { stream, done } => {
                let _ = done.send(self.bus.stream_stats(stream));
                return;
            }
            BusCommand::Strict(strict) => Input::SetStrict(strict),
        };
        self.bus.handle(input, now);
    }

    pub(crate) fn take_woken(&mut self) -> Vec<Wake> {
        std::mem::take(&mut self.woken)
    }

    /// Takes what a handle has queued; there is room for it.
    fn flush(&mut self, stream: StreamId, now: u64) {
        let Some(shared) = self.streams.get(&stream) else { return };
        for batch in shared.take_queue() {
            self.bus.handle(Input::Enqueue { stream, batch }, now);
        }
    }

    /// The next thing for the mesh to do. What concerns the app happens on the way.
    pub(crate) fn poll(&mut self, now: u64) -> Option<ditto_mesh::Input> {
        use ditto_mesh::Input as Mesh;
        while let Some(action) = self.bus.poll() {
            match action {
                Action::SendReliable { peer, bytes, tag } => {
                    return Some(Mesh::Send { peer, lane: Lane::Bus, bytes: bytes.into(), tag });
                }
                Action::SendDatagram { peer, bytes, tag } => {
                    return Some(Mesh::SendDatagram { peer, bytes, tag });
                }
                Action::Circuit(input) => return Some(input),
                Action::Violation { peer, reason } => return Some(Mesh::Disconnect { peer, reason }),
                action => self.tell(action, now),
            }
        }
        None
    }

    fn handle_of(
        &mut self,
        id: StreamId,
        peer: PeerKey,
        reliability: Reliability,
        label: String,
    ) -> Option<BusStream> {
        let commands = self.commands.upgrade()?;
        let shared = Arc::new(Shared::new(&self.config));
        self.streams.insert(id, shared.clone());
        let ways = (commands, self.driver.clone());
        Some(BusStream::new(id, peer, reliability, label, shared, ways))
    }

    /// Something for the app. Whoever waited for it may have stopped waiting.
    fn tell(&mut self, action: Action, now: u64) {
        match action {
            Action::Deliver(message) => self.inbox.push(message),
            Action::Completed { id, result } => {
                if let Some(done) = self.waiting.remove(&id) {
                    let _ = done.send(result);
                }
            }
            Action::Opened { stream } => match self.opening.remove(&stream) {
                Some(Opening { to, reliability, label, done }) => {
                    if let Some(handle) = self.handle_of(stream, to, reliability, label) {
                        // A handle that nobody takes closes the stream by its drop.
                        drop(done.send(Ok(handle)));
                    }
                }
                None => self.bus.handle(Input::Close { stream }, now),
            },
            Action::OpenFailed { stream, reason } => {
                if let Some(opening) = self.opening.remove(&stream) {
                    let _ = opening.done.send(Err(reason));
                }
            }
            Action::Incoming { stream, peer, reliability, label } => {
                if let Some(handle) = self.handle_of(stream, peer, reliability, label) {
                    self.inbox.push_stream(handle);
                }
            }
            // A stream that has just ended says so by itself.
            Action::Enqueued { result: Ok(_) | Err(BusError::StreamClosed), .. } => {}
            Action::Enqueued { stream, result: Err(e) } => {
                // The handle asks for room and size before, so this is a fault of ours. No message gets lost quietly.
                tracing::error!(?stream, %e, "messages were not accepted");
                self.bus.handle(Input::Abort { stream }, now);
            }
            Action::Settled { stream, messages, bytes } => {
                if let Some(shared) = self.streams.get(&stream)
                    && shared.settle(messages, bytes)
                {
                    self.woken.push(Wake::Freed(shared.clone()));
                }
            }
            Action::Received { stream, batch } => {
                if let Some(shared) = self.streams.get(&stream) {
                    let Taken { messages, bytes, .. } = shared.push(batch);
                    self.woken.push(Wake::Arrived(shared.clone()));
                    if messages > 0 {
                        self.bus.handle(Input::Taken { stream, messages, bytes }, now);
                    }
                }
            }
            Action::Acknowledged { stream, sequence } => {
                if let Some(shared) = self.streams.get(&stream) {
                    shared.acknowledge(sequence);
                }
            }
            Action::Closed { stream, reason } => {
                if let Some(shared) = self.streams.remove(&stream) {
                    shared.end(reason);
                }
            }
            // For the mesh.
            Action::SendReliable { .. }
            | Action::SendDatagram { .. }
            | Action::Circuit(_)
            | Action::Violation { .. } => {}
        }
    }
}
