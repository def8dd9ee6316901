"""Who is in the mesh."""

from __future__ import annotations

import asyncio
import inspect
import weakref
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _ffi, _json
from ._connections import ConnectionRequestHandler, ConnectionType, RequestDelivery, connection_type
from ._errors import DittoQueryArgumentsError, DittoValidationError, native_errors
from ._handles import DeliverOn, Gate, delivery_loop, post

if TYPE_CHECKING:
    from ._instance import Ditto


MAX_PEER_METADATA_BYTES = 4096
"""Largest metadata of a peer, as JSON."""


class PeerOS(str, Enum):
    """Operating system of a peer; one that this release does not know reads as ``GENERIC``."""

    GENERIC = "Generic"
    IOS = "iOS"
    TVOS = "tvOS"
    ANDROID = "Android"
    LINUX = "Linux"
    WINDOWS = "Windows"
    MACOS = "macOS"


@dataclass(frozen=True, slots=True)
class Connection:
    """An active link between two peers.

    Attributes:
        id: The same on both ends; of the pair and the transport.
        peer1: Key of one end.
        peer2: Key of the other end.
        connection_type: The transport; text for one that this release does not know.
    """

    id: str
    peer1: str
    peer2: str
    connection_type: ConnectionType | str


@dataclass(frozen=True, slots=True)
class Peer:
    """One instance in the mesh.

    Attributes:
        peer_key: Stable unique key.
        device_name: Name that its app or host gave it; not unique.
        connections: Its active connections.
        os: Operating system, ``None`` while unknown.
        is_connected_to_server: Whether it has a link to a server.
        is_compatible: Whether it speaks our protocol, ``None`` while unknown.
        ditto_sdk_version: Version of its library, ``None`` while unknown.
        query_overlap_group: The group that its app has put it into.
        peer_metadata: What its app says about itself.
        identity_service_metadata: What an authentication service says about it.
    """

    peer_key: str
    device_name: str
    connections: tuple[Connection, ...] = ()
    os: PeerOS | None = None
    is_connected_to_server: bool = False
    is_compatible: bool | None = None
    ditto_sdk_version: str | None = None
    query_overlap_group: int = 0
    peer_metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)
    identity_service_metadata: Mapping[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True, slots=True)
class PresenceGraph:
    """The mesh as seen from here.

    ``remote_peers`` has all others, also those without a direct link; a direct one has a connection whose other
    end is the local peer.
    """

    local_peer: Peer
    remote_peers: tuple[Peer, ...]
    _text: str = field(default="", repr=False, compare=False)

    def all_connections_by_id(self) -> dict[str, Connection]:
        """Every connection of the graph once."""
        peers = (self.local_peer, *self.remote_peers)
        return {connection.id: connection for peer in peers for connection in peer.connections}

    def to_json(self) -> str:
        """The graph as JSON text with ``localPeer`` and ``remotePeers``."""
        return self._text

    @classmethod
    def _parse(cls, text: str) -> PresenceGraph:
        fields = _json.decode(text)
        return cls(_peer(fields["localPeer"]), tuple(map(_peer, fields["remotePeers"])), text)


def _peer(fields: Mapping[str, Any]) -> Peer:
    return Peer(
        peer_key=fields["peerKey"],
        device_name=fields.get("deviceName", ""),
        connections=tuple(map(_connection, fields.get("connections", ()))),
        os=_os(fields.get("os")),
        is_connected_to_server=bool(fields.get("isConnectedToDittoServer", False)),
        is_compatible=fields.get("isCompatible"),
        ditto_sdk_version=fields.get("dittoSdkVersion"),
        query_overlap_group=fields.get("queryOverlapGroup", 0),
        peer_metadata=fields.get("peerMetadata") or {},
        identity_service_metadata=fields.get("identityServiceMetadata") or {},
    )


def _os(name: str | None) -> PeerOS | None:
    if not name:
        return None
    try:
        return PeerOS(name)
    except ValueError:
        return PeerOS.GENERIC


