//! The database of one peer on libSQL: the only crate that reads and writes documents on disk.
//!
//! A [`Store`] is synchronous and thread-safe. There is one writer: who finds it free writes on the calling
//! thread, others queue up and are committed together; reads run beside it on snapshots. Each commit has a sequence number and is published once, as a
//! change set, to observers and to whoever called [`Store::subscribe_commits`].
//!
//! | module | owns |
//! |---|---|
//! | `store`, `transaction`, `options`, `result`, `error` | the handles and what goes in and out |
//! | `lock`, `schema`, `meta`, `driver` | directory, file format, identity, the binding of the engine |
//! | `blob` | the blobs of attachments |
//! | `dict`, `keys` | dictionaries of names, sites and peers; documents by their key hashes |
//! | `desk`, `writer`, `core`, `unit`, `commit`, `counts` | whose turn it is to write, the writer and its tools, one commit in the making, the change set, counts of documents |
//! | `request`, `prepared`, `history`, `settings` | the way of a statement; the statement cache, finished requests, ALTER SYSTEM |
//! | `system` | the virtual collections |
//! | `reaper` | old tombstones become gravestones |
//! | `spill` | temporary files of statements that need more than memory |
//! | `readers`, `select`, `row` | snapshots; rows in place, by scan, id and index |
//! | `index` | secondary indexes: which there are, their entries, how they are made |
//! | `mutate`, `fields` | INSERT, UPDATE, DELETE, EVICT |
//! | `observers` | live queries |
//! | `replication`, `scan`, `apply` | what sync reads and writes |
//! | `check` | verification of a file |

mod apply;
mod blob;
mod check;
mod commit;
mod core;
mod counts;
mod desk;
mod dict;
mod driver;
mod error;
mod fields;
mod history;
mod index;
mod keys;
mod lock;
mod meta;
mod mutate;
mod observers;
mod options;
mod prepared;
mod readers;
mod reaper;
mod replication;
mod request;
mod result;
mod row;
mod scan;
mod schema;
mod seal;
mod select;
mod settings;
mod shared;
mod spill;
mod store;
mod system;
mod transaction;
mod unit;
mod writer;

pub use blob::{
    Blob, BlobHolding, BlobReader, BlobUsage, Blobs, CollectReport, PartialBlob, ProvenChunk, Received,
};
pub use check::CheckReport;
pub use commit::{Change, Commit, CommitFeed};
pub use error::StoreError;
pub use history::Qualifiers;
pub use meta::StoreIdentity;
pub use observers::{Callback, Observation, SignalCallback, SignalNext};
pub use options::{
    Durability, Environment, OsRandom, RandomSource, StoreOptions, SystemClock, TransactionOptions, WallClock,
};
pub use reaper::ReapReport;
pub use replication::{
    ApplyBatch, ApplyItem, ApplyOutcome, ChangePage, CompiledQuery, Cursor, CursorKey, CursorWrite, ItemBody,
    ItemOutcome, Newest, RefusalCode, StoredDoc, ViewDoc, ViewPage,
};
pub use request::Cancellation;
pub use result::QueryResult;
pub use settings::{SettingError, Settings, SyncScope};
pub use store::{Store, WriterStats};
pub use system::SystemProvider;
pub use transaction::Transaction;
