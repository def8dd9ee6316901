//! The store handle: opening, statements, transactions, observers and the replication side.

use std::borrow::Cow;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use ditto_crdt::{DictWriter, Doc};
use ditto_dql::{BindContext, Plan};
use ditto_types::{DatabaseId, DocId, ErrorKind, HashKey, KeyHash, Object};

use crate::blob::{self, Blobs, CollectReport};
use crate::check::{self, CheckReport};
use crate::commit::{Commit, CommitFeed, FeedSender};
use crate::core::Core;
use crate::desk::Desk;
use crate::dict::WriterDict;
use crate::lock::DirectoryLock;
use crate::meta::{self, StoreIdentity};
use crate::observers::{Callback, Observation, SignalCallback};
use crate::options::{StoreOptions, TransactionOptions};
use crate::readers::ReaderPool;
use crate::reaper::ReapReport;
use crate::replication::{
    ApplyBatch, ApplyOutcome, ChangePage, CompiledQuery, Cursor, CursorKey, Newest, StoredDoc, ViewPage,
};
use crate::request::{self, Cancellation, Place, Requests};
use crate::result::QueryResult;
use crate::settings::{Settings, SettingsCell};
use crate::shared::Shared;
use crate::spill::SpillFolder;
use crate::system::SystemProvider;
use crate::transaction::Transaction;
use crate::writer::Writer;
use crate::{StoreError, apply, index, mutate, reaper, scan, schema};

/// A database in a directory. Clones are handles of the same store; the last one closes it.
///
/// All calls block and may come from any thread.
#[derive(Clone)]
pub struct Store {
    pub(crate) inner: Arc<Inner>,
}

/// What the writer has done and what waits for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriterStats {
    /// Commits of the storage engine since the store was opened; each may hold many of our commits.
    pub group_commits: u64,
    /// Statements, batches and transactions that wait for the writer.
    pub waiting: usize,
}

pub(crate) struct Inner {
    pub(crate) shared: Arc<Shared>,
    pub(crate) desk: Desk,
    writer: Mutex<Option<JoinHandle<()>>>,
    directory: PathBuf,
    next_transaction: AtomicU64,
    /// The thread of the reaper; ends it when dropped.
    reaper: Mutex<Option<reaper::Thread>>,
    blobs: Blobs,
    /// References to blobs that the collector found.
    references: Arc<blob::Known>,
    /// The thread of the collector of blobs; ends it when dropped.
    collector: Mutex<Option<blob::CollectorThread>>,
}

impl Store {
    /// The database whose documents a directory holds, for tools that know only the directory; `None` when there are
    /// none yet. Fails as [`Store::open`] does, and writes nothing.
    pub fn database_in(directory: &Path) -> Result<Option<DatabaseId>, StoreError> {
        if !directory.join(schema::DB_FILE).exists() {
            return Ok(None);
        }
        // A log that a killed owner left is replayed by whoever comes first; nobody else may be about.
        let lock = DirectoryLock::acquire(directory)?;
        let file = lock.directory().join(schema::DB_FILE);
        schema::peek(&file)?.map_or(Ok(None), |db| meta::database(&db))
    }

    /// Opens the store in a directory, or creates it. Fails without leaving the directory locked.
    ///
    /// [`StoreError::Locked`] when another instance has it open, [`StoreError::Corrupt`] when the file is damaged or
    /// not ours, [`StoreError::Version`] when it is from a newer release, [`StoreError::OtherDatabase`] when it
    /// belongs to another database id.
    pub fn open(options: StoreOptions) -> Result<Store, StoreError> {
        let lock = DirectoryLock::acquire(&options.directory)?;
        let directory = lock.directory().to_path_buf();
        let file = directory.join(schema::DB_FILE);
        let db = schema::open_file(&file, options.durability)?;
        let (identity, state) = meta::open(&db, &options)?;
        let dict = WriterDict::load(&db)?;
        let readers = ReaderPool::open(&file)?;
        let blobs = Blobs::open(directory.join(blob::FOLDER))?;
        let hash_key = HashKey::new(&options.database);
        let settings = SettingsCell::open(&*options.environment);
        let requests =
            Requests::new(settings, options.clock.clone(), &options.database, &options.environment);
        let indexes = index::create::open(&db, dict.shared())?;
        let spill = SpillFolder::open(&directory, dict.shared());
        let new = |this: &Weak<Shared>| {
            Shared::new(
                this.clone(),
                (identity, state.head),
                hash_key.clone(),
                dict.shared().clone(),
                readers,
                (requests, spill),
                indexes,
            )
        };
        let shared = Arc::new_cyclic(new);
        let core = Core::new(db, dict, state, hash_key, options.clock, options.random, shared.clone())?;
        let desk = Desk::new(Writer::new(core, shared.clone(), lock), shared.clone());
        let thread = std::thread::Builder::new()
            .name("ditto-writer".to_string())
            .spawn({
                let desk = desk.clone();
                move || desk.serve()
            })
            .map_err(|e| StoreError::io("start a writer thread for", &directory, &e))?;
        let reaper = reaper::Thread::start(desk.clone(), shared.clone());
        let references: Arc<blob::Known> = Arc::default();
        let collector = blob::CollectorThread::start(shared.clone(), blobs.clone(), references.clone());
        tracing::debug!(directory = %directory.display(), head = state.head, "store open");
        Ok(Store {
            inner: Arc::new(Inner {
                shared,
                desk,
                writer: Mutex::new(Some(thread)),
                directory,
                next_transaction: AtomicU64::new(1),
                reaper: Mutex::new(reaper),
                blobs,
                references,
                collector: Mutex::new(collector),
            }),
        })
    }

