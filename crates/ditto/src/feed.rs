//! A feed of events that ends when the instance is closed.

use tokio::sync::{broadcast, watch};

/// Events of a broadcast, until the instance is closed and what was sent before is taken.
pub(crate) struct Feed<T> {
    events: broadcast::Receiver<T>,
    closed: watch::Receiver<bool>,
}

impl<T: Clone> Feed<T> {
    pub(crate) fn new(events: broadcast::Receiver<T>, closed: watch::Receiver<bool>) -> Self {
        Self { events, closed }
    }

    /// The next event; `None` once the instance is closed. A reader that is slow misses the oldest.
    pub(crate) async fn next(&mut self) -> Option<T> {
        loop {
            // Of the two the events come first: what happened before the close is still told.
            let event = tokio::select! {
                biased;
                event = self.events.recv() => event,
                _ = self.closed.wait_for(|closed| *closed) => return None,
            };
            match event {
                Ok(event) => return Some(event),
                Err(broadcast::error::RecvError::Lagged(n)) => {
                    tracing::debug!(missed = n, "slow event reader");
                }
                Err(broadcast::error::RecvError::Closed) => return None,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_happened_before_the_close_is_told() {
        let (sender, events) = broadcast::channel(4);
        let (close, closed) = watch::channel(false);
        let mut feed = Feed::new(events, closed);
        for i in 0..3 {
            sender.send(i).unwrap();
        }
        close.send(true).unwrap();
        assert_eq!([feed.next().await, feed.next().await, feed.next().await], [Some(0), Some(1), Some(2)]);
        // The sender is still there.
        assert_eq!(feed.next().await, None);
        assert_eq!(feed.next().await, None);
        drop(sender);
        assert_eq!(feed.next().await, None);
    }
}
