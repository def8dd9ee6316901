//! The tokio runtime that all instances of a process share.

use std::sync::OnceLock;

use ditto_types::ErrorKind;
use tokio::runtime::{Builder, Handle, Runtime, RuntimeFlavor};

use crate::DittoError;

/// The runtime lives as long as the process: dropping one inside an async context would panic, and every
/// instance needs it.
fn runtime() -> Result<&'static Runtime, DittoError> {
    static RUNTIME: OnceLock<Result<Runtime, String>> = OnceLock::new();
    let built = RUNTIME.get_or_init(|| {
        let workers = std::thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 4));
        Builder::new_multi_thread()
            .worker_threads(workers)
            .thread_name("ditto-worker")
            .enable_all()
            .build()
            .map_err(|e| e.to_string())
    });
    built.as_ref().map_err(|e| DittoError::new(ErrorKind::Internal, format!("cannot start the runtime: {e}")))
}

/// The handle on which tasks are spawned.
pub(crate) fn handle() -> Result<&'static Handle, DittoError> {
    runtime().map(Runtime::handle)
}

/// The runtime of the app that this is called in, if its tasks may live on it: one with workers of its own, which go on
/// whatever the caller does.
pub(crate) fn of_app() -> Option<Handle> {
    Handle::try_current().ok().filter(|handle| handle.runtime_flavor() == RuntimeFlavor::MultiThread)
}

/// Runs the task of an instance's network until it ends, with everything that the task spawns: on the runtime of the app,
/// where a message from the network reaches the task that waits for it without a change of thread (ADR 0035), else on a
/// thread of its own.
pub(crate) fn network(
    app: Option<Handle>,
    task: impl Future<Output = ()> + Send + 'static,
) -> Result<(), DittoError> {
    if let Some(app) = app {
        app.spawn(task);
        return Ok(());
    }
    let cannot = |e: std::io::Error| {
        DittoError::new(ErrorKind::Internal, format!("cannot start the thread of the network: {e}"))
    };
    let runtime = Builder::new_current_thread().enable_all().build().map_err(cannot)?;
    let run = move || runtime.block_on(task);
    std::thread::Builder::new().name("ditto-network".into()).spawn(run).map_err(cannot)?;
    Ok(())
}

/// Runs blocking code on a thread made for it; works under any async executor of the host.
pub(crate) async fn blocking<T: Send + 'static>(
    f: impl FnOnce() -> Result<T, DittoError> + Send + 'static,
) -> Result<T, DittoError> {
    let task = handle()?.spawn_blocking(f);
    task.await.map_err(|e| DittoError::new(ErrorKind::Internal, format!("worker failed: {e}")))?
}