    /// Finishes what is queued, ends all observers, moves the log into the file and releases the directory.
    ///
    /// Later calls on any handle give [`StoreError::Closed`]. Repeating it is harmless. An open transaction is
    /// waited for; one that stays idle for ten seconds is rolled back.
    pub fn close(&self) {
        self.inner.close();
    }

    /// The canonical directory.
    pub fn directory(&self) -> &Path {
        &self.inner.directory
    }

    /// Runs one statement with its own commit (API-046). Writes wait their turn.
    pub fn execute(&self, text: &str, args: &Object) -> Result<QueryResult, StoreError> {
        self.inner.open()?;
        request::execute(&self.inner, text, Cow::Borrowed(args), &Place::Own, None)
    }

    /// As [`Store::execute`], but ended soon after `cancel` is used: [`StoreError::Cancelled`]. The arguments are not
    /// copied.
    pub fn execute_cancellable(
        &self,
        text: &str,
        args: Object,
        cancel: &Cancellation,
    ) -> Result<QueryResult, StoreError> {
        self.inner.open()?;
        request::execute(&self.inner, text, Cow::Owned(args), &Place::Own, Some(cancel))
    }

    /// Cancels a running request by its `_id` in `system:active_requests`. `false` when it does not run.
    pub fn cancel_request(&self, id: &str) -> bool {
        self.inner.shared.requests.cancel(id)
    }

    /// The settings of this moment (dql.md 9). They are changed by ALTER SYSTEM.
    pub fn settings(&self) -> Arc<Settings> {
        self.inner.shared.requests.settings.snapshot()
    }

    /// A channel that has something in it after settings changed. Several changes may arrive as one.
    pub fn settings_changed(&self) -> Receiver<()> {
        self.inner.shared.requests.settings.subscribe()
    }

    /// Runs the reaper now: tombstones older than `tombstone_ttl_hours` become gravestones, and gravestones that nothing
    /// needs any more go (dql.md 7.6). It also runs by itself, see `days_between_reaping`.
    ///
    /// Does nothing while `tombstone_ttl_enabled` is false.
    pub fn reap(&self) -> Result<ReapReport, StoreError> {
        self.inner.open()?;
        reaper::run(&self.inner.desk, &self.inner.shared.requests)
    }

    /// The blobs of attachments, kept in the folder `attachments` of the directory.
    pub fn blobs(&self) -> Result<&Blobs, StoreError> {
        self.inner.open()?;
        Ok(&self.inner.blobs)
    }

    /// Deletes the blobs that no document refers to and nobody holds, if the run before found them so too. It also runs
    /// by itself, see the setting `attachment_gc_interval_seconds`.
    pub fn collect_blobs(&self) -> Result<CollectReport, StoreError> {
        self.inner.open()?;
        blob::collect(&self.inner.shared, &self.inner.blobs, &self.inner.references)
    }

    /// Sets what adds to the system collections; an earlier one is replaced.
    pub fn set_system_provider(&self, provider: Arc<dyn SystemProvider>) {
        self.inner.shared.set_provider(provider);
    }

    /// Reads a statement and checks what can be checked without its arguments; nothing runs.
    pub fn check_syntax(&self, text: &str) -> Result<(), StoreError> {
        self.inner.open()?;
        ditto_dql::prepare(text)?;
        Ok(())
    }

