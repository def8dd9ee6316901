"""The errors of the package: one base class, a stable code, and a subclass per kind."""

from __future__ import annotations

from types import TracebackType
from typing import ClassVar, Final

from . import _ffi


class DittoError(Exception):
    """What went wrong.

    Two errors are of the same kind when their codes are equal, whatever the text says. Catch the subclass, or
    compare ``code`` for a kind that has none.

    Attributes:
        code: Stable machine-readable code, ``group/name``.
        reason: Text for people, without code and place.
        line: Line of the fault in a statement, from 1, if the error is about a place in its text.
        column: Column of the fault in characters, from 1.
    """

    default_code: ClassVar[str] = "internal"

    def __init__(
        self, reason: str, *, code: str | None = None, line: int | None = None, column: int | None = None
    ) -> None:
        """Builds an error; the code is that of the class unless another one is given."""
        super().__init__(reason)
        self.reason: Final = reason
        self.code: Final = code or self.default_code
        self.line: Final = line
        self.column: Final = column

    def __str__(self) -> str:
        place = "" if self.line is None else f" (line {self.line}, column {self.column})"
        return f"DittoError({self.code}): {self.reason}{place}"

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.reason, self.code, self.line, self.column)


def _rebuild(kind: type[DittoError], reason: str, code: str, line: int | None, column: int | None) -> DittoError:
    return kind(reason, code=code, line=line, column=column)


class DittoInternalError(DittoError):
    """An unexpected failure inside the library: a bug."""

    default_code = "internal"


class DittoUnsupportedError(DittoError):
    """The feature exists, but not for this call."""

    default_code = "unsupported"


class DittoClosedError(DittoError):
    """The instance was closed before the call."""

    default_code = "lifecycle/closed"


class DittoInvalidConfigError(DittoError):
    """A field of a configuration is invalid; the reason names it."""

    default_code = "validation/invalid-ditto-config"


class DittoPersistenceDirectoryLockedError(DittoError):
    """Another instance holds the persistence directory."""

    default_code = "store/persistence-directory-locked"


class DittoQueryError(DittoError):
    """A statement could not be carried out. ``line`` and ``column`` say where, if it is about its text."""

    default_code = "query/execution"


class DittoQueryInvalidError(DittoQueryError):
    """The statement is not valid DQL."""

    default_code = "query/invalid"


class DittoQueryArgumentsError(DittoQueryError):
    """An argument is missing, or of a type that is no value."""

    default_code = "query/arguments-invalid"


class DittoQueryTimeoutError(DittoQueryError):
    """The statement took longer than ``dql_request_timeout_seconds`` allows; nothing of it is kept."""

    default_code = "query/timeout"


class DittoQueryCancelledError(DittoQueryError):
    """The statement was cancelled; nothing of it is kept."""

    default_code = "query/cancelled"


class DittoQueryUnsupportedError(DittoQueryError):
    """The statement is valid, but not allowed here."""

    default_code = "query/unsupported"


class DittoQueryParameterError(DittoQueryError):
    """``ALTER SYSTEM`` names an unknown setting, or gives it a value that it cannot have."""

    default_code = "query/parameter"


class DittoStoreError(DittoError):
    """The store failed, or refused a document."""

    default_code = "store/backend"


class DittoStoreCorruptError(DittoStoreError):
    """The database file is damaged."""

    default_code = "store/corrupt"


class DittoStorageFullError(DittoStoreError):
    """No space is left for the database; what was committed stays."""

    default_code = "store/storage-full"


class DittoDocumentIdError(DittoStoreError):
    """A document id is not allowed."""

    default_code = "store/document-id"


class DittoAttachmentFileNotFoundError(DittoStoreError):
    """The file to make an attachment of does not exist."""

    default_code = "store/attachment-file-not-found"


class DittoAttachmentFilePermissionDeniedError(DittoStoreError):
    """The operating system does not allow to read the file to make an attachment of."""

    default_code = "store/attachment-file-permission-denied"


class DittoAttachmentCreateFailedError(DittoStoreError):
    """An attachment could not be made; nothing of it is kept."""

    default_code = "store/failed-to-create-attachment"


class DittoAttachmentTokenInvalidError(DittoStoreError):
    """Something is no attachment token."""

    default_code = "store/attachment-token-invalid"


class DittoAttachmentFetchFailedError(DittoStoreError):
    """An attachment was not fetched. What has arrived is kept for the next fetch, for a while."""

    default_code = "store/failed-to-fetch-attachment"


class DittoTransactionError(DittoError):
    """A transaction cannot do what it was asked for."""

    default_code = "store/transaction-closed"


class DittoTransactionReadOnlyError(DittoTransactionError):
    """A mutating statement in a read-only transaction."""

    default_code = "store/transaction-read-only"


