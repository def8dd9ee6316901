"""Sync control and subscriptions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from . import _ffi, _json
from ._errors import native_errors
from ._handles import QueryHandle
from ._sync_status import PeerSyncStatus, SyncEvents, status_from_native

if TYPE_CHECKING:
    from ._instance import Ditto


class SyncSubscription(QueryHandle):
    """Handle of one subscription. Dropping it does not cancel; as a context manager it cancels at the end.

    After `cancel` nothing more is pulled; documents that are already here stay.
    """


class Sync:
    """Starts and stops networking, and says what this device wants from others."""

    def __init__(self, ditto: Ditto, native: _ffi.Sync) -> None:
        self._ditto = ditto
        self._native = native

    async def start(self) -> None:
        """Starts transports and replication with the current transport config; does nothing when running.

        Raises:
            DittoIoError: A configured listener cannot be opened; then nothing is started.
        """
        with native_errors:
            await self._native.start()

    async def stop(self) -> None:
        """Closes all connections. The store stays usable and subscriptions resume at the next start."""
        with native_errors:
            await self._native.stop()

    @property
    def is_active(self) -> bool:
        """Whether networking is running."""
        active: bool = self._native.is_active()
        return active

    @property
    def listen_address(self) -> str | None:
        """The ``host:port`` that others can connect to by TCP, while that listener is on."""
        address: str | None = self._native.listen_address()
        return address

    @property
    def http_listen_address(self) -> str | None:
        """The ``host:port`` of the HTTP listener, while it is on."""
        address: str | None = self._native.http_listen_address()
        return address

    def register_subscription(
        self, query: str, arguments: Mapping[str, Any] | None = None, *, evict_on_leave: bool = False
    ) -> SyncSubscription:
        """Declares interest: documents of peers that match are pulled in and kept up to date.

        It stays until it is cancelled or the instance closes, and may be registered before `start`. Only
        ``SELECT * FROM collection [WHERE condition]`` is accepted.

        Args:
            query: What this device wants.
            arguments: As for `Store.execute`.
            evict_on_leave: Whether a document that leaves the query, because of what a peer wrote, is evicted from
                this device. Otherwise it stays, in the state in which it left. It goes when all subscriptions that
                matched it want that and none matches it any more; a change made on this device never goes.

        Raises:
            DittoQueryInvalidError: The query is not valid.
            DittoQueryUnsupportedError: The query is valid, but not for a subscription.
        """
        text, encoded = _json.encode_query(query, arguments)
        with native_errors:
            options = _ffi.SubscriptionOptions(evict_on_leave=evict_on_leave)
            native = self._native.register_subscription_with(text, encoded, options)
        subscription = SyncSubscription(self._ditto, native)
        self._ditto._handles.hold(subscription)
        return subscription

    async def status(self) -> list[PeerSyncStatus]:
        """How far sync with each peer is."""
        with native_errors:
            return [status_from_native(peer) for peer in await self._native.status()]

    def events(self) -> SyncEvents:
        """Connections that come and go and the progress of sync, from now on, as an async iterator."""
        return SyncEvents(self._ditto, self._native.events())

    def network_changed(self) -> None:
        """Says that the device is on another network: what could not be reached is tried again at once.

        Changes of the device's addresses are noticed without it, within seconds.
        """
        with native_errors:
            self._ditto._native.network_changed()

    @property
    def subscriptions(self) -> frozenset[SyncSubscription]:
        """The subscriptions that are active now."""
        held: list[SyncSubscription] = self._ditto._handles.of_type(SyncSubscription)
        return frozenset(subscription for subscription in held if not subscription.is_cancelled)

    @property
    def ditto(self) -> Ditto:
        """The instance that it belongs to."""
        return self._ditto
