//! The thread that runs the exchange of blobs on the store: reading and writing files, away from the network task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender};
use ditto_mesh::PeerKey;
use ditto_store::{Blob, Blobs, PartialBlob, ProvenChunk, Received};
use ditto_sync::blob::{
    BlobAction, BlobChunk, BlobExchange, BlobHolder, BlobHolding, BlobInput, BlobName, BlobPut, BlobStore,
    ChunkSet, FetchEnd, FetchId, LineId,
};
use ditto_types::ErrorKind;
use tokio::sync::{mpsc, oneshot};

use super::fetcher::{Ending, FetchOptions, Shared};
use super::port::{BlobCommand, peer_id};
use crate::node::Command;
use crate::{DittoError, runtime};

/// What the thread is told.
pub(crate) enum ToBlobs {
    /// For the machine.
    Exchange(BlobInput<DittoError>),
    /// The app wants an attachment.
    Fetch {
        fetch: Arc<Shared>,
        options: FetchOptions,
    },
    /// What was here of a blob is read.
    Loaded {
        name: BlobName,
        loaded: Result<Loaded, DittoError>,
    },
    /// The app asks who has a blob.
    Locate {
        name: BlobName,
        patience: Duration,
        reply: oneshot::Sender<Vec<BlobHolder>>,
    },
    Stop,
}

/// A blob that is ready for more chunks, and which it has.
pub(crate) struct Loaded {
    partial: PartialBlob,
    have: ChunkSet,
}

