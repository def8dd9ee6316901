//! A session with one peer: its state in both roles, and the dispatch of its messages.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};

use ditto_types::{Digest, KeyHash};
use smol_str::SmolStr;

use super::bulk::Job;
use super::lazy::Lazy;
use super::receive::RecvSub;
use super::sender::SendSub;
use super::wants::Wants;
use super::{Core, Fault};
use crate::event::{Action, PeerSyncStatus};
use crate::limits::{MAX_KNOWN, MAX_MESSAGE_BYTES};
use crate::peer::{Lane, PeerId};
use crate::store::{ApplyItem, CursorKey, SyncStore};
use crate::wire::dict::{LaneReader, LaneWriter};
use crate::wire::{Message, Want};

/// Counters of a session.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Stats {
    pub(crate) documents_received: u64,
    pub(crate) documents_sent: u64,
    pub(crate) bytes_received: u64,
    pub(crate) bytes_sent: u64,
    pub(crate) last_update_ms: Option<u64>,
}

/// What a mark in HAVE asks the sender to confirm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Announcements of commits up to this one.
    Gains(u64),
    /// Documents that only the receiver has, found while reconciling this subscription.
    Extras(u32),
}

/// The receiving role.
pub(crate) struct Receiver<Q> {
    pub(crate) next_sid: u32,
    pub(crate) generation: u64,
    pub(crate) sids: BTreeMap<u32, RecvSub<Q>>,
    pub(crate) by_hash: BTreeMap<[u8; 16], u32>,
    /// Collections asked for in this session; others are not accepted.
    pub(crate) collections: BTreeSet<SmolStr>,
    /// Newest token that came on the live lane.
    pub(crate) live_token: u64,
    pub(crate) wants: Wants,
    pub(crate) marks: BTreeMap<u64, Mark>,
    pub(crate) next_mark: u64,
    /// The first commit whose announcement is not confirmed, and the last.
    pub(crate) unconfirmed: Option<(u64, u64)>,
    /// Commits of pushes that came before the SUBST of a subscription: the sender may have moved on from them
    /// while it did not serve that query, so they are announced like gains from elsewhere.
    pub(crate) early: BTreeSet<u64>,
    /// Set when a subscription was dropped before everything asked for had come: until a scan of this number
    /// or a later one ends, documents that nobody asks for any more may arrive on the bulk lane.
    pub(crate) stale_bulk: Option<u32>,
    /// Items of a commit that comes in several messages, and their size.
    pub(crate) collecting: Option<(Vec<ApplyItem>, usize)>,
    /// Pages of a scan that are merged together.
    pub(crate) staged: Option<Staged>,
    /// The last token confirmed with ACK.
    pub(crate) acked: u64,
    /// When the next ACK is due.
    pub(crate) ack_at: Option<u64>,
    /// When cursors and announcements are to be settled.
    pub(crate) settle_at: Option<u64>,
}

/// Pages of one scan that are not yet merged.
pub(crate) struct Staged {
    pub(crate) sid: u32,
    pub(crate) items: Vec<ApplyItem>,
    pub(crate) bytes: usize,
    /// Whether the peer still holds what it sent.
    pub(crate) held: bool,
    /// When they are merged although the scan goes on; `None` if they have to be one step.
    pub(crate) due: Option<u64>,
}

/// The sending role.
pub(crate) struct Sender<Q> {
    pub(crate) subs: BTreeMap<u32, SendSub<Q>>,
    /// Subscriptions to collections that are not shared.
    pub(crate) denied: BTreeMap<u32, SmolStr>,
    /// Generation of the last SUBS.
    pub(crate) generation: u64,
    /// Collections of all subscriptions of this session.
    pub(crate) collections: BTreeSet<SmolStr>,
    pub(crate) jobs: VecDeque<Job>,
    /// Subscriptions whose comparison waits for the end of ours.
    pub(crate) waiting: BTreeSet<u32>,
    pub(crate) answers: VecDeque<Want>,
    /// Keys of `answers`.
    pub(crate) answering: BTreeSet<KeyHash>,
    /// Newest token that was sent on the live lane.
    pub(crate) pushed: u64,
    /// Newest token that the peer confirmed.
    pub(crate) acked: Option<u64>,
    /// When a token without documents is due.
    pub(crate) settle_at: Option<u64>,
}

