"""What belongs to an open instance and ends with it, and the gate that ends its callbacks."""

from __future__ import annotations

import asyncio
import atexit
import inspect
import logging
import threading
import weakref
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol, TypeVar

from . import _ffi, _json

if TYPE_CHECKING:
    from ._instance import Ditto

logger: Final = logging.getLogger("ditto")

# A thread of the library that comes back into a finished interpreter would end the process with an abort. This
# runs after what the app has registered with `atexit` since it imported the package.
atexit.register(_ffi.end_calls, 5_000)

DeliverOn = Literal["loop", "thread"]

H = TypeVar("H", bound="QueryHandle")


class Handle(Protocol):
    """Something that ends with the instance."""

    def _end(self) -> None: ...


class Handles:
    """The live handles of one instance.

    Observers live until they are cancelled, even if the app drops the handle, so they are held; feeds that an
    app iterates end when it drops them, so they are not.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[Handle] = set()
        self._feeds: weakref.WeakSet[Handle] = weakref.WeakSet()

    def hold(self, handle: Handle) -> None:
        """Keeps the handle alive until it is released."""
        with self._lock:
            self._held.add(handle)

    def follow(self, handle: Handle) -> None:
        """Remembers the handle for as long as the app does."""
        with self._lock:
            self._feeds.add(handle)

    def release(self, handle: Handle) -> None:
        """Forgets the handle."""
        with self._lock:
            self._held.discard(handle)
            self._feeds.discard(handle)

    def of_type(self, kind: type[Any]) -> list[Any]:
        """The held handles of one class."""
        with self._lock:
            return [handle for handle in self._held if isinstance(handle, kind)]

    def end_all(self) -> None:
        """Ends everything."""
        with self._lock:
            handles = [*self._held, *self._feeds]
            self._held.clear()
            self._feeds.clear()
        for handle in handles:
            handle._end()


class Gate:
    """Keeps the promise that no callback starts after the handle was cancelled."""

    __slots__ = ("_lock", "closed")

    def __init__(self) -> None:
        # Reentrant, so that a callback can cancel its own handle.
        self._lock = threading.RLock()
        self.closed = False

    def run(self, callback: Callable[..., object], *arguments: object) -> object:
        """Calls back unless closed. What it raises is logged: there is nobody to catch it."""
        with self._lock:
            if self.closed:
                return None
            try:
                return callback(*arguments)
            except Exception:
                logger.exception("a handler failed")
                return None

    def close(self) -> None:
        """Waits for a callback that is running on another thread; later ones do not start."""
        with self._lock:
            self.closed = True


def post(loop: asyncio.AbstractEventLoop, callback: Callable[..., object], *arguments: object) -> None:
    """Runs the callback on the loop soon. On a loop that is closed nobody is left to be told."""
    try:
        loop.call_soon_threadsafe(callback, *arguments)
    except RuntimeError:
        if not loop.is_closed():
            raise


async def finish(outcome: Awaitable[object], then: Callable[[], object]) -> None:
    """Waits for what a handler has returned, logs what it raises, and goes on."""
    try:
        await outcome
    except Exception:
        logger.exception("a handler failed")
    finally:
        then()


def delivery_loop(deliver_on: str, handler: Callable[..., object]) -> asyncio.AbstractEventLoop | None:
    """The running loop for ``"loop"``, ``None`` for ``"thread"``.

    Raises:
        RuntimeError: No loop is running here.
        ValueError: The first argument is neither, or a coroutine function would have to run without a loop.
    """
    if deliver_on == "thread":
        if inspect.iscoroutinefunction(handler):
            raise ValueError('a coroutine function needs a loop: use deliver_on="loop"')
        return None
    if deliver_on != "loop":
        raise ValueError(f'deliver_on must be "loop" or "thread", not {deliver_on!r}')
    try:
        return asyncio.get_running_loop()
    except RuntimeError as e:
        raise RuntimeError(
            'no event loop is running here: call from a coroutine or use deliver_on="thread"'
        ) from e


class NativeQueryHandle(Protocol):
    """What the native handles of observers and subscriptions have in common."""

    def cancel(self) -> None: ...
    def is_cancelled(self) -> bool: ...
    def query_string(self) -> str: ...
    def query_arguments_json(self) -> str: ...


class QueryHandle:
    """Handle of something that was registered with a query and lives until it is cancelled or the instance closes.

    Dropping it does not cancel; as a context manager it cancels at the end of the block.
    """

    def __init__(self, ditto: Ditto, native: NativeQueryHandle) -> None:
        self._ditto = ditto
        self._native = native

    def cancel(self) -> None:
        """Ends it. Repeating is harmless."""
        self._end()
        self._ditto._handles.release(self)

    def _end(self) -> None:
        self._native.cancel()

    @property
    def is_cancelled(self) -> bool:
        """Whether it has ended, by `cancel` or because the instance closed."""
        return self._native.is_cancelled()

    @property
    def query_string(self) -> str:
        """Text of the query."""
        return self._native.query_string()

    @property
    def query_arguments(self) -> dict[str, Any]:
        """Arguments given at registration."""
        arguments: dict[str, Any] = _json.decode(self._native.query_arguments_json())
        return arguments

    @property
    def ditto(self) -> Ditto:
        """The instance that it belongs to."""
        return self._ditto

    def __enter__(self: H) -> H:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()
