//! The surface as another language uses it: callbacks on foreign threads, failing callbacks, hand-driven transactions.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::ThreadId;
use std::time::Duration;

use ditto_uniffi::bus::delegate::{BusDelegate, BusStreamDelegate};
use ditto_uniffi::bus::stream::{BusStream, BusStreamEnd};
use ditto_uniffi::bus::{BusMessage, Reliability};
use ditto_uniffi::config::{DittoConfig, DittoConfigConnect, Durability};
use ditto_uniffi::connection::{
    ConnectionPriority, ConnectionRequest, ConnectionRequestAuthorization, ConnectionRequestHandler,
};
use ditto_uniffi::differ::{Diff, Differ};
use ditto_uniffi::error::DittoError;
use ditto_uniffi::instance::Ditto;
use ditto_uniffi::observer::{QueryObserver, QueryObserverWithSignalNext, SignalNext, StoreObserver};
use ditto_uniffi::presence::PresenceHandler;
use ditto_uniffi::result::QueryResult;
use ditto_uniffi::store::TransactionOptions;

const PATIENCE: Duration = Duration::from_secs(10);
const SELECT: &str = "SELECT * FROM c ORDER BY _id";

fn open() -> (tempfile::TempDir, Arc<Ditto>) {
    let dir = tempfile::tempdir().unwrap();
    let ditto = Ditto::open_sync(config(&dir)).unwrap();
    (dir, ditto)
}

fn config(dir: &tempfile::TempDir) -> DittoConfig {
    DittoConfig {
        database_id: "6f1d1c9e-2f4b-4c39-a9f0-8c3d7c2f5a11".into(),
        connect: DittoConfigConnect::SmallPeersOnly { private_key: None },
        persistence_directory: Some(dir.path().to_string_lossy().into_owned()),
        durability: Durability::Normal,
    }
}

fn run<T>(future: impl Future<Output = T>) -> T {
    // Not tokio's: the futures must run on whatever executor the other language has.
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut future = std::pin::pin!(future);
    loop {
        match future.as_mut().poll(&mut std::task::Context::from_waker(&waker)) {
            std::task::Poll::Ready(value) => return value,
            std::task::Poll::Pending => std::thread::park(),
        }
    }
}

/// Lets two sync over loopback; the second dials the first.
fn start_both(a: &Arc<Ditto>, b: &Arc<Ditto>) {
    for (ditto, address) in [(a, None), (b, Some(a))] {
        let before = ditto.transport_config();
        let mut after = before.clone();
        after.peer_to_peer.lan.enabled = false;
        after.listen.tcp.enabled = address.is_none();
        after.listen.tcp.interface_ip = "127.0.0.1".into();
        after.listen.tcp.port = 0;
        after.connect.tcp_servers = address.and_then(|a| a.sync().listen_address()).into_iter().collect();
        assert!(run(ditto.replace_transport_config(before, after)).unwrap());
        run(ditto.sync().start()).unwrap();
    }
}

