//! Calls into the app's language: none begins, and none is running, once its process is about to end.
//!
//! An interpreter that shuts down ends every thread that wants back into it, at once; a thread of ours that is inside a
//! callback then would end the process with an abort. So whoever calls the app passes here, and the binding of such a
//! language ends the calls before the interpreter goes.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// What may call the app: the lowest bit says that nothing may any more, the others count the calls that run.
struct Calls {
    state: AtomicUsize,
    lock: Mutex<()>,
    none: Condvar,
}

const ENDED: usize = 1;
const ONE: usize = 2;

static CALLS: Calls = Calls::new();

impl Calls {
    const fn new() -> Self {
        Self { state: AtomicUsize::new(0), lock: Mutex::new(()), none: Condvar::new() }
    }

    /// `None` after the end.
    fn enter(&self) -> Option<Running<'_>> {
        let running = Running(self);
        // Dropping it takes the count back.
        (self.state.fetch_add(ONE, Ordering::SeqCst) & ENDED == 0).then_some(running)
    }

    fn end(&self, patience: Duration) -> bool {
        self.state.fetch_or(ENDED, Ordering::SeqCst);
        let lock = self.lock.lock().unwrap_or_else(PoisonError::into_inner);
        let running = |_: &mut ()| self.state.load(Ordering::SeqCst) >= ONE;
        let waited = self.none.wait_timeout_while(lock, patience, running);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

struct Running<'a>(&'a Calls);

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if self.0.state.fetch_sub(ONE, Ordering::SeqCst) == ONE | ENDED {
            // The lock orders this after the look at the count.
            drop(self.0.lock.lock());
            self.0.none.notify_all();
        }
    }
}

/// Nothing is called any more after it; false if a call still ran when it gave up waiting.
pub(crate) fn end(patience: Duration) -> bool {
    CALLS.end(patience)
}

/// Something that the app implements.
pub(crate) struct App<T: ?Sized>(Option<Arc<T>>);

impl<T: ?Sized> App<T> {
    pub(crate) fn new(implemented: Arc<T>) -> Self {
        Self(Some(implemented))
    }

    /// `None` when the process is about to end.
    pub(crate) fn call<R>(&self, call: impl FnOnce(&T) -> R) -> Option<R> {
        let _running = CALLS.enter()?;
        self.0.as_deref().map(call)
    }
}

impl<T: ?Sized> Drop for App<T> {
    fn drop(&mut self) {
        // The app is called to free it, too.
        let running = CALLS.enter();
        let implemented = self.0.take();
        if running.is_none() {
            std::mem::forget(implemented);
        }
    }
}

/// Work that the app awaits: that it goes on is a call into the app.
pub(crate) fn awaited<F: Future>(work: F) -> Awaited<F> {
    Awaited { work: Box::pin(work), waker: None }
}

pub(crate) struct Awaited<F> {
    work: Pin<Box<F>>,
    /// The app's, and ours around it.
    waker: Option<(Waker, Waker)>,
}

impl<F: Future> Future for Awaited<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let this = &mut *self;
        let known = this.waker.take().filter(|(apps, _)| apps.will_wake(context.waker()));
        let (_, ours) = this.waker.insert(known.unwrap_or_else(|| {
            let apps = context.waker().clone();
            (apps.clone(), Waker::from(Arc::new(Wakes(apps))))
        }));
        this.work.as_mut().poll(&mut Context::from_waker(ours))
    }
}

struct Wakes(Waker);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        if let Some(_running) = CALLS.enter() {
            self.0.wake_by_ref();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::AtomicBool;
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn nothing_is_called_after_the_end_and_what_runs_is_waited_for() {
        static CALLS: Calls = Calls::new();
        static OVER: AtomicBool = AtomicBool::new(false);
        let (entered, wait_entered) = channel();
        let (leave, wait_leave) = channel::<()>();
        let call = std::thread::spawn(move || {
            let running = CALLS.enter();
            entered.send(running.is_some()).unwrap();
            wait_leave.recv().unwrap();
            OVER.store(true, Ordering::SeqCst);
        });
        assert!(wait_entered.recv().unwrap());
        assert!(!CALLS.end(Duration::from_millis(1)), "a call still runs");
        assert!(CALLS.enter().is_none());
        let end = std::thread::spawn(|| CALLS.end(Duration::from_secs(600)));
        leave.send(()).unwrap();
        assert!(end.join().unwrap());
        assert!(OVER.load(Ordering::SeqCst), "the end did not wait");
        assert!(CALLS.enter().is_none());
        assert!(CALLS.end(Duration::ZERO), "repeating is harmless");
        call.join().unwrap();
    }

    #[test]
    fn awaited_work_wakes_who_awaits_it() {
        struct Noted(AtomicUsize);
        impl Wake for Noted {
            fn wake(self: Arc<Self>) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let (send, receive) = tokio::sync::oneshot::channel();
        let mut work = awaited(receive);
        let noted = Arc::new(Noted(AtomicUsize::new(0)));
        let waker = Waker::from(noted.clone());
        let mut context = Context::from_waker(&waker);
        assert!(Pin::new(&mut work).poll(&mut context).is_pending());
        assert_eq!(noted.0.load(Ordering::SeqCst), 0);
        send.send(7).unwrap();
        assert_eq!(noted.0.load(Ordering::SeqCst), 1);
        assert_eq!(Pin::new(&mut work).poll(&mut context), Poll::Ready(Ok(7)));
    }
}