/// Digests that the peer is known to hold, the low 8 bytes of each.
#[derive(Default)]
pub(crate) struct Known {
    digests: BTreeMap<KeyHash, (u64, u64)>,
    order: BTreeMap<u64, KeyHash>,
    clock: u64,
    /// Digests sent by the peer, by the commit that merged them; dropped when that commit is pushed.
    echoes: BTreeMap<u64, Echo>,
    /// Documents whose newest state went to the peer or came from it on the live lane.
    served: BTreeSet<KeyHash>,
}

/// What the peer sent of one commit.
#[derive(Default)]
pub(crate) struct Echo(HashMap<KeyHash, Digest>);

impl Echo {
    /// Whether the peer sent this state.
    pub(crate) fn has(&self, key: KeyHash, digest: Digest) -> bool {
        self.0.get(&key) == Some(&digest)
    }
}

impl Known {
    pub(crate) fn insert(&mut self, key: KeyHash, digest: u64) {
        self.clock += 1;
        if let Some((at, _)) = self.digests.insert(key, (self.clock, digest)) {
            self.order.remove(&at);
        }
        self.order.insert(self.clock, key);
        while self.digests.len() > MAX_KNOWN {
            let Some((_, oldest)) = self.order.pop_first() else { break };
            self.digests.remove(&oldest);
        }
    }

    pub(crate) fn has(&self, key: KeyHash, digest: u64) -> bool {
        self.digests.get(&key).is_some_and(|(_, d)| *d == digest)
    }

    /// Notes whether the peer gets everything in a document's state.
    pub(crate) fn serve(&mut self, key: KeyHash, served: bool) {
        if !served {
            self.served.remove(&key);
        } else if self.served.insert(key) && self.served.len() > MAX_KNOWN {
            self.served.pop_first();
        }
    }

    /// Whether there is anything that [`Known::serve`] could take back.
    pub(crate) fn serves(&self) -> bool {
        !self.served.is_empty()
    }

    /// Whether the peer has or gets everything that the document's state had before the commit in hand.
    pub(crate) fn is_served(&self, key: KeyHash) -> bool {
        self.served.contains(&key)
    }

    /// Forgets what the peer held: it may have evicted it.
    pub(crate) fn clear(&mut self) {
        self.served.clear();
        self.digests.clear();
        self.order.clear();
        self.echoes.clear();
    }

    pub(crate) fn add_echo(&mut self, seq: u64, key: KeyHash, digest: Digest) {
        self.echoes.entry(seq).or_default().0.insert(key, digest);
        // Commits are published soon after they are made; more than this many cannot be under way.
        while self.echoes.len() > 256 {
            self.echoes.pop_first();
        }
    }

    /// The digests that came with commit `seq`; forgets those of earlier commits.
    pub(crate) fn take_echo(&mut self, seq: u64) -> Echo {
        let echo = self.echoes.remove(&seq).unwrap_or_default();
        self.echoes = self.echoes.split_off(&seq);
        echo
    }
}

/// A session with one peer.
pub(crate) struct Session<S: SyncStore> {
    pub(crate) peer: PeerId,
    pub(crate) store_id: [u8; 16],
    pub(crate) epoch: [u8; 8],
    /// Whether a disconnect was asked for; nothing is processed any more.
    pub(crate) broken: bool,
    pub(crate) recv: Receiver<S::Query>,
    pub(crate) send: Sender<S::Query>,
    pub(crate) known: Known,
    /// States that the peer has hinted at, which it may have evicted since.
    pub(crate) hinted: Known,
    pub(crate) lazy: Lazy,
    pub(crate) live_out: LaneWriter,
    pub(crate) bulk_out: LaneWriter,
    pub(crate) live_in: LaneReader,
    pub(crate) bulk_in: LaneReader,
    /// Bytes believed to wait on the lanes.
    pub(crate) live_queue: usize,
    pub(crate) bulk_queue: usize,
    pub(crate) stats: Stats,
    /// Whether [`Session::pump`] stopped before its work was done.
    pub(crate) pump_again: bool,
}

