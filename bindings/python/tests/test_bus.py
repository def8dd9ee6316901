from __future__ import annotations

import asyncio
import gc
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from ditto import (
    Bus,
    BusDelivery,
    BusIncomingStreams,
    BusMessage,
    BusStream,
    BusStreamEnd,
    Ditto,
    DittoBusOpenStreamFailedError,
    DittoBusPayloadTooLargeError,
    DittoBusSendBeforeCompletionError,
    DittoBusStreamClosedError,
    DittoPeerNotFoundError,
    DittoSyncNotActiveError,
    Reliability,
    TransportConfig,
)

Opener = Callable[..., Awaitable[Ditto]]
Eventually = Callable[..., Awaitable[None]]

LIMIT = 30


@pytest.fixture
async def line(opener: Opener, eventually: Eventually) -> tuple[Ditto, Ditto, Ditto]:
    """Three instances, of which the first and the last have no link."""
    a, b, c = await opener("a"), await opener("b"), await opener("c")
    await b.set_transport_config(TransportConfig().enable_tcp_listen("127.0.0.1", 0))
    await b.sync.start()
    address = b.sync.listen_address
    assert address is not None
    for ditto in (a, c):
        await ditto.set_transport_config(TransportConfig().add_tcp_server(address))
        await ditto.sync.start()

    def sees(x: Ditto, y: Ditto) -> bool:
        return y.peer_key in {peer.peer_key for peer in x.presence.graph.remote_peers}

    await eventually(lambda: sees(a, c) and sees(c, a), "the other end of the line")
    return a, b, c


async def opened(
    a: Ditto, streams: BusIncomingStreams, to: Ditto, **options: object
) -> tuple[BusStream, BusStream]:
    here = await a.bus.open_stream(to.peer_key, **options)  # type: ignore[arg-type]
    return here, await asyncio.wait_for(anext(streams), LIMIT)


async def test_both_apps_ask_for_a_stream_and_get_one(line: tuple[Ditto, Ditto, Ditto]) -> None:
    a, _, c = line
    asked = [a.bus.open_or_join(c.peer_key, label="game"), c.bus.open_or_join(a.peer_key, label="game")]
    here, there = await asyncio.wait_for(asyncio.gather(*asked), LIMIT)
    assert (here.peer_key, there.peer_key, here.label) == (c.peer_key, a.peer_key, "game")
    assert await here.send(b"your turn") == 1
    assert await asyncio.wait_for(there.recv(), LIMIT) == b"your turn"
    await here.close()
    assert await asyncio.wait_for(there.closed(), LIMIT) is BusStreamEnd.CLOSED_BY_REMOTE


async def test_streams_and_messages_cross_a_relay(line: tuple[Ditto, Ditto, Ditto]) -> None:
    a, _, c = line
    messages = c.bus.incoming_messages()
    assert await a.bus.send_reliable(c.peer_key, b"over there") is BusDelivery.ACKNOWLEDGED
    message = await asyncio.wait_for(anext(messages), LIMIT)
    assert message == BusMessage(a.peer_key, b"over there", Reliability.RELIABLE)
    async with c.bus.incoming_streams() as streams:
        here, there = await opened(a, streams, c, label="chat")
        assert (there.peer_key, there.label, there.reliability) == (a.peer_key, "chat", Reliability.RELIABLE)
        assert here.peer_key == c.peer_key
        assert here.is_ready

        async def echo() -> None:
            async for data in there:
                await there.send(data[::-1])

        echoing = asyncio.create_task(echo())
        async with here:
            for number in range(1, 101):
                data = bytes([number, 0, 255]) * 1000
                assert await here.send(data) == number
                assert await asyncio.wait_for(here.recv(), LIMIT) == data[::-1]
            await asyncio.wait_for(here.wait_acked(100), LIMIT)
            assert here.acked == 100
            statistics = await here.statistics()
            assert statistics is not None
            assert (statistics.messages_sent, statistics.bytes_sent) == (100, 300_000)
            assert (statistics.messages_received, statistics.bytes_received) == (100, 300_000)
            assert statistics.round_trip is not None
        assert here.close_reason is BusStreamEnd.CLOSED_BY_LOCAL
        await asyncio.wait_for(echoing, LIMIT)
        assert there.close_reason is BusStreamEnd.CLOSED_BY_REMOTE
        assert not there.close_reason.is_failure
        assert await there.recv() is None
        assert await there.statistics() is None
        with pytest.raises(DittoBusStreamClosedError):
            await there.send(b"late")
        with pytest.raises(DittoBusStreamClosedError):
            await here.wait_acked(101)


