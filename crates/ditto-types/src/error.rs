//! The stable error codes of the SDK (`api.md`, table E). Every crate's error type maps onto one of them.

use std::fmt;

/// Machine-readable kind of an error. Codes are never renumbered or reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// Unexpected internal failure: a bug.
    Internal,
    /// The feature exists in the contract but not for this call.
    Unsupported,
    /// The instance, store, transaction or stream was closed before the call (API-044).
    Closed,
    /// A field of the configuration is invalid (API-027).
    InvalidConfig,
    /// Another instance holds the persistence directory (API-026).
    PersistenceDirectoryLocked,
    /// The statement is not valid DQL (API-421).
    QueryInvalid,
    /// An argument is missing or of an unsupported type (API-048).
    QueryArguments,
    /// An expression could not be evaluated.
    QueryEvaluation,
    /// The statement could not be carried out.
    QueryExecution,
    /// The statement is valid DQL but not allowed here, as LIMIT in a subscription.
    QueryUnsupported,
    /// ALTER SYSTEM names an unknown setting, or gives it a value that it cannot have.
    QueryParameter,
    /// The statement ran longer than the request timeout allows.
    QueryTimeout,
    /// The statement was cancelled by its caller.
    QueryCancelled,
    /// The storage engine failed.
    StoreBackend,
    /// No space is left for the database. What was committed stays; writing goes on once there is space again.
    StoreFull,
    /// The database file is damaged.
    StoreCorrupt,
    /// The database file was written by a newer release.
    StoreVersion,
    /// A document id is not allowed.
    DocumentId,
    /// The file that an attachment is to be made of does not exist (API-315).
    AttachmentFileNotFound,
    /// The file that an attachment is to be made of may not be read (API-315).
    AttachmentFilePermissionDenied,
    /// An attachment could not be made (API-315).
    AttachmentCreateFailed,
    /// Something is no token of an attachment (API-333).
    AttachmentTokenInvalid,
    /// An attachment could not be fetched in the time that the app has given (API-359).
    AttachmentFetchFailed,
    /// A mutating statement in a read-only transaction.
    TransactionReadOnly,
    /// The transaction was already committed or rolled back (API-122).
    TransactionClosed,
    /// A statement or transaction from inside a transaction of the same store (API-121).
    NestedTransaction,
    /// Something is larger than its limit.
    SizeLimitExceeded,
    /// Something is nested deeper than its limit.
    DepthLimitExceeded,
    /// Something that has to be a map of names to values is none: a document (API-046), metadata (API-140).
    NotAnObject,
    /// A value has no form in JSON: bytes, infinities, NaN (API-139).
    NotJsonCompatible,
    /// Text is not JSON.
    InvalidJson,
    /// Bytes are not CBOR.
    InvalidCbor,
    /// A file or directory could not be read or written, for a reason without a kind of its own.
    Io,
    /// A file or directory does not exist.
    IoNotFound,
    /// The operating system does not allow the use of a file or directory.
    IoPermissionDenied,
    /// A file or directory exists that should not.
    IoAlreadyExists,
    /// Sync is not running.
    SyncNotActive,
    /// The peer is not in the mesh or not connected.
    PeerNotFound,
    /// A Bus message could not be sent.
    BusSendFailed,
    /// A Bus message exceeds its limit.
    BusPayloadTooLarge,
    /// The outgoing Bus queue is full.
    BusQueueFull,
    /// A Bus message was sent before the one before it was completed (API-454).
    BusSendBeforeCompletion,
    /// A Bus stream could not be opened (API-456).
    BusOpenStreamFailed,
    /// A Bus stream has ended.
    BusStreamClosed,
}

impl ErrorKind {
    /// The kind of an error of the operating system about a file or directory.
    pub fn of_io(e: &std::io::Error) -> Self {
        match e.kind() {
            std::io::ErrorKind::NotFound => ErrorKind::IoNotFound,
            std::io::ErrorKind::PermissionDenied => ErrorKind::IoPermissionDenied,
            std::io::ErrorKind::AlreadyExists => ErrorKind::IoAlreadyExists,
            std::io::ErrorKind::StorageFull => ErrorKind::StoreFull,
            _ => ErrorKind::Io,
        }
    }

    /// The code as text, `group/name`.
    pub fn code(self) -> &'static str {
        match self {
            ErrorKind::Internal => "internal",
            ErrorKind::Unsupported => "unsupported",
            ErrorKind::Closed => "lifecycle/closed",
            ErrorKind::InvalidConfig => "validation/invalid-ditto-config",
            ErrorKind::PersistenceDirectoryLocked => "store/persistence-directory-locked",
            ErrorKind::QueryInvalid => "query/invalid",
            ErrorKind::QueryArguments => "query/arguments-invalid",
            ErrorKind::QueryEvaluation => "query/evaluation",
            ErrorKind::QueryExecution => "query/execution",
            ErrorKind::QueryUnsupported => "query/unsupported",
            ErrorKind::QueryParameter => "query/parameter",
            ErrorKind::QueryTimeout => "query/timeout",
            ErrorKind::QueryCancelled => "query/cancelled",
            ErrorKind::StoreBackend => "store/backend",
            ErrorKind::StoreFull => "store/storage-full",
            ErrorKind::StoreCorrupt => "store/corrupt",
            ErrorKind::StoreVersion => "store/version",
            ErrorKind::DocumentId => "store/document-id",
            ErrorKind::AttachmentFileNotFound => "store/attachment-file-not-found",
            ErrorKind::AttachmentFilePermissionDenied => "store/attachment-file-permission-denied",
            ErrorKind::AttachmentCreateFailed => "store/failed-to-create-attachment",
            ErrorKind::AttachmentTokenInvalid => "store/attachment-token-invalid",
            ErrorKind::AttachmentFetchFailed => "store/failed-to-fetch-attachment",
            ErrorKind::TransactionReadOnly => "store/transaction-read-only",
            ErrorKind::TransactionClosed => "store/transaction-closed",
            ErrorKind::NestedTransaction => "store/nested-transaction",
            ErrorKind::SizeLimitExceeded => "validation/size-limit-exceeded",
            ErrorKind::DepthLimitExceeded => "validation/depth-limit-exceeded",
            ErrorKind::NotAnObject => "validation/not-an-object",
            ErrorKind::NotJsonCompatible => "validation/not-json-compatible",
            ErrorKind::InvalidJson => "validation/invalid-json",
            ErrorKind::InvalidCbor => "validation/invalid-cbor",
            ErrorKind::Io => "io/operation-failed",
            ErrorKind::IoNotFound => "io/not-found",
            ErrorKind::IoPermissionDenied => "io/permission-denied",
            ErrorKind::IoAlreadyExists => "io/already-exists",
            ErrorKind::SyncNotActive => "sync/not-active",
            ErrorKind::PeerNotFound => "mesh/peer-not-found",
            ErrorKind::BusSendFailed => "bus/send-failed",
            ErrorKind::BusPayloadTooLarge => "bus/payload-too-large",
            ErrorKind::BusQueueFull => "bus/queue-full",
            ErrorKind::BusSendBeforeCompletion => "bus/send-before-completion",
            ErrorKind::BusOpenStreamFailed => "bus/open-stream-failed",
            ErrorKind::BusStreamClosed => "bus/stream-closed",
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}