    /// Begins a transaction. A read-write one waits until everything that was asked for before it is done.
    pub fn begin(&self, options: TransactionOptions) -> Result<Transaction, StoreError> {
        self.inner.open()?;
        let id = self.inner.next_transaction.fetch_add(1, Ordering::Relaxed);
        let TransactionOptions { read_only, hint } = options;
        if read_only {
            let reader = self.inner.shared.readers.get()?;
            let db = reader.db()?;
            db.batch("BEGIN")?;
            // The snapshot is taken by the first read, and has to be the one of this moment.
            meta::head(db)?;
            return Ok(Transaction::read(self.inner.clone(), id, hint, reader));
        }
        Transaction::write(self.inner.clone(), id, hint, self.inner.desk.lend()?)
    }

    /// Calls `callback` with the result of a SELECT soon after, and again whenever it has changed (API-072).
    ///
    /// Calls of one observer are in order and never overlap; changes in quick succession arrive as one. Commits that
    /// leave the result as it is make no call. The observer lives until [`Observation::cancel`] or
    /// [`Store::close`]; dropping the handle does not end it (API-079).
    pub fn observe(&self, text: &str, args: &Object, callback: Callback) -> Result<Observation, StoreError> {
        self.observe_with_signal(
            text,
            args,
            Box::new({
                let mut callback = callback;
                move |result, signal| {
                    callback(result);
                    signal();
                }
            }),
        )
    }

    /// As [`Store::observe`], but after one call the observer stays silent until the signal it was given is called
    /// (API-073). Whatever changes in between arrives as one result.
    pub fn observe_with_signal(
        &self,
        text: &str,
        args: &Object,
        callback: SignalCallback,
    ) -> Result<Observation, StoreError> {
        self.inner.open()?;
        self.inner.shared.observers.register(ditto_dql::prepare_observer(text)?, args, callback)
    }

    /// The observers that are active now (API-053).
    pub fn observers(&self) -> Vec<Observation> {
        self.inner.shared.observers.active()
    }

    /// Every commit from now on, in order, each once and after it is durable. Ends when the store is closed.
    ///
    /// What is not received stays in memory. One with very many changes does not list them
    /// ([`Commit::unlisted_collections`]).
    pub fn subscribe_commits(&self) -> Receiver<Arc<Commit>> {
        let (receiver, sender) = FeedSender::unbounded();
        self.inner.shared.subscribe(sender);
        receiver
    }

    /// Like [`Store::subscribe_commits`], but with bounded memory: about 50,000 changed documents wait, then commits are
    /// left out, and the feed says so.
    pub fn commit_feed(&self) -> CommitFeed {
        let (feed, sender) = CommitFeed::new();
        self.inner.shared.subscribe(sender);
        feed
    }

    /// Counters of the writer.
    pub fn writer_stats(&self) -> WriterStats {
        WriterStats { group_commits: self.inner.shared.groups(), waiting: self.inner.desk.waiting() }
    }

    /// Recomputes every digest, hash and reference, verifies every blob, and lets the engine check its structures.
    pub fn check(&self) -> Result<CheckReport, StoreError> {
        self.inner.open()?;
        let shared = &self.inner.shared;
        let mut report = shared.readers.get()?.snapshot(|db| check::run(db, &shared.hash_key))?;
        self.inner.blobs.check(&mut report);
        Ok(report)
    }

    /// Names of the store and of its sequence.
    pub fn identity(&self) -> StoreIdentity {
        self.inner.shared.identity
    }

    /// Number of the newest commit.
    pub fn head(&self) -> u64 {
        self.inner.shared.head()
    }

    /// The key of the database's hashes.
    pub fn hash_key(&self) -> &HashKey {
        &self.inner.shared.hash_key
    }

    /// Compiles the query of a subscription; its restrictions are those of dql.md 11.1 and of the setting
    /// `dql_restrict_subscriptions`.
    pub fn compile_subscription(&self, text: &str, args: &Object) -> Result<Arc<CompiledQuery>, StoreError> {
        let restricted = self.settings().dql_restrict_subscriptions;
        self.compile(text, args, restricted)
    }

    /// As [`Store::compile_subscription`], for one that was registered, here or by a peer: the setting counts where that happens.
    pub fn compile_registered(&self, text: &str, args: &Object) -> Result<Arc<CompiledQuery>, StoreError> {
        self.compile(text, args, false)
    }

