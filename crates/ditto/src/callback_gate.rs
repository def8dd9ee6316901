//! Keeps the promise that no callback starts after `stop` or `cancel` returned.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, ThreadId};

/// Shared by the task that calls back and the handle that stops it.
#[derive(Clone, Default)]
pub(crate) struct CallbackGate {
    shared: Arc<(Mutex<State>, Condvar)>,
}

#[derive(Default)]
struct State {
    stopped: bool,
    running: Option<ThreadId>,
}

impl CallbackGate {
    /// Runs `f` unless stopped; tells whether it ran.
    pub(crate) fn run(&self, f: impl FnOnce()) -> bool {
        let (lock, idle) = &*self.shared;
        {
            let mut state = lock.lock().unwrap_or_else(PoisonError::into_inner);
            if state.stopped {
                return false;
            }
            state.running = Some(thread::current().id());
        }
        /// Marks the end also when `f` panics.
        struct Done<'a>(&'a Mutex<State>, &'a Condvar);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.lock().unwrap_or_else(PoisonError::into_inner).running = None;
                self.1.notify_all();
            }
        }
        let _done = Done(lock, idle);
        f();
        true
    }

    /// Stops, and waits for a running callback unless the call comes from inside it.
    pub(crate) fn stop(&self) {
        let (lock, idle) = &*self.shared;
        let mut state = lock.lock().unwrap_or_else(PoisonError::into_inner);
        state.stopped = true;
        while state.running.is_some_and(|t| t != thread::current().id()) {
            state = idle.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether `stop` was called.
    pub(crate) fn is_stopped(&self) -> bool {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).stopped
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn stop_waits_for_the_running_callback() {
        let gate = CallbackGate::default();
        let (entered, wait_entered) = mpsc::channel();
        let (release, wait_release) = mpsc::channel::<()>();
        let finished = Arc::new(AtomicBool::new(false));
        let worker = thread::spawn({
            let (gate, finished) = (gate.clone(), finished.clone());
            move || {
                gate.run(|| {
                    entered.send(()).unwrap();
                    wait_release.recv().unwrap();
                    finished.store(true, Ordering::SeqCst);
                })
            }
        });
        wait_entered.recv().unwrap();
        let stopper = thread::spawn({
            let (gate, finished) = (gate.clone(), finished.clone());
            move || {
                gate.stop();
                finished.load(Ordering::SeqCst)
            }
        });
        release.send(()).unwrap();
        assert!(stopper.join().unwrap(), "stop returned before the callback ended");
        assert!(worker.join().unwrap());
        assert!(!gate.run(|| panic!("called after stop")));
    }

    #[test]
    fn stop_from_inside_does_not_deadlock() {
        let gate = CallbackGate::default();
        assert!(gate.run(|| gate.stop()));
        assert!(gate.is_stopped());
    }
}
