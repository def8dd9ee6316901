//! The parts of a transport that start and stop by themselves: listeners and discoveries.

use std::sync::Arc;

use tokio::sync::{oneshot, watch};

use crate::sink::EventSink;
use crate::table::LinkTable;

/// A running part. Dropping it stops it.
pub(crate) struct Part {
    stopper: watch::Sender<bool>,
    ended: oneshot::Receiver<()>,
}

impl Part {
    /// Runs `work` until it ends by itself, which it must soon after its sink says so. It begins once `before`, which is
    /// told to stop, has ended.
    pub(crate) fn spawn<F>(
        table: &Arc<LinkTable>,
        sink: &EventSink,
        before: Option<Part>,
        work: impl FnOnce(EventSink) -> F + Send + 'static,
    ) -> Self
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (sink, stopper) = sink.part();
        let (end, ended) = oneshot::channel();
        table.spawn(async move {
            if let Some(before) = before {
                before.end().await;
            }
            if !sink.is_stopped() {
                work(sink).await;
            }
            drop(end);
        });
        Self { stopper, ended }
    }

    /// Tells it to stop.
    pub(crate) fn stop(&self) {
        self.stopper.send_replace(true);
    }

    /// Stops it and waits for its end.
    pub(crate) async fn end(self) {
        self.stop();
        // Nothing is ever sent; the sender goes away with the task.
        let _ = self.ended.await;
    }
}
