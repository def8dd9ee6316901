"""An embedded document database that syncs peer to peer, with or without internet.

Open a `Ditto`, write documents with DQL, register subscriptions for what you want from others and observers for
what you show. Devices of the same database find each other and keep the subscribed documents converged.
"""

from __future__ import annotations

from ._bus import MAX_RELIABLE_BYTES, MAX_UNRELIABLE_BYTES, Bus, BusMessage, BusMessages
from ._config import DittoConfig, DittoConfigConnect, DittoConfigConnectSmallPeersOnly, Durability
from ._errors import (
    DittoBusError,
    DittoBusPayloadTooLargeError,
    DittoBusQueueFullError,
    DittoClosedError,
    DittoDocumentIdError,
    DittoError,
    DittoInternalError,
    DittoInvalidConfigError,
    DittoIoError,
    DittoNestedTransactionError,
    DittoPeerNotFoundError,
    DittoPersistenceDirectoryLockedError,
    DittoQueryArgumentsError,
    DittoQueryError,
    DittoQueryInvalidError,
    DittoQueryUnsupportedError,
    DittoSizeLimitExceededError,
    DittoStoreCorruptError,
    DittoStoreError,
    DittoSyncError,
    DittoSyncNotActiveError,
    DittoTransactionClosedError,
    DittoTransactionError,
    DittoTransactionReadOnlyError,
    DittoUnsupportedError,
    DittoValidationError,
)
from ._handles import DeliverOn
from ._instance import Ditto, DittoOpening
from ._observers import QueryHandler, QueryResults, SignalNext, StoreObserver
from ._presence import (
    Connection,
    ConnectionType,
    Peer,
    PeerOS,
    Presence,
    PresenceGraph,
    PresenceGraphs,
    PresenceObserver,
)
from ._result import QueryResult, QueryResultItem
from ._store import QueryExecutor, Store
from ._sync import Sync, SyncSubscription
from ._transaction import Transaction, TransactionCompletionAction, TransactionInfo, TransactionScope
from ._transport_config import (
    Connect,
    Global,
    LanConfig,
    Listen,
    PeerToPeer,
    TcpListenConfig,
    TransportConfig,
)

__version__ = Ditto.version()

__all__ = [
    "MAX_RELIABLE_BYTES",
    "MAX_UNRELIABLE_BYTES",
    "Bus",
    "BusMessage",
    "BusMessages",
    "Connect",
    "Connection",
    "ConnectionType",
    "DeliverOn",
    "Ditto",
    "DittoBusError",
    "DittoBusPayloadTooLargeError",
    "DittoBusQueueFullError",
    "DittoClosedError",
    "DittoConfig",
    "DittoConfigConnect",
    "DittoConfigConnectSmallPeersOnly",
    "DittoDocumentIdError",
    "DittoError",
    "DittoInternalError",
    "DittoInvalidConfigError",
    "DittoIoError",
    "DittoNestedTransactionError",
    "DittoOpening",
    "DittoPeerNotFoundError",
    "DittoPersistenceDirectoryLockedError",
    "DittoQueryArgumentsError",
    "DittoQueryError",
    "DittoQueryInvalidError",
    "DittoQueryUnsupportedError",
    "DittoSizeLimitExceededError",
    "DittoStoreCorruptError",
    "DittoStoreError",
    "DittoSyncError",
    "DittoSyncNotActiveError",
    "DittoTransactionClosedError",
    "DittoTransactionError",
    "DittoTransactionReadOnlyError",
    "DittoUnsupportedError",
    "DittoValidationError",
    "Durability",
    "Global",
    "LanConfig",
    "Listen",
    "Peer",
    "PeerOS",
    "PeerToPeer",
    "Presence",
    "PresenceGraph",
    "PresenceGraphs",
    "PresenceObserver",
    "QueryExecutor",
    "QueryHandler",
    "QueryResult",
    "QueryResultItem",
    "QueryResults",
    "SignalNext",
    "Store",
    "StoreObserver",
    "Sync",
    "SyncSubscription",
    "TcpListenConfig",
    "Transaction",
    "TransactionCompletionAction",
    "TransactionInfo",
    "TransactionScope",
    "TransportConfig",
    "__version__",
]
