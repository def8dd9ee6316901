//! What an instance adds to the system collections of its store: sync with each peer, and transports.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Sender, bounded};
use ditto_mesh::PeerKey;
use ditto_store::SystemProvider;
use ditto_sync::PeerSyncStatus;
use ditto_types::{Object, Value};

use crate::node::State;
use crate::replication::ToSync;

/// How long a statement waits for the sync thread. That thread may itself wait for the transaction which the statement
/// belongs to; the rows are then those of the last time.
const PATIENCE: Duration = Duration::from_millis(500);

pub(crate) struct SystemRows {
    to_sync: Sender<ToSync>,
    state: Arc<Mutex<State>>,
    last: Mutex<Vec<PeerSyncStatus>>,
}

impl SystemRows {
    pub(crate) fn new(to_sync: Sender<ToSync>, state: Arc<Mutex<State>>) -> Self {
        Self { to_sync, state, last: Mutex::default() }
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
        let mut tcp = Object::from([("_id".into(), "tcp".into()), ("is_active".into(), active.into())]);
        if let Some(address) = listening {
            tcp.insert("listen_address".into(), address.to_string().into());
        }
        vec![tcp]
    }
}
