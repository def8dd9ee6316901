from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from ditto import (
    DeliverOn,
    Ditto,
    DittoConfig,
    DittoError,
    DittoQueryInvalidError,
    QueryResult,
    SignalNext,
    StoreObserver,
)

Eventually = Callable[..., Awaitable[None]]

INSERT = "INSERT INTO c DOCUMENTS (:doc)"
SELECT = "SELECT * FROM c ORDER BY _id"


async def insert(ditto: Ditto, *ids: Any) -> None:
    for i in ids:
        await ditto.store.execute(INSERT, {"doc": {"_id": i}})


def ids(result: QueryResult) -> list[Any]:
    return [row["_id"] for row in result.values()]


async def test_a_handler_gets_the_current_result_and_every_change(ditto: Ditto, eventually: Eventually) -> None:
    await insert(ditto, 1)
    seen: list[list[int]] = []
    threads: set[int] = set()

    def handler(result: QueryResult) -> None:
        threads.add(threading.get_ident())
        seen.append(ids(result))

    observer = ditto.store.register_observer(
        "SELECT * FROM c WHERE _id < :max ORDER BY _id", handler, {"max": 100}
    )
    assert not seen, "the first delivery comes after the call returned"
    await eventually(lambda: seen == [[1]])
    await insert(ditto, 2)
    await eventually(lambda: seen[-1] == [1, 2])
    await ditto.store.execute("DELETE FROM c WHERE _id = 1")
    await eventually(lambda: seen[-1] == [2])
    assert threads == {threading.get_ident()}
    assert observer.query_string == "SELECT * FROM c WHERE _id < :max ORDER BY _id"
    assert observer.query_arguments == {"max": 100}
    assert observer.ditto is ditto
    assert ditto.store.observers == {observer}


async def test_what_leaves_the_result_unchanged_is_not_delivered(ditto: Ditto, eventually: Eventually) -> None:
    seen: list[list[int]] = []
    ditto.store.register_observer("SELECT * FROM c WHERE _id < 10", lambda r: seen.append(ids(r)))
    await eventually(lambda: seen == [[]])
    await insert(ditto, 50, 51)
    await insert(ditto, 1)
    await eventually(lambda: len(seen) > 1)
    assert seen == [[], [1]]


async def test_nothing_is_called_after_cancel(ditto: Ditto, eventually: Eventually) -> None:
    seen: list[list[int]] = []
    observer = ditto.store.register_observer(SELECT, lambda r: seen.append(ids(r)))
    await eventually(lambda: seen)
    await insert(ditto, 1)
    # Whatever is on its way to the loop now must not arrive.
    observer.cancel()
    count = len(seen)
    assert observer.is_cancelled
    observer.cancel()
    await insert(ditto, 2)
    await asyncio.sleep(0.2)
    assert len(seen) == count
    assert ditto.store.observers == frozenset()


@pytest.mark.parametrize("deliver_on", ["loop", "thread"])
async def test_a_handler_may_cancel_its_own_observer(
    ditto: Ditto, eventually: Eventually, deliver_on: DeliverOn
) -> None:
    calls: list[int] = []
    box: list[StoreObserver] = []
    registered = threading.Event()

    def handler(result: QueryResult) -> None:
        registered.wait(10)
        calls.append(len(result))
        box[0].cancel()

    box.append(ditto.store.register_observer(SELECT, handler, deliver_on=deliver_on))
    registered.set()
    await eventually(lambda: calls)
    await insert(ditto, 1)
    await asyncio.sleep(0.1)
    assert len(calls) == 1
    assert box[0].is_cancelled


async def test_a_context_manager_cancels(ditto: Ditto) -> None:
    with ditto.store.register_observer(SELECT, lambda _: None) as observer:
        assert not observer.is_cancelled
    assert observer.is_cancelled


async def test_cancel_waits_for_a_handler_on_a_thread(ditto: Ditto, eventually: Eventually) -> None:
    entered, done = threading.Event(), threading.Event()

    def handler(_: QueryResult) -> None:
        entered.set()
        time.sleep(0.2)
        done.set()

    observer = ditto.store.register_observer(SELECT, handler, deliver_on="thread")
    await eventually(entered.is_set)
    observer.cancel()
    assert done.is_set()


