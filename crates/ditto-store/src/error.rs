//! What can go wrong in a store.

use std::path::{Path, PathBuf};

use ditto_dql::{DqlError, Position};
use ditto_types::{DocIdError, ErrorKind, SmolStr};

use crate::settings::SettingError;

/// An error of the store. Cloneable, because statements that share a commit share its failure.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The store was closed before the call.
    #[error("the store is closed")]
    Closed,
    /// Another store instance, in this process or another, has the directory open.
    #[error("the persistence directory {} is in use by another instance", .0.display())]
    Locked(PathBuf),
    /// A file is damaged or no database of this library. Nothing was written to it.
    #[error("the database file {} is damaged: {detail}", .file.display())]
    Corrupt {
        /// The file.
        file: PathBuf,
        /// What did not fit.
        detail: String,
    },
    /// The file was written by a newer release.
    #[error("the database file {} has format {found}; this release reads up to {supported}", .file.display())]
    Version {
        /// The file.
        file: PathBuf,
        /// Its format version.
        found: u32,
        /// The newest format version that this release knows.
        supported: u32,
    },
    /// The directory holds another database.
    #[error("the directory {} holds database {found}, not {expected}", .directory.display())]
    OtherDatabase {
        /// The directory.
        directory: PathBuf,
        /// Database id in the file.
        found: String,
        /// Database id in the options.
        expected: String,
    },
    /// The file system has no space left. What was committed stays; writing goes on once there is space again.
    #[error("no space is left for the database file {}", .0.display())]
    Full(PathBuf),
    /// The storage engine failed: no permission, input/output error.
    #[error("the storage engine failed: {0}")]
    Backend(String),
    /// A file or directory could not be read or written.
    #[error("cannot {action} {}: {reason}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The file or directory.
        path: PathBuf,
        /// Reason given by the operating system.
        reason: String,
        /// Its kind.
        kind: ErrorKind,
    },
    /// The statement or its arguments are wrong, or it could not be evaluated.
    #[error(transparent)]
    Query(#[from] DqlError),
    /// INSERT with the FAIL policy met an existing document. Holds the id as JSON.
    #[error("Identifier conflict on document {0}: using FAIL conflict policy")]
    IdConflict(String),
    /// One INSERT lists an id twice.
    #[error("Expected unique document identifiers")]
    DuplicateIds,
    /// A value cannot be a document id.
    #[error(transparent)]
    DocumentId(#[from] DocIdError),
    /// A document would exceed the hard size limit. Holds the id as JSON.
    #[error("Document `_id = {id}` size is {size} bytes and exceeds limit of {limit} bytes")]
    TooLarge {
        /// The id as JSON.
        id: String,
        /// Size that the document would have.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// A document or id is nested deeper than allowed.
    #[error("document is nested deeper than {0} levels")]
    TooDeep(usize),
    /// The content of an attachment is larger than allowed, or a token says that it is.
    #[error("an attachment cannot be larger than {limit} bytes")]
    BlobTooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// A name cannot be a collection.
    #[error("invalid collection name: {0}")]
    Collection(&'static str),
    /// There is no system collection of this name, which is given without `system:`.
    #[error("unknown system collection 'system:{0}'")]
    UnknownSystemCollection(String),
    /// CREATE INDEX of a name that the collection has (dql.md 6.1).
    #[error("an index with the given name already exists on the given collection")]
    IndexExists,
    /// DROP INDEX of a name that the collection does not have.
    #[error("there is no index `{name}` on collection `{collection}`")]
    NoSuchIndex {
        /// The name.
        name: SmolStr,
        /// The collection.
        collection: SmolStr,
    },
    /// An index was dropped between planning a statement and running it, or got an entry that the plan could not know of.
    /// Statements are planned again then; only one that meets it every time fails with it.
    #[error("an index of the statement was dropped or changed while it ran")]
    IndexGone,
    /// The statement cannot be carried out on this data.
    #[error("{0}")]
    Execution(String),
    /// A setting cannot be read or changed as asked.
    #[error(transparent)]
    Setting(#[from] SettingError),
    /// The request ran longer than the setting `dql_request_timeout_seconds`. A mutation left no trace.
    #[error("the request exceeded its timeout of {seconds} seconds")]
    Timeout {
        /// The setting.
        seconds: u64,
    },
    /// The request was cancelled. A mutation left no trace.
    #[error("the request was cancelled")]
    Cancelled,
    /// A mutating statement in a read-only transaction.
    #[error("a read-only transaction cannot run a mutating statement")]
    ReadOnly,
    /// The transaction was finished before the call.
    #[error("the transaction is closed")]
    TransactionClosed,
    /// A wait for the writer by code that holds it.
    #[error("a transaction of this store is already active here")]
    NestedTransaction,
    /// A bug: an invariant of the store does not hold.
    #[error("internal error: {0}")]
    Internal(String),
}

impl StoreError {
    /// The stable error code.
    pub fn kind(&self) -> ErrorKind {
        match self {
            StoreError::Closed => ErrorKind::Closed,
            StoreError::Locked(_) => ErrorKind::PersistenceDirectoryLocked,
            StoreError::Corrupt { .. } => ErrorKind::StoreCorrupt,
            StoreError::Version { .. } => ErrorKind::StoreVersion,
            StoreError::OtherDatabase { .. } => ErrorKind::InvalidConfig,
            StoreError::Backend(_) => ErrorKind::StoreBackend,
            StoreError::Full(_) => ErrorKind::StoreFull,
            StoreError::Io { kind, .. } => *kind,
            StoreError::Query(e) => e.kind(),
            StoreError::IdConflict(_)
            | StoreError::DuplicateIds
            | StoreError::IndexExists
            | StoreError::NoSuchIndex { .. }
            | StoreError::IndexGone
            | StoreError::Execution(_) => ErrorKind::QueryExecution,
            StoreError::DocumentId(_) => ErrorKind::DocumentId,
            StoreError::TooLarge { .. } | StoreError::BlobTooLarge { .. } => ErrorKind::SizeLimitExceeded,
            StoreError::TooDeep(_) => ErrorKind::DepthLimitExceeded,
            StoreError::Collection(_) | StoreError::UnknownSystemCollection(_) => ErrorKind::QueryInvalid,
            StoreError::Setting(_) => ErrorKind::QueryParameter,
            StoreError::Timeout { .. } => ErrorKind::QueryTimeout,
            StoreError::Cancelled => ErrorKind::QueryCancelled,
            StoreError::ReadOnly => ErrorKind::TransactionReadOnly,
            StoreError::TransactionClosed => ErrorKind::TransactionClosed,
            StoreError::NestedTransaction => ErrorKind::NestedTransaction,
            StoreError::Internal(_) => ErrorKind::Internal,
        }
    }

    /// Where in the statement the fault is, when a place in its text is meant.
    pub fn position(&self) -> Option<Position> {
        match self {
            StoreError::Query(e) => e.position(),
            _ => None,
        }
    }

    pub(crate) fn io(action: &'static str, path: &Path, e: &std::io::Error) -> Self {
        let kind = ErrorKind::of_io(e);
        StoreError::Io { action, path: path.to_path_buf(), reason: e.to_string(), kind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_has_its_code_and_names_what_was_wrong() {
        let file = || PathBuf::from("/data/store.db");
        let other = StoreError::OtherDatabase {
            directory: PathBuf::from("/data"),
            found: "one".into(),
            expected: "two".into(),
        };
        let gone = std::io::Error::from(std::io::ErrorKind::NotFound);
        for (error, code, names) in [
            (StoreError::Closed, "lifecycle/closed", "closed"),
            (StoreError::Locked(PathBuf::from("/data")), "store/persistence-directory-locked", "/data"),
            (StoreError::Corrupt { file: file(), detail: "page 7".into() }, "store/corrupt", "page 7"),
            (StoreError::Version { file: file(), found: 9, supported: 1 }, "store/version", "format 9"),
            (other, "validation/invalid-ditto-config", "one"),
            (StoreError::Backend("disk I/O error".into()), "store/backend", "I/O"),
            (StoreError::Full(file()), "store/storage-full", "no space"),
            (StoreError::io("read", &file(), &gone), "io/not-found", "/data"),
            (
                StoreError::io("open", &file(), &std::io::Error::other("denied")),
                "io/operation-failed",
                "denied",
            ),
            (StoreError::IdConflict("\"a\"".into()), "query/execution", "document \"a\""),
            (StoreError::DuplicateIds, "query/execution", "unique"),
            (StoreError::DocumentId(DocIdError::Null), "store/document-id", "Null"),
            (
                StoreError::TooLarge { id: "7".into(), size: 6, limit: 5 },
                "validation/size-limit-exceeded",
                "size is 6 bytes and exceeds limit of 5 bytes",
            ),
            (StoreError::BlobTooLarge { limit: 7 }, "validation/size-limit-exceeded", "7 bytes"),
            (StoreError::TooDeep(64), "validation/depth-limit-exceeded", "64"),
            (StoreError::Collection("the name is empty"), "query/invalid", "empty"),
            (StoreError::Execution("no".into()), "query/execution", "no"),
            (StoreError::IndexExists, "query/execution", "already exists on the given collection"),
            (
                StoreError::NoSuchIndex { name: "ix".into(), collection: "cars".into() },
                "query/execution",
                "`ix` on collection `cars`",
            ),
            (StoreError::IndexGone, "query/execution", "dropped"),
            (StoreError::ReadOnly, "store/transaction-read-only", "read-only"),
            (StoreError::TransactionClosed, "store/transaction-closed", "closed"),
            (StoreError::NestedTransaction, "store/nested-transaction", "active"),
            (StoreError::Internal("bug".into()), "internal", "bug"),
        ] {
            assert_eq!(error.kind().code(), code, "{error}");
            assert!(error.to_string().contains(names), "{error}");
            assert!(error.position().is_none());
        }
        let query: StoreError = ditto_dql::prepare("SELECT\n FROM").map(|_| ()).unwrap_err().into();
        assert_eq!(query.kind().code(), "query/invalid");
        assert_eq!(query.position().map(|p| p.line), Some(2));
    }
}
