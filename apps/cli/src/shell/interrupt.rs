//! Ctrl-C: cancels what runs, and not the shell.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::Notify;

use crate::failure::Failure;

/// Ctrl-C since the last look. Clones share it.
#[derive(Clone, Default)]
pub(crate) struct Interrupts {
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    seen: AtomicBool,
    changed: Notify,
}

impl Interrupts {
    /// Takes Ctrl-C over from now on; it no longer ends the process.
    pub(crate) fn listen() -> Result<Self, Failure> {
        let interrupts = Self::default();
        let shared = interrupts.shared.clone();
        #[cfg(unix)]
        {
            use tokio::signal::unix::{SignalKind, signal};
            let mut signals = signal(SignalKind::interrupt())
                .map_err(|e| Failure::environment(format!("cannot take Ctrl-C: {e}")))?;
            tokio::spawn(async move {
                while signals.recv().await.is_some() {
                    shared.note();
                }
            });
        }
        #[cfg(not(unix))]
        tokio::spawn(async move {
            while tokio::signal::ctrl_c().await.is_ok() {
                shared.note();
            }
        });
        Ok(interrupts)
    }

    /// Forgets an earlier Ctrl-C.
    pub(crate) fn clear(&self) {
        self.shared.seen.store(false, Ordering::SeqCst);
    }

    /// Whether Ctrl-C came since it was forgotten.
    pub(crate) fn seen(&self) -> bool {
        self.shared.seen.load(Ordering::SeqCst)
    }

    /// Waits for it.
    pub(crate) async fn wait(&self) {
        loop {
            // Before the look, so that nothing in between is missed.
            let changed = self.shared.changed.notified();
            if self.seen() {
                return;
            }
            changed.await;
        }
    }
}

impl Shared {
    fn note(&self) {
        self.seen.store(true, Ordering::SeqCst);
        self.changed.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_interrupt_is_seen_until_it_is_cleared() {
        let interrupts = Interrupts::default();
        let other = interrupts.clone();
        let waiting = tokio::spawn(async move { other.wait().await });
        interrupts.shared.note();
        waiting.await.unwrap();
        assert!(interrupts.seen());
        interrupts.clear();
        assert!(!interrupts.seen());
    }
}
