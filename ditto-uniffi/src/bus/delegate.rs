//! Callbacks of the Bus: what an app implements, and where they run.

use std::sync::{Arc, Mutex, PoisonError};

use ditto::PeerKey;

use super::BusMessage;
use super::stream::{BusStream, BusStreamEnd};
use crate::app::App;
use crate::error::DittoError;
use crate::observer::report;

/// Is told of single messages and incoming streams, one call after the other on the executor of the Bus. An error is logged and
/// has no other effect.
#[uniffi::export(with_foreign)]
pub trait BusDelegate: Send + Sync {
    /// A single message has arrived.
    fn on_single_message(&self, message: BusMessage) -> Result<(), DittoError>;

    /// A peer has opened a stream. Freeing it closes it.
    fn on_incoming_stream(&self, stream: Arc<BusStream>, from_peer: String) -> Result<(), DittoError>;
}

/// Is told what happens on a stream, one call after the other on the executor of the Bus. An error is logged and has no other
/// effect.
#[uniffi::export(with_foreign)]
pub trait BusStreamDelegate: Send + Sync {
    /// The next message. The other end may send more once it returns.
    fn on_message(&self, data: Vec<u8>) -> Result<(), DittoError>;

    /// The other device has every message up to this number.
    fn on_acknowledged(&self, sequence: u64) -> Result<(), DittoError>;

    /// The stream has ended: the last call, exactly once.
    fn on_close(&self, end: BusStreamEnd) -> Result<(), DittoError>;
}

/// Runs callbacks. One that runs a job beside another makes callbacks overlap across streams.
#[uniffi::export(with_foreign)]
pub trait BusExecutor: Send + Sync {
    /// Runs a job, soon and once. A job that is freed without a run leaves its callback out.
    fn execute(&self, job: Arc<BusJob>) -> Result<(), DittoError>;
}

/// A callback that is to be made.
#[derive(uniffi::Object)]
pub struct BusJob {
    job: Mutex<Option<Box<dyn FnOnce() + Send>>>,
}

#[uniffi::export]
impl BusJob {
    /// Makes the callback, and returns after it. Repeating does nothing.
    pub fn run(&self) {
        let job = self.job.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(job) = job {
            job();
        }
    }
}

struct Delegate(App<dyn BusDelegate>);

impl ditto::BusDelegate for Delegate {
    fn on_single_message(&self, message: ditto::BusMessage) {
        report(self.0.call(|app| app.on_single_message(message.into())));
    }

    fn on_incoming_stream(&self, stream: ditto::BusStream, from: PeerKey) {
        report(
            self.0
                .call(|app| app.on_incoming_stream(Arc::new(BusStream { inner: stream }), from.to_string())),
        );
    }
}

struct StreamDelegate(App<dyn BusStreamDelegate>);

impl ditto::BusStreamDelegate for StreamDelegate {
    fn on_message(&self, data: Vec<u8>) {
        report(self.0.call(|app| app.on_message(data)));
    }

    fn on_acknowledged(&self, sequence: u64) {
        report(self.0.call(|app| app.on_acknowledged(sequence)));
    }

    fn on_close(&self, reason: ditto::StreamEnd) {
        report(self.0.call(|app| app.on_close(reason.into())));
    }
}

struct Executor(App<dyn BusExecutor>);

impl ditto::BusExecutor for Executor {
    fn execute(&self, job: Box<dyn FnOnce() + Send>) {
        report(self.0.call(|app| app.execute(Arc::new(BusJob { job: Mutex::new(Some(job)) }))));
    }
}

pub(super) fn delegate(delegate: Arc<dyn BusDelegate>) -> Arc<dyn ditto::BusDelegate> {
    Arc::new(Delegate(App::new(delegate)))
}

pub(super) fn stream_delegate(delegate: Arc<dyn BusStreamDelegate>) -> Arc<dyn ditto::BusStreamDelegate> {
    Arc::new(StreamDelegate(App::new(delegate)))
}

pub(super) fn executor(executor: Arc<dyn BusExecutor>) -> Arc<dyn ditto::BusExecutor> {
    Arc::new(Executor(App::new(executor)))
}
