"""Which peers may connect and are dialled, and what happens to connections."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from enum import Enum, IntEnum
from typing import TYPE_CHECKING, Any, Final

from . import _ffi, _json
from ._errors import native_errors

if TYPE_CHECKING:
    from ._bus import Bus
    from ._instance import Ditto

logger: Final = logging.getLogger("ditto")


class ConnectionType(str, Enum):
    """Transport of a connection."""

    BLUETOOTH = "Bluetooth"
    ACCESS_POINT = "AccessPoint"
    P2P_WIFI = "P2PWiFi"
    WEB_SOCKET = "WebSocket"


def connection_type(name: str) -> ConnectionType | str:
    """The transport with this name; the name itself for one that this release does not know."""
    try:
        return ConnectionType(name)
    except ValueError:
        return name


class ConnectionRequestAuthorization(Enum):
    """Answer to a connection request."""

    ALLOW = "allow"
    """The peer may connect."""
    DENY = "deny"
    """It may not; it is told, and may try again."""


class ConnectionPriority(IntEnum):
    """How eagerly this device dials a peer."""

    DONT_CONNECT = 0
    """Never dial. The peer may still dial us."""
    NORMAL = 1
    """The default."""
    HIGH = 2
    """Before normal peers, where more are near than can be connected at once."""


@dataclass(frozen=True, slots=True)
class ConnectionRequest:
    """Facts about a peer that asks to connect. Its key is proven, and database and shared key are right.

    Attributes:
        peer_key: The peer.
        connection_type: The transport; text for one that this release does not know.
        peer_metadata: What its app says about it; empty when unset or over WebSocket.
        identity_service_metadata: What an authentication service says about it; empty without a server.
    """

    peer_key: str
    connection_type: ConnectionType | str
    peer_metadata: Mapping[str, Any]
    identity_service_metadata: Mapping[str, Any]


ConnectionRequestHandler = Callable[
    [ConnectionRequest], ConnectionRequestAuthorization | Awaitable[ConnectionRequestAuthorization]
]


@dataclass(frozen=True, slots=True)
class ConnectionRecord:
    """Something that happened to a connection, and when.

    Attributes:
        number: Counts from 1 since the instance was opened. A gap in what a reader gets is what it missed.
        time: When.
        kind: Stable name of what happened, as ``discovered``, ``refused``, ``connected`` or ``disconnected``.
        text: Text for people.
        peer_key: The peer that it is about, if known.
        address: The address that it is about.
        connection_type: The transport of the link that it is about.
        reason: Stable name of why a link was refused, as ``wrong_key``, ``at_capacity`` or ``denied``.
        by_us: Whether this device refused; ``None`` for what is no refusal.
    """

    number: int
    time: datetime
    kind: str
    text: str
    peer_key: str | None = None
    address: str | None = None
    connection_type: ConnectionType | str | None = None
    reason: str | None = None
    by_us: bool | None = None


@dataclass(frozen=True, slots=True)
class TransportPeer:
    """One end of a link, as seen from here.

    Attributes:
        peer_key: The peer, once it has proven its key.
        site_id: A 64-bit number that stands for the peer, derived from its key.
        address: Address of the other side, or of the dial.
        is_outgoing: Whether this device dialled.
        since: Since when the link is in this state.
        round_trip: Round trip of the last ping.
        clock_offset: The peer's clock minus ours, exact to half a round trip.
    """

    peer_key: str | None
    site_id: int | None
    address: str
    is_outgoing: bool
    since: datetime
    round_trip: timedelta | None
    clock_offset: timedelta | None


@dataclass(frozen=True, slots=True)
class TransportSnapshot:
    """One transport. A peer appears once per link.

    Attributes:
        connection_type: A label as ``TCP`` or ``Bluetooth``; not the connection type of the presence graph.
        connecting: Peers that are being dialled, or whose proof is not verified yet.
        connected: Connected peers.
        disconnecting: Peers whose link is closing.
        disconnected: Links that ended since the start of sync, newest last.
    """

    connection_type: str
    connecting: tuple[TransportPeer, ...]
    connected: tuple[TransportPeer, ...]
    disconnecting: tuple[TransportPeer, ...]
    disconnected: tuple[TransportPeer, ...]

    @property
    def has_activity(self) -> bool:
        """Whether any peer is connecting, connected or disconnecting."""
        return bool(self.connecting or self.connected or self.disconnecting)

    @property
    def is_active(self) -> bool:
        """Whether any peer is connected."""
        return bool(self.connected)

    @property
    def total_peers(self) -> int:
        """Peers in all four states."""
        return sum(map(len, (self.connecting, self.connected, self.disconnecting, self.disconnected)))


@dataclass(frozen=True, slots=True)
class TransportDiagnostics:
    """What the transports are doing: one snapshot per transport that is on or was used since the start of sync."""

    transports: tuple[TransportSnapshot, ...]

    @property
    def active_transports(self) -> int:
        """How many transports have at least one connected peer."""
        return sum(transport.is_active for transport in self.transports)

    @property
    def total_connected_peers(self) -> int:
        """Connected peers over all transports; a peer on two counts twice."""
        return sum(len(transport.connected) for transport in self.transports)

    def transport_by_type(self, connection_type: str) -> TransportSnapshot | None:
        """The snapshot with this label."""
        return next((t for t in self.transports if t.connection_type == connection_type), None)

    @classmethod
    def _parse(cls, text: str) -> TransportDiagnostics:
        return cls(tuple(map(_transport, _json.decode(text)["transports"])))


class ConnectionEvents(AsyncIterator[ConnectionRecord]):
    """What happens to connections as an async iterator.

    It ends when the instance is closed; cancel the task that iterates to end it before. A reader that falls more
    than 1,024 events behind misses the oldest.
    """

    def __init__(self, ditto: Ditto, native: _ffi.ConnectionEvents) -> None:
        self._ditto = ditto
        self._native = native

    async def __anext__(self) -> ConnectionRecord:
        record = await self._native.next()
        if record is None:
            raise StopAsyncIteration
        return record_from_native(record)


class Experimental:
    """Features that may change or vanish. Not for production, and not a means of security."""

    def __init__(self, ditto: Ditto, native: _ffi.Ditto) -> None:
        self._ditto = ditto
        self._native = native

    def set_priority_for_peer(self, priority: ConnectionPriority, peer_key: str) -> None:
        """Sets how eagerly this device dials a peer. It takes effect at once and ends no connection.

        Raises:
            DittoPeerNotFoundError: The text is no peer key.
        """
        with native_errors:
            self._native.set_priority_for_peer(_priority(priority), peer_key)

    def set_priority_for_query_overlap_group(self, priority: ConnectionPriority, group: int) -> None:
        """Sets how eagerly this device dials the peers of a query overlap group, 0 to 255."""
        with native_errors:
            self._native.set_priority_for_query_overlap_group(_priority(priority), _group(group))

    def set_query_overlap_group(self, group: int) -> None:
        """Puts this peer into a query overlap group, 0 to 255 and 0 by default, which others see in the graph."""
        with native_errors:
            self._native.set_query_overlap_group(_group(group))

    @property
    def bus(self) -> Bus:
        """The same as `Ditto.bus`, where it was at first."""
        return self._ditto.bus

    @property
    def ditto(self) -> Ditto:
        """The instance that it belongs to."""
        return self._ditto


class RequestDelivery(_ffi.ConnectionRequestHandler):
    """Asks the app: a coroutine function on its loop, anything else on the thread of the library."""

    def __init__(self, handler: ConnectionRequestHandler, patience: timedelta) -> None:
        self._handler = handler
        self._patience = patience
        self._loop = asyncio.get_running_loop() if inspect.iscoroutinefunction(handler) else None

    def on_connection_request(self, request: _ffi.ConnectionRequest) -> _ffi.ConnectionRequestAuthorization:
        try:
            allowed = self._ask(request) is ConnectionRequestAuthorization.ALLOW
        except Exception:
            logger.exception("the connection request handler failed: denied")
            allowed = False
        answers = _ffi.ConnectionRequestAuthorization
        return answers.ALLOW if allowed else answers.DENY

    def _ask(self, native: _ffi.ConnectionRequest) -> object:
        answer = self._handler(
            ConnectionRequest(
                peer_key=native.peer_key,
                connection_type=connection_type(native.connection_type),
                peer_metadata=_json.decode(native.peer_metadata_json),
                identity_service_metadata=_json.decode(native.identity_service_metadata_json),
            )
        )
        if not inspect.iscoroutine(answer):
            return answer
        if self._loop is None or self._loop.is_closed():
            answer.close()
            raise RuntimeError(
                "the loop of the connection request handler is closed, or it is no coroutine function"
            )
        asked = asyncio.run_coroutine_threadsafe(answer, self._loop)
        try:
            return asked.result(self._patience.total_seconds())
        finally:
            asked.cancel()


def record_from_native(native: _ffi.ConnectionRecord) -> ConnectionRecord:
    """A record of the native module."""
    return ConnectionRecord(
        number=native.number,
        time=_time(native.at_ms),
        kind=native.kind,
        text=native.text,
        peer_key=native.peer_key,
        address=native.address,
        connection_type=None if native.connection_type is None else connection_type(native.connection_type),
        reason=native.reason,
        by_us=native.by_us,
    )


def _time(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms / 1000, timezone.utc)


def _milliseconds(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(milliseconds=value)


def _transport(fields: Mapping[str, Any]) -> TransportSnapshot:
    def peers(state: str) -> tuple[TransportPeer, ...]:
        return tuple(map(_peer, fields[state]))

    return TransportSnapshot(
        fields["connection_type"],
        peers("connecting"),
        peers("connected"),
        peers("disconnecting"),
        peers("disconnected"),
    )


def _peer(fields: Mapping[str, Any]) -> TransportPeer:
    return TransportPeer(
        peer_key=fields["peerKey"],
        site_id=fields["siteId"],
        address=fields["address"],
        is_outgoing=fields["isOutgoing"],
        since=_time(fields["sinceMs"]),
        round_trip=_milliseconds(fields["roundTripMs"]),
        clock_offset=_milliseconds(fields["clockOffsetMs"]),
    )


def _priority(priority: ConnectionPriority) -> Any:
    return getattr(_ffi.ConnectionPriority, priority.name)


def _group(group: int) -> int:
    if not 0 <= group <= 255:
        raise ValueError(f"a query overlap group is 0 to 255, not {group}")
    return group
