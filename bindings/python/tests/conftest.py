from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from ditto import Ditto, DittoConfig, DittoConfigConnect, TransportConfig

Opener = Callable[..., Awaitable[Ditto]]


@pytest.fixture
def database_id() -> str:
    """A database of its own for each test."""
    return str(uuid.uuid4())


@pytest.fixture
def config(tmp_path: Path, database_id: str) -> DittoConfig:
    return DittoConfig(database_id, persistence_directory=tmp_path / "a")


@pytest.fixture
async def opener(tmp_path: Path, database_id: str) -> AsyncIterator[Opener]:
    """Opens instances of one database, each in a folder of its own, and closes them at the end."""
    async with AsyncExitStack() as stack:

        async def open_named(name: str = "a", private_key: bytes | None = None) -> Ditto:
            config = DittoConfig(database_id, DittoConfigConnect.small_peers_only(private_key), tmp_path / name)
            ditto = await stack.enter_async_context(Ditto.open(config))
            ditto.device_name = name
            return ditto

        yield open_named


@pytest.fixture
async def ditto(opener: Opener) -> Ditto:
    return await opener()


@pytest.fixture
def eventually() -> Callable[..., Awaitable[None]]:
    """Waits until a condition holds; fails when it does not within the limit."""

    async def wait(condition: Callable[[], object], what: str = "the condition", limit: float = 20.0) -> None:
        deadline = time.monotonic() + limit
        while not condition():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come about within {limit} s")
            await asyncio.sleep(0.02)

    return wait


@pytest.fixture
async def pair(opener: Opener, eventually: Callable[..., Awaitable[None]]) -> tuple[Ditto, Ditto]:
    """Two instances that are connected over loopback TCP, without discovery."""
    a, b = await opener("a"), await opener("b")

    def listen(transports: TransportConfig) -> None:
        transports.disable_all_peer_to_peer()
        transports.enable_tcp_listen("127.0.0.1", 0)

    await a.update_transport_config(listen)
    await a.sync.start()
    address = a.sync.listen_address
    assert address is not None

    def dial(transports: TransportConfig) -> None:
        transports.disable_all_peer_to_peer()
        transports.add_tcp_server(address)

    await b.update_transport_config(dial)
    await b.sync.start()
    await eventually(
        lambda: len(a.presence.graph.remote_peers) == 1 and len(b.presence.graph.remote_peers) == 1,
        "the connection",
    )
    return a, b