    fn compile(&self, text: &str, args: &Object, restricted: bool) -> Result<Arc<CompiledQuery>, StoreError> {
        self.inner.open()?;
        match ditto_dql::prepare_subscription(text, restricted)?.bind(args, &BindContext::bare())? {
            Plan::Select(plan) => Ok(Arc::new(self.inner.shared.subscriptions.add(plan))),
            _ => Err(not_a_select()),
        }
    }

    /// The compiled subscriptions that a document can match in one of these states, for [`CompiledQuery::is_in`]. They
    /// are found by an index over their conditions, not by asking each.
    pub fn concerned<'d>(
        &self,
        collection: &str,
        id: &DocId,
        states: impl IntoIterator<Item = &'d Doc>,
    ) -> Vec<u64> {
        self.inner.shared.subscriptions.concerned(collection, id, states.into_iter())
    }

    /// Changes of the query's collection after commit `after`, whole commits only.
    ///
    /// A page ends with the commit in which `max_docs` or `max_bytes` (of stored form) is reached.
    pub fn changes(
        &self,
        query: &CompiledQuery,
        after: u64,
        max_docs: usize,
        max_bytes: usize,
    ) -> Result<ChangePage, StoreError> {
        let (dict, hash_key) = (&self.inner.shared.dict, &self.inner.shared.hash_key);
        let reader = self.inner.shared.readers.get()?;
        reader.snapshot(|db| scan::changes(db, dict, hash_key, query, after, max_docs, max_bytes))
    }

    /// Keys and digests of the documents that are alive and match, ascending by key hash.
    pub fn view(&self, query: &CompiledQuery) -> Result<Vec<(KeyHash, ditto_types::Digest)>, StoreError> {
        let mut all = Vec::new();
        self.scan_view(query, &mut |key, digest| all.push((key, digest)))?;
        all.sort_unstable();
        Ok(all)
    }

    /// Calls `each` with key and digest of every document that is alive and matches, in no particular order. All are
    /// as of one commit, whose number is returned.
    pub fn scan_view(
        &self,
        query: &CompiledQuery,
        each: &mut dyn FnMut(KeyHash, ditto_types::Digest),
    ) -> Result<u64, StoreError> {
        let dict = &self.inner.shared.dict;
        self.inner.shared.readers.get()?.snapshot(|db| scan::view(db, dict, query, each))
    }

    /// As [`Store::scan_view`], of the documents that the first load of the subscription brings: with LIMIT and OFFSET those of the
    /// query's result (dql.md 11.1), and all without.
    pub fn first_view(
        &self,
        query: &CompiledQuery,
        each: &mut dyn FnMut(KeyHash, ditto_types::Digest),
    ) -> Result<u64, StoreError> {
        if !query.is_bounded() {
            return self.scan_view(query, each);
        }
        let (dict, hash_key) = (&self.inner.shared.dict, &self.inner.shared.hash_key);
        self.inner.shared.readers.get()?.snapshot(|db| scan::first_view(db, dict, hash_key, query, each))
    }

    /// Number of documents that are alive and match, if that takes no look at them: of a whole collection.
    pub fn count(&self, query: &CompiledQuery) -> Result<Option<u64>, StoreError> {
        let dict = &self.inner.shared.dict;
        self.inner.shared.readers.get()?.snapshot(|db| scan::count(db, dict, query))
    }

    /// Documents that are alive and match, in the order of their rows, behind the place `after`, encoded with `to`. A page
    /// ends when the first of `limits`, the documents, or the second, the bytes, is reached.
    ///
    /// LIMIT and OFFSET leave out documents, as they are when the first page is asked for.
    ///
    /// Each page is of its own snapshot. A document that is in the view from before the first page until after the last is
    /// on one of them, in its present state; what comes meanwhile may be.
    pub fn view_page(
        &self,
        query: &CompiledQuery,
        after: Option<u64>,
        limits: (usize, usize),
        to: &mut dyn DictWriter,
    ) -> Result<ViewPage, StoreError> {
        let (dict, hash_key) = (&self.inner.shared.dict, &self.inner.shared.hash_key);
        let reader = self.inner.shared.readers.get()?;
        reader.snapshot(|db| {
            if query.is_bounded() && after.is_none() {
                query.set_first_rows(scan::first_rows(db, dict, hash_key, query)?);
            }
            scan::view_page(db, dict, query, after, limits, to)
        })
    }

    /// A document by its key hash, also a deleted one.
    pub fn load(&self, key: KeyHash) -> Result<Option<StoredDoc>, StoreError> {
        let (dict, hash_key) = (&self.inner.shared.dict, &self.inner.shared.hash_key);
        self.inner.shared.readers.get()?.snapshot(|db| scan::load(db, dict, hash_key, key))
    }

    /// Keys and digests of matching documents that changed after commit `after`; `None` when there are more than
    /// `limit`.
    pub fn own_changes(
        &self,
        query: &CompiledQuery,
        after: u64,
        limit: usize,
    ) -> Result<Option<Vec<(KeyHash, ditto_types::Digest)>>, StoreError> {
        let dict = &self.inner.shared.dict;
        let reader = self.inner.shared.readers.get()?;
        reader.snapshot(|db| scan::own_changes(db, dict, query, after, limit))
    }

    /// The documents of a view that changed last, the newest commit first, `limit` at most.
    pub fn newest(&self, query: &CompiledQuery, limit: usize) -> Result<Vec<Newest>, StoreError> {
        let dict = &self.inner.shared.dict;
        let reader = self.inner.shared.readers.get()?;
        reader.snapshot(|db| scan::newest(db, dict, query, limit))
    }

    /// A cursor, when it is still valid here.
    pub fn cursor(&self, key: &CursorKey) -> Result<Option<Cursor>, StoreError> {
        scan::cursor(self.inner.shared.readers.get()?.db()?, key)
    }

    /// Deletes the cursors of a query at every sender.
    pub fn delete_cursors(&self, query_hash: [u8; 16]) -> Result<(), StoreError> {
        self.inner.open()?;
        self.inner.desk.write(move |core, unit| {
            core.in_savepoint(unit, |core, _, _| apply::delete_cursors_of(core, &query_hash))
        })
    }

    /// Forgets those of the documents that are still in the states with these digests, as EVICT does. Gives their number.
    pub fn evict_unchanged(
        &self,
        collection: &str,
        documents: Vec<(DocId, ditto_types::Digest)>,
    ) -> Result<usize, StoreError> {
        self.inner.open()?;
        let collection = collection.to_owned();
        self.inner.desk.write(move |core, unit| mutate::evict_unchanged(core, unit, &collection, documents))
    }

    /// Merges documents from a peer and writes cursors, in one commit.
    pub fn apply(&self, batch: ApplyBatch) -> Result<ApplyOutcome, StoreError> {
        self.inner.open()?;
        self.inner.desk.write(move |core, unit| {
            let items = apply::apply(core, unit, batch)?;
            let seq = if unit.counts() { unit.seq } else { core.state.head };
            Ok(ApplyOutcome { seq, items })
        })
    }
}

