from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, TypeVar

import pytest

from ditto import (
    MAX_RELIABLE_BYTES,
    MAX_UNRELIABLE_BYTES,
    ConnectionType,
    Ditto,
    DittoBusError,
    DittoBusPayloadTooLargeError,
    DittoConfig,
    DittoError,
    DittoPeerNotFoundError,
    DittoSizeLimitExceededError,
    PeerConnected,
    PeerOS,
    PresenceGraph,
    SyncEvent,
    SyncProgress,
)

Eventually = Callable[..., Awaitable[None]]
T = TypeVar("T")

# A P-256 key that was made for this test: PKCS#8 DER.
SHARED_KEY = bytes.fromhex(
    "308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b02010104202d302914aa5a72e2bd1be44d60ed"
    "340c808ec908ad08217ed82ae49dabda43c7a14403420004a69f36693fab64a48239de8f8e90f324363681c9226dd04138b5"
    "9a3a660bad76a92f07489d27df5aa2ed4e13bb875f8404a52522608dfacac1d9746b55bde882"
)


async def until(steps: AsyncIterator[T], accept: Callable[[T], object]) -> None:
    """Takes steps until one is as wanted."""

    async def take() -> None:
        async for step in steps:
            if accept(step):
                return
        pytest.fail("the iteration ended")

    await asyncio.wait_for(take(), 20)


async def polled(ask: Callable[[], Awaitable[T]]) -> AsyncIterator[T]:
    """The answers to a question that is asked again and again."""
    while True:
        yield await ask()
        await asyncio.sleep(0.02)


async def rows(ditto: Ditto) -> list[dict[str, Any]]:
    return (await ditto.store.execute("SELECT * FROM cars ORDER BY _id")).values()


