"""Streams of messages between two peers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

from . import _ffi
from ._errors import native_errors
from ._handles import post

if TYPE_CHECKING:
    from ._bus import Bus

T = TypeVar("T")


class Reliability(Enum):
    """Guarantee of a message or stream."""

    UNRELIABLE = "unreliable"
    """It arrives at most once, in no order, or not at all. At most 131,072 bytes."""
    RELIABLE = "reliable"
    """It arrives in full, once and in order as long as the peer can be reached. At most 1,048,576 bytes."""


class BusStreamEnd(Enum):
    """How a stream ended."""

    CLOSED_BY_LOCAL = "closed_by_local"
    """This device closed it."""
    CLOSED_BY_REMOTE = "closed_by_remote"
    """The other device closed it."""
    LOST = "lost"
    """It failed: the route was lost, and none was found in time."""
    STOPPED = "stopped"
    """It failed: sync was stopped, or the instance closed."""
    VIOLATION = "violation"
    """It failed: the other end broke the protocol, or could not prove who it is on a new route."""

    @property
    def is_failure(self) -> bool:
        """Whether neither end has closed it."""
        return self not in (BusStreamEnd.CLOSED_BY_LOCAL, BusStreamEnd.CLOSED_BY_REMOTE)


@dataclass(frozen=True, slots=True)
class BusStreamStatistics:
    """What a stream has done. Counts include its whole life.

    Attributes:
        messages_sent: Messages that were accepted for sending.
        bytes_sent: Their bytes.
        messages_received: Messages that arrived.
        bytes_received: Their bytes.
        messages_in_flight: Accepted messages that are not acknowledged, or not on the link if unreliable.
        bytes_in_flight: Their bytes.
        dropped_outgoing: Unreliable messages that were shed before they left.
        dropped_incoming: Unreliable messages that arrived while too many waited for the app.
        round_trip: From sending to acknowledgement, smoothed; ``None`` before the first. Of an unreliable
            stream, the time that it took to open.
    """

    messages_sent: int
    bytes_sent: int
    messages_received: int
    bytes_received: int
    messages_in_flight: int
    bytes_in_flight: int
    dropped_outgoing: int
    dropped_incoming: int
    round_trip: timedelta | None


class BusStreamDelegate(Protocol):
    """Is told what happens on a stream, one call after the other on the executor of the Bus."""

    def on_message(self, data: bytes) -> object:
        """The next message. The other end may send more once it returns."""

    def on_acknowledged(self, sequence: int) -> object:
        """The other device has every message up to this number."""

    def on_close(self, end: BusStreamEnd) -> object:
        """The stream has ended: the last call, exactly once."""


class Steps(Generic[T]):
    """Steps of a feed that lose nothing when one is cancelled, as by a timeout."""

    def __init__(self, step: Callable[[], Awaitable[T | None]]) -> None:
        self._step = step
        self._turn = asyncio.Lock()
        self._pending: asyncio.Future[T | None] | None = None

    async def next(self) -> T | None:
        """The next one; ``None`` at the end and ever after."""
        async with self._turn:
            if self._pending is None:
                self._pending = asyncio.ensure_future(self._step())
            with native_errors:
                taken = await asyncio.shield(self._pending)
            # Kept at the end, so that every later step ends at once.
            if taken is not None:
                self._pending = None
            return taken

    def cancel(self) -> None:
        """Gives up the step that is being made, soon. From any thread."""
        if self._pending is not None:
            post(self._pending.get_loop(), self._pending.cancel)


class BusStream(AsyncIterator[bytes]):
    """A bidirectional channel of messages to one peer: an async iterator over those that arrive.

    Both ends have the same type. ``async with`` closes it with the block, without a flush when an exception
    leaves it. Dropping the last reference closes it, too.
    """

    def __init__(self, native: _ffi.BusStream) -> None:
        self._native = native
        self._steps: Steps[bytes] = Steps(native.recv)

    @property
    def id(self) -> int:
        """Name of the stream on this device only."""
        number: int = self._native.id()
        return number

    @property
    def peer_key(self) -> str:
        """The peer at the other end, proven from end to end."""
        key: str = self._native.peer_key()
        return key

    @property
    def reliability(self) -> Reliability:
        """Fixed when the stream was opened."""
        return Reliability[self._native.reliability().name]

    @property
    def label(self) -> str:
        """What the opener says that the stream is for."""
        text: str = self._native.label()
        return text

    @property
    def is_ready(self) -> bool:
        """Whether a send would not have to wait for the one before."""
        ready: bool = self._native.is_ready()
        return ready

    async def send(self, data: bytes | bytearray | memoryview) -> int:
        """Sends a message of at most 1,048,576 bytes, or 131,072 if unreliable.

        Returns its number when the next may be sent: the first is 1. At most 512 KiB are on their way, so a reader
        that does not read holds its sender up. Calls that overlap wait for each other. A call that is cancelled
        may have sent its message.

        Raises:
            DittoBusPayloadTooLargeError: The message is too large.
            DittoBusStreamClosedError: The stream has ended.
        """
        with native_errors:
            number: int = await self._native.send(bytes(data)).completion()
        return number

    async def try_send(self, data: bytes | bytearray | memoryview) -> int:
        """As `send`, but never waits for another send.

        Raises:
            DittoBusSendBeforeCompletionError: Another send is waiting.
        """
        with native_errors:
            number: int = await self._native.try_send(bytes(data)).completion()
        return number

    async def recv(self) -> bytes | None:
        """The next message; ``None`` once the stream has ended and everything that arrived before was taken."""
        return await self._steps.next()

    async def __anext__(self) -> bytes:
        data = await self.recv()
        if data is None:
            raise StopAsyncIteration
        return data

    @property
    def acked(self) -> int:
        """The last message that the other device has, and all before it; 0 for none. Of reliable streams."""
        number: int = self._native.acked()
        return number

    async def wait_acked(self, sequence: int) -> None:
        """Waits until the other device has this message.

        Raises:
            DittoBusStreamClosedError: The stream ended before.
        """
        with native_errors:
            await self._native.wait_acked(sequence)

    async def close(self) -> BusStreamEnd | None:
        """Closes both directions and returns how the stream ended.

        That is once everything accepted has been acknowledged, but after 5 s in any case. What arrived before can
        still be taken.
        """
        return _end(await self._native.shutdown())

    def abort(self) -> None:
        """Closes both directions without waiting for anything."""
        self._native.abort()

    async def closed(self) -> BusStreamEnd | None:
        """Waits for the end of the stream; ``None`` if the instance went away without one."""
        return _end(await self._native.closed())

    @property
    def close_reason(self) -> BusStreamEnd | None:
        """How the stream ended; ``None`` while it is open."""
        return _end(self._native.close_reason())

    async def statistics(self) -> BusStreamStatistics | None:
        """What the stream has done; ``None`` once it has ended."""
        s = await self._native.statistics()
        if s is None:
            return None
        return BusStreamStatistics(
            messages_sent=s.messages_sent,
            bytes_sent=s.bytes_sent,
            messages_received=s.messages_received,
            bytes_received=s.bytes_received,
            messages_in_flight=s.messages_in_flight,
            bytes_in_flight=s.bytes_in_flight,
            dropped_outgoing=s.dropped_outgoing,
            dropped_incoming=s.dropped_incoming,
            round_trip=None if s.round_trip_ms is None else timedelta(milliseconds=s.round_trip_ms),
        )

    def set_delegate(self, bus: Bus, delegate: BusStreamDelegate) -> None:
        """Tells a delegate of messages, acknowledgements and the end, on the executor of the Bus.

        Messages that have arrived before are not lost. It holds the stream open until it ends. What the delegate
        raises is logged.
        """
        with native_errors:
            self._native.set_delegate(bus._native, _Delegate(delegate))

    async def __aenter__(self) -> BusStream:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.abort()
        else:
            await self.close()

    def __del__(self) -> None:
        # A step that was cancelled goes on until a message comes, and would keep the stream open.
        steps = getattr(self, "_steps", None)
        if steps is not None:
            steps.cancel()

    def __repr__(self) -> str:
        end = self.close_reason
        return f"<BusStream {self.id} to {self.peer_key}{'' if end is None else ', ' + end.value}>"


class _Delegate(_ffi.BusStreamDelegate):
    def __init__(self, delegate: BusStreamDelegate) -> None:
        self._delegate = delegate

    def on_message(self, data: bytes) -> None:
        self._delegate.on_message(data)

    def on_acknowledged(self, sequence: int) -> None:
        self._delegate.on_acknowledged(sequence)

    def on_close(self, end: Any) -> None:
        self._delegate.on_close(BusStreamEnd[end.name])


def _end(native: Any) -> BusStreamEnd | None:
    return None if native is None else BusStreamEnd[native.name]
