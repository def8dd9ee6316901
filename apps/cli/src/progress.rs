//! Progress of sync, for a person and for a program.

use ditto::types::{Object, SmolStr, Value};
use ditto::{PeerKey, PeerSyncStatus, SyncProgress, SyncState};

/// One line for a person.
pub(crate) fn describe(p: &SyncProgress) -> String {
    let state = match &p.state {
        SyncState::Loading { loaded, total } => format!("loading {loaded} of {total}"),
        SyncState::Failed { reason } => format!("failed: {}", reason.escape_debug()),
        other => state_name(other).to_owned(),
    };
    format!(
        "subscription {} with {}: {state} ({} documents, {} bytes received)",
        p.sub,
        peer_text(&p.peer.0),
        p.documents_received,
        p.bytes_received
    )
}

/// The event line of the control protocol.
pub(crate) fn event_line(p: &SyncProgress) -> Value {
    let mut out = state_members(&p.state);
    out.extend(object([
        ("event", Value::from("progress")),
        ("peer", Value::from(peer_text(&p.peer.0))),
        ("subscription", Value::from(p.sub)),
        ("documentsReceived", Value::from(p.documents_received)),
        ("bytesReceived", Value::from(p.bytes_received)),
    ]));
    Value::Object(out)
}

/// Counters of one peer.
pub(crate) fn status_value(s: &PeerSyncStatus) -> Value {
    let number = |n: Option<u64>| n.map_or(Value::Null, Value::from);
    let subscriptions = s.subscriptions.iter().map(|(sub, state)| {
        let mut out = state_members(state);
        out.insert(SmolStr::new_static("subscription"), Value::from(*sub));
        Value::Object(out)
    });
    Value::Object(object([
        ("peer", Value::from(peer_text(&s.peer.0))),
        ("connected", Value::from(s.connected)),
        ("syncedUpToLocalCommitId", number(s.synced_up_to_local_commit_id)),
        ("lastUpdateReceivedTime", number(s.last_update_received_ms)),
        ("documentsReceived", Value::from(s.documents_received)),
        ("documentsSent", Value::from(s.documents_sent)),
        ("bytesReceived", Value::from(s.bytes_received)),
        ("bytesSent", Value::from(s.bytes_sent)),
        ("subscriptions", Value::Array(subscriptions.collect())),
    ]))
}

fn state_name(state: &SyncState) -> &'static str {
    match state {
        SyncState::Connecting => "connecting",
        SyncState::Reconciling => "reconciling",
        SyncState::Loading { .. } => "loading",
        SyncState::Live => "live",
        SyncState::Failed { .. } => "failed",
    }
}

fn state_members(state: &SyncState) -> Object {
    let mut out = object([("state", Value::from(state_name(state)))]);
    match state {
        SyncState::Loading { loaded, total } => {
            out.extend(object([("loaded", Value::from(*loaded)), ("total", Value::from(*total))]));
        }
        SyncState::Failed { reason } => out.extend(object([("reason", Value::from(reason.as_str()))])),
        _ => {}
    }
    out
}

fn peer_text(bytes: &[u8]) -> String {
    PeerKey::from_bytes(bytes).map_or_else(|_| "?".to_owned(), |key| key.to_string())
}

fn object<const N: usize>(members: [(&'static str, Value); N]) -> Object {
    members.into_iter().map(|(k, v)| (SmolStr::new_static(k), v)).collect()
}
