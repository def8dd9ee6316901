//! Who is in the mesh.

use std::sync::Arc;

use ditto::{ErrorKind, PresenceGraph};

use crate::app::App;
use crate::error::DittoError;
use crate::observer::report;

/// Who is reachable, directly or through others.
#[derive(uniffi::Object)]
pub struct Presence {
    pub(crate) inner: ditto::Presence,
}

/// What an app implements to follow the mesh.
///
/// Calls come on a thread of the library, in order and never two at a time. Return quickly.
#[uniffi::export(with_foreign)]
pub trait PresenceHandler: Send + std::marker::Sync {
    /// Takes the current graph as JSON text. An error is logged and has no other effect.
    fn on_graph(&self, graph_json: String) -> Result<(), DittoError>;
}

#[uniffi::export]
impl Presence {
    /// The mesh as seen from here, now: JSON text with localPeer and remotePeers.
    pub fn graph_json(&self) -> Result<String, DittoError> {
        text(&self.inner.graph())
    }

    /// Calls the handler at once with the current graph and then on every change, until the observer is stopped or freed.
    pub fn observe(&self, handler: Arc<dyn PresenceHandler>) -> Result<Arc<PresenceObserver>, DittoError> {
        let handler = App::new(handler);
        let handler = move |graph: &PresenceGraph| {
            report(handler.call(|h| h.on_graph(text(graph)?)));
        };
        Ok(Arc::new(PresenceObserver { inner: self.inner.observe(handler)? }))
    }

    /// Replaces the metadata that other peers see of this one: the text of a JSON object of at most 4,096 bytes.
    pub fn set_peer_metadata_json(&self, metadata: String) -> Result<(), DittoError> {
        Ok(self.inner.set_peer_metadata_json_str(&metadata)?)
    }

    /// The own metadata as JSON text; an empty object by default.
    pub fn peer_metadata_json(&self) -> String {
        self.inner.peer_metadata_json_str()
    }
}

/// Handle of a presence observation. Freeing it ends the observation.
#[derive(uniffi::Object)]
pub struct PresenceObserver {
    inner: ditto::PresenceObserver,
}

#[uniffi::export]
impl PresenceObserver {
    /// Ends the observation. After return no call starts and none is running, unless this call came from the handler.
    pub fn stop(&self) {
        self.inner.stop();
    }

    /// Whether the observation has ended.
    pub fn is_stopped(&self) -> bool {
        self.inner.is_stopped()
    }
}

fn text(graph: &PresenceGraph) -> Result<String, DittoError> {
    serde_json::to_string(graph).map_err(|e| DittoError::new(ErrorKind::Internal, e.to_string()))
}
