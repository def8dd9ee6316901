"""The entry object: opening, closing and the parts it owns."""

from __future__ import annotations

import asyncio
import copy
import warnings
from collections.abc import Callable, Generator
from types import TracebackType
from typing import Any

from . import _config, _ffi, _transport_config, radio
from ._bus import Bus
from ._config import DittoConfig
from ._connections import (
    ConnectionEvents,
    ConnectionRecord,
    Experimental,
    TransportDiagnostics,
    record_from_native,
)
from ._errors import native_errors
from ._handles import Handles
from ._presence import Presence
from ._store import Store
from ._sync import Sync
from ._transport_config import TransportConfig


class DittoOpening:
    """What `Ditto.open` returns: await it, or use it with ``async with``."""

    __slots__ = ("_config", "_ditto")

    def __init__(self, config: DittoConfig) -> None:
        self._config = config
        self._ditto: Ditto | None = None

    async def _open(self) -> Ditto:
        config = _config.to_native(self._config)
        with native_errors:
            return Ditto(await _ffi.Ditto.open(config))

    def __await__(self) -> Generator[Any, None, Ditto]:
        return self._open().__await__()

    async def __aenter__(self) -> Ditto:
        self._ditto = await self._open()
        return self._ditto

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._ditto is not None:
            await self._ditto.close()


