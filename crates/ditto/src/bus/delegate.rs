//! Callbacks, one after the other on an executor that the app may replace.

use std::sync::Arc;

use ditto_bus::{BusMessage, StreamEnd};
use ditto_mesh::PeerKey;
use ditto_types::ErrorKind;
use tokio::sync::{oneshot, watch};
use tokio::task::AbortHandle;

use super::Bus;
use super::stream::BusStream;
use crate::{DittoError, runtime};

/// Is told of single messages and incoming streams (API-432).
pub trait BusDelegate: Send + Sync + 'static {
    /// A single message has arrived (API-433).
    fn on_single_message(&self, message: BusMessage);
    /// A peer has opened a stream (API-434). Dropping it closes it.
    fn on_incoming_stream(&self, stream: BusStream, from: PeerKey);
}

/// Is told what happens on a stream (API-449).
pub trait BusStreamDelegate: Send + Sync + 'static {
    /// The next message (API-451). The other end may send more once it returns.
    fn on_message(&self, data: Vec<u8>);
    /// The other device has every message up to this number (API-452).
    fn on_acknowledged(&self, sequence: u64);
    /// The stream has ended: the last call, exactly once (API-453).
    fn on_close(&self, reason: StreamEnd);
}

/// Runs callbacks (API-426). One that runs a job beside another makes callbacks overlap across streams.
pub trait BusExecutor: Send + Sync + 'static {
    /// Runs a job, soon and once.
    fn execute(&self, job: Box<dyn FnOnce() + Send>);
}

type Job = Box<dyn FnOnce() + Send>;

/// The default: one thread, which ends with the last delegate and instance.
pub(super) struct SerialExecutor {
    jobs: crossbeam_channel::Sender<Job>,
}

impl SerialExecutor {
    pub(super) fn spawn() -> Self {
        let (jobs, queue) = crossbeam_channel::unbounded::<Job>();
        let run = move || {
            for job in queue {
                // A callback that panics must not end those of others.
                if std::panic::catch_unwind(std::panic::AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a callback of the Bus panicked");
                }
            }
        };
        if let Err(e) = std::thread::Builder::new().name("ditto-bus".into()).spawn(run) {
            tracing::error!(%e, "no thread for callbacks of the Bus");
        }
        Self { jobs }
    }
}

impl BusExecutor for SerialExecutor {
    fn execute(&self, job: Job) {
        // Without the thread, whoever waits for the job learns that it was dropped.
        let _ = self.jobs.send(job);
    }
}

/// Runs one callback and waits for its end, so that the next of the same source comes after it.
async fn run(executor: &Arc<dyn BusExecutor>, job: impl FnOnce() + Send + 'static) {
    let (done, ended) = oneshot::channel::<()>();
    executor.execute(Box::new(move || {
        // Dropped also when the job panics.
        let _done = done;
        job();
    }));
    let _ = ended.await;
}

/// A delegate that is being told. Ends with its drop.
pub(super) struct Delegation {
    task: AbortHandle,
}

impl Delegation {
    pub(super) fn begin(bus: &Bus, delegate: Arc<dyn BusDelegate>) -> Result<Self, DittoError> {
        if bus.inner.is_closed() {
            return Err(DittoError::new(ErrorKind::Closed, "the instance is closed"));
        }
        let (messages, streams) = (bus.incoming_messages(), bus.incoming_streams());
        let executor = bus.state().executor();
        let task = runtime::handle()?.spawn(async move {
            loop {
                let delegate = delegate.clone();
                tokio::select! {
                    Some(message) = messages.next() => {
                        run(&executor, move || delegate.on_single_message(message)).await;
                    }
                    Some(stream) = streams.next() => {
                        let from = stream.peer();
                        run(&executor, move || delegate.on_incoming_stream(stream, from)).await;
                    }
                    else => return,
                }
            }
        });
        Ok(Self { task: task.abort_handle() })
    }
}

impl Drop for Delegation {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn tell_acknowledged(
    acknowledged: &mut watch::Receiver<u64>,
    executor: &Arc<dyn BusExecutor>,
    to: Arc<dyn BusStreamDelegate>,
) {
    let sequence = *acknowledged.borrow_and_update();
    if sequence > 0 {
        run(executor, move || to.on_acknowledged(sequence)).await;
    }
}

/// Tells a delegate of a stream until it ends.
pub(super) async fn pump_stream(
    stream: BusStream,
    delegate: Arc<dyn BusStreamDelegate>,
    executor: Arc<dyn BusExecutor>,
    mut acknowledged: watch::Receiver<u64>,
) {
    acknowledged.mark_changed();
    loop {
        let to = delegate.clone();
        tokio::select! {
            message = stream.recv() => match message {
                Some(data) => run(&executor, move || to.on_message(data)).await,
                None => break,
            },
            Ok(()) = acknowledged.changed() => tell_acknowledged(&mut acknowledged, &executor, to).await,
        }
    }
    // The last news may have come together with the end.
    if acknowledged.has_changed().is_ok_and(|fresh| fresh) {
        tell_acknowledged(&mut acknowledged, &executor, delegate.clone()).await;
    }
    if let Some(reason) = stream.close_reason() {
        run(&executor, move || delegate.on_close(reason)).await;
    }
}
