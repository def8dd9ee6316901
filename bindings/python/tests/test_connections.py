from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from ditto import (
    ConnectionEvents,
    ConnectionPriority,
    ConnectionRecord,
    ConnectionRequest,
    ConnectionRequestAuthorization,
    ConnectionType,
    Ditto,
    DittoPeerNotFoundError,
    TransportConfig,
)

Opener = Callable[..., Awaitable[Ditto]]
Eventually = Callable[..., Awaitable[None]]


async def listen(ditto: Ditto) -> str:
    await ditto.set_transport_config(TransportConfig().enable_tcp_listen("127.0.0.1", 0))
    await ditto.sync.start()
    address = ditto.sync.listen_address
    assert address is not None
    return address


async def dial(ditto: Ditto, address: str) -> None:
    await ditto.set_transport_config(TransportConfig().add_tcp_server(address))
    await ditto.sync.start()


async def first(events: ConnectionEvents, accept: Callable[[ConnectionRecord], bool]) -> ConnectionRecord:
    async def search() -> ConnectionRecord:
        async for record in events:
            if accept(record):
                return record
        pytest.fail("the iteration ended")

    return await asyncio.wait_for(search(), 20)


def sees(a: Ditto, b: Ditto) -> bool:
    return b.peer_key in {peer.peer_key for peer in a.presence.graph.remote_peers}


async def test_the_app_decides_who_connects(opener: Opener, eventually: Eventually) -> None:
    a, b = await opener("a"), await opener("b")
    b.presence.set_peer_metadata({"role": "kitchen"})
    asked: list[ConnectionRequest] = []

    async def decide(request: ConnectionRequest) -> ConnectionRequestAuthorization:
        await asyncio.sleep(0)
        asked.append(request)
        first_time = len(asked) == 1
        return ConnectionRequestAuthorization.DENY if first_time else ConnectionRequestAuthorization.ALLOW

    a.presence.set_connection_request_handler(decide)
    events = b.connection_events()
    await dial(b, await listen(a))
    denied = await first(events, lambda record: record.reason is not None)
    assert (denied.kind, denied.reason, denied.by_us) == ("refused", "denied", False)
    await eventually(lambda: sees(a, b) and sees(b, a), "the second attempt")
    assert len(asked) >= 2
    assert asked[0].peer_key == b.peer_key
    assert asked[0].connection_type is ConnectionType.ACCESS_POINT
    assert asked[0].peer_metadata == {"role": "kitchen"}
    assert asked[0].identity_service_metadata == {}


async def test_a_handler_that_fails_or_hesitates_denies(opener: Opener) -> None:
    a, b = await opener("a"), await opener("b")

    def broken(request: ConnectionRequest) -> ConnectionRequestAuthorization:
        raise RuntimeError(f"of a test, about {request.connection_type}")

    async def slow(_: ConnectionRequest) -> ConnectionRequestAuthorization:
        await asyncio.Event().wait()
        return ConnectionRequestAuthorization.ALLOW

    a.presence.set_connection_request_handler(broken)
    events = a.connection_events()
    await dial(b, await listen(a))
    assert (await first(events, lambda record: record.reason is not None)).reason == "denied"
    a.presence.set_connection_request_handler(slow, timeout=timedelta(milliseconds=20))
    assert (await first(events, lambda record: record.reason is not None)).by_us
    assert not sees(a, b)


async def test_a_handler_may_block_and_be_taken_away(opener: Opener, eventually: Eventually) -> None:
    a, b, c = await opener("a"), await opener("b"), await opener("c")
    asked: list[str] = []

    def decide(request: ConnectionRequest) -> ConnectionRequestAuthorization:
        time.sleep(0.01)
        asked.append(request.peer_key)
        return ConnectionRequestAuthorization.ALLOW

    assert a.presence.connection_request_handler is None
    a.presence.connection_request_handler = decide
    assert a.presence.connection_request_handler is decide
    address = await listen(a)
    await dial(b, address)
    await eventually(lambda: sees(a, b))
    a.presence.connection_request_handler = None
    await dial(c, address)
    await eventually(lambda: sees(a, c))
    assert asked == [b.peer_key]


async def test_diagnostics_and_events_tell_what_links_do(opener: Opener) -> None:
    a, b = await opener("a"), await opener("b")
    assert a.transport_diagnostics().transports == ()
    events = a.connection_events()
    await dial(b, await listen(a))
    connected = await first(events, lambda record: record.kind == "connected")
    assert (connected.peer_key, connected.connection_type) == (b.peer_key, ConnectionType.ACCESS_POINT)
    assert connected.number > 0
    assert connected.by_us is None
    assert connected in a.recent_connection_events
    now = a.transport_diagnostics()
    assert (now.active_transports, now.total_connected_peers) == (1, 1)
    tcp = now.transport_by_type("TCP")
    assert tcp is not None
    assert tcp.is_active
    assert tcp.has_activity
    assert tcp.total_peers >= 1
    assert tcp.connected[0].peer_key == b.peer_key
    assert not tcp.connected[0].is_outgoing
    assert tcp.connected[0].site_id is not None
    assert now.transport_by_type("AccessPoint") is None
    await b.close()
    gone = await first(events, lambda record: record.kind == "disconnected")
    assert gone.peer_key == b.peer_key
    assert gone.time >= connected.time
    await a.close()

    async def rest() -> int:
        return len([record async for record in events])

    assert await asyncio.wait_for(rest(), 20) >= 0, "a closed instance has no more events"


async def test_a_peer_that_is_not_wanted_is_not_dialled(opener: Opener, eventually: Eventually) -> None:
    a, b = await opener("a"), await opener("b")
    with pytest.raises(DittoPeerNotFoundError):
        b.experimental.set_priority_for_peer(ConnectionPriority.HIGH, "nobody")
    b.experimental.set_priority_for_peer(ConnectionPriority.DONT_CONNECT, a.peer_key)
    events = b.connection_events()
    await dial(b, await listen(a))
    refused = await first(events, lambda record: record.kind == "refused")
    assert refused.by_us
    assert not sees(b, a)
    b.experimental.set_priority_for_peer(ConnectionPriority.NORMAL, a.peer_key)
    b.sync.network_changed()
    await eventually(lambda: sees(a, b) and sees(b, a))


async def test_overlap_groups_are_seen(pair: tuple[Ditto, Ditto], eventually: Eventually) -> None:
    a, b = pair
    assert a.experimental.bus is a.bus
    assert ConnectionPriority.HIGH > ConnectionPriority.NORMAL > ConnectionPriority.DONT_CONNECT
    assert a.presence.graph.remote_peers[0].query_overlap_group == 0
    b.experimental.set_query_overlap_group(7)
    b.experimental.set_priority_for_query_overlap_group(ConnectionPriority.HIGH, 7)
    await eventually(lambda: a.presence.graph.remote_peers[0].query_overlap_group == 7)
    with pytest.raises(ValueError, match="0 to 255"):
        b.experimental.set_query_overlap_group(256)
