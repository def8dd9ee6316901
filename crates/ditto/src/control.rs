//! What the app has said about connections, and what happened to them: kept beside the mesh machine, which is a new one at
//! every start of sync.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ditto_mesh::{ConnectionEvent, ConnectionPriority, Input, PeerSelector};
use tokio::sync::broadcast;

use crate::connection_request::{ConnectionRequest, ConnectionRequestAuthorization, Handler};
use crate::diagnostics::ConnectionRecord;
use crate::runtime;

/// Time that a handler has to answer, unless the app sets another one (API-192).
pub(crate) const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Events that are remembered.
const REMEMBERED: usize = 256;

/// Events that a slow reader may be behind.
const FEED: usize = 1024;

pub(crate) struct Control {
    settings: Mutex<Settings>,
    log: Mutex<Log>,
    pub(crate) events: broadcast::Sender<ConnectionRecord>,
}

struct Settings {
    handler: Option<Handler>,
    timeout: Duration,
    priorities: BTreeMap<PeerSelector, ConnectionPriority>,
    overlap_group: u8,
}

#[derive(Default)]
struct Log {
    records: VecDeque<ConnectionRecord>,
    last: u64,
}

impl Default for Control {
    fn default() -> Self {
        let settings = Settings {
            handler: None,
            timeout: REQUEST_TIMEOUT,
            priorities: BTreeMap::new(),
            overlap_group: 0,
        };
        Self { settings: Mutex::new(settings), log: Mutex::default(), events: broadcast::channel(FEED).0 }
    }
}

impl Control {
    fn settings(&self) -> MutexGuard<'_, Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Everything that a new machine has to be told.
    pub(crate) fn inputs(&self) -> Vec<Input> {
        let settings = self.settings();
        let priorities = settings.priorities.iter();
        let priorities = priorities.map(|(selector, priority)| Input::SetConnectionPriority {
            selector: *selector,
            priority: *priority,
        });
        let group = Input::SetQueryOverlapGroup(settings.overlap_group);
        [settings.requests(), group].into_iter().chain(priorities).collect()
    }

    /// Sets the handler, or none; what the machine has to be told.
    pub(crate) fn set_handler(&self, handler: Option<Handler>) -> Input {
        let mut settings = self.settings();
        settings.handler = handler;
        settings.requests()
    }

    pub(crate) fn set_timeout(&self, timeout: Duration) -> Input {
        let mut settings = self.settings();
        settings.timeout = timeout;
        settings.requests()
    }

    pub(crate) fn set_priority(&self, selector: PeerSelector, priority: ConnectionPriority) -> Input {
        self.settings().priorities.insert(selector, priority);
        Input::SetConnectionPriority { selector, priority }
    }

    pub(crate) fn set_overlap_group(&self, group: u8) -> Input {
        self.settings().overlap_group = group;
        Input::SetQueryOverlapGroup(group)
    }

    /// Asks the app. No answer in time, a panic or a cancelled handler is no.
    pub(crate) async fn decide(&self, request: ConnectionRequest) -> bool {
        let (handler, timeout) = {
            let settings = self.settings();
            (settings.handler.clone(), settings.timeout)
        };
        // It was taken away meanwhile: everybody is allowed.
        let Some(handler) = handler else { return true };
        let Ok(runtime) = runtime::handle() else { return false };
        let peer = request.peer_key();
        // A task of its own, so that a panic ends no other, and the call itself is inside it too.
        let mut task = runtime.spawn(async move { handler(request).await });
        match tokio::time::timeout(timeout, &mut task).await {
            Ok(Ok(answer)) => answer == ConnectionRequestAuthorization::Allow,
            Ok(Err(e)) => {
                tracing::error!(%peer, error = %e, "the connection request handler failed: denied");
                false
            }
            Err(_) => {
                task.abort();
                tracing::warn!(%peer, "the connection request handler did not answer in time: denied");
                false
            }
        }
    }

    /// Remembers an event and tells the feeds.
    pub(crate) fn record(&self, event: ConnectionEvent, at_ms: u64) {
        let record = {
            let mut log = self.log();
            log.last += 1;
            let record = ConnectionRecord { number: log.last, at_ms, event };
            if log.records.len() == REMEMBERED {
                log.records.pop_front();
            }
            log.records.push_back(record.clone());
            record
        };
        // Nobody may be listening.
        let _ = self.events.send(record);
    }

    /// The last events, oldest first.
    pub(crate) fn recent(&self) -> Vec<ConnectionRecord> {
        self.log().records.iter().cloned().collect()
    }
}

impl Settings {
    fn requests(&self) -> Input {
        let asks = self.handler.is_some();
        // The machine's clock only runs out when the handler's own did not.
        let limit = self.timeout.as_millis().try_into().unwrap_or(u64::MAX).saturating_add(250);
        Input::SetConnectionRequests(asks.then_some(limit))
    }
}

#[cfg(test)]
mod tests {
    use ditto_mesh::Identity;
    use ditto_types::Value;

    use super::*;
    use crate::ConnectionType;
    use crate::connection_request::boxed;

    fn request() -> ConnectionRequest {
        let peer = Identity::generate(&mut |out| out.fill(3)).peer_key();
        ConnectionRequest::new(peer, ConnectionType::AccessPoint, Value::Object(Default::default()))
    }

    #[tokio::test]
    async fn only_a_timely_yes_is_yes() {
        use ConnectionRequestAuthorization::{Allow, Deny};
        let control = Control::default();
        assert!(control.decide(request()).await, "nobody is asked");
        control.set_handler(Some(boxed(async |_| Allow)));
        assert!(control.decide(request()).await);
        control.set_handler(Some(boxed(async |_| Deny)));
        assert!(!control.decide(request()).await);
        control.set_handler(Some(boxed(async |r: ConnectionRequest| -> ConnectionRequestAuthorization {
            panic!("{}", r.peer_key())
        })));
        assert!(!control.decide(request()).await);
        control.set_timeout(Duration::from_millis(5));
        control.set_handler(Some(boxed(async |_| std::future::pending().await)));
        assert!(!control.decide(request()).await);
    }

    #[test]
    fn the_last_events_are_kept() {
        let control = Control::default();
        for i in 0..REMEMBERED as u64 + 10 {
            control.record(ConnectionEvent::Listening { addr: i.to_string() }, i);
        }
        let recent = control.recent();
        assert_eq!((recent.len(), recent[0].number, recent[0].at_ms), (REMEMBERED, 11, 10));
    }

    #[test]
    fn a_new_machine_is_told_everything() {
        let control = Control::default();
        assert_eq!(control.inputs().len(), 2);
        control.set_handler(Some(boxed(async |_| ConnectionRequestAuthorization::Deny)));
        control.set_priority(PeerSelector::QueryOverlapGroup(1), ConnectionPriority::High);
        control.set_overlap_group(9);
        let inputs = control.inputs();
        assert!(matches!(inputs[0], Input::SetConnectionRequests(Some(10_250))));
        assert!(matches!(inputs[1], Input::SetQueryOverlapGroup(9)));
        assert!(matches!(inputs[2], Input::SetConnectionPriority { priority: ConnectionPriority::High, .. }));
    }
}