def _connection(fields: Mapping[str, Any]) -> Connection:
    kind = connection_type(fields["connectionType"])
    return Connection(fields["id"], fields["peer1"], fields["peer2"], kind)


class PresenceObserver:
    """Handle of a presence observation.

    It lives until `stop` or until the instance closes. As a context manager it stops at the end of the block.
    """

    def __init__(self, ditto: Ditto, native: _ffi.PresenceObserver, gate: Gate) -> None:
        self._ditto = ditto
        self._native = native
        self._gate = gate

    def stop(self) -> None:
        """Ends the observation. After return the handler does not start again; repeating is harmless."""
        self._end()
        self._ditto._handles.release(self)

    def _end(self) -> None:
        self._native.stop()
        self._gate.close()

    @property
    def is_stopped(self) -> bool:
        """Whether the observation has ended."""
        stopped: bool = self._gate.closed or self._native.is_stopped()
        return stopped

    def __enter__(self) -> PresenceObserver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


class _Delivery(_ffi.PresenceHandler):
    """Hands graphs to a handler; on a busy loop only the newest."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None,
        gate: Gate,
        handler: Callable[[PresenceGraph], object],
    ) -> None:
        self._loop = loop
        self._gate = gate
        self._handler = handler
        self._newest: str | None = None

    def on_graph(self, graph_json: str) -> None:
        if self._loop is None:
            self._gate.run(self._call, graph_json)
            return
        waiting, self._newest = self._newest, graph_json
        # If one was waiting, the call that will take it takes this one instead.
        if waiting is None:
            post(self._loop, self._deliver)

    def _deliver(self) -> None:
        graph_json, self._newest = self._newest, None
        if graph_json is not None:
            self._gate.run(self._call, graph_json)

    def _call(self, graph_json: str) -> object:
        return self._handler(PresenceGraph._parse(graph_json))


class PresenceGraphs(AsyncIterator[PresenceGraph]):
    """The mesh as an async iterator: the current graph at once, then the newest after each change.

    Iteration ends with `stop`, with the instance, or when the iterator is dropped.
    """

    def __init__(self, ditto: Ditto) -> None:
        self._ditto = ditto
        self._loop = asyncio.get_running_loop()
        self._native: _ffi.PresenceObserver | None = None
        self._newest: str | None = None
        self._arrived = asyncio.Event()
        self._ended = False

    @classmethod
    def _open(cls, ditto: Ditto, presence: _ffi.Presence) -> PresenceGraphs:
        graphs = cls(ditto)
        with native_errors:
            graphs._native = presence.observe(_Feed(graphs))
        ditto._handles.follow(graphs)
        return graphs

    async def __anext__(self) -> PresenceGraph:
        while self._newest is None and not self._ended:
            self._arrived.clear()
            await self._arrived.wait()
        if self._ended or self._newest is None:
            raise StopAsyncIteration
        newest, self._newest = self._newest, None
        return PresenceGraph._parse(newest)

    def stop(self) -> None:
        """Ends the iteration. Repeating is harmless, from any thread."""
        self._end()
        self._ditto._handles.release(self)

    def _end(self) -> None:
        if self._native is not None:
            self._native.stop()
        if not self._ended:
            self._ended = True
            post(self._loop, self._arrived.set)

    async def aclose(self) -> None:
        """Ends the iteration, as `stop`."""
        self.stop()

    async def __aenter__(self) -> PresenceGraphs:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None:
            native.stop()


class _Feed(_ffi.PresenceHandler):
    """Feeds an iterator without keeping it alive: the library holds this object."""

    def __init__(self, graphs: PresenceGraphs) -> None:
        self._graphs = weakref.ref(graphs)
        self._loop = graphs._loop

    def on_graph(self, graph_json: str) -> None:
        post(self._loop, self._take, graph_json)

    def _take(self, graph_json: str) -> None:
        graphs = self._graphs()
        if graphs is not None:
            graphs._newest = graph_json
            graphs._arrived.set()


class Presence:
    """Who is reachable, directly or through others."""

    def __init__(self, ditto: Ditto, native: _ffi.Presence) -> None:
        self._ditto = ditto
        self._native = native
        self._request_handler: ConnectionRequestHandler | None = None

    @property
    def graph(self) -> PresenceGraph:
        """The mesh as seen from here, now."""
        with native_errors:
            return PresenceGraph._parse(self._native.graph_json())

    def observe(
        self, handler: Callable[[PresenceGraph], object], *, deliver_on: DeliverOn = "loop"
    ) -> PresenceObserver:
        """Calls ``handler`` soon with the current graph and then on every change.

        Args:
            handler: Takes the graph. What it raises is logged.
            deliver_on: ``"loop"`` calls on the event loop that is running now, ``"thread"`` on a thread of the
                library.
        """
        if inspect.iscoroutinefunction(handler):
            raise ValueError("the handler must not be a coroutine function: iterate over updates() instead")
        loop = delivery_loop(deliver_on, handler)
        gate = Gate()
        with native_errors:
            native = self._native.observe(_Delivery(loop, gate, handler))
        observer = PresenceObserver(self._ditto, native, gate)
        self._ditto._handles.hold(observer)
        return observer

    def updates(self) -> PresenceGraphs:
        """The graph as an async iterator: the current one at once, then the newest after each change."""
        return PresenceGraphs._open(self._ditto, self._native)

    def set_peer_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Replaces what other peers see of this one: a map of at most 4,096 bytes of JSON.

        Raises:
            DittoSizeLimitExceededError: It is larger.
            DittoValidationError: It holds what JSON does not have, such as bytes or NaN, or is nested too deeply.
        """
        try:
            text = _json.encode(dict(metadata))
        except DittoQueryArgumentsError as e:
            raise DittoValidationError(e.reason, code="validation/not-json-compatible") from e
        self.set_peer_metadata_json(text)

    def set_peer_metadata_json(self, metadata: str) -> None:
        """`set_peer_metadata` from the text of a JSON object."""
        with native_errors:
            self._native.set_peer_metadata_json(metadata)

    def set_connection_request_handler(
        self, handler: ConnectionRequestHandler | None, *, timeout: timedelta = timedelta(seconds=10)
    ) -> None:
        """Asks the handler about every incoming connection from now on, also while syncing.

        It is asked once per peer and transport, for as long as the peer stays connected, and never about peers
        that are refused anyway. What it raises, and no answer in time, denies. Connections that exist stay.

        Args:
            handler: A coroutine function runs on the event loop that is running now, any other callable on a
                thread of the library, where it may block. ``None`` takes it away.
            timeout: The time that it has.
        """
        native = None if handler is None else RequestDelivery(handler, timeout)
        with native_errors:
            self._native.set_connection_request_timeout_ms(timeout // timedelta(milliseconds=1))
            self._native.set_connection_request_handler(native)
        self._request_handler = handler

    @property
    def connection_request_handler(self) -> ConnectionRequestHandler | None:
        """Who decides about incoming connections, with 10 s to do so; see `set_connection_request_handler`."""
        return self._request_handler

    @connection_request_handler.setter
    def connection_request_handler(self, handler: ConnectionRequestHandler | None) -> None:
        self.set_connection_request_handler(handler)

    @property
    def peer_metadata(self) -> dict[str, Any]:
        """The own metadata; empty by default."""
        metadata: dict[str, Any] = _json.decode(self.peer_metadata_json)
        return metadata

    @property
    def peer_metadata_json(self) -> str:
        """The own metadata as JSON text."""
        text: str = self._native.peer_metadata_json()
        return text

    @property
    def ditto(self) -> Ditto:
        """The instance that it belongs to."""
        return self._ditto