impl<S: SyncStore> Session<S> {
    pub(crate) fn new(peer: PeerId, store_id: [u8; 16], epoch: [u8; 8]) -> Self {
        Self {
            peer,
            store_id,
            epoch,
            broken: false,
            recv: Receiver {
                next_sid: 1,
                generation: 0,
                sids: BTreeMap::new(),
                by_hash: BTreeMap::new(),
                collections: BTreeSet::new(),
                live_token: 0,
                wants: Wants::default(),
                marks: BTreeMap::new(),
                next_mark: 1,
                unconfirmed: None,
                early: BTreeSet::new(),
                stale_bulk: None,
                collecting: None,
                staged: None,
                acked: 0,
                ack_at: None,
                settle_at: None,
            },
            send: Sender {
                subs: BTreeMap::new(),
                denied: BTreeMap::new(),
                generation: 0,
                collections: BTreeSet::new(),
                jobs: VecDeque::new(),
                waiting: BTreeSet::new(),
                answers: VecDeque::new(),
                answering: BTreeSet::new(),
                pushed: 0,
                acked: None,
                settle_at: None,
            },
            known: Known::default(),
            hinted: Known::default(),
            lazy: Lazy::default(),
            live_out: LaneWriter::default(),
            bulk_out: LaneWriter::default(),
            live_in: LaneReader::default(),
            bulk_in: LaneReader::default(),
            live_queue: 0,
            bulk_queue: 0,
            stats: Stats::default(),
            pump_again: false,
        }
    }

    /// Name of the cursor of a query at this peer.
    pub(crate) fn cursor_key(&self, hash: [u8; 16]) -> CursorKey {
        CursorKey { store_id: self.store_id, epoch: self.epoch, query_hash: hash, perm_hash: [0; 8] }
    }

    /// Puts a message on a lane.
    pub(crate) fn put(&mut self, core: &mut Core<S>, lane: Lane, message: &Message) {
        let bytes = core.packer.pack(message.encode());
        self.stats.bytes_sent += bytes.len() as u64;
        match lane {
            Lane::Live => self.live_queue += bytes.len(),
            Lane::Bulk => self.bulk_queue += bytes.len(),
        }
        core.actions.push_back(Action::Send { peer: self.peer, lane, bytes });
    }

    /// Notes how much waits on a lane.
    pub(crate) fn queued(&mut self, _core: &mut Core<S>, lane: Lane, bytes: usize) -> Result<(), Fault> {
        match lane {
            Lane::Live => self.live_queue = bytes,
            Lane::Bulk => self.bulk_queue = bytes,
        }
        Ok(())
    }