/// Handle on the thread.
pub(crate) struct Exchange {
    sender: Sender<ToBlobs>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Exchange {
    pub(crate) fn spawn(
        blobs: Blobs,
        me: &PeerKey,
        network: mpsc::WeakUnboundedSender<Command>,
    ) -> Result<Self, DittoError> {
        let (sender, inbox) = crossbeam_channel::unbounded();
        let mut seed = [0; 8];
        crate::random::fill(&mut seed);
        let store = Adapter { blobs, partial: HashMap::new(), whole: HashMap::new() };
        let worker = Worker {
            machine: BlobExchange::new(store, peer_id(me), u64::from_le_bytes(seed)),
            sender: sender.clone(),
            network,
            began: Instant::now(),
            fetches: HashMap::new(),
            questions: HashMap::new(),
            next_question: 1,
        };
        let thread = std::thread::Builder::new().name("ditto-blob-sync".into());
        let thread = thread.spawn(move || worker.run(&inbox)).map_err(|e| {
            DittoError::new(ErrorKind::Internal, format!("cannot start the thread of attachments: {e}"))
        })?;
        Ok(Self { sender, thread: Mutex::new(Some(thread)) })
    }

    pub(crate) fn sender(&self) -> Sender<ToBlobs> {
        self.sender.clone()
    }

    /// Tells the thread to end; the fetches that run are cancelled.
    pub(crate) fn stop(&self) -> Option<JoinHandle<()>> {
        let _ = self.sender.send(ToBlobs::Stop);
        self.thread.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

struct Worker {
    machine: BlobExchange<Adapter>,
    sender: Sender<ToBlobs>,
    network: mpsc::WeakUnboundedSender<Command>,
    began: Instant,
    fetches: HashMap<FetchId, Arc<Shared>>,
    questions: HashMap<u64, oneshot::Sender<Vec<BlobHolder>>>,
    next_question: u64,
}

impl Worker {
    fn run(mut self, inbox: &Receiver<ToBlobs>) {
        loop {
            let wait = self.machine.next_deadline().map_or(Duration::from_secs(3600), |d| {
                Duration::from_millis(d.saturating_sub(self.now()).max(1))
            });
            match inbox.recv_timeout(wait) {
                Ok(ToBlobs::Stop) | Err(RecvTimeoutError::Disconnected) => break,
                Ok(message) => self.message(message),
                Err(RecvTimeoutError::Timeout) => self.handle(BlobInput::Tick),
            }
            self.carry_out();
        }
        for (_, fetch) in self.fetches.drain() {
            fetch.end(Ending::Cancelled);
        }
    }

    /// Milliseconds of a clock that does not step.
    fn now(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn handle(&mut self, input: BlobInput<DittoError>) {
        self.machine.handle(input, self.now());
    }

    fn message(&mut self, message: ToBlobs) {
        match message {
            ToBlobs::Exchange(BlobInput::Message { line, bytes }) => {
                let length = bytes.len();
                self.handle(BlobInput::Message { line, bytes });
                self.network(BlobCommand::Consumed { line, bytes: length });
            }
            ToBlobs::Exchange(input) => self.handle(input),
            ToBlobs::Fetch { fetch, options } => {
                let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
                let input = BlobInput::Fetch {
                    fetch: fetch.id,
                    name: fetch.name(),
                    timeout: options.timeout.map(millis),
                    unavailable_after: options.unavailable_after.map(millis),
                };
                self.fetches.insert(fetch.id, fetch);
                self.handle(input);
            }
            ToBlobs::Loaded { name, loaded } => {
                let have = loaded.map(|loaded| {
                    self.machine.store().partial.insert(name, loaded.partial);
                    loaded.have
                });
                self.handle(BlobInput::Loaded { name, have });
            }
            ToBlobs::Locate { name, patience, reply } => {
                let question = self.next_question;
                self.next_question += 1;
                self.questions.insert(question, reply);
                let patience = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
                self.handle(BlobInput::Locate { question, name, patience });
            }
            ToBlobs::Stop => {}
        }
    }

    fn carry_out(&mut self) {
        while let Some(action) = self.machine.poll() {
            match action {
                BlobAction::Send { line, bytes } => self.network(BlobCommand::Send { line, bytes }),
                BlobAction::OpenCircuit { peer } => self.open_circuit(&peer),
                BlobAction::CloseLine { line } => self.network(BlobCommand::CloseLine { line }),
                BlobAction::Violation { line, reason } => self.violation(line, reason),
                BlobAction::Distrusted { peer, name } => {
                    let peer = PeerKey::from_bytes(&peer.0).map_or_else(|e| e.to_string(), |p| p.to_string());
                    tracing::warn!(peer, blob = %name.id, "a peer has sent a chunk that is not of the blob");
                }
                BlobAction::Load { name } => self.load(name),
                BlobAction::Unload { name } => {
                    self.machine.store().partial.remove(&name);
                }
                BlobAction::Progress { fetch, bytes } => {
                    if let Some(fetch) = self.fetches.get(&fetch) {
                        fetch.progress(bytes);
                    }
                }
                BlobAction::Ended { fetch, end } => self.ended(fetch, end),
                BlobAction::Located { question, holders } => {
                    if let Some(reply) = self.questions.remove(&question) {
                        let _ = reply.send(holders);
                    }
                }
            }
        }
        // Their fetches have handles now.
        self.machine.store().whole.clear();
    }

    fn network(&self, command: BlobCommand) {
        if let Some(network) = self.network.upgrade() {
            // A closed instance has no network.
            let _ = network.send(Command::Blobs(command));
        }
    }

    fn open_circuit(&mut self, peer: &ditto_sync::PeerId) {
        match PeerKey::from_bytes(&peer.0) {
            Ok(key) => self.network(BlobCommand::OpenCircuit { peer: key }),
            // Invented by somebody.
            Err(_) => self.handle(BlobInput::CircuitFailed { peer: *peer }),
        }
    }

    fn violation(&self, line: LineId, reason: String) {
        tracing::warn!(reason, "protocol violation in the exchange of attachments");
        self.network(BlobCommand::Violation { line, reason });
    }

    /// Reads what is here of a blob on another thread, because it is verified and may be large.
    fn load(&mut self, name: BlobName) {
        let (blobs, sender) = (self.machine.store().blobs.clone(), self.sender.clone());
        let load = move || {
            let loaded = load(&blobs, name).map_err(DittoError::from);
            // The thread may have ended meanwhile.
            let _ = sender.send(ToBlobs::Loaded { name, loaded });
        };
        match runtime::handle() {
            Ok(runtime) => drop(runtime.spawn_blocking(load)),
            Err(e) => self.handle(BlobInput::Loaded { name, have: Err(e) }),
        }
    }

    fn ended(&mut self, fetch: FetchId, end: FetchEnd<DittoError>) {
        let Some(shared) = self.fetches.remove(&fetch) else { return };
        let name = shared.name();
        let failed = |reason| Ending::Failed(DittoError::new(ErrorKind::AttachmentFetchFailed, reason));
        shared.end(match end {
            FetchEnd::Completed => {
                let store = self.machine.store();
                let blob = store.whole.get(&name).cloned().or_else(|| store.blobs.get(name.id, name.len));
                blob.map_or_else(|| failed("the attachment was deleted at once"), Ending::Completed)
            }
            FetchEnd::Cancelled => Ending::Cancelled,
            FetchEnd::TimedOut => failed("the attachment did not arrive in the time given"),
            FetchEnd::Unavailable => Ending::Deleted,
            FetchEnd::Failed(e) => Ending::Failed(e),
        });
    }
}

fn load(blobs: &Blobs, name: BlobName) -> Result<Loaded, ditto_store::StoreError> {
    let partial = blobs.partial(name.id, name.len)?;
    let have = match partial.complete()? {
        Some(_) => ChunkSet::full(name.len),
        None => ChunkSet::from_bits(name.len, &partial.bits()?),
    };
    Ok(Loaded { partial, have })
}

/// The blobs of the store as the machine sees them.
struct Adapter {
    blobs: Blobs,
    /// Those that arrive.
    partial: HashMap<BlobName, PartialBlob>,
    /// Those whose last chunk has just come: kept until somebody else has a handle.
    whole: HashMap<BlobName, Blob>,
}

impl BlobStore for Adapter {
    type Error = DittoError;

    fn holding(&mut self, name: BlobName) -> Result<BlobHolding, DittoError> {
        Ok(match self.blobs.holding(name.id, name.len)? {
            ditto_store::BlobHolding::Nothing => BlobHolding::Nothing,
            ditto_store::BlobHolding::Whole => BlobHolding::Whole,
            ditto_store::BlobHolding::Partial(bits) => {
                BlobHolding::Some(ChunkSet::from_bits(name.len, &bits))
            }
        })
    }

    fn is_whole(&mut self, name: BlobName) -> bool {
        self.blobs.get(name.id, name.len).is_some()
    }

    fn chunk(&mut self, name: BlobName, index: u64) -> Result<Option<BlobChunk>, DittoError> {
        let chunk = self.blobs.chunk(name.id, name.len, index);
        let chunk =
            chunk.inspect_err(|e| tracing::warn!(error = %e, blob = %name.id, "a blob cannot be read"));
        Ok(chunk?.map(|c| BlobChunk { proof: c.proof, bytes: c.bytes }))
    }

    fn put(&mut self, name: BlobName, index: u64, chunk: BlobChunk) -> Result<BlobPut, DittoError> {
        let Some(partial) = self.partial.get(&name) else {
            return Err(DittoError::new(ErrorKind::Internal, "a chunk of a blob that is not open"));
        };
        let chunk = ProvenChunk { proof: chunk.proof, bytes: chunk.bytes };
        Ok(match partial.put(index, &chunk)? {
            Received::Kept => BlobPut::Kept,
            Received::Refused => BlobPut::Refused,
            Received::Complete(blob) => {
                self.whole.insert(name, blob);
                BlobPut::Complete
            }
        })
    }
}
