"""Messages and streams between two peers, beside the database and without persistence."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol

from . import _ffi
from ._bus_stream import BusStream, Reliability, Steps
from ._errors import native_errors

if TYPE_CHECKING:
    from ._instance import Ditto

MAX_RELIABLE_BYTES = 1_048_576
"""Largest reliable message."""
MAX_UNRELIABLE_BYTES = 131_072
"""Largest unreliable message."""


@dataclass(frozen=True, slots=True)
class BusMessage:
    """A message that arrived.

    Attributes:
        sender: Key of the peer that sent it.
        data: Content.
        reliability: How it was sent.
    """

    sender: str
    data: bytes
    reliability: Reliability = Reliability.RELIABLE


class BusDelivery(Enum):
    """What is known of a message that went out."""

    TRANSMITTED = "transmitted"
    """It left this device. Unreliable messages are not acknowledged."""
    ACKNOWLEDGED = "acknowledged"
    """The peer's device has it; its app may not have read it."""


class BusDelegate(Protocol):
    """Is told of single messages and incoming streams, one call after the other on the executor of the Bus."""

    def on_single_message(self, message: BusMessage) -> object:
        """A single message has arrived."""

    def on_incoming_stream(self, stream: BusStream, from_peer: str) -> object:
        """A peer has opened a stream. Dropping it closes it."""


BusExecutor = Callable[[Callable[[], None]], object]
"""Runs a job, soon and once: as ``loop.call_soon_threadsafe`` or the ``submit`` of a pool."""


class BusMessages(AsyncIterator[BusMessage]):
    """Receiver of messages: an async iterator that ends when the instance closes.

    A step that is cancelled, as by a timeout, loses no message.
    """

    def __init__(self, native: _ffi.BusMessages) -> None:
        self._native = native
        self._steps: Steps[_ffi.BusMessage] = Steps(native.next)

    async def __anext__(self) -> BusMessage:
        message = await self._steps.next()
        if message is None:
            raise StopAsyncIteration
        return _message(message)

    @property
    def dropped(self) -> int:
        """How many messages were dropped because nobody took them in time."""
        count: int = self._native.dropped()
        return count

    async def aclose(self) -> None:
        """Stops receiving. A message that is just arriving may be lost."""
        self._steps.cancel()


class BusIncomingStreams(AsyncIterator[BusStream]):
    """Receiver of streams that others open: an async iterator that ends when it or the instance is closed.

    Once the last one is closed or dropped, streams are refused. ``async with`` closes it with the block.
    """

    def __init__(self, native: _ffi.BusIncomingStreams) -> None:
        self._native = native
        self._steps: Steps[_ffi.BusStream] = Steps(native.next)

    async def __anext__(self) -> BusStream:
        stream = await self._steps.next()
        if stream is None:
            raise StopAsyncIteration
        return BusStream(stream)

    def close(self) -> None:
        """Takes no more streams. Repeating is harmless."""
        self._native.stop()

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None:
            native.stop()

    async def aclose(self) -> None:
        """As `close`."""
        self.close()

    async def __aenter__(self) -> BusIncomingStreams:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class BusStreamOpening:
    """What `Bus.open_stream` and `Bus.open_or_join` return: await it, or use it with ``async with``."""

    __slots__ = ("_bus", "_join", "_label", "_peer_key", "_reliability", "_stream")

    def __init__(
        self, bus: Bus, peer_key: str, reliability: Reliability, label: str, *, join: bool = False
    ) -> None:
        self._bus = bus
        self._peer_key = peer_key
        self._reliability = reliability
        self._label = label
        self._join = join
        self._stream: BusStream | None = None

    async def _open(self) -> BusStream:
        level = _ffi.Reliability[self._reliability.name]
        native = self._bus._native
        with native_errors:
            begin = native.open_or_join if self._join else native.open_stream
            return BusStream(await begin(self._peer_key, level, self._label))

    def __await__(self) -> Generator[Any, None, BusStream]:
        return self._open().__await__()

    async def __aenter__(self) -> BusStream:
        self._stream = await self._open()
        return self._stream

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream is not None:
            await self._stream.__aexit__(kind, error, trace)