    /// Takes in a message.
    pub(crate) fn message(&mut self, core: &mut Core<S>, lane: Lane, bytes: &[u8]) -> Result<(), Fault> {
        if bytes.len() > MAX_MESSAGE_BYTES {
            return Err(Fault::MessageTooLong(bytes.len()));
        }
        let unpacked = core.packer.unpack(bytes)?;
        let (message, size) = (Message::decode(&unpacked)?, unpacked.len());
        if !message.allowed_on(lane) {
            return Err(Fault::WrongLane { name: message.name(), lane });
        }
        self.stats.bytes_received += bytes.len() as u64;
        if lane == Lane::Bulk {
            self.recv.wants.progress(core.now, core.config.want_timeout_ms);
        }
        // What follows on the lane counts on what came before it.
        let scanning =
            matches!(&message, Message::Txn(t) if t.sid.is_some()) || matches!(message, Message::Hint(_));
        if lane == Lane::Bulk && !scanning {
            self.merge_staged(core)?;
        }
        match message {
            Message::Subs(m) => self.on_subs(core, m),
            Message::NeedQ(hashes) => self.on_needq(core, &hashes),
            Message::Subst(m) => self.on_subst(core, m),
            Message::Txn(m) => self.on_txn(core, lane, m, size),
            Message::Have(m) => self.on_have(core, m),
            Message::Hint(m) => self.on_hint(core, m),
            Message::Want(m) => self.on_want(m),
            Message::WantBack(m) => self.on_want_back(core, m),
            Message::Ack { token, dup } => self.on_ack(core, token, dup),
            Message::Tree { place, child } => {
                core.tree.hear(self.peer, place, child, core.now);
                Ok(())
            }
            Message::Root(m) => self.on_root(core, m),
            Message::RecOk { sid } => self.on_reconciled(core, sid),
            Message::RecGo { sid, ask } => {
                self.on_recgo(core, sid, &ask)?;
                self.compare_roots(core)
            }
            Message::Sym(m) => self.on_symbols(core, m),
            Message::List(m) => self.on_list(core, m),
            Message::RecEnd { sid, .. } => self.on_reconciled(core, sid),
            Message::Gone { keys, .. } => self.on_gone(core, &keys),
            Message::Rej(m) => {
                core.actions.push_back(Action::Rejected {
                    peer: self.peer,
                    collection: m.collection,
                    id: m.id,
                    code: m.code,
                });
                Ok(())
            }
        }
    }

    /// Does what is due.
    pub(crate) fn tick(&mut self, core: &mut Core<S>) -> Result<(), Fault> {
        self.retry_wants(core)?;
        if self.lazy.deadline().is_some_and(|t| t <= core.now) {
            self.ask_for_offered(core, core.now)?;
        }
        if self.recv.staged.as_ref().and_then(|s| s.due).is_some_and(|t| t <= core.now) {
            self.merge_staged(core)?;
        }
        if self.recv.ack_at.is_some_and(|t| t <= core.now) {
            self.acknowledge(core);
        }
        if self.lazy.tell_at.is_some_and(|t| t <= core.now) {
            self.tell_place(core);
        }
        if self.send.settle_at.is_some_and(|t| t <= core.now) {
            self.send.settle_at = None;
            self.send_offers(core, core.processed);
            self.push_token(core);
        }
        if self.recv.settle_at.is_some_and(|t| t <= core.now) {
            self.recv.settle_at = None;
            self.settle(core)?;
        }
        Ok(())
    }

    /// When [`Session::tick`] is due.
    pub(crate) fn deadline(&self, now: u64) -> Option<u64> {
        if self.broken {
            return None;
        }
        let again = self.pump_again.then_some(now);
        let lazy = self.lazy.deadline().filter(|t| *t < u64::MAX);
        let gathered = self.recv.staged.as_ref().and_then(|s| s.due);
        [
            again,
            lazy,
            gathered,
            self.lazy.tell_at,
            self.recv.ack_at,
            self.send.settle_at,
            self.recv.settle_at,
            self.recv.wants.deadline,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(crate) fn status(&self, core: &Core<S>) -> PeerSyncStatus {
        let subscriptions = core
            .subs
            .iter()
            .filter_map(|(sub, hash)| {
                let sid = self.recv.by_hash.get(hash)?;
                Some((*sub, self.recv.sids.get(sid)?.state()))
            })
            .collect();
        PeerSyncStatus {
            peer: self.peer,
            connected: !self.broken,
            synced_up_to_local_commit_id: self.send.acked,
            last_update_received_ms: self.stats.last_update_ms,
            documents_received: self.stats.documents_received,
            documents_sent: self.stats.documents_sent,
            bytes_received: self.stats.bytes_received,
            bytes_sent: self.stats.bytes_sent,
            subscriptions,
        }
    }
}
