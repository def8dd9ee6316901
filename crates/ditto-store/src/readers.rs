//! The pool of reading connections: WAL snapshots beside the writer.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::StoreError;
use crate::driver::Db;
use crate::schema;

/// Connections kept open when nobody reads.
const IDLE: usize = 4;

/// Connections open at the same time. More than are kept idle, so that read-only transactions which are held open do
/// not starve statements and observers.
const MAX: usize = 32;

struct Idle {
    db: Db,
    /// Whether it has the large cache.
    first: bool,
}

/// Reading connections of one store.
#[derive(Clone)]
pub(crate) struct ReaderPool(Arc<Inner>);

struct Inner {
    file: PathBuf,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// The first connection is the last of them if it is there, and so is the first to be taken.
    idle: Vec<Idle>,
    /// Connections lent out.
    lent: usize,
    /// Who waits for one to come back. Waking nobody would cost a system call for every statement.
    waiting: usize,
    closed: bool,
}

impl ReaderPool {
    /// Opens the first connection; others follow when they are needed.
    pub(crate) fn open(file: &Path) -> Result<Self, StoreError> {
        let idle = vec![Idle { db: schema::open_reader(file, true)?, first: true }];
        let state = State { idle, ..State::default() };
        Ok(Self(Arc::new(Inner {
            file: file.to_path_buf(),
            state: Mutex::new(state),
            changed: Condvar::new(),
        })))
    }

    /// A connection for one statement or one transaction; waits while too many are in use.
    pub(crate) fn get(&self) -> Result<Reader, StoreError> {
        let mut state = self.lock();
        loop {
            if state.closed {
                return Err(StoreError::Closed);
            }
            if let Some(Idle { db, first }) = state.idle.pop() {
                state.lent += 1;
                return Ok(Reader { db: Some(db), first, pool: self.clone() });
            }
            if state.lent < MAX {
                break;
            }
            state.waiting += 1;
            state = self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            state.waiting -= 1;
        }
        // Counted before it is opened, since opening must not happen under the lock.
        state.lent += 1;
        drop(state);
        let mut reader = Reader { db: None, first: false, pool: self.clone() };
        reader.db = Some(schema::open_reader(&self.0.file, false)?);
        Ok(reader)
    }

    /// Refuses further readers and waits for those that are out. Returns whether all came back in time.
    pub(crate) fn close(&self, patience: Duration) -> bool {
        let deadline = Instant::now() + patience;
        let mut state = self.lock();
        state.closed = true;
        state.idle.clear();
        self.0.changed.notify_all();
        while state.lent > 0 {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state.waiting += 1;
            state = self.0.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
            state.waiting -= 1;
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lent connection; goes back when dropped.
pub(crate) struct Reader {
    /// `None` only while it is being opened.
    db: Option<Db>,
    first: bool,
    pool: ReaderPool,
}

impl Reader {
    /// The connection.
    pub(crate) fn db(&self) -> Result<&Db, StoreError> {
        self.db.as_ref().ok_or_else(|| StoreError::Internal("a reader without connection".to_string()))
    }

    /// Runs `f` on one snapshot.
    pub(crate) fn snapshot<T>(&self, f: impl FnOnce(&Db) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let db = self.db()?;
        db.exec("BEGIN", &[])?;
        let out = f(db);
        // Nothing was written, so how the transaction ends does not matter, only that it does.
        let ended = if db.in_transaction() { db.exec("ROLLBACK", &[]).map(|_| ()) } else { Ok(()) };
        out.and_then(|v| ended.map(|()| v))
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut db = self.db.take();
        if let Some(d) = &db
            && d.in_transaction()
            && d.batch("ROLLBACK").is_err()
        {
            db = None;
        }
        let mut state = self.pool.lock();
        state.lent -= 1;
        if let Some(db) = db
            && !state.closed
            && (self.first || state.idle.len() < IDLE)
        {
            let at = if self.first { state.idle.len() } else { 0 };
            state.idle.insert(at, Idle { db, first: self.first });
        }
        if state.waiting > 0 {
            self.pool.0.changed.notify_all();
        }
    }
}