fn not_a_select() -> StoreError {
    StoreError::Internal(format!("{}: an observer or subscription is no SELECT", ErrorKind::QueryUnsupported))
}

impl Inner {
    fn open(&self) -> Result<(), StoreError> {
        if self.shared.is_closed() { Err(StoreError::Closed) } else { Ok(()) }
    }

    fn close(&self) {
        if self.shared.set_closed() {
            self.shared.observers.cancel_all();
            self.desk.close();
        }
        drop(self.reaper.lock().unwrap_or_else(PoisonError::into_inner).take());
        drop(self.collector.lock().unwrap_or_else(PoisonError::into_inner).take());
        // A second caller waits here for the first.
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(thread) = writer.take()
            && thread.join().is_err()
        {
            tracing::error!("the writer thread has panicked");
        }
        self.shared.end_subscriptions();
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.close();
    }
}

/// The requests of a store, for tests.
#[cfg(test)]
pub(crate) struct RequestsRef(Arc<Shared>);

#[cfg(test)]
impl std::ops::Deref for RequestsRef {
    type Target = Requests;

    fn deref(&self) -> &Requests {
        &self.0.requests
    }
}

#[cfg(test)]
impl Store {
    pub(crate) fn settings_cell(&self) -> &SettingsCell {
        &self.inner.shared.requests.settings
    }

    pub(crate) fn requests(&self) -> RequestsRef {
        RequestsRef(self.inner.shared.clone())
    }

    /// Leaves reaping to the test.
    pub(crate) fn stop_reaper(&self) {
        drop(self.inner.reaper.lock().unwrap().take());
    }

    /// Runs `f` with the writer.
    pub(crate) fn with_core(&self, f: impl FnOnce(&mut Core)) {
        f(self.inner.desk.lend().unwrap().writer().unwrap().core());
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("directory", &self.inner.directory).finish_non_exhaustive()
    }
}