async def test_an_observer_outlives_its_handle(ditto: Ditto, eventually: Eventually) -> None:
    seen: list[list[int]] = []
    ditto.store.register_observer(SELECT, lambda r: seen.append(ids(r)))
    gc.collect()
    await insert(ditto, 1)
    await eventually(lambda: seen and seen[-1] == [1])


async def test_async_handlers_do_not_overlap_and_get_the_newest(ditto: Ditto, eventually: Eventually) -> None:
    seen: list[list[int]] = []
    running = 0
    go_on = asyncio.Event()

    async def handler(result: QueryResult) -> None:
        nonlocal running
        running += 1
        assert running == 1
        seen.append(ids(result))
        await go_on.wait()
        running -= 1

    ditto.store.register_observer(SELECT, handler)
    await eventually(lambda: seen == [[]])
    await insert(ditto, *range(20))
    await asyncio.sleep(0.2)
    assert seen == [[]], "the first call still runs"
    go_on.set()
    await eventually(lambda: seen[-1] == list(range(20)))
    assert len(seen) == 2, "everything in between is one delivery"


async def test_a_failing_handler_is_logged_and_called_again(
    ditto: Ditto, eventually: Eventually, caplog: pytest.LogCaptureFixture
) -> None:
    calls: list[int] = []

    def sync_handler(result: QueryResult) -> None:
        calls.append(len(result))
        raise ValueError("from the sync handler")

    async def async_handler(result: QueryResult) -> None:
        calls.append(len(result))
        raise ValueError("from the async handler")

    for handler, deliver_on in ((sync_handler, "loop"), (async_handler, "loop"), (sync_handler, "thread")):
        calls.clear()
        caplog.clear()
        before = len(await ditto.store.execute(SELECT))
        with (
            caplog.at_level(logging.ERROR, logger="ditto"),
            ditto.store.register_observer(SELECT, handler, deliver_on=deliver_on),  # type: ignore[arg-type]
        ):
            await eventually(lambda: calls)
            await insert(ditto, f"{handler.__name__}-{deliver_on}")
            await eventually(lambda: calls[-1] == before + 1)  # noqa: B023
            await eventually(lambda: "from the" in caplog.text)


async def test_a_coroutine_function_on_a_thread_is_refused(ditto: Ditto) -> None:
    async def handler(_: QueryResult) -> None: ...

    with pytest.raises(ValueError, match="coroutine"):
        ditto.store.register_observer(SELECT, handler, deliver_on="thread")


async def test_signal_next_holds_back(ditto: Ditto, eventually: Eventually) -> None:
    deliveries: list[tuple[list[int], SignalNext]] = []
    ditto.store.register_observer_with_signal_next(SELECT, lambda r, signal: deliveries.append((ids(r), signal)))
    await eventually(lambda: deliveries)
    await insert(ditto, 1, 2, 3)
    await asyncio.sleep(0.2)
    assert len(deliveries) == 1
    signal = deliveries[0][1]
    signal()
    signal()
    await eventually(lambda: len(deliveries) == 2)
    assert deliveries[1][0] == [1, 2, 3]
    await insert(ditto, 4)
    await asyncio.sleep(0.2)
    assert len(deliveries) == 2, "the second call of one signal counts for nothing"


async def test_iteration_gives_the_current_result_then_changes(ditto: Ditto) -> None:
    await insert(ditto, 1)
    async with ditto.store.observe("SELECT * FROM c WHERE _id < :max ORDER BY _id", {"max": 100}) as results:
        assert ids(await asyncio.wait_for(anext(results), 10)) == [1]
        await insert(ditto, 2)
        assert ids(await asyncio.wait_for(anext(results), 10)) == [1, 2]
        waiting = asyncio.ensure_future(anext(results))
        await asyncio.sleep(0.1)
        assert not waiting.done()
        await insert(ditto, 3)
        assert ids(await asyncio.wait_for(waiting, 10)) == [1, 2, 3]
    assert results.is_cancelled
    with pytest.raises(StopAsyncIteration):
        await anext(results)


async def test_a_slow_iteration_gets_the_newest(ditto: Ditto) -> None:
    async with ditto.store.observe(SELECT) as results:
        assert ids(await asyncio.wait_for(anext(results), 10)) == []
        await insert(ditto, *range(50))
        steps = 0
        async for result in results:
            steps += 1
            if len(result) == 50:
                break
        assert steps == 1


