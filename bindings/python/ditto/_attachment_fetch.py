"""Fetches of attachments: what the app holds of one, and what it is told."""

from __future__ import annotations

import asyncio
import concurrent.futures
from collections import deque
from collections.abc import Awaitable, Callable, Generator
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from . import _ffi
from ._attachments import Attachment, AttachmentToken, AttachmentTokenLike
from ._errors import DittoAttachmentFetchFailedError, DittoError, from_native, native_errors
from ._handles import DeliverOn, delivery_loop, finish, logger, post

if TYPE_CHECKING:
    from ._instance import Ditto


@dataclass(frozen=True, slots=True)
class AttachmentFetchProgress:
    """More of it is here.

    Attributes:
        downloaded_bytes: Bytes that are here.
        total_bytes: Bytes in all.
    """

    downloaded_bytes: int
    total_bytes: int

    @property
    def progress(self) -> float:
        """The fraction that is here, from 0 to 1."""
        return self.downloaded_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, slots=True)
class AttachmentFetchCompleted:
    """All of it is here."""

    attachment: Attachment


@dataclass(frozen=True, slots=True)
class AttachmentFetchFailed:
    """It was not fetched. What has arrived is kept for the next fetch, for a while."""

    error: DittoError


@dataclass(frozen=True, slots=True)
class AttachmentFetchCancelled:
    """The app has cancelled it, or closed the instance."""


@dataclass(frozen=True, slots=True)
class AttachmentFetchDeleted:
    """Nobody who can be asked has it. Only with ``unavailable_after``."""


AttachmentFetchEvent = (
    AttachmentFetchProgress
    | AttachmentFetchCompleted
    | AttachmentFetchFailed
    | AttachmentFetchCancelled
    | AttachmentFetchDeleted
)
"""What happens to a fetch: progress, as often as it likes, then exactly one of the others."""

AttachmentFetchHandler = Callable[[AttachmentFetchEvent], object]
"""Takes what happens to a fetch. May be a coroutine function when it is delivered on the loop."""


class AttachmentFetcher:
    """A running fetch. ``await`` it for the attachment.

    Dropping it ends nothing: it goes on until it has ended, `cancel` is called, or the instance closes.
    """

    def __init__(self, ditto: Ditto, token: AttachmentToken) -> None:
        self._ditto = ditto
        self._token = token
        self._native: _ffi.AttachmentFetcher | None = None
        self._outcome: concurrent.futures.Future[Attachment] = concurrent.futures.Future()

    @property
    def token(self) -> AttachmentToken:
        """What is fetched."""
        return self._token

    @property
    def bytes_downloaded(self) -> int:
        """Bytes that are here."""
        here: int = 0 if self._native is None else self._native.bytes_downloaded()
        return here

    @property
    def total_bytes(self) -> int:
        """Bytes in all."""
        return self._token.length

    @property
    def progress(self) -> float:
        """The fraction that is here, from 0 to 1."""
        fraction: float = 0.0 if self._native is None else self._native.progress()
        return fraction

    @property
    def is_completed(self) -> bool:
        """Whether all of it is here: not after a failure, nor when it was cancelled."""
        return self._native is not None and bool(self._native.is_completed())

    @property
    def is_ended(self) -> bool:
        """Whether it has ended, in any way."""
        return self._native is not None and bool(self._native.is_ended())

    def cancel(self) -> None:
        """Ends it. Repeating is harmless. What has arrived is kept for the next fetch, for a while."""
        self._end()

    def _end(self) -> None:
        if self._native is not None:
            self._native.cancel()

    def _ended(self, event: AttachmentFetchEvent) -> None:
        self._ditto._handles.release(self)
        if isinstance(event, AttachmentFetchCompleted):
            self._outcome.set_result(event.attachment)
        elif isinstance(event, AttachmentFetchFailed):
            self._outcome.set_exception(event.error)
        else:
            cancelled = isinstance(event, AttachmentFetchCancelled)
            reason = "the fetch was cancelled" if cancelled else "no peer that can be asked has it"
            self._outcome.set_exception(DittoAttachmentFetchFailedError(reason))

    async def attachment(self) -> Attachment:
        """Waits for the attachment. Cancelling the wait does not end the fetch.

        Raises:
            DittoAttachmentFetchFailedError: It was not fetched, or the fetch was cancelled.
            DittoStorageFullError: No space is left.
        """
        return await asyncio.shield(asyncio.wrap_future(self._outcome))

    def __await__(self) -> Generator[Any, None, Attachment]:
        return self.attachment().__await__()

    def __repr__(self) -> str:
        return f"<AttachmentFetcher {self._token.id}, {self.progress:.0%}>"