async def test_a_step_that_is_cancelled_loses_nothing(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    async with b.bus.incoming_streams() as streams:
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(streams), 0.01)
        here, there = await opened(a, streams, b)
        for number in range(20):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(there.recv(), 0.005)
            await here.send(str(number).encode())
            assert await asyncio.wait_for(there.recv(), LIMIT) == str(number).encode()


async def test_a_reader_that_does_not_read_holds_its_sender_up(
    pair: tuple[Ditto, Ditto], eventually: Eventually
) -> None:
    a, b = pair
    streams = b.bus.incoming_streams()
    here, there = await opened(a, streams, b)
    sent = 0

    async def flood() -> None:
        nonlocal sent
        for _ in range(200):
            await here.send(bytes(16 << 10))
            sent += 1

    flooding = asyncio.create_task(flood())
    await eventually(lambda: not here.is_ready and sent >= 16, "a sender that waits")
    assert sent <= 42, "512 KiB on the way, 128 KiB and a message held there"
    with pytest.raises(DittoBusSendBeforeCompletionError):
        await here.try_send(b"x")
    for _ in range(200):
        assert len(await asyncio.wait_for(anext(there), LIMIT)) == 16 << 10
    await asyncio.wait_for(flooding, LIMIT)
    with pytest.raises(DittoBusPayloadTooLargeError):
        await here.send(bytes((1 << 20) + 1))