async def test_two_instances_sync_both_ways(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    for ditto in pair:
        ditto.sync.register_subscription("SELECT * FROM cars")
    car = {"_id": "1", "color": "blue", "picture": b"\x00\xff", "seats": 4, "price": 1.0}
    query = "SELECT * FROM cars"
    async with a.store.observe(query) as on_a, b.store.observe(query) as on_b:
        await a.store.execute("INSERT INTO cars DOCUMENTS (:car)", {"car": car})
        await until(on_b, lambda result: result.values() == [car])
        await b.store.execute("UPDATE cars SET color = 'red' WHERE _id = '1'")
        await until(on_a, lambda result: result.values() == [{**car, "color": "red"}])
        await b.store.execute("DELETE FROM cars WHERE _id = '1'")
        await until(on_a, lambda result: len(result) == 0)


async def test_only_what_is_subscribed_arrives(pair: tuple[Ditto, Ditto], eventually: Eventually) -> None:
    a, b = pair
    query = "SELECT * FROM cars WHERE color = :color"
    subscription = b.sync.register_subscription(query, {"color": "blue"})
    assert subscription.query_string == query
    assert subscription.query_arguments == {"color": "blue"}
    assert b.sync.subscriptions == {subscription}
    seen: list[list[dict[str, Any]]] = []
    b.store.register_observer("SELECT * FROM cars ORDER BY _id", lambda r: seen.append(r.values()))
    for i, color in enumerate(["blue", "red", "blue"]):
        await a.store.execute("INSERT INTO cars DOCUMENTS (:car)", {"car": {"_id": i, "color": color}})
    await eventually(lambda: seen and [row["_id"] for row in seen[-1]] == [0, 2])
    subscription.cancel()
    subscription.cancel()
    assert subscription.is_cancelled
    assert b.sync.subscriptions == frozenset()
    assert [row["_id"] for row in await rows(b)] == [0, 2], "what is here stays"


async def test_subscriptions_are_checked(ditto: Ditto) -> None:
    for query in ("SELECT * FROM cars LIMIT 1", "DELETE FROM cars", "nonsense"):
        with pytest.raises(DittoError):
            ditto.sync.register_subscription(query)
    with ditto.sync.register_subscription("SELECT * FROM cars") as subscription:
        assert not subscription.is_cancelled
    assert subscription.is_cancelled


async def test_sync_stops_and_starts_again(pair: tuple[Ditto, Ditto], eventually: Eventually) -> None:
    a, b = pair
    b.sync.register_subscription("SELECT * FROM cars")
    assert b.sync.is_active
    await b.sync.start()
    await b.sync.stop()
    assert not b.sync.is_active
    await eventually(lambda: not a.presence.graph.remote_peers, "the end of the connection")
    await a.store.execute("INSERT INTO cars DOCUMENTS ({'_id': 1})")
    assert await rows(b) == []
    seen: list[int] = []
    b.store.register_observer("SELECT * FROM cars", lambda r: seen.append(len(r)))
    await b.sync.start()
    await eventually(lambda: seen and seen[-1] == 1, "the document")


async def test_presence_sees_the_peer(pair: tuple[Ditto, Ditto], eventually: Eventually) -> None:
    a, b = pair
    graph = a.presence.graph
    assert graph.local_peer.peer_key == a.peer_key
    [peer] = graph.remote_peers
    assert peer.peer_key == b.peer_key
    assert peer.device_name == "b"
    assert isinstance(peer.os, PeerOS)
    assert peer.ditto_sdk_version == Ditto.version()
    [connection] = peer.connections
    assert {connection.peer1, connection.peer2} == {a.peer_key, b.peer_key}
    assert connection.connection_type is ConnectionType.ACCESS_POINT
    assert graph.all_connections_by_id() == {connection.id: connection}
    assert b.peer_key in graph.to_json()
    await eventually(
        lambda: set(b.presence.graph.all_connections_by_id()) == {connection.id}, "the same id on both ends"
    )
    assert hash(peer) == hash(peer)


async def test_presence_is_observed(pair: tuple[Ditto, Ditto], eventually: Eventually) -> None:
    a, b = pair
    counts: list[int] = []
    observer = a.presence.observe(lambda graph: counts.append(len(graph.remote_peers)))
    assert not counts
    await eventually(lambda: counts == [1])
    b.presence.set_peer_metadata({"role": "cashier", "till": 3})
    assert b.presence.peer_metadata == {"role": "cashier", "till": 3}
    metadata = {"role": "cashier", "till": 3}
    async with a.presence.updates() as updates:
        await until(updates, lambda graph: metadata in [peer.peer_metadata for peer in graph.remote_peers])
    await b.close()
    await eventually(lambda: counts[-1] == 0, "the departure")
    observer.stop()
    assert observer.is_stopped
    count = len(counts)
    a.presence.set_peer_metadata({"x": 1})
    await asyncio.sleep(0.1)
    assert len(counts) == count


async def test_presence_on_a_thread_and_at_close(config: DittoConfig, eventually: Eventually) -> None:
    graphs: list[PresenceGraph] = []
    async with Ditto.open(config) as ditto:
        observer = ditto.presence.observe(graphs.append, deliver_on="thread")
        await eventually(lambda: len(graphs) == 1)
        assert graphs[0].local_peer.peer_key == ditto.peer_key

        async def follow() -> int:
            return len([graph async for graph in ditto.presence.updates()])

        following = asyncio.ensure_future(follow())
        await asyncio.sleep(0.1)
    assert observer.is_stopped
    assert await asyncio.wait_for(following, 10) >= 1


async def test_metadata_has_limits(ditto: Ditto) -> None:
    assert ditto.presence.peer_metadata == {}
    with pytest.raises(DittoSizeLimitExceededError):
        ditto.presence.set_peer_metadata({"x": "y" * 5000})
    with pytest.raises(DittoError) as caught:
        ditto.presence.set_peer_metadata_json("[1]")
    assert caught.value.code == "validation/not-an-object"
    for foreign in (b"bytes", float("nan"), object()):
        with pytest.raises(DittoError) as caught:
            ditto.presence.set_peer_metadata({"x": foreign})
        assert caught.value.code == "validation/not-json-compatible"
    with pytest.raises(DittoError) as caught:
        ditto.presence.set_peer_metadata_json("{")
    assert caught.value.code == "validation/invalid-json"
    assert ditto.presence.peer_metadata_json == "{}"


async def test_messages_go_both_ways(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    at_a, at_b = a.bus.incoming_messages(), b.bus.incoming_messages()
    await a.bus.send_reliable(b.peer_key, b"\x00ping\xff")
    message = await asyncio.wait_for(anext(at_b), 20)
    assert (message.sender, message.data) == (a.peer_key, b"\x00ping\xff")
    await b.bus.send_unreliable(message.sender, memoryview(b"pong"))
    message = await asyncio.wait_for(anext(at_a), 20)
    assert (message.sender, message.data) == (b.peer_key, b"pong")
    assert at_a.dropped == 0


async def test_messages_keep_their_order_and_size(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    at_b = b.bus.incoming_messages()
    await asyncio.gather(*(a.bus.send_reliable(b.peer_key, str(i).encode()) for i in range(50)))
    received = [int((await asyncio.wait_for(anext(at_b), 20)).data) for _ in range(50)]
    assert received == list(range(50))
    largest = bytes(range(256)) * (MAX_RELIABLE_BYTES // 256)
    await a.bus.send_reliable(b.peer_key, largest)
    assert (await asyncio.wait_for(anext(at_b), 20)).data == largest
    await a.bus.send_reliable(b.peer_key, b"")
    assert (await asyncio.wait_for(anext(at_b), 20)).data == b""
    with pytest.raises(DittoBusPayloadTooLargeError):
        await a.bus.send_reliable(b.peer_key, largest + b"x")
    with pytest.raises(DittoBusPayloadTooLargeError):
        await a.bus.send_unreliable(b.peer_key, bytes(MAX_UNRELIABLE_BYTES + 1))


async def test_a_step_that_is_cancelled_loses_no_message(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    at_b = b.bus.incoming_messages()
    for i in range(20):
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(anext(at_b), 0.01)
        await a.bus.send_reliable(b.peer_key, str(i).encode())
        assert int((await asyncio.wait_for(anext(at_b), 20)).data) == i


async def test_receivers_share_the_messages(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    at_b = b.bus.incoming_messages()
    steps = [asyncio.ensure_future(anext(at_b)) for _ in range(10)]
    await asyncio.sleep(0)
    for i in range(10):
        await a.bus.send_reliable(b.peer_key, str(i).encode())
    messages = await asyncio.wait_for(asyncio.gather(*steps), 20)
    assert sorted(int(message.data) for message in messages) == list(range(10))


async def test_messages_to_nobody_fail(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    with pytest.raises(DittoPeerNotFoundError, match="peer key"):
        await a.bus.send_reliable("garbage", b"x")
    await b.close()
    with pytest.raises((DittoPeerNotFoundError, DittoBusError)):
        await asyncio.wait_for(a.bus.send_reliable(b.peer_key, b"x"), 20)


async def test_close_ends_waiting_receivers(config: DittoConfig) -> None:
    async with Ditto.open(config) as ditto:

        async def receive() -> list[bytes]:
            return [message.data async for message in ditto.bus.incoming_messages()]

        receiving = [asyncio.ensure_future(receive()) for _ in range(2)]
        await asyncio.sleep(0.1)
    assert await asyncio.wait_for(asyncio.gather(*receiving), 10) == [[], []]


async def test_a_wrong_shared_key_is_kept_out(
    opener: Callable[..., Awaitable[Ditto]], eventually: Eventually
) -> None:
    a, b, c = await opener("a", SHARED_KEY), await opener("b", SHARED_KEY), await opener("c")
    assert a.is_authenticated_mesh
    assert not c.is_authenticated_mesh
    await a.update_transport_config(lambda t: t.disable_all_peer_to_peer().enable_tcp_listen("127.0.0.1", 0))
    await a.sync.start()
    address = a.sync.listen_address
    assert address is not None
    for ditto in (c, b):
        await ditto.update_transport_config(lambda t: t.disable_all_peer_to_peer().add_tcp_server(address))
        await ditto.sync.start()
    await eventually(lambda: a.presence.graph.remote_peers, "the peer with the right key")
    await asyncio.sleep(0.5)
    assert [peer.peer_key for peer in a.presence.graph.remote_peers] == [b.peer_key]
    assert c.presence.graph.remote_peers == ()
    key = a.config.to_dict()["connect"]["privateKey"]
    assert key == "W1JFREFDVEVEXQ==", "the config of an open instance holds no secret"


async def test_status_and_events_tell_how_far_sync_is(pair: tuple[Ditto, Ditto], eventually: Eventually) -> None:
    a, b = pair
    await b.sync.stop()
    feed = b.sync.events()
    events: list[SyncEvent] = []

    async def follow() -> None:
        async for event in feed:
            events.append(event)

    following = asyncio.create_task(follow())
    await b.sync.start()
    b.sync.register_subscription("SELECT * FROM c")
    inserted = await a.store.execute("INSERT INTO c DOCUMENTS ({'_id': 1})")

    def live() -> bool:
        return any(
            isinstance(e, SyncProgress) and e.state.name == "live" and e.documents_received == 1 for e in events
        )

    await eventually(live, "a live subscription with its document")
    connected = [e for e in events if isinstance(e, PeerConnected)]
    assert [e.peer_key for e in connected] == [a.peer_key]

    async def confirmed() -> bool:
        status = await a.sync.status()
        synced = [peer.synced_up_to_local_commit_id or 0 for peer in status if peer.peer_key == b.peer_key]
        return inserted.commit_id is not None and synced != [] and synced[0] >= inserted.commit_id

    await until(polled(confirmed), bool)
    (status,) = await b.sync.status()
    assert status.is_connected
    assert status.documents_received == 1
    assert [state.name for state in status.subscriptions.values()] == ["live"]
    assert status.last_update_received_time is not None
    following.cancel()
    with pytest.raises(asyncio.CancelledError):
        await following


async def test_documents_that_leave_the_query_can_be_evicted(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    b.sync.register_subscription("SELECT * FROM cars WHERE color = 'blue'", evict_on_leave=True)

    async def shown(count: int) -> None:
        async for cars in b.store.observe("SELECT * FROM cars"):
            if len(cars) == count:
                return

    await a.store.execute("INSERT INTO cars DOCUMENTS ({'_id': 1, 'color': 'blue'})")
    await asyncio.wait_for(shown(1), 20)
    await a.store.execute("UPDATE cars SET color = 'red' WHERE _id = 1")
    await asyncio.wait_for(shown(0), 20)
