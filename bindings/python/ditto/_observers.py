"""Live queries: callbacks on the loop or on a thread, and async iteration."""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _ffi, _json
from ._errors import native_errors
from ._handles import DeliverOn, Gate, QueryHandle, delivery_loop, finish, post
from ._result import QueryResult

if TYPE_CHECKING:
    from ._instance import Ditto

QueryHandler = Callable[[QueryResult], object]
"""Takes the current result of a live query. May be a coroutine function when it is delivered on the loop."""

SignalNext = Callable[[], None]
"""Asks for the next result. Repeating it is harmless, at any time and from any thread."""


class StoreObserver(QueryHandle):
    """Handle of a live query.

    It lives until `cancel` or until the instance closes, also if the handle is dropped. As a context manager it
    cancels at the end of the block.
    """

    def __init__(self, ditto: Ditto, native: _ffi.StoreObserver, gate: Gate) -> None:
        super().__init__(ditto, native)
        self._gate = gate

    def cancel(self) -> None:
        """Ends the observer. After return its handler does not start again; repeating is harmless.

        It may be called from the handler itself. From another thread it waits for a handler that is running.
        """
        super().cancel()

    def _end(self) -> None:
        super()._end()
        self._gate.close()

    @property
    def is_cancelled(self) -> bool:
        """Whether the observer has ended, by `cancel` or because the instance closed."""
        return self._gate.closed or super().is_cancelled


