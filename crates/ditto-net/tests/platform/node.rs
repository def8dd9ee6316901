//! Processes with a radio, for the tests.

use std::sync::Arc;
use std::time::Duration;

use ditto_mesh::transport::{DialTarget, LinkId, LinkKind, NetEvent};
use ditto_net::platform::loopback::LoopbackAir;
use ditto_net::platform::{Radio, RadioLimits, RadioShim, RoleHint};
use ditto_net::{Net, NetConfig};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};

/// Far longer than anything should take, so that a loaded machine does not fail the tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn radio(shim: Arc<dyn RadioShim>, token: &str) -> Radio {
    Radio {
        name: "Bluetooth".to_owned(),
        shim,
        service_uuid: "6d1f0f3a-5d2f-8c55-9d35-0b6a2f4c7e11".to_owned(),
        token: token.to_owned(),
        role: RoleHint::Both,
        kind: LinkKind::Bluetooth,
        limits: RadioLimits::BLUETOOTH,
    }
}

/// A transport with one radio and its events.
pub(crate) struct Process {
    pub(crate) net: Net,
    events: mpsc::Receiver<NetEvent>,
    next_link: u64,
}

impl Process {
    pub(crate) async fn start(air: &LoopbackAir, token: &str) -> Self {
        Self::with(radio(air.radio(), token)).await
    }

    pub(crate) async fn with(radio: Radio) -> Self {
        let (sender, events) = mpsc::channel(16);
        let config = NetConfig { radios: vec![radio], ..NetConfig::default() };
        Self { net: Net::start(config, sender).await.unwrap(), events, next_link: 0 }
    }

    pub(crate) fn link(&mut self) -> LinkId {
        self.next_link += 1;
        LinkId(self.next_link)
    }

    /// The first event that `pick` takes; the others are dropped.
    pub(crate) async fn find<T>(&mut self, what: &str, mut pick: impl FnMut(NetEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => {
                    let shape = match &event {
                        NetEvent::Bytes { link, bytes } => format!("Bytes({link}, {})", bytes.len()),
                        other => format!("{other:?}"),
                    };
                    if let Some(found) = pick(event) {
                        return found;
                    }
                    seen.push(shape);
                }
                Ok(None) => panic!("the channel closed before {what}; seen {seen:?}"),
                Err(_) => panic!("no {what} in time; seen {seen:?}"),
            }
        }
    }

    pub(crate) async fn discovered(&mut self, wanted: &str) -> DialTarget {
        self.find("Discovered", |e| match e {
            NetEvent::Discovered { token, mut targets } if token == wanted => Some(targets.swap_remove(0)),
            _ => None,
        })
        .await
    }

    pub(crate) async fn up(&mut self) -> LinkId {
        self.find("LinkUp", |e| match e {
            NetEvent::LinkUp { link, .. } => Some(link),
            NetEvent::DialFailed { reason, .. } => panic!("dial failed: {reason}"),
            _ => None,
        })
        .await
    }

    pub(crate) async fn failed(&mut self, link: LinkId) -> String {
        self.find("DialFailed", |e| match e {
            NetEvent::DialFailed { link: l, reason } if l == link => Some(reason),
            _ => None,
        })
        .await
    }

    pub(crate) async fn down(&mut self, link: LinkId) -> String {
        self.find("LinkDown", |e| match e {
            NetEvent::LinkDown { link: l, reason } if l == link => Some(reason),
            _ => None,
        })
        .await
    }

    /// Reads `len` bytes of a link.
    pub(crate) async fn bytes(&mut self, link: LinkId, len: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            let piece = self
                .find("Bytes", |e| match e {
                    NetEvent::Bytes { link: l, bytes } if l == link => Some(bytes),
                    NetEvent::LinkDown { link: l, reason } if l == link => panic!("down too early: {reason}"),
                    _ => None,
                })
                .await;
            all.extend(piece);
        }
        all
    }

    pub(crate) async fn condition(&mut self) -> String {
        self.find("Condition", |e| match e {
            NetEvent::Condition { source, text } if source == "Bluetooth" => Some(text),
            _ => None,
        })
        .await
    }
}
