//! Who is in the mesh.

use std::sync::Arc;

use ditto_mesh::PresenceGraph;
use ditto_types::{ErrorKind, Value, json};
use serde::Serialize;
use tokio::task::AbortHandle;

use crate::callback_gate::CallbackGate;
use crate::instance::Inner;
use crate::node::Command;
use crate::query::to_value;
use crate::{DittoError, runtime};

/// Largest peer metadata, in bytes of JSON (API-139).
pub const MAX_PEER_METADATA_BYTES: usize = 4096;

/// Who is reachable, directly or through others (API-136).
#[derive(Clone)]
pub struct Presence {
    pub(crate) inner: Arc<Inner>,
}

impl Presence {
    /// The mesh as seen from here, now (API-141).
    ///
    /// `remote_peers` includes peers without a direct link; a direct one has a connection whose other end is the
    /// local peer.
    pub fn graph(&self) -> PresenceGraph {
        let view = self.inner.node.graph.borrow().clone();
        view.graph()
    }

    /// [`Presence::graph`] as JSON text (API-147).
    pub fn graph_json(&self) -> String {
        // Keys are strings and the writer is memory, so it cannot fail.
        serde_json::to_string(&self.graph()).unwrap_or_default()
    }

    /// Calls `handler` at once with the current graph and then on every change (API-142).
    ///
    /// Keep the handle: dropping it ends the observation.
    pub fn observe(
        &self,
        handler: impl Fn(&PresenceGraph) + Send + 'static,
    ) -> Result<PresenceObserver, DittoError> {
        let mut graph = self.inner.node.graph.clone();
        let gate = CallbackGate::default();
        let stopped = gate.clone();
        let task = runtime::handle()?.spawn(async move {
            loop {
                let view = graph.borrow_and_update().clone();
                let now = view.graph();
                // The handler belongs to the app and may block.
                if !tokio::task::block_in_place(|| stopped.run(|| handler(&now)))
                    || graph.changed().await.is_err()
                {
                    return;
                }
            }
        });
        Ok(PresenceObserver { gate, task: task.abort_handle() })
    }

    /// Replaces the metadata that other peers see of this one: a map that fits [`MAX_PEER_METADATA_BYTES`] as JSON
    /// (API-139). It may be changed while syncing.
    ///
    /// Fails with [`ErrorKind::NotAnObject`] for anything but a map, with [`ErrorKind::NotJsonCompatible`] for a value that JSON
    /// does not have, such as bytes or NaN, with [`ErrorKind::DepthLimitExceeded`] and [`ErrorKind::SizeLimitExceeded`].
    pub fn set_peer_metadata(&self, metadata: &impl Serialize) -> Result<(), DittoError> {
        self.set(to_value(metadata, ErrorKind::NotJsonCompatible)?)
    }

    /// [`Presence::set_peer_metadata`] from JSON text (API-140); [`ErrorKind::InvalidJson`] for what is none.
    pub fn set_peer_metadata_json_str(&self, text: &str) -> Result<(), DittoError> {
        self.set(json::from_str(text).map_err(|e| {
            let kind = if e.is_too_deep() { ErrorKind::DepthLimitExceeded } else { ErrorKind::InvalidJson };
            DittoError::new(kind, e.to_string())
        })?)
    }

    /// The own metadata; empty by default (API-137).
    pub fn peer_metadata(&self) -> Value {
        self.inner.peer_metadata().clone()
    }

    /// The own metadata as JSON text (API-138).
    pub fn peer_metadata_json_str(&self) -> String {
        json::to_string(&self.peer_metadata())
    }

    fn set(&self, metadata: Value) -> Result<(), DittoError> {
        if metadata.as_object().is_none() {
            let reason = format!("peer metadata must be a map, not {}", metadata.type_name());
            return Err(DittoError::new(ErrorKind::NotAnObject, reason));
        }
        if let Some(foreign) = foreign_to_json(&metadata) {
            let reason = format!("peer metadata cannot hold {foreign}, which JSON does not have");
            return Err(DittoError::new(ErrorKind::NotJsonCompatible, reason));
        }
        let size = json::to_string(&metadata).len();
        if size > MAX_PEER_METADATA_BYTES {
            let reason =
                format!("peer metadata of {size} bytes exceeds the limit of {MAX_PEER_METADATA_BYTES}");
            return Err(DittoError::new(ErrorKind::SizeLimitExceeded, reason));
        }
        *self.inner.peer_metadata() = metadata.clone();
        self.inner.node.command(Command::PeerMetadata(metadata))
    }
}

/// What JSON has no form for, if there is anything.
fn foreign_to_json(v: &Value) -> Option<&'static str> {
    match v {
        Value::Bytes(_) => Some("bytes"),
        Value::Float(f) if !f.is_finite() => Some("infinities and NaN"),
        Value::Array(items) => items.iter().find_map(foreign_to_json),
        Value::Object(fields) => fields.values().find_map(foreign_to_json),
        _ => None,
    }
}

/// Handle of a presence observation (API-149). Dropping it ends the observation.
pub struct PresenceObserver {
    gate: CallbackGate,
    task: AbortHandle,
}

impl PresenceObserver {
    /// Ends the observation. After return the handler is not called again.
    pub fn stop(&self) {
        self.gate.stop();
        // Lets go of the handler now, not at the next change.
        self.task.abort();
    }

    /// Whether the observation has ended.
    pub fn is_stopped(&self) -> bool {
        self.gate.is_stopped()
    }
}

impl Drop for PresenceObserver {
    fn drop(&mut self) {
        self.stop();
    }
}