class _Delivery(_ffi.AttachmentFetchHandler):
    """Tells the fetcher of the end, and the handler of everything."""

    def __init__(
        self,
        fetcher: AttachmentFetcher,
        handler: AttachmentFetchHandler | None,
        loop: asyncio.AbstractEventLoop | None,
    ) -> None:
        self._fetcher = fetcher
        self._handler = handler
        self._loop = loop
        self._waiting: deque[AttachmentFetchEvent] = deque()
        self._running: asyncio.Task[None] | None = None

    def on_event(self, event: Any) -> None:
        told = _event(event)
        if self._handler is not None:
            if self._loop is None:
                self._call(told)
            else:
                post(self._loop, self._deliver, told)
        if not isinstance(told, AttachmentFetchProgress):
            self._fetcher._ended(told)

    def _call(self, event: AttachmentFetchEvent) -> object:
        try:
            return None if self._handler is None else self._handler(event)
        except Exception:
            logger.exception("a handler failed")
            return None

    def _deliver(self, event: AttachmentFetchEvent) -> None:
        # Progress that the handler has no time for is left out.
        if self._waiting and isinstance(self._waiting[-1], AttachmentFetchProgress):
            self._waiting.pop()
        self._waiting.append(event)
        if self._running is None:
            self._next()

    def _next(self) -> None:
        while self._waiting:
            outcome = self._call(self._waiting.popleft())
            if isinstance(outcome, Awaitable) and self._loop is not None:
                # The loop holds tasks weakly.
                self._running = self._loop.create_task(finish(outcome, self._go_on))
                return

    def _go_on(self) -> None:
        self._running = None
        self._next()


def fetch(
    ditto: Ditto,
    store: _ffi.Store,
    like: AttachmentTokenLike,
    handler: AttachmentFetchHandler | None,
    timeout: timedelta | float | None,
    unavailable_after: timedelta | float | None,
    deliver_on: DeliverOn,
) -> AttachmentFetcher:
    """Begins a fetch."""
    loop = None if handler is None else delivery_loop(deliver_on, handler)
    token = AttachmentToken.of(like)
    options = _ffi.AttachmentFetchOptions(
        timeout_ms=None if timeout is None else milliseconds(timeout),
        unavailable_after_ms=None if unavailable_after is None else milliseconds(unavailable_after),
    )
    fetcher = AttachmentFetcher(ditto, token)
    # Before the first event, which may be the last.
    ditto._handles.hold(fetcher)
    try:
        with native_errors:
            delivery = _Delivery(fetcher, handler, loop)
            fetcher._native = store.fetch_attachment(token._native(), options, delivery)
    except BaseException:
        ditto._handles.release(fetcher)
        raise
    return fetcher


def milliseconds(time: timedelta | float) -> int:
    """A time, of which a number counts seconds."""
    seconds = time.total_seconds() if isinstance(time, timedelta) else time
    if not 0 <= seconds < 1e12:
        raise ValueError(f"not a time to wait: {time!r}")
    return int(seconds * 1000)


def _event(native: Any) -> AttachmentFetchEvent:
    if native.is_PROGRESS():
        return AttachmentFetchProgress(native.downloaded_bytes, native.total_bytes)
    if native.is_COMPLETED():
        return AttachmentFetchCompleted(Attachment(native.attachment))
    if native.is_FAILED():
        return AttachmentFetchFailed(from_native(native))
    return AttachmentFetchCancelled() if native.is_CANCELLED() else AttachmentFetchDeleted()
