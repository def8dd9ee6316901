//! Whoever has something to do drives the machines: the task of a link that has read bytes, a thread of the app that
//! sends, the task of the network when a time has come.
//!
//! The machines lie behind a lock. Threads that may not wait for it post what they want and go; whoever holds the lock
//! looks for that before he is done, so that nothing is left lying.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError, Weak};

use ditto_mesh::transport::NetEvent;
use ditto_mesh::{Input, TransportDiagnostics};
use ditto_net::TakeEvents;
use tokio::sync::mpsc;

use super::router::{After, Router};
use super::{Command, lock};
use crate::bus::Wake;

/// How often a thread does what others have posted meanwhile. Then the task of the network takes over.
const ROUNDS: usize = 4;

/// The machines, and what is asked of them.
pub(super) struct Core {
    router: Mutex<Router>,
    /// In the order in which it was asked.
    posted: Mutex<Vec<Command>>,
    /// To the task of the network.
    task: mpsc::WeakUnboundedSender<Command>,
}

impl Core {
    pub(super) fn new(
        task: mpsc::WeakUnboundedSender<Command>,
        router: impl FnOnce(Driver) -> Router,
    ) -> Arc<Self> {
        Arc::new_cyclic(|core| Self {
            router: Mutex::new(router(Driver(core.clone()))),
            posted: Mutex::default(),
            task,
        })
    }

    pub(super) fn driver(self: &Arc<Self>) -> Driver {
        Driver(Arc::downgrade(self))
    }

    /// For looking, or for what has no consequences.
    pub(super) fn router(&self) -> MutexGuard<'_, Router> {
        lock(&self.router)
    }

    /// Lets `work` tell the machines something, after what was posted before, and carries out what follows.
    pub(super) fn enter<T>(&self, work: impl FnOnce(&mut Router) -> T) -> T {
        let mut router = lock(&self.router);
        let (out, after) = self.round(&mut router, work);
        drop(router);
        self.tell(after);
        self.look();
        out
    }

    fn round<T>(&self, router: &mut Router, work: impl FnOnce(&mut Router) -> T) -> (T, After) {
        let posted = std::mem::take(&mut *lock(&self.posted));
        for command in posted {
            router.command_now(command);
        }
        let out = work(router);
        router.carry_out();
        (out, router.after())
    }

    /// Does what was posted, unless somebody else is at work: he will look for it once he has unlocked, which cannot be
    /// missed, because who posts tries the lock after that.
    fn look(&self) {
        for _ in 0..ROUNDS {
            if lock(&self.posted).is_empty() {
                return;
            }
            let mut router = match self.router.try_lock() {
                Ok(router) => router,
                Err(TryLockError::Poisoned(e)) => PoisonError::into_inner(e),
                Err(TryLockError::WouldBlock) => return,
            };
            let ((), after) = self.round(&mut router, |_| ());
            drop(router);
            self.tell(after);
        }
        self.wake();
    }

    fn tell(&self, after: After) {
        after.woken.into_iter().for_each(Wake::wake);
        if after.is_earlier {
            self.wake();
        }
    }

    /// Lets the task of the network have a look.
    fn wake(&self) {
        if let Some(task) = self.task.upgrade() {
            // The task ends only after it was told to.
            let _ = task.send(Command::Look);
        }
    }
}

/// A handle for threads that must not wait.
#[derive(Clone)]
pub(crate) struct Driver(Weak<Core>);

impl Driver {
    /// Has commands carried out in this order, here and now if nobody else is at work. They must not be of those that wait
    /// for something.
    pub(crate) fn post(&self, commands: impl IntoIterator<Item = Command>) {
        // An instance that is closed has ended everything that commands are about.
        let Some(core) = self.0.upgrade() else { return };
        lock(&core.posted).extend(commands);
        core.look();
    }

    /// The same by the task of the network: for what is too much work for the thread that asks.
    pub(crate) fn post_for_later(&self, commands: impl IntoIterator<Item = Command>) {
        let Some(core) = self.0.upgrade() else { return };
        lock(&core.posted).extend(commands);
        core.wake();
    }

    /// What the transports are doing now; `None` once the instance is closed.
    pub(crate) fn diagnostics(&self) -> Option<TransportDiagnostics> {
        Some(self.0.upgrade()?.router().mesh.diagnostics())
    }
}

/// Takes the events of one run of the network.
pub(super) struct Intake {
    core: Weak<Core>,
    run: u64,
}

impl Intake {
    pub(super) fn new(core: &Arc<Core>, run: u64) -> Self {
        Self { core: Arc::downgrade(core), run }
    }
}

impl TakeEvents for Intake {
    fn take(&self, event: NetEvent) {
        let Some(core) = self.core.upgrade() else { return };
        core.enter(|router| {
            // Link ids begin anew with every run.
            if router.run == self.run {
                router.mesh_input(Input::Net(event));
            }
        });
    }
}
