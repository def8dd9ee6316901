//! Two sync machines on two real stores, without a network: what gravestones are towards peers (design T1.8, ADR 0011).

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crossbeam_channel::Receiver;
use ditto_store::{Commit, Store, StoreOptions, WallClock};
use ditto_sync::{Action, Input, Lane, PeerId, SyncConfig, SyncEngine, query_hash};
use ditto_types::{Object, json};

use super::{StoreAdapter, local_commit};

const ALL: &str = "SELECT * FROM c";
const DAY_MS: u64 = 24 * 3600 * 1000;

/// A clock that both stores share.
struct Clock(AtomicU64);

impl WallClock for Clock {
    fn now_ms(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

struct Peer {
    id: PeerId,
    store: Store,
    engine: SyncEngine<StoreAdapter>,
    commits: Receiver<Arc<Commit>>,
    inbox: VecDeque<(Lane, Vec<u8>)>,
    _dir: tempfile::TempDir,
}

struct Pair {
    peers: [Peer; 2],
    clock: Arc<Clock>,
    now: u64,
}

fn peer(n: u8, clock: &Arc<Clock>, subscribes: bool) -> Peer {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        clock: clock.clone(),
        environment: Arc::new(|_| None),
        ..StoreOptions::new(dir.path(), "a1b2c3d4-0000-4000-8000-000000000001".parse().unwrap())
    };
    let store = Store::open(options).unwrap();
    let commits = store.subscribe_commits();
    let mut engine = SyncEngine::new(StoreAdapter::new(store.clone()), SyncConfig::default());
    if subscribes {
        engine.handle(Input::Subscribe { sub: 1, query: ALL.to_string(), args: Object::new() }, 0);
    }
    Peer { id: PeerId([n; 34]), store, engine, commits, inbox: VecDeque::new(), _dir: dir }
}

impl Peer {
    fn run(&self, text: &str) -> Vec<String> {
        let result = self.store.execute(text, &Object::new()).unwrap_or_else(|e| panic!("{text}: {e}"));
        result.items().iter().map(json::to_string).collect()
    }

    fn all(&self) -> Vec<String> {
        self.run("SELECT * FROM c ORDER BY _id")
    }
}

impl Pair {
    /// Two peers of which the second subscribes, and the first too if `both`.
    fn new(both: bool) -> Self {
        let clock = Arc::new(Clock(AtomicU64::new(1_800_000_000_000)));
        Self { peers: [peer(1, &clock, both), peer(2, &clock, true)], clock, now: 0 }
    }

    fn connect(&mut self) {
        let names = [0, 1].map(|i| (self.peers[i].id, self.peers[i].store.identity()));
        for i in [0, 1] {
            let (peer, identity) = names[1 - i];
            let up = Input::PeerUp { peer, store_id: identity.store_id, epoch: identity.epoch };
            self.peers[i].engine.handle(up, self.now);
        }
        self.settle();
    }

    fn disconnect(&mut self) {
        let ids = [self.peers[0].id, self.peers[1].id];
        for i in [0, 1] {
            self.peers[i].inbox.clear();
            self.peers[i].engine.handle(Input::PeerDown { peer: ids[1 - i] }, self.now);
        }
        self.settle();
    }

    /// Delivers everything until both have nothing to say any more.
    fn settle(&mut self) {
        let ids = [self.peers[0].id, self.peers[1].id];
        let mut quiet = 0;
        for _ in 0..10_000 {
            let mut busy = false;
            for i in [0, 1] {
                let me = &mut self.peers[i];
                while let Ok(commit) = me.commits.try_recv() {
                    me.engine.handle(Input::Commit(local_commit(&commit)), self.now);
                }
                if let Some((lane, bytes)) = me.inbox.pop_front() {
                    me.engine.handle(Input::Message { peer: ids[1 - i], lane, bytes }, self.now);
                    busy = true;
                }
                while let Some(action) = self.peers[i].engine.poll() {
                    match action {
                        Action::Send { lane, bytes, .. } => {
                            self.peers[1 - i].inbox.push_back((lane, bytes));
                            busy = true;
                        }
                        Action::Disconnect { reason, .. } => panic!("peer {i}: {reason}"),
                        _ => {}
                    }
                }
            }
            quiet = if busy { 0 } else { quiet + 1 };
            if quiet > 20 {
                return;
            }
            if !busy {
                self.now += 200;
                self.peers.iter_mut().for_each(|p| p.engine.handle(Input::Tick, self.now));
            }
        }
        panic!("they never come to an end");
    }