class _LoopDelivery(_ffi.QueryObserverWithSignalNext):
    """Hands results to a handler on the loop.

    The next result is asked for when the handler is done, so a burst of changes costs one delivery.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, gate: Gate, handler: QueryHandler) -> None:
        self._loop = loop
        self._gate = gate
        self._handler = handler
        self._running: asyncio.Task[None] | None = None

    def on_result(self, result: _ffi.QueryResult, signal: _ffi.SignalNext) -> None:
        post(self._loop, self._deliver, result, signal)

    def _deliver(self, result: _ffi.QueryResult, signal: _ffi.SignalNext) -> None:
        outcome = self._gate.run(self._handler, QueryResult(result))
        if isinstance(outcome, Awaitable):
            # The loop holds tasks weakly.
            self._running = self._loop.create_task(finish(outcome, signal.signal))
        else:
            signal.signal()


class _SignalledDelivery(_ffi.QueryObserverWithSignalNext):
    """Hands results and their signals to a handler that asks for the next one itself."""

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop | None,
        gate: Gate,
        handler: Callable[[QueryResult, SignalNext], object],
    ) -> None:
        self._loop = loop
        self._gate = gate
        self._handler = handler

    def on_result(self, result: _ffi.QueryResult, signal: _ffi.SignalNext) -> None:
        if self._loop is None:
            self._deliver(result, signal)
        else:
            post(self._loop, self._deliver, result, signal)

    def _deliver(self, result: _ffi.QueryResult, signal: _ffi.SignalNext) -> None:
        self._gate.run(self._handler, QueryResult(result), signal.signal)


class _ThreadDelivery(_ffi.QueryObserver):
    """Hands results to a handler on the thread of the library that made them."""

    def __init__(self, gate: Gate, handler: QueryHandler) -> None:
        self._gate = gate
        self._handler = handler

    def on_result(self, result: _ffi.QueryResult) -> None:
        self._gate.run(self._handler, QueryResult(result))


def register(
    ditto: Ditto,
    store: _ffi.Store,
    query: str,
    handler: QueryHandler,
    arguments: Mapping[str, Any] | None,
    deliver_on: DeliverOn,
) -> StoreObserver:
    """Registers a handler."""
    loop = delivery_loop(deliver_on, handler)
    text, encoded = _json.encode_query(query, arguments)
    gate = Gate()
    with native_errors:
        if loop is None:
            native = store.register_observer(text, encoded, _ThreadDelivery(gate, handler))
        else:
            delivery = _LoopDelivery(loop, gate, handler)
            native = store.register_observer_with_signal_next(text, encoded, delivery)
    return _held(ditto, native, gate)


def register_with_signal_next(
    ditto: Ditto,
    store: _ffi.Store,
    query: str,
    handler: Callable[[QueryResult, SignalNext], object],
    arguments: Mapping[str, Any] | None,
    deliver_on: DeliverOn,
) -> StoreObserver:
    """Registers a handler that asks for each next result."""
    loop = delivery_loop(deliver_on, handler)
    text, encoded = _json.encode_query(query, arguments)
    gate = Gate()
    with native_errors:
        delivery = _SignalledDelivery(loop, gate, handler)
        native = store.register_observer_with_signal_next(text, encoded, delivery)
    return _held(ditto, native, gate)


def _held(ditto: Ditto, native: _ffi.StoreObserver, gate: Gate) -> StoreObserver:
    observer = StoreObserver(ditto, native, gate)
    ditto._handles.hold(observer)
    return observer


class QueryResults(AsyncIterator[QueryResult]):
    """The results of a live query as an async iterator: at once the current one, then one per change.

    Each step gives the newest result; changes that happen while the app is busy arrive as one. Iteration ends
    with `cancel`, with the instance, or when the iterator is dropped; ``async with`` ends it with the block.
    """

    def __init__(self, ditto: Ditto, query: str) -> None:
        self._ditto = ditto
        self._query = query
        self._loop = asyncio.get_running_loop()
        self._native: _ffi.StoreObserver | None = None
        self._newest: tuple[_ffi.QueryResult, _ffi.SignalNext] | None = None
        self._signal: _ffi.SignalNext | None = None
        self._arrived = asyncio.Event()
        self._ended = False

    @classmethod
    def _open(
        cls, ditto: Ditto, store: _ffi.Store, query: str, arguments: Mapping[str, Any] | None
    ) -> QueryResults:
        text, encoded = _json.encode_query(query, arguments)
        results = cls(ditto, query)
        with native_errors:
            results._native = store.register_observer_with_signal_next(text, encoded, _Feed(results))
        ditto._handles.follow(results)
        return results

    def _take(self, result: _ffi.QueryResult, signal: _ffi.SignalNext) -> None:
        self._newest = (result, signal)
        self._arrived.set()

    async def __anext__(self) -> QueryResult:
        while self._newest is None and not self._ended:
            self._arrived.clear()
            if self._signal is not None:
                signal, self._signal = self._signal, None
                signal.signal()
            await self._arrived.wait()
        if self._ended or self._newest is None:
            raise StopAsyncIteration
        (result, self._signal), self._newest = self._newest, None
        return QueryResult(result)

    def cancel(self) -> None:
        """Ends the iteration. Repeating is harmless, from any thread."""
        self._end()
        self._ditto._handles.release(self)

    def _end(self) -> None:
        if self._native is not None:
            self._native.cancel()
        if not self._ended:
            self._ended = True
            post(self._loop, self._arrived.set)

    async def aclose(self) -> None:
        """Ends the iteration, as `cancel`."""
        self.cancel()

    @property
    def is_cancelled(self) -> bool:
        """Whether the iteration has ended."""
        return self._ended

    @property
    def query_string(self) -> str:
        """Text of the query."""
        return self._query

    async def __aenter__(self) -> QueryResults:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cancel()

    def __del__(self) -> None:
        native = getattr(self, "_native", None)
        if native is not None:
            native.cancel()


class _Feed(_ffi.QueryObserverWithSignalNext):
    """Feeds an iterator without keeping it alive: the library holds this object."""

    def __init__(self, results: QueryResults) -> None:
        self._results = weakref.ref(results)
        self._loop = results._loop

    def on_result(self, result: _ffi.QueryResult, signal: _ffi.SignalNext) -> None:
        post(self._loop, self._take, result, signal)

    def _take(self, result: _ffi.QueryResult, signal: _ffi.SignalNext) -> None:
        results = self._results()
        if results is not None:
            results._take(result, signal)
