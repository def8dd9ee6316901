"""Messages between two peers, beside the database and without persistence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from . import _ffi
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
    """

    sender: str
    data: bytes


class BusMessages(AsyncIterator[BusMessage]):
    """Receiver of messages: an async iterator that ends when the instance closes.

    A step that is cancelled, as by a timeout, loses no message.
    """

    def __init__(self, native: _ffi.BusMessages) -> None:
        self._native = native
        self._turn = asyncio.Lock()
        self._pending: asyncio.Task[_ffi.BusMessage | None] | None = None

    async def __anext__(self) -> BusMessage:
        async with self._turn:
            if self._pending is None:
                self._pending = asyncio.ensure_future(self._native.next())
            with native_errors:
                message = await asyncio.shield(self._pending)
            # Kept at the end, so that every later step ends at once.
            if message is None:
                raise StopAsyncIteration
            self._pending = None
        return BusMessage(message.sender, message.data)

    @property
    def dropped(self) -> int:
        """How many messages were dropped because nobody took them in time."""
        count: int = self._native.dropped()
        return count

    async def aclose(self) -> None:
        """Stops receiving. A message that is just arriving may be lost."""
        if self._pending is not None:
            self._pending.cancel()


class Bus:
    """Sends and receives opaque bytes between exactly two peers."""

    def __init__(self, ditto: Ditto, native: _ffi.Bus) -> None:
        self._ditto = ditto
        self._native = native

    async def send_reliable(self, peer_key: str, data: bytes | bytearray | memoryview) -> None:
        """Sends one message of at most 1,048,576 bytes, delivered whole if connectivity permits.

        Returns when the peer's device has it; its app may not have read it yet.

        Raises:
            DittoPeerNotFoundError: The peer is not connected.
            DittoBusPayloadTooLargeError: The message is too large.
            DittoBusQueueFullError: Too many messages for this peer are waiting.
            DittoBusError: The connection ended before the message was there.
        """
        with native_errors:
            await self._native.send_reliable(peer_key, bytes(data)).completion()

    async def send_unreliable(self, peer_key: str, data: bytes | bytearray | memoryview) -> None:
        """Sends one message of at most 131,072 bytes with no guarantee; returns when it is on the link.

        Raises:
            DittoBusError: As for `send_reliable`, also when the message had to wait so long that it was dropped.
        """
        with native_errors:
            await self._native.send_unreliable(peer_key, bytes(data)).completion()

    def incoming_messages(self) -> BusMessages:
        """The messages that arrive from now on, and those held since no receiver was there.

        Several receivers share the messages: each goes to one of them.
        """
        return BusMessages(self._native.incoming_messages())

    @property
    def ditto(self) -> Ditto:
        """The instance that it belongs to."""
        return self._ditto
