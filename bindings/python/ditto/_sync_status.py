"""How far sync is, and what happens in the mesh."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, Literal

from . import _ffi

if TYPE_CHECKING:
    from ._instance import Ditto

SyncStateName = Literal["connecting", "reconciling", "loading", "live", "failed", "other"]


@dataclass(frozen=True, slots=True)
class SyncState:
    """How far one subscription is with one peer."""

    name: SyncStateName
    loaded: int | None = None
    """While loading: documents that arrived."""
    total: int | None = None
    """While loading: documents that will have arrived when it is done."""
    reason: str | None = None
    """When it failed: text for people."""


@dataclass(frozen=True, slots=True)
class PeerSyncStatus:
    """How far sync with one peer is. Counts are of this or the last session."""

    peer_key: str
    is_connected: bool
    synced_up_to_local_commit_id: int | None
    """The newest local commit that the peer confirmed to have everything of that it subscribes to; compare it with
    `QueryResult.commit_id`."""
    last_update_received_time: datetime | None
    documents_received: int
    documents_sent: int
    bytes_received: int
    bytes_sent: int
    subscriptions: dict[int, SyncState]
    """The own subscriptions at this peer, by number in the order of registration; empty without a session."""


@dataclass(frozen=True, slots=True)
class PeerConnected:
    """A peer is connected and verified."""

    peer_key: str
    device_name: str
    connection_type: str
    remote: str


@dataclass(frozen=True, slots=True)
class PeerDisconnected:
    """A peer's last connection ended."""

    peer_key: str
    reason: str


@dataclass(frozen=True, slots=True)
class SyncProgress:
    """One subscription moved on with one peer. Counts are of this session."""

    peer_key: str
    subscription: int
    state: SyncState
    documents_received: int
    bytes_received: int


@dataclass(frozen=True, slots=True)
class SyncNotice:
    """What else helps to find faults: a refused connection, a refused document."""

    text: str


SyncEvent = PeerConnected | PeerDisconnected | SyncProgress | SyncNotice


class SyncEvents(AsyncIterator[SyncEvent]):
    """What happens in the mesh as an async iterator.

    Cancel the task that iterates to end it; a closed instance has no more events.
    """

    def __init__(self, ditto: Ditto, native: _ffi.SyncEvents) -> None:
        # Events come only while the instance is open.
        self._ditto = ditto
        self._native = native

    async def __anext__(self) -> SyncEvent:
        event = await self._native.next()
        if event is None:
            raise StopAsyncIteration
        return _event(event)


def state_from_native(native: Any) -> SyncState:
    """A state of the native module."""
    if native.is_LOADING():
        return SyncState("loading", loaded=native.loaded, total=native.total)
    if native.is_FAILED():
        return SyncState("failed", reason=native.reason)
    if native.is_CONNECTING():
        return SyncState("connecting")
    if native.is_RECONCILING():
        return SyncState("reconciling")
    return SyncState("live" if native.is_LIVE() else "other")


def status_from_native(native: _ffi.PeerSyncStatus) -> PeerSyncStatus:
    """A status of the native module."""
    received = native.last_update_received_time
    return PeerSyncStatus(
        peer_key=native.peer_key,
        is_connected=native.is_connected,
        synced_up_to_local_commit_id=native.synced_up_to_local_commit_id,
        last_update_received_time=None
        if received is None
        else datetime.fromtimestamp(received / 1000, timezone.utc),
        documents_received=native.documents_received,
        documents_sent=native.documents_sent,
        bytes_received=native.bytes_received,
        bytes_sent=native.bytes_sent,
        subscriptions={s.subscription: state_from_native(s.state) for s in native.subscriptions},
    )


def _event(native: Any) -> SyncEvent:
    if native.is_PEER_CONNECTED():
        return PeerConnected(native.peer_key, native.device_name, native.connection_type, native.remote)
    if native.is_PEER_DISCONNECTED():
        return PeerDisconnected(native.peer_key, native.reason)
    if native.is_PROGRESS():
        return SyncProgress(
            native.peer_key,
            native.subscription,
            state_from_native(native.state),
            native.documents_received,
            native.bytes_received,
        )
    return SyncNotice(native.text)