class Bus:
    """Sends and receives opaque bytes between exactly two peers of the mesh.

    That works over several hops as well, then encrypted from end to end. Sync must be running.
    """

    def __init__(self, ditto: Ditto, native: _ffi.Bus) -> None:
        self._ditto = ditto
        self._native = native

    async def send_reliable(self, peer_key: str, data: bytes | bytearray | memoryview) -> BusDelivery:
        """Sends one message of at most 1,048,576 bytes, delivered whole if connectivity permits.

        Returns when the peer's device has it; its app may not have read it yet. Several sends to one peer wait in
        line, unless `set_strict` is on.

        Raises:
            DittoPeerNotFoundError: The peer is not in the mesh.
            DittoBusPayloadTooLargeError: The message is too large.
            DittoBusQueueFullError: 64 messages or 4 MiB for this peer are waiting.
            DittoBusSendBeforeCompletionError: Another send to this peer is not completed, in strict mode.
            DittoBusError: Nothing was acknowledged within 30 s.
            DittoSyncNotActiveError: Sync is not running.
        """
        with native_errors:
            return _delivery(await self._native.send_reliable(peer_key, bytes(data)).completion())

    async def send_unreliable(self, peer_key: str, data: bytes | bytearray | memoryview) -> BusDelivery:
        """Sends one message of at most 131,072 bytes with no guarantee; returns when it has left this device.

        Raises:
            DittoBusError: As for `send_reliable`, also when the message had to wait so long that it was dropped.
        """
        with native_errors:
            return _delivery(await self._native.send_unreliable(peer_key, bytes(data)).completion())

    def open_stream(
        self, peer_key: str, reliability: Reliability = Reliability.RELIABLE, label: str = ""
    ) -> BusStreamOpening:
        """Opens a stream of messages to a peer. Its app must take streams, or it is refused.

        Both ``stream = await bus.open_stream(key)`` and ``async with bus.open_stream(key) as stream`` work; the
        latter closes the stream at the end of the block.

        Args:
            peer_key: Any peer of the mesh.
            reliability: Of all messages in both directions.
            label: At most 128 bytes, which tell the peer's app what the stream is for.

        Raises:
            DittoPeerNotFoundError: The peer is not in the mesh.
            DittoBusOpenStreamFailedError: It was refused, or not answered within 10 s.
            DittoSyncNotActiveError: Sync is not running.
        """
        return BusStreamOpening(self, peer_key, reliability, label)

    def open_or_join(
        self, peer_key: str, reliability: Reliability = Reliability.RELIABLE, label: str = ""
    ) -> BusStreamOpening:
        """Makes one stream with a peer whose app calls this for us.

        Both give the same reliability and label, within 10 s. Neither app has to know which of them opens it. Such
        streams do not appear among the incoming ones. It is awaited or used with ``async with``, as `open_stream`.

        Raises:
            DittoPeerNotFoundError: The peer is not in the mesh.
            DittoBusOpenStreamFailedError: The other app did not ask for it in time.
            DittoSyncNotActiveError: Sync is not running.
        """
        return BusStreamOpening(self, peer_key, reliability, label, join=True)

    def incoming_messages(self) -> BusMessages:
        """The messages that arrive from now on, and those held since no receiver was there.

        Several receivers share the messages: each goes to one of them.
        """
        return BusMessages(self._native.incoming_messages())

    def incoming_streams(self) -> BusIncomingStreams:
        """The streams that others open from now on.

        While there is neither a receiver nor a delegate, streams are refused.
        """
        return BusIncomingStreams(self._native.incoming_streams())

    def set_delegate(self, delegate: BusDelegate | None) -> None:
        """Replaces who is told of single messages and streams; ``None`` for nobody.

        Receivers of messages and streams share with it. What the delegate raises is logged.
        """
        with native_errors:
            self._native.set_delegate(None if delegate is None else _Delegate(delegate))

    def set_executor(self, executor: BusExecutor) -> None:
        """Replaces where callbacks of delegates run: of those that are set from now on.

        By default that is one thread of the instance, so that callbacks never overlap.
        ``bus.set_executor(asyncio.get_running_loop().call_soon_threadsafe)`` makes it an event loop.
        """
        self._native.set_executor(_Executor(executor))

    def set_strict(self, strict: bool) -> None:
        """Whether a second send to the same peer with the same reliability fails while the first is not completed.

        Off at first: it waits in line.
        """
        with native_errors:
            self._native.set_strict(strict)

    @property
    def ditto(self) -> Ditto:
        """The instance that it belongs to."""
        return self._ditto


class _Delegate(_ffi.BusDelegate):
    def __init__(self, delegate: BusDelegate) -> None:
        self._delegate = delegate

    def on_single_message(self, message: _ffi.BusMessage) -> None:
        self._delegate.on_single_message(_message(message))

    def on_incoming_stream(self, stream: _ffi.BusStream, from_peer: str) -> None:
        self._delegate.on_incoming_stream(BusStream(stream), from_peer)


class _Executor(_ffi.BusExecutor):
    def __init__(self, executor: BusExecutor) -> None:
        self._executor = executor

    def execute(self, job: _ffi.BusJob) -> None:
        self._executor(job.run)


def _message(native: _ffi.BusMessage) -> BusMessage:
    return BusMessage(native.sender, native.data, Reliability[native.reliability.name])


def _delivery(native: Any) -> BusDelivery:
    return BusDelivery[native.name]
