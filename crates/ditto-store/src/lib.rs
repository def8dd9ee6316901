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
//! | `dict` | dictionaries of names, sites and peers |
//! | `desk`, `writer`, `core`, `unit`, `commit`, `counts` | whose turn it is to write, the writer and its tools, one commit in the making, the change set, counts of documents |
//! | `readers`, `select`, `row`, `statements` | snapshots, rows in place, the statement cache |
//! | `mutate`, `fields` | INSERT, UPDATE, DELETE, EVICT |
//! | `observers` | live queries |
//! | `replication`, `scan`, `apply` | what sync reads and writes |
//! | `check` | verification of a file |

mod apply;
mod check;
mod commit;
mod core;
mod counts;
mod desk;
mod dict;
mod driver;
mod error;
mod fields;
mod lock;
mod meta;
mod mutate;
mod observers;
mod options;
mod readers;
mod replication;
mod result;
mod row;
mod scan;
mod schema;
mod select;
mod shared;
mod statements;
mod store;
mod transaction;
mod unit;
mod writer;

pub use check::CheckReport;
pub use commit::{Change, Commit};
pub use error::StoreError;
pub use meta::StoreIdentity;
pub use observers::{Callback, Observation, SignalCallback, SignalNext};
pub use options::{
    Durability, OsRandom, RandomSource, StoreOptions, SystemClock, TransactionOptions, WallClock,
};
pub use replication::{
    ApplyBatch, ApplyItem, ApplyOutcome, ChangePage, CompiledQuery, Cursor, CursorKey, CursorWrite, ItemBody,
    ItemOutcome, RefusalCode, StoredDoc, ViewPage,
};
pub use result::QueryResult;
pub use store::{Store, WriterStats};
pub use transaction::Transaction;