async def test_a_step_that_is_cancelled_loses_nothing(ditto: Ditto) -> None:
    async with ditto.store.observe(SELECT) as results:
        await asyncio.wait_for(anext(results), 10)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(results), 0.05)
        await insert(ditto, 1)
        assert ids(await asyncio.wait_for(anext(results), 10)) == [1]


async def test_cancel_ends_an_iteration_that_waits(ditto: Ditto) -> None:
    results = ditto.store.observe(SELECT)
    await anext(results)
    waiting = asyncio.ensure_future(anext(results))
    await asyncio.sleep(0.05)
    threading.Thread(target=results.cancel).start()
    with pytest.raises(StopAsyncIteration):
        await asyncio.wait_for(waiting, 10)


async def test_close_ends_observers_and_iterations(config: DittoConfig) -> None:
    seen: list[list[int]] = []
    async with Ditto.open(config) as ditto:
        observer = ditto.store.register_observer(SELECT, lambda r: seen.append(ids(r)))

        async def iterate() -> int:
            return len([result async for result in ditto.store.observe(SELECT)])

        iterating = asyncio.ensure_future(iterate())
        await asyncio.sleep(0.2)
        await insert(ditto, 1)
    count = len(seen)
    assert observer.is_cancelled
    assert await asyncio.wait_for(iterating, 10) >= 1
    await asyncio.sleep(0.1)
    assert len(seen) == count


async def test_an_iteration_that_is_dropped_ends(ditto: Ditto) -> None:
    results = ditto.store.observe(SELECT)
    await anext(results)
    native = results._native
    assert native is not None
    assert not native.is_cancelled()
    del results
    gc.collect()
    assert native.is_cancelled()


@pytest.mark.parametrize("query", ["SELECT FROM", "DELETE FROM c", "INSERT INTO c DOCUMENTS ({})"])
async def test_only_a_valid_select_is_observed(ditto: Ditto, query: str) -> None:
    with pytest.raises(DittoError):
        ditto.store.register_observer(query, lambda _: None)
    with pytest.raises(DittoError):
        ditto.store.observe(query)
    with pytest.raises(DittoQueryInvalidError):
        ditto.store.observe("nonsense")
    assert ditto.store.observers == frozenset()


def test_without_a_loop_only_threads_can_be_called(config: DittoConfig) -> None:
    ditto = Ditto.open_sync(config)
    with pytest.raises(RuntimeError, match="no event loop"):
        ditto.store.register_observer(SELECT, lambda _: None)
    with pytest.raises(ValueError, match="deliver_on"):
        ditto.store.register_observer(SELECT, lambda _: None, deliver_on="elsewhere")  # type: ignore[arg-type]
    called = threading.Event()
    ditto.store.register_observer(SELECT, lambda _: called.set(), deliver_on="thread")
    assert called.wait(10)
    asyncio.run(ditto.close())


def test_a_loop_that_is_gone_disturbs_nothing(config: DittoConfig) -> None:
    ditto = Ditto.open_sync(config)

    async def register() -> None:
        ditto.store.register_observer(SELECT, lambda _: None)
        ditto.presence.observe(lambda _: None)

    asyncio.run(register())
    for i in range(3):
        ditto.store.execute_sync(INSERT, {"doc": {"_id": i}})
    time.sleep(0.2)
    asyncio.run(ditto.close())


async def test_the_library_lets_go_of_handlers(config: DittoConfig, eventually: Eventually) -> None:
    class Handler:
        calls = 0

        def __call__(self, _: object, *__: object) -> None:
            self.calls += 1

    def handler() -> Handler:
        made = Handler()
        kept.append(weakref.ref(made))
        return made

    kept: list[weakref.ref[Handler]] = []
    async with Ditto.open(config) as ditto:
        observers = [
            ditto.store.register_observer(SELECT, handler()),
            ditto.store.register_observer(SELECT, handler(), deliver_on="thread"),
            ditto.store.register_observer_with_signal_next(SELECT, handler()),
        ]
        await eventually(lambda: all((made := ref()) is not None and made.calls for ref in kept))
        for observer in observers:
            observer.cancel()
        del observers, observer

        def all_gone() -> bool:
            gc.collect()
            return all(ref() is None for ref in kept)

        await eventually(all_gone, "the end of the handlers")
        # Those that nobody cancels go with the instance.
        ditto.store.register_observer(SELECT, handler())
        ditto.presence.observe(handler())
    await eventually(all_gone, "the end of the last handlers")