fn insert(ditto: &Ditto, id: i64) -> Arc<QueryResult> {
    let args = format!(r#"{{"doc":{{"_id":{id}}}}}"#);
    ditto.store().execute_sync("INSERT INTO c DOCUMENTS (:doc)".into(), Some(args)).unwrap()
}

/// Sends on what it gets, with the thread that it came on, and fails when told to.
struct Recorder {
    seen: Mutex<Sender<(String, ThreadId)>>,
    fails: bool,
    own_handle: Arc<OnceLock<Arc<StoreObserver>>>,
}

impl Recorder {
    fn new(fails: bool) -> (Arc<Self>, Receiver<(String, ThreadId)>) {
        let (seen, received) = channel();
        (Arc::new(Self { seen: Mutex::new(seen), fails, own_handle: Arc::default() }), received)
    }

    fn record(&self, text: String) -> Result<(), DittoError> {
        self.seen.lock().unwrap().send((text, std::thread::current().id())).unwrap();
        if let Some(handle) = self.own_handle.get() {
            handle.cancel();
        }
        if self.fails {
            return Err(uniffi::UnexpectedUniFFICallbackError::new("the app's exception").into());
        }
        Ok(())
    }
}

impl QueryObserver for Recorder {
    fn on_result(&self, result: Arc<QueryResult>) -> Result<(), DittoError> {
        self.record(result.items_json())
    }
}

impl PresenceHandler for Recorder {
    fn on_graph(&self, graph_json: String) -> Result<(), DittoError> {
        self.record(graph_json)
    }
}

#[test]
fn statements_cross_as_text_and_keep_their_kinds() {
    let (_dir, ditto) = open();
    let doc = r#"{"_id":"x","b":{"$bytes":"AAH/"},"f":1.0,"i":1}"#;
    let insert = "INSERT INTO c DOCUMENTS (:doc)".to_owned();
    let result = run(ditto.store().execute(insert, Some(format!(r#"{{"doc":{doc}}}"#)))).unwrap();
    assert_eq!(result.mutated_document_ids_json().unwrap().as_deref(), Some(r#"["x"]"#));
    assert!(result.commit_id().is_some());
    let result = run(ditto.store().execute("SELECT * FROM c".into(), None)).unwrap();
    assert_eq!((result.items_json(), result.item_count()), (format!("[{doc}]"), 1));
    assert_eq!(result.mutated_document_ids_json().unwrap(), None);
}

#[test]
fn rows_are_taken_one_by_one_by_page_or_together() {
    let (_dir, ditto) = open();
    (0..5).for_each(|id| drop(insert(&ditto, id)));
    let result = ditto.store().execute_sync(SELECT.into(), None).unwrap();
    assert_eq!(result.page_json(3, 10), r#"[{"_id":3},{"_id":4}]"#);
    assert_eq!((result.page_json(1, 1), result.page_json(9, 1)), (r#"[{"_id":1}]"#.into(), "[]".into()));
    let item = result.item(4).unwrap();
    assert!(result.item(5).is_none() && result.item(u64::MAX).is_none());
    drop(result);
    assert_eq!((item.json_string(), item.cbor_data()), (r#"{"_id":4}"#.into(), b"\xa1\x63_id\x04".to_vec()));
}

#[test]
fn a_differ_compares_with_the_last_result() {
    let (_dir, ditto) = open();
    let differ = Differ::new();
    let select = || ditto.store().execute_sync(SELECT.into(), None).unwrap();
    insert(&ditto, 2);
    insert(&ditto, 3);
    assert_eq!(differ.diff_result(select()).insertions, [0, 1]);
    insert(&ditto, 1);
    ditto.store().execute_sync("DELETE FROM c WHERE _id = 3".into(), None).unwrap();
    ditto.store().execute_sync("UPDATE c SET x = 1 WHERE _id = 2".into(), None).unwrap();
    let want = Diff { insertions: vec![0], deletions: vec![1], updates: vec![1], moves: vec![] };
    assert_eq!(differ.diff_result(select()), want);
    let swapped = differ.diff_json(r#"[{"_id":2,"x":1},{"_id":1}]"#.into()).unwrap();
    assert_eq!(swapped.moves.len(), 1, "{swapped:?}");
    assert!(matches!(differ.diff_json("{}".into()), Err(DittoError::Validation { .. })));
}

#[test]
fn errors_have_category_code_and_place() {
    let (dir, ditto) = open();
    let e = ditto.store().execute_sync("SELECT *\nFROM c WHERE = 1".into(), None).unwrap_err();
    assert!(
        matches!(&e, DittoError::QueryInvalid { code, line: Some(2), column: Some(14), .. } if code == "query/invalid"),
        "{e:?}"
    );
    let e = Ditto::open_sync(config(&dir)).err().unwrap();
    assert!(matches!(e, DittoError::PersistenceDirectoryLocked { .. }), "{e:?}");
    run(ditto.shutdown()).unwrap();
    let e = ditto.store().execute_sync("SELECT * FROM c".into(), None).unwrap_err();
    assert!(matches!(e, DittoError::Closed { .. }), "{e:?}");
    assert!(Ditto::open_sync(config(&dir)).is_ok(), "the directory is free again");
}

#[test]
fn observers_are_called_on_another_thread_until_cancelled() {
    let (_dir, ditto) = open();
    let (recorder, seen) = Recorder::new(false);
    let observer = ditto.store().register_observer(SELECT.into(), None, recorder).unwrap();
    let (first, thread) = seen.recv_timeout(PATIENCE).unwrap();
    assert_eq!(first, "[]");
    assert_ne!(thread, std::thread::current().id());
    insert(&ditto, 1);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().0, r#"[{"_id":1}]"#);
    observer.cancel();
    assert!(observer.is_cancelled());
    insert(&ditto, 2);
    // The sender goes with the callback: nothing can come any more.
    assert!(seen.recv_timeout(PATIENCE).is_err());
    assert_eq!(observer.query_string(), SELECT);
}

#[test]
fn a_callback_that_fails_is_called_again() {
    let (_dir, ditto) = open();
    let (recorder, seen) = Recorder::new(true);
    let _observer = ditto.store().register_observer(SELECT.into(), None, recorder).unwrap();
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().0, "[]");
    insert(&ditto, 1);
    assert_eq!(seen.recv_timeout(PATIENCE).unwrap().0, r#"[{"_id":1}]"#);
    let (recorder, graphs) = Recorder::new(true);
    let _observer = ditto.presence().observe(recorder).unwrap();
    assert!(graphs.recv_timeout(PATIENCE).unwrap().0.contains(&ditto.peer_key()));
}

#[test]
fn a_callback_may_cancel_itself() {
    let (_dir, ditto) = open();
    let (recorder, seen) = Recorder::new(false);
    let own_handle = recorder.own_handle.clone();
    let observer = ditto.store().register_observer(SELECT.into(), None, recorder).unwrap();
    own_handle.set(observer.clone()).ok().unwrap();
    insert(&ditto, 1);
    let mut calls = 0;
    while seen.recv_timeout(PATIENCE).is_ok() {
        calls += 1;
    }
    // The first call may have come before the handle was there.
    assert!((1..=2).contains(&calls), "{calls} calls");
    assert!(observer.is_cancelled());
}

#[test]
fn signals_hold_results_back() {
    struct Keeper(Mutex<Sender<(String, Arc<SignalNext>)>>);
    impl QueryObserverWithSignalNext for Keeper {
        fn on_result(&self, result: Arc<QueryResult>, signal: Arc<SignalNext>) -> Result<(), DittoError> {
            self.0.lock().unwrap().send((result.items_json(), signal)).unwrap();
            Ok(())
        }
    }
    let (_dir, ditto) = open();
    let (sender, received) = channel();
    let keeper = Arc::new(Keeper(Mutex::new(sender)));
    let observer = ditto.store().register_observer_with_signal_next(SELECT.into(), None, keeper).unwrap();
    let (_, signal) = received.recv_timeout(PATIENCE).unwrap();
    insert(&ditto, 1);
    insert(&ditto, 2);
    assert!(received.recv_timeout(Duration::from_millis(200)).is_err(), "not asked for");
    signal.signal();
    signal.signal();
    assert_eq!(received.recv_timeout(PATIENCE).unwrap().0, r#"[{"_id":1},{"_id":2}]"#);
    insert(&ditto, 3);
    assert!(received.recv_timeout(Duration::from_millis(200)).is_err(), "one signal asks once");
    observer.cancel();
    signal.signal();
}

#[test]
fn transactions_are_driven_by_hand() {
    let (_dir, ditto) = open();
    let store = ditto.store();
    let options = || TransactionOptions { hint: Some("test".into()), is_read_only: false };
    let count = || store.execute_sync("SELECT * FROM c".into(), None).unwrap().item_count();
    let txn = run(store.begin(options())).unwrap();
    assert_eq!(txn.info().hint.as_deref(), Some("test"));
    run(txn.execute("INSERT INTO c DOCUMENTS ({'_id': 1})".into(), None)).unwrap();
    assert!(run(txn.commit()).unwrap().is_some());
    let e = run(txn.commit()).unwrap_err();
    assert!(matches!(e, DittoError::Transaction { code, .. } if code == "store/transaction-closed"));
    assert_eq!(count(), 1);

    let txn = run(store.begin(options())).unwrap();
    run(txn.execute("INSERT INTO c DOCUMENTS ({'_id': 2})".into(), None)).unwrap();
    run(txn.rollback()).unwrap();
    let txn = run(store.begin(options())).unwrap();
    run(txn.execute("INSERT INTO c DOCUMENTS ({'_id': 3})".into(), None)).unwrap();
    drop(txn);
    assert_eq!(count(), 1, "freed without an end: rolled back");
}

#[test]
fn transports_are_replaced_only_as_expected() {
    let (_dir, ditto) = open();
    let before = ditto.transport_config();
    let mut after = before.clone();
    after.connect.tcp_servers = vec!["127.0.0.1:1".into()];
    assert!(run(ditto.replace_transport_config(before.clone(), after.clone())).unwrap());
    assert!(!run(ditto.replace_transport_config(before.clone(), before)).unwrap(), "it has changed since");
    assert_eq!(ditto.transport_config(), after);
    let mut wrong = after.clone();
    wrong.connect.tcp_servers.push("no port".into());
    let e = run(ditto.replace_transport_config(after.clone(), wrong)).unwrap_err();
    assert!(matches!(e, DittoError::InvalidConfig { .. }));
    assert_eq!(ditto.transport_config(), after);
}

#[test]
fn bus_messages_to_nobody_are_errors_and_receivers_end() {
    let (_dir, ditto) = open();
    assert!(matches!(ditto.bus().send_reliable("garbage".into(), b"x"), Err(DittoError::Sync { .. })));
    let send = ditto.bus().send_reliable(ditto.peer_key(), b"x").unwrap();
    assert!(run(send.completion()).is_err());
    assert!(matches!(run(send.completion()), Err(DittoError::Bus { .. })), "once only");
    let messages = ditto.bus().incoming_messages();
    let waiting = std::thread::spawn(move || run(messages.next()).is_none());
    run(ditto.shutdown()).unwrap();
    assert!(waiting.join().unwrap());
}

/// What a delegate of another language hears of a stream.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    Stream(String),
    Message(Vec<u8>),
    Acknowledged(u64),
    Closed(BusStreamEnd),
}

/// The delegate of a Bus and of its streams. It keeps streams, because one that is freed is closed.
struct Ears {
    heard: Mutex<Sender<Heard>>,
    streams: Mutex<Vec<Arc<BusStream>>>,
}

impl Ears {
    fn hear(&self, what: Heard) -> Result<(), DittoError> {
        self.heard.lock().unwrap().send(what).unwrap();
        Ok(())
    }
}

impl BusDelegate for Ears {
    fn on_single_message(&self, message: BusMessage) -> Result<(), DittoError> {
        self.hear(Heard::Message(message.data))
    }

    fn on_incoming_stream(&self, stream: Arc<BusStream>, from_peer: String) -> Result<(), DittoError> {
        assert_eq!(stream.peer_key(), from_peer);
        let label = stream.label();
        self.streams.lock().unwrap().push(stream);
        self.hear(Heard::Stream(label))
    }
}

impl BusStreamDelegate for Ears {
    fn on_message(&self, data: Vec<u8>) -> Result<(), DittoError> {
        self.hear(Heard::Message(data))
    }

    fn on_acknowledged(&self, sequence: u64) -> Result<(), DittoError> {
        self.hear(Heard::Acknowledged(sequence))
    }

    fn on_close(&self, reason: BusStreamEnd) -> Result<(), DittoError> {
        self.hear(Heard::Closed(reason))
    }
}

#[test]
fn bus_streams_cross() {
    let ((_a_dir, a), (_b_dir, b)) = (open(), open());
    start_both(&a, &b);
    let (heard, news) = channel();
    let ears = Arc::new(Ears { heard: Mutex::new(heard), streams: Mutex::default() });
    b.bus().set_delegate(Some(ears.clone())).unwrap();
    let end = std::time::Instant::now() + 3 * PATIENCE;
    let stream = loop {
        // Until they have met.
        match run(a.bus().open_stream(b.peer_key(), Reliability::Reliable, "chat".into())) {
            Ok(stream) => break stream,
            Err(e) => assert!(std::time::Instant::now() < end, "{e}"),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let next = || news.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next(), Heard::Stream("chat".into()));
    assert_eq!(
        (stream.peer_key(), stream.label(), stream.reliability()),
        (b.peer_key(), "chat".into(), Reliability::Reliable)
    );
    // What comes before the delegate of the stream is not lost.
    assert_eq!(run(stream.send(b"one").completion()).unwrap(), 1);
    assert_eq!(run(stream.try_send(b"").completion()).unwrap(), 2);
    run(stream.wait_acked(2)).unwrap();
    assert_eq!(stream.acked(), 2);
    let there = ears.streams.lock().unwrap()[0].clone();
    there.set_delegate(b.bus(), ears.clone()).unwrap();
    assert_eq!((next(), next()), (Heard::Message(b"one".to_vec()), Heard::Message(Vec::new())));
    assert_eq!(run(there.send(b"answer").completion()).unwrap(), 1);
    assert_eq!(run(stream.recv()).as_deref(), Some(&b"answer"[..]));
    assert_eq!(next(), Heard::Acknowledged(1));
    let too_large = run(stream.send(&vec![0; 1_048_577]).completion()).unwrap_err();
    assert!(matches!(too_large, DittoError::Bus { code, .. } if code == "bus/payload-too-large"));
    let statistics = run(stream.statistics()).unwrap();
    assert_eq!((statistics.messages_sent, statistics.bytes_sent, statistics.messages_received), (2, 3, 1));

    // One stream that both ask for.
    let other = {
        let (a, b) = (a.clone(), b.clone());
        std::thread::spawn(move || {
            run(b.bus().open_or_join(a.peer_key(), Reliability::Reliable, "game".into())).unwrap()
        })
    };
    let mine = run(a.bus().open_or_join(b.peer_key(), Reliability::Reliable, "game".into())).unwrap();
    let theirs = other.join().unwrap();
    run(theirs.send(b"move").completion()).unwrap();
    assert_eq!(run(mine.recv()).as_deref(), Some(&b"move"[..]));
    mine.abort();
    assert_eq!(run(theirs.closed()), Some(BusStreamEnd::ClosedByRemote));

    assert_eq!(run(stream.shutdown()), Some(BusStreamEnd::ClosedByLocal));
    assert_eq!(next(), Heard::Closed(BusStreamEnd::ClosedByRemote));
    assert!(run(stream.statistics()).is_none() && run(stream.recv()).is_none());
    b.bus().set_delegate(None).unwrap();
    run(a.shutdown()).unwrap();
    run(b.shutdown()).unwrap();
}

#[test]
fn connection_control_crosses() {
    /// Denies the first request, fails at the second, and allows the others.
    struct Door(Mutex<Sender<ConnectionRequest>>, Mutex<u32>);
    impl ConnectionRequestHandler for Door {
        fn on_connection_request(
            &self,
            request: ConnectionRequest,
        ) -> Result<ConnectionRequestAuthorization, DittoError> {
            self.0.lock().unwrap().send(request).unwrap();
            let mut count = self.1.lock().unwrap();
            *count += 1;
            match *count {
                1 => Ok(ConnectionRequestAuthorization::Deny),
                2 => Err(DittoError::Closed { reason: "of a test".into(), code: "lifecycle/closed".into() }),
                _ => Ok(ConnectionRequestAuthorization::Allow),
            }
        }
    }
    let ((_a_dir, a), (_b_dir, b)) = (open(), open());
    let (seen, requests) = channel();
    a.presence()
        .set_connection_request_handler(Some(Arc::new(Door(Mutex::new(seen), Mutex::default()))))
        .unwrap();
    a.presence().set_connection_request_timeout_ms(10_000).unwrap();
    assert!(matches!(
        a.set_priority_for_peer(ConnectionPriority::High, "nobody".into()),
        Err(DittoError::Sync { .. })
    ));
    a.set_priority_for_peer(ConnectionPriority::High, b.peer_key()).unwrap();
    a.set_priority_for_query_overlap_group(ConnectionPriority::DontConnect, 3).unwrap();
    a.set_query_overlap_group(3).unwrap();
    let events = a.connection_events();
    start_both(&a, &b);
    let mut kinds = Vec::new();
    while kinds.last().is_none_or(|(kind, _, _)| kind != "connected") {
        let record = run(events.next()).unwrap();
        kinds.push((record.kind, record.reason, record.by_us));
    }
    let denied = ("refused".to_owned(), Some("denied".to_owned()), Some(true));
    // A slow machine dials once more while a decision is pending.
    assert!(kinds.iter().filter(|k| **k == denied).count() >= 2, "{kinds:?}");
    let asked: Vec<ConnectionRequest> = requests.try_iter().collect();
    assert!(asked.len() >= 3, "{asked:?}");
    assert!(asked.iter().all(|r| r.peer_key == b.peer_key() && r.connection_type == "AccessPoint"));
    assert_eq!((&*asked[0].peer_metadata_json, &*asked[0].identity_service_metadata_json), ("{}", "{}"));
    let now: serde_json::Value = serde_json::from_str(&a.transport_diagnostics_json().unwrap()).unwrap();
    assert_eq!(now["transports"][0]["connected"][0]["peerKey"], b.peer_key());
    assert!(a.recent_connection_events().iter().any(|r| r.kind == "connected"));
    b.network_changed().unwrap();
    a.presence().set_connection_request_handler(None).unwrap();
    run(b.shutdown()).unwrap();
    run(a.shutdown()).unwrap();
    while run(events.next()).is_some() {}
}