    fn pass(&self, days: u64) {
        self.clock.0.fetch_add(days * DAY_MS, Ordering::SeqCst);
    }

    fn forget_cursors(&self) {
        for p in &self.peers {
            p.store.delete_cursors(query_hash(ALL, &Object::new())).unwrap();
        }
    }
}

/// After the deletions of one side were reaped there, the other side hears of them all the same: by what changed since
/// its cursor, and without a cursor by comparing views; whether or not the first side subscribes too.
#[test]
fn peers_converge_after_reaping_on_one_side() {
    for both in [true, false] {
        for cursors in [true, false] {
            let mut pair = Pair::new(both);
            for i in 0..8 {
                pair.peers[0].run(&format!("INSERT INTO c DOCUMENTS ({{'_id':{i},'n':{i}}})"));
            }
            pair.connect();
            assert_eq!(pair.peers[1].all().len(), 8);
            pair.disconnect();
            pair.peers[0].run("DELETE FROM c WHERE n < 3");
            // The copy that is away is changed besides; a deletion wins over that.
            pair.peers[1].run("UPDATE c SET away = true WHERE n = 1");
            pair.pass(9);
            assert_eq!(pair.peers[0].store.reap().unwrap().buried, 3);
            if !cursors {
                pair.forget_cursors();
            }
            pair.connect();
            let [a, b] = &pair.peers;
            assert_eq!(b.all(), a.all(), "both {both}, cursors {cursors}");
            assert_eq!(a.all().len(), 5);
            for p in &pair.peers {
                assert!(p.store.check().unwrap().is_clean());
            }
            // Nothing is told a second time.
            let heads = [pair.peers[0].store.head(), pair.peers[1].store.head()];
            pair.disconnect();
            pair.connect();
            assert_eq!([pair.peers[0].store.head(), pair.peers[1].store.head()], heads);
        }
    }
}

/// A document that is born again at the side that reaped it reaches the other.
#[test]
fn a_document_born_again_after_reaping_arrives() {
    let mut pair = Pair::new(true);
    pair.peers[0].run("INSERT INTO c DOCUMENTS ({'_id':1,'old':true})");
    pair.connect();
    pair.disconnect();
    pair.peers[0].run("DELETE FROM c");
    pair.pass(9);
    assert_eq!(pair.peers[0].store.reap().unwrap().buried, 1);
    pair.peers[0].run("INSERT INTO c DOCUMENTS ({'_id':1,'new':true})");
    pair.connect();
    for p in &pair.peers {
        assert_eq!(p.all(), [r#"{"_id":1,"new":true}"#]);
    }
}

/// The rule has an end: after 400 days the gravestone is gone, and an old copy comes back.
#[test]
fn an_old_copy_comes_back_when_the_gravestone_is_gone() {
    let mut pair = Pair::new(true);
    pair.peers[0].run("INSERT INTO c DOCUMENTS ({'_id':1})");
    pair.connect();
    pair.disconnect();
    pair.peers[0].run("DELETE FROM c");
    pair.pass(401);
    let report = pair.peers[0].store.reap().unwrap();
    assert_eq!((report.buried, report.dropped), (1, 1));
    pair.forget_cursors();
    pair.connect();
    for p in &pair.peers {
        assert_eq!(p.all(), [r#"{"_id":1}"#]);
    }
}