class Ditto:
    """An open database with its sync. Open one with `Ditto.open`.

    ::

        async with Ditto.open(DittoConfig(database_id)) as ditto:
            await ditto.store.execute("INSERT INTO cars DOCUMENTS (:car)", {"car": {"color": "blue"}})

    Its methods may be called from any thread; coroutines run on any event loop.
    """

    def __init__(self, native: _ffi.Ditto) -> None:
        """For the package itself; apps use `Ditto.open`."""
        self._native = native
        self._handles = Handles()
        self._store = Store(self, native.store())
        self._sync = Sync(self, native.sync())
        self._presence = Presence(self, native.presence())
        self._bus = Bus(self, native.bus())
        self._experimental = Experimental(self, native)

    @staticmethod
    def open(config: DittoConfig) -> DittoOpening:
        """Checks the config and opens or creates the store; sync is not started.

        Both ``ditto = await Ditto.open(config)`` and ``async with Ditto.open(config) as ditto`` work; the latter
        closes the instance at the end of the block.

        Raises:
            DittoInvalidConfigError: A field is invalid; the reason names it.
            DittoPersistenceDirectoryLockedError: Another instance holds the directory. It does not wait.
            DittoStoreError: The database file cannot be used.
        """
        return DittoOpening(config)

    @classmethod
    def open_sync(cls, config: DittoConfig) -> Ditto:
        """As `open`, but blocks the calling thread."""
        native_config = _config.to_native(config)
        with native_errors:
            return cls(_ffi.Ditto.open_sync(native_config))

    async def close(self) -> None:
        """Stops sync, cancels observers and subscriptions, finishes transactions, and releases the directory.

        After return no handler is called any more. Repeating is harmless.
        """
        self._handles.end_all()
        # A cancellation must not leave the instance half closed.
        await asyncio.shield(asyncio.ensure_future(self._shutdown()))

    async def _shutdown(self) -> None:
        with native_errors:
            await self._native.shutdown()
        # What was registered while it was closing.
        self._handles.end_all()

    async def __aenter__(self) -> Ditto:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None and not native.is_closed():
            warnings.warn(f"unclosed {self!r}", ResourceWarning, source=self, stacklevel=2)

    def __repr__(self) -> str:
        state = " closed" if self.is_closed else ""
        return f"<Ditto database_id={self.database_id!r}{state}>"

    @property
    def is_closed(self) -> bool:
        """Whether the instance is closed; it never reopens."""
        closed: bool = self._native.is_closed()
        return closed

    @property
    def store(self) -> Store:
        """The local data."""
        return self._store

    @property
    def sync(self) -> Sync:
        """Networking and subscriptions."""
        return self._sync

    @property
    def presence(self) -> Presence:
        """Who is in the mesh."""
        return self._presence

    @property
    def bus(self) -> Bus:
        """Messages to other peers."""
        return self._bus

    @property
    def experimental(self) -> Experimental:
        """Features that may change or vanish."""
        return self._experimental

    def transport_diagnostics(self) -> TransportDiagnostics:
        """What the transports are doing now. Empty while sync is stopped.

        Raises:
            DittoClosedError: The instance is closed.
        """
        with native_errors:
            return TransportDiagnostics._parse(self._native.transport_diagnostics_json())

    def connection_events(self) -> ConnectionEvents:
        """What happens to connections from now on, as an async iterator."""
        return ConnectionEvents(self, self._native.connection_events())

    @property
    def recent_connection_events(self) -> list[ConnectionRecord]:
        """The last 256 things that happened to connections, oldest first."""
        return [record_from_native(record) for record in self._native.recent_connection_events()]

    @property
    def config(self) -> DittoConfig:
        """The opening config with secrets replaced."""
        with native_errors:
            return _config.from_native(self._native.config())

    @property
    def database_id(self) -> str:
        """The logical database."""
        text: str = self._native.database_id()
        return text

    @property
    def absolute_persistence_directory(self) -> str | None:
        """The resolved directory in use, ``None`` once closed. Its contents are private."""
        path: str | None = self._native.absolute_persistence_directory()
        return path

    @property
    def peer_key(self) -> str:
        """The key under which other peers know this device."""
        text: str = self._native.peer_key()
        return text

    @property
    def device_name(self) -> str:
        """Name that other peers see; the host name by default, not unique.

        Names above 24 bytes are cut. A new name takes effect at the next start of sync.
        """
        text: str = self._native.device_name()
        return text

    @device_name.setter
    def device_name(self, name: str) -> None:
        self._native.set_device_name(name)

    @property
    def is_authenticated_mesh(self) -> bool:
        """Whether peers are admitted by a shared key."""
        authenticated: bool = self._native.is_authenticated_mesh()
        return authenticated

    @property
    def is_activated(self) -> bool:
        """Always true: no licence is ever needed."""
        activated: bool = self._native.is_activated()
        return activated

    def set_offline_only_license_token(self, token: str) -> None:
        """Accepted and ignored: no licence is ever needed."""
        with native_errors:
            self._native.set_offline_only_license_token(token)

    @property
    def transport_config(self) -> TransportConfig:
        """A copy of the transports in use; changing it changes nothing."""
        return _transport_config.from_native(self._native.transport_config())

    async def update_transport_config(self, change: Callable[[TransportConfig], object]) -> None:
        """Changes the transports in one step that no other change comes between.

        A running instance follows at once: only what changed restarts, and other connections go on.

        Args:
            change: Gets a copy and changes it. It is called again if another change came first.

        Raises:
            DittoInvalidConfigError: A field is invalid; the reason names it and nothing is changed.
        """
        replaced = False
        while not replaced:
            current = self._native.transport_config()
            config = _transport_config.from_native(current)
            change(config)
            replacement = _transport_config.to_native(config)
            with native_errors:
                replaced = await self._native.replace_transport_config(current, replacement)

    async def set_transport_config(self, config: TransportConfig) -> None:
        """Replaces the transports; see `update_transport_config`."""
        wanted = copy.deepcopy(config)

        def replace(current: TransportConfig) -> None:
            current.peer_to_peer = wanted.peer_to_peer
            current.connect = wanted.connect
            current.listen = wanted.listen
            current.global_ = wanted.global_

        await self.update_transport_config(replace)

    async def attach_radio(self, transport: radio.RadioTransport, shim: radio.RadioShim) -> None:
        """Hands over the driver of a radio. Of each transport there is at most one: it replaces an earlier one.

        It is used while sync runs and the transport is on in `transport_config`. Other transports and their
        connections go on. A driver that cannot start does not fail this call: a connection event says why, and
        it is started again later.
        """
        with native_errors:
            await self._native.attach_radio(_ffi.RadioTransport[transport.name], radio.Driver(shim))

    async def detach_radio(self, transport: radio.RadioTransport) -> None:
        """Takes the driver of a radio back; it is stopped and its links end. Without one nothing happens."""
        with native_errors:
            await self._native.detach_radio(_ffi.RadioTransport[transport.name])

    @staticmethod
    def default_root_directory() -> str:
        """The directory against which relative and empty persistence paths resolve."""
        path: str = _ffi.default_root_directory()
        return path

    @staticmethod
    def version() -> str:
        """Version of the core library."""
        text: str = _ffi.core_version()
        return text