class DittoTransactionClosedError(DittoTransactionError):
    """The transaction was already committed or rolled back."""

    default_code = "store/transaction-closed"


class DittoNestedTransactionError(DittoTransactionError):
    """A statement of the store, or a second transaction, from inside a transaction of the same store."""

    default_code = "store/nested-transaction"


class DittoValidationError(DittoError):
    """A value is too large, too deep, or of the wrong form."""

    default_code = "validation/invalid-json"


class DittoSizeLimitExceededError(DittoValidationError):
    """Something is larger than its limit."""

    default_code = "validation/size-limit-exceeded"


class DittoIoError(DittoError):
    """A file, a directory or a listener could not be used."""

    default_code = "io/operation-failed"


class DittoFileNotFoundError(DittoIoError):
    """A file or directory does not exist."""

    default_code = "io/not-found"


class DittoPermissionDeniedError(DittoIoError):
    """The operating system does not allow the use of a file or directory."""

    default_code = "io/permission-denied"


class DittoSyncError(DittoError):
    """Sync cannot do what it was asked for."""

    default_code = "sync/not-active"


class DittoSyncNotActiveError(DittoSyncError):
    """Sync is not running."""

    default_code = "sync/not-active"


class DittoPeerNotFoundError(DittoSyncError):
    """The peer is not in the mesh or not connected."""

    default_code = "mesh/peer-not-found"


class DittoBusError(DittoError):
    """The Bus could not do what it was asked for; by itself, a message could not be sent."""

    default_code = "bus/send-failed"


class DittoBusPayloadTooLargeError(DittoBusError):
    """A Bus message exceeds its limit."""

    default_code = "bus/payload-too-large"


class DittoBusQueueFullError(DittoBusError):
    """The queue of outgoing Bus messages is full."""

    default_code = "bus/queue-full"


class DittoBusSendBeforeCompletionError(DittoBusError):
    """A Bus message was sent before the one before it was completed."""

    default_code = "bus/send-before-completion"


class DittoBusOpenStreamFailedError(DittoBusError):
    """A Bus stream could not be opened: it was refused, or not answered in time."""

    default_code = "bus/open-stream-failed"


class DittoBusStreamClosedError(DittoBusError):
    """A Bus stream has ended."""

    default_code = "bus/stream-closed"


_BY_CODE: dict[str, type[DittoError]] = {
    kind.default_code: kind
    for kind in (
        DittoInternalError,
        DittoUnsupportedError,
        DittoClosedError,
        DittoInvalidConfigError,
        DittoPersistenceDirectoryLockedError,
        DittoQueryInvalidError,
        DittoQueryArgumentsError,
        DittoQueryTimeoutError,
        DittoQueryCancelledError,
        DittoQueryUnsupportedError,
        DittoQueryParameterError,
        DittoStoreCorruptError,
        DittoStorageFullError,
        DittoDocumentIdError,
        DittoAttachmentFileNotFoundError,
        DittoAttachmentFilePermissionDeniedError,
        DittoAttachmentCreateFailedError,
        DittoAttachmentTokenInvalidError,
        DittoAttachmentFetchFailedError,
        DittoTransactionReadOnlyError,
        DittoTransactionClosedError,
        DittoNestedTransactionError,
        DittoSizeLimitExceededError,
        DittoIoError,
        DittoFileNotFoundError,
        DittoPermissionDeniedError,
        DittoSyncNotActiveError,
        DittoPeerNotFoundError,
        DittoBusError,
        DittoBusPayloadTooLargeError,
        DittoBusQueueFullError,
        DittoBusSendBeforeCompletionError,
        DittoBusOpenStreamFailedError,
        DittoBusStreamClosedError,
    )
}

# For codes without a class of their own.
_BY_GROUP: dict[str, type[DittoError]] = {
    "query": DittoQueryError,
    "store": DittoStoreError,
    "validation": DittoValidationError,
    "io": DittoIoError,
    "sync": DittoSyncError,
    "mesh": DittoSyncError,
    "bus": DittoBusError,
}


def from_native(error: BaseException) -> DittoError:
    """The error of this package for one of the native module."""
    code = getattr(error, "code", None)
    if not isinstance(code, str):
        return DittoInternalError(str(error))
    kind = _BY_CODE.get(code) or _BY_GROUP.get(code.partition("/")[0], DittoError)
    line, column = getattr(error, "line", None), getattr(error, "column", None)
    return kind(str(getattr(error, "reason", error)), code=code, line=line, column=column)


class _NativeErrors:
    """Block in which errors of the native module become errors of this package."""

    __slots__ = ()

    def __enter__(self) -> None:
        return None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, (_ffi.DittoError, _ffi.InternalError)):
            raise from_native(error) from None


native_errors: Final = _NativeErrors()
