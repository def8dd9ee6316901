//! The error enum of all languages, and the one place that converts into it.

use ditto::ErrorKind;

/// What went wrong, in a few stable categories.
///
/// The code says it more exactly and never changes its meaning; the reason is text for people. Neither holds content of
/// documents or keys. Lines and columns count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, uniffi::Error)]
#[non_exhaustive]
pub enum DittoError {
    /// The instance was closed before the call.
    #[error("{reason}")]
    Closed {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// A field of a configuration is invalid; the reason names it.
    #[error("{reason}")]
    InvalidConfig {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// Another instance holds the persistence directory.
    #[error("{reason}")]
    PersistenceDirectoryLocked {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// The statement is not valid.
    #[error("{reason}")]
    QueryInvalid {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
        /// Line of the fault.
        line: Option<u32>,
        /// Column of the fault.
        column: Option<u32>,
    },
    /// An argument of the statement is missing or not usable.
    #[error("{reason}")]
    QueryArguments {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
        /// Line of the fault.
        line: Option<u32>,
        /// Column of the fault.
        column: Option<u32>,
    },
    /// The statement is valid but could not be carried out, or is not allowed here.
    #[error("{reason}")]
    QueryFailed {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
        /// Line of the fault.
        line: Option<u32>,
        /// Column of the fault.
        column: Option<u32>,
    },
    /// The store failed, or refused a document.
    #[error("{reason}")]
    Store {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// The transaction is read-only, finished, or in the way of the call.
    #[error("{reason}")]
    Transaction {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// A value is too large, too deep, or not JSON.
    #[error("{reason}")]
    Validation {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// A file or directory could not be used.
    #[error("{reason}")]
    Io {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// Sync is not running, or a peer is not reachable.
    #[error("{reason}")]
    Sync {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// A Bus message could not be sent.
    #[error("{reason}")]
    Bus {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// The feature exists but not for this call.
    #[error("{reason}")]
    Unsupported {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
    /// An unexpected failure inside the library.
    #[error("{reason}")]
    Internal {
        /// Text for people.
        reason: String,
        /// Stable code.
        code: String,
    },
}

impl DittoError {
    pub(crate) fn new(kind: ErrorKind, reason: impl Into<String>) -> Self {
        ditto::DittoError::new(kind, reason).into()
    }
}

impl From<ditto::DittoError> for DittoError {
    fn from(e: ditto::DittoError) -> Self {
        use ErrorKind as K;
        let reason = reason(&e);
        let code = e.kind().code().to_owned();
        let place = e.position();
        let line = place.and_then(|p| u32::try_from(p.line).ok());
        let column = place.and_then(|p| u32::try_from(p.column).ok());
        match e.kind() {
            K::Closed => Self::Closed { reason, code },
            K::InvalidConfig => Self::InvalidConfig { reason, code },
            K::PersistenceDirectoryLocked => Self::PersistenceDirectoryLocked { reason, code },
            K::QueryInvalid => Self::QueryInvalid { reason, code, line, column },
            K::QueryArguments => Self::QueryArguments { reason, code, line, column },
            K::QueryEvaluation
            | K::QueryExecution
            | K::QueryUnsupported
            | K::QueryParameter
            | K::QueryTimeout
            | K::QueryCancelled => Self::QueryFailed { reason, code, line, column },
            K::StoreBackend
            | K::StoreFull
            | K::StoreCorrupt
            | K::StoreVersion
            | K::DocumentId
            | K::AttachmentFileNotFound
            | K::AttachmentFilePermissionDenied
            | K::AttachmentCreateFailed
            | K::AttachmentTokenInvalid
            | K::AttachmentFetchFailed => Self::Store { reason, code },
            K::TransactionReadOnly | K::TransactionClosed | K::NestedTransaction => {
                Self::Transaction { reason, code }
            }
            K::SizeLimitExceeded
            | K::DepthLimitExceeded
            | K::NotAnObject
            | K::NotJsonCompatible
            | K::InvalidJson
            | K::InvalidCbor => Self::Validation { reason, code },
            K::Io | K::IoNotFound | K::IoPermissionDenied | K::IoAlreadyExists => Self::Io { reason, code },
            K::SyncNotActive | K::PeerNotFound => Self::Sync { reason, code },
            K::BusSendFailed
            | K::BusPayloadTooLarge
            | K::BusQueueFull
            | K::BusSendBeforeCompletion
            | K::BusOpenStreamFailed
            | K::BusStreamClosed => Self::Bus { reason, code },
            K::Unsupported => Self::Unsupported { reason, code },
            // A kind that this release of the surface has no category for keeps its code.
            _ => Self::Internal { reason, code },
        }
    }
}

/// The text with its causes, which cannot cross as errors of their own.
pub(crate) fn reason(e: &ditto::DittoError) -> String {
    let mut text = e.reason().to_owned();
    let mut cause = std::error::Error::source(e);
    while let Some(e) = cause {
        text.push_str(&format!(": {e}"));
        cause = e.source();
    }
    text
}

/// An exception that leaves a callback of the app arrives as an error instead of ending the process.
impl From<uniffi::UnexpectedUniFFICallbackError> for DittoError {
    fn from(e: uniffi::UnexpectedUniFFICallbackError) -> Self {
        Self::new(ErrorKind::Internal, format!("a callback of the app failed: {}", e.reason))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_categories_are_kept() {
        let e = DittoError::new(ErrorKind::PersistenceDirectoryLocked, "held");
        assert_eq!(
            e,
            DittoError::PersistenceDirectoryLocked {
                reason: "held".into(),
                code: "store/persistence-directory-locked".into()
            }
        );
        let e = DittoError::new(ErrorKind::NestedTransaction, "no");
        assert!(matches!(e, DittoError::Transaction { code, .. } if code == "store/nested-transaction"));
        let e = DittoError::new(ErrorKind::QueryInvalid, "no");
        assert!(matches!(e, DittoError::QueryInvalid { line: None, column: None, .. }));
    }

    #[test]
    fn a_failing_callback_is_an_error() {
        let e = DittoError::from(uniffi::UnexpectedUniFFICallbackError::new("ValueError: x"));
        assert!(matches!(e, DittoError::Internal { reason, .. } if reason.contains("ValueError: x")));
    }
}