async def test_streams_end_with_a_reason(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    streams = b.bus.incoming_streams()
    here, there = await opened(a, streams, b, reliability=Reliability.UNRELIABLE)
    assert there.reliability is Reliability.UNRELIABLE
    with pytest.raises(ZeroDivisionError):
        async with here:
            raise ZeroDivisionError
    assert await asyncio.wait_for(here.closed(), LIMIT) is BusStreamEnd.CLOSED_BY_LOCAL
    assert await asyncio.wait_for(there.closed(), LIMIT) is BusStreamEnd.CLOSED_BY_REMOTE
    here, there = await opened(a, streams, b)
    await b.sync.stop()
    end = await asyncio.wait_for(there.closed(), LIMIT)
    assert end is BusStreamEnd.STOPPED
    assert end.is_failure


async def test_what_nobody_refers_to_is_closed(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    streams = b.bus.incoming_streams()
    here, there = await opened(a, streams, b)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(there.recv(), 0.01)
    with pytest.raises(asyncio.TimeoutError):
        await asyncio.wait_for(anext(streams), 0.01)
    del there, streams
    gc.collect()
    assert await asyncio.wait_for(here.closed(), LIMIT) is BusStreamEnd.CLOSED_BY_REMOTE
    with pytest.raises(DittoBusOpenStreamFailedError):
        await a.bus.open_stream(b.peer_key)


async def test_failures_to_open_are_typed(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    with pytest.raises(DittoBusOpenStreamFailedError):
        await a.bus.open_stream(b.peer_key)
    async with b.bus.incoming_streams() as streams:
        async with a.bus.open_stream(b.peer_key) as stream:
            assert stream.close_reason is None
            # Dropped, it would be closed from there.
            there = await asyncio.wait_for(anext(streams), LIMIT)
        assert there.peer_key == a.peer_key
        assert stream.close_reason is BusStreamEnd.CLOSED_BY_LOCAL
    with pytest.raises(StopAsyncIteration):
        await anext(streams)
    with pytest.raises(DittoBusOpenStreamFailedError):
        await a.bus.open_stream(b.peer_key)
    with pytest.raises(DittoPeerNotFoundError):
        await a.bus.open_stream("garbage")
    with pytest.raises(DittoPeerNotFoundError):
        await a.bus.open_stream(a.peer_key)
    await a.sync.stop()
    with pytest.raises(DittoSyncNotActiveError):
        await a.bus.open_stream(b.peer_key)


@dataclass
class Recorder:
    """A delegate of everything."""

    bus: Bus
    heard: list[object] = field(default_factory=list)
    threads: set[str] = field(default_factory=set)

    def note(self, what: object) -> None:
        self.heard.append(what)
        self.threads.add(threading.current_thread().name)

    def on_single_message(self, message: BusMessage) -> None:
        self.note(message.data)
        if message.data == b"trouble":
            raise ValueError("as the test wants it")

    def on_incoming_stream(self, stream: BusStream, from_peer: str) -> None:
        self.note(from_peer)
        stream.set_delegate(self.bus, self)

    def on_message(self, data: bytes) -> None:
        self.note(data)

    def on_acknowledged(self, sequence: int) -> None:
        self.note(sequence)

    def on_close(self, end: BusStreamEnd) -> None:
        self.note(end)


@pytest.mark.parametrize("where", ["library", "loop", "pool"])
async def test_delegates_hear_everything_in_order(
    pair: tuple[Ditto, Ditto], eventually: Eventually, where: str
) -> None:
    a, b = pair
    with ThreadPoolExecutor(1, "pool") as pool:
        if where == "loop":
            b.bus.set_executor(asyncio.get_running_loop().call_soon_threadsafe)
        elif where == "pool":
            b.bus.set_executor(pool.submit)
        recorder = Recorder(b.bus)
        b.bus.set_delegate(recorder)
        await a.bus.send_reliable(b.peer_key, b"trouble")
        await eventually(lambda: recorder.heard == [b"trouble"])
        own = Recorder(a.bus)
        async with a.bus.open_stream(b.peer_key) as stream:
            stream.set_delegate(a.bus, own)
            for number in range(10):
                await stream.send(str(number).encode())
            await asyncio.wait_for(stream.wait_acked(10), LIMIT)
        await eventually(lambda: recorder.heard[-1] is BusStreamEnd.CLOSED_BY_REMOTE)
        await eventually(lambda: own.heard and own.heard[-1] is BusStreamEnd.CLOSED_BY_LOCAL)
        numbers = [str(number).encode() for number in range(10)]
        assert recorder.heard == [b"trouble", a.peer_key, *numbers, BusStreamEnd.CLOSED_BY_REMOTE]
        assert own.heard[-2] == 10
        assert len(recorder.threads) == 1
        [name] = recorder.threads
        assert (name == threading.current_thread().name) == (where == "loop")
        assert name.startswith("pool") == (where == "pool")
        # Nobody is told any more, and streams are refused.
        b.bus.set_delegate(None)
        with pytest.raises(DittoBusOpenStreamFailedError):
            await a.bus.open_stream(b.peer_key)
        await b.close()


async def test_strict_mode_wants_one_send_at_a_time(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    a.bus.set_strict(True)
    outcomes = await asyncio.gather(
        *(a.bus.send_reliable(b.peer_key, bytes(1 << 20)) for _ in range(4)), return_exceptions=True
    )
    assert BusDelivery.ACKNOWLEDGED in outcomes
    assert any(isinstance(outcome, DittoBusSendBeforeCompletionError) for outcome in outcomes)
    a.bus.set_strict(False)
    many = await asyncio.gather(*(a.bus.send_reliable(b.peer_key, b"x") for _ in range(4)))
    assert set(many) == {BusDelivery.ACKNOWLEDGED}
    assert await a.bus.send_unreliable(b.peer_key, b"y") is BusDelivery.TRANSMITTED
