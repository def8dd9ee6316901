//! An event channel with patience, for the tests of transports.

use std::time::Duration;

use ditto_mesh::transport::{LinkId, NetEvent};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// Far longer than anything should take, so that a loaded machine does not fail the tests.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The receiving end of a transport's events.
pub(crate) struct Probe {
    pub(crate) events: mpsc::Receiver<NetEvent>,
}

impl Probe {
    pub(crate) fn new(capacity: usize) -> (mpsc::Sender<NetEvent>, Self) {
        let (sender, events) = mpsc::channel(capacity);
        (sender, Self { events })
    }

    /// The next event.
    pub(crate) async fn next(&mut self) -> NetEvent {
        timeout(PATIENCE, self.events.recv()).await.expect("an event in time").expect("an open channel")
    }

    /// The first event that `pick` takes; the others are dropped.
    pub(crate) async fn find<T>(&mut self, what: &str, mut pick: impl FnMut(&NetEvent) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        let mut seen = Vec::new();
        loop {
            match timeout_at(deadline, self.events.recv()).await {
                Ok(Some(event)) => {
                    if let Some(found) = pick(&event) {
                        return found;
                    }
                    seen.push(shape(&event));
                }
                Ok(None) => panic!("the channel closed before {what}; seen {seen:?}"),
                Err(_) => panic!("no {what} in time; seen {seen:?}"),
            }
        }
    }

    pub(crate) async fn up(&mut self) -> LinkId {
        self.find("LinkUp", |e| match e {
            NetEvent::LinkUp { link, .. } => Some(*link),
            _ => None,
        })
        .await
    }

    pub(crate) async fn down(&mut self, link: LinkId) -> String {
        self.find("LinkDown", |e| match e {
            NetEvent::LinkDown { link: l, reason } if *l == link => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    pub(crate) async fn dial_failed(&mut self, link: LinkId) -> String {
        self.find("DialFailed", |e| match e {
            NetEvent::DialFailed { link: l, reason } if *l == link => Some(reason.clone()),
            _ => None,
        })
        .await
    }

    /// Collects `len` bytes of a link.
    pub(crate) async fn bytes(&mut self, link: LinkId, len: usize) -> Vec<u8> {
        let mut all = Vec::with_capacity(len);
        while all.len() < len {
            let piece = self
                .find("Bytes", |e| match e {
                    NetEvent::Bytes { link: l, bytes } if *l == link => Some(bytes.clone()),
                    NetEvent::LinkDown { link: l, reason } if *l == link => {
                        panic!("link down too early: {reason}")
                    }
                    _ => None,
                })
                .await;
            all.extend_from_slice(&piece);
        }
        assert_eq!(all.len(), len, "no more bytes than were written");
        all
    }

    /// Every event that arrives until nothing came for `quiet`.
    pub(crate) async fn until_quiet(&mut self, quiet: Duration) -> Vec<NetEvent> {
        let mut all = Vec::new();
        while let Ok(Some(event)) = timeout(quiet, self.events.recv()).await {
            all.push(event);
        }
        all
    }
}

/// An event without its payload, for messages.
fn shape(event: &NetEvent) -> String {
    match event {
        NetEvent::Bytes { link, bytes } => format!("Bytes({link}, {})", bytes.len()),
        other => format!("{other:?}"),
    }
}

/// Bytes in which a lost, doubled or moved piece shows.
pub(crate) fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_be_bytes()[0]).collect()
}
