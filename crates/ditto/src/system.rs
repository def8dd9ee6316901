//! What an instance adds to the system collections of its store: sync with each peer, transports, and what happened to connections.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use ditto_mesh::transport::LinkKind;
use ditto_mesh::{ConnectionEvent, PeerKey, TransportPeer, TransportSnapshot};
use ditto_store::SystemProvider;
use ditto_sync::PeerSyncStatus;
use ditto_types::{Object, Value};

use crate::control::Control;
use crate::diagnostics::ConnectionRecord;
use crate::node::{Driver, State};
use crate::replication::ToSync;

/// How long a statement waits for the sync thread. That thread may itself wait for the transaction which the statement
/// belongs to; the rows are then those of the last time.
const PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct SystemRows {
    to_sync: Sender<ToSync>,
    state: Arc<Mutex<State>>,
    control: Arc<Control>,
    driver: Driver,
    last: Mutex<Vec<PeerSyncStatus>>,
}

impl SystemRows {
    pub(crate) fn new(
        to_sync: Sender<ToSync>,
        state: Arc<Mutex<State>>,
        control: Arc<Control>,
        driver: Driver,
    ) -> Self {
        Self { to_sync, state, control, driver, last: Mutex::default() }
    }

    fn status(&self) -> Vec<PeerSyncStatus> {
        let (reply, answer) = bounded(1);
        let asked = self.to_sync.send(ToSync::Status(Box::new(move |status| drop(reply.send(status)))));
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.is_ok()
            && let Ok(now) = answer.recv_timeout(PATIENCE)
        {
            *last = now;
        }
        last.clone()
    }

    fn state(&self) -> State {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn unsigned(n: u64) -> Value {
    i64::try_from(n).map_or(Value::UInt(n), Value::Int)
}

impl SystemProvider for SystemRows {
    fn data_sync_info(&self) -> Vec<Object> {
        let active = self.state().active;
        let row = |status: PeerSyncStatus| {
            let session = match (active, status.connected) {
                (false, _) => "Disabled",
                (true, true) => "Connected",
                (true, false) => "Not Connected",
            };
            let mut documents = Object::from([("sync_session_status".into(), session.into())]);
            let facts = [
                ("synced_up_to_local_commit_id", status.synced_up_to_local_commit_id),
                ("last_update_received_time", status.last_update_received_ms),
                ("documents_received", Some(status.documents_received)),
                ("documents_sent", Some(status.documents_sent)),
                ("bytes_received", Some(status.bytes_received)),
                ("bytes_sent", Some(status.bytes_sent)),
            ];
            for (name, value) in facts {
                if let Some(value) = value {
                    documents.insert(name.into(), unsigned(value));
                }
            }
            let id = PeerKey::from_bytes(&status.peer.0).map_or_else(|e| e.to_string(), |k| k.to_string());
            Object::from([
                ("_id".into(), id.into()),
                ("is_ditto_server".into(), false.into()),
                ("documents".into(), Value::Object(documents)),
            ])
        };
        self.status().into_iter().map(row).collect()
    }

    fn transports_info(&self) -> Vec<Object> {
        let State { active, listening, .. } = self.state();
        let mut snapshots = self.driver.diagnostics().unwrap_or_default().transports;
        if !snapshots.iter().any(|s| s.kind == LinkKind::AccessPoint) {
            snapshots.insert(0, TransportSnapshot::new(LinkKind::AccessPoint));
        }
        let row = |s: TransportSnapshot| {
            let id = s.connection_type.to_ascii_lowercase();
            let mut row = Object::from([("_id".into(), id.into()), ("is_active".into(), active.into())]);
            if s.kind == LinkKind::AccessPoint
                && let Some(address) = listening
            {
                row.insert("listen_address".into(), address.to_string().into());
            }
            let lists =
                [("connecting", s.connecting), ("connected", s.connected), ("disconnected", s.disconnected)];
            for (name, peers) in lists {
                row.insert(name.into(), Value::Array(peers.iter().map(transport_peer).collect()));
            }
            row
        };
        snapshots.into_iter().map(row).collect()
    }

    fn connection_events(&self) -> Vec<Object> {
        self.control.recent().iter().map(connection_event).collect()
    }

    fn system_info(&self) -> Vec<(String, String, Value)> {
        let all = self.driver.diagnostics().unwrap_or_default();
        let of = |kind: LinkKind| {
            let n =
                all.transports.iter().filter(|t| t.kind == kind).map(|t| t.connected.len()).sum::<usize>();
            unsigned(n as u64)
        };
        let counts = [
            ("connections_bluetooth", LinkKind::Bluetooth),
            ("connections_p2pwifi", LinkKind::P2PWiFi),
            ("connections_accesspoint", LinkKind::AccessPoint),
            ("connections_websocket", LinkKind::WebSocket),
        ];
        counts.into_iter().map(|(key, kind)| ("presence".to_owned(), key.to_owned(), of(kind))).collect()
    }
}

fn transport_peer(peer: &TransportPeer) -> Value {
    let mut out = Object::from([
        ("address".into(), Value::from(peer.address.as_str())),
        ("is_outgoing".into(), peer.is_outgoing.into()),
        ("since".into(), unsigned(peer.since_ms)),
    ]);
    if let Some(key) = peer.peer_key {
        out.insert("peer_key".into(), key.to_string().into());
    }
    if let Some(rtt) = peer.round_trip_ms {
        out.insert("round_trip_ms".into(), unsigned(rtt));
    }
    if let Some(offset) = peer.clock_offset_ms {
        out.insert("clock_offset_ms".into(), Value::Int(offset));
    }
    Value::Object(out)
}

/// Fields that do not apply are missing.
fn connection_event(record: &ConnectionRecord) -> Object {
    let event = &record.event;
    let mut row = Object::from([
        ("_id".into(), unsigned(record.number)),
        ("time".into(), unsigned(record.at_ms)),
        ("kind".into(), event.name().into()),
        ("text".into(), event.to_string().into()),
    ]);
    let facts = [
        ("peer_key", event.peer().map(|k| k.to_string())),
        ("address", event.address()),
        ("connection_type", event.connection_type().map(|k| k.to_string())),
        ("reason", event.refusal().map(|r| r.as_str().to_owned())),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            row.insert(name.into(), value.into());
        }
    }
    if let ConnectionEvent::Refused { by_us, .. } = event {
        row.insert("by_us".into(), (*by_us).into());
    }
    row
}
