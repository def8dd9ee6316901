from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from ditto import (
    Ditto,
    DittoError,
    DittoInvalidConfigError,
    DittoValidationError,
    TransportConfig,
    generate_shared_key,
    interface_reports,
)

Opener = Callable[..., Awaitable[Ditto]]
Eventually = Callable[..., Awaitable[None]]


async def test_generated_keys_admit_each_other(opener: Opener) -> None:
    key = generate_shared_key()
    assert key != generate_shared_key()
    ditto = await opener("a", key)
    assert ditto.is_authenticated_mesh
    with pytest.raises(DittoInvalidConfigError, match="private_key"):
        await opener("b", key[:-1])


def test_interfaces_are_listed() -> None:
    reports = interface_reports()
    loopback = [report for report in reports if report.ip == "127.0.0.1"]
    assert loopback
    assert not loopback[0].is_usable
    assert loopback[0].multicast_fault is not None


async def test_a_store_is_checked(ditto: Ditto) -> None:
    await ditto.store.execute("INSERT INTO cars DOCUMENTS ({'_id': 1}), ({'_id': 2})")
    await ditto.store.execute("DELETE FROM cars WHERE _id = 2")
    report = await ditto.store.check()
    assert report.is_clean
    assert (report.documents, report.tombstones, report.collections) == (1, 1, 1)


def test_configs_have_a_form_for_files() -> None:
    config = TransportConfig().add_tcp_server("a:1").enable_http_listen("::1", 8080, True).set_sync_group(3)
    text = config.to_json()
    assert '"sync_group":3' in text
    assert TransportConfig.from_json(text) == config
    assert TransportConfig.from_json("{}") == TransportConfig()
    with pytest.raises(DittoInvalidConfigError):
        TransportConfig.from_json('{"global": {"sync_group": -1}}')
    with pytest.raises(DittoValidationError):
        TransportConfig.from_json("{")


async def test_system_collections_tell_of_sync(pair: tuple[Ditto, Ditto]) -> None:
    a, b = pair
    [row] = (await a.store.execute("SELECT * FROM system:data_sync_info")).values()
    assert row["_id"] == b.peer_key
    assert row["documents"]["sync_session_status"] == "Connected"
    await a.store.execute("ALTER SYSTEM SET user_collection_sync_scopes = {'local': 'LocalPeerOnly'}")
    [scopes] = (await a.store.execute("SHOW user_collection_sync_scopes")).values()
    assert scopes == {"user_collection_sync_scopes": {"local": "LocalPeerOnly"}}
    with pytest.raises(DittoError):
        await a.store.execute("ALTER SYSTEM SET user_collection_sync_scopes = {'local': 'Nobody'}")


async def test_collections_may_be_kept_from_others(pair: tuple[Ditto, Ditto], eventually: Eventually) -> None:
    a, b = pair
    await a.store.execute("ALTER SYSTEM SET user_collection_sync_scopes = {'mine': 'LocalPeerOnly'}")
    counts: dict[str, int] = {}
    for collection in ("mine", "ours"):
        b.sync.register_subscription(f"SELECT * FROM {collection}")
        await a.store.execute(f"INSERT INTO {collection} DOCUMENTS ({{'_id': 1}})")
    b.store.register_observer("SELECT * FROM ours", lambda result: counts.update(ours=len(result)))
    await eventually(lambda: counts == {"ours": 1})
    reasons: list[str | None] = []
    for _ in range(1000):
        [status] = await b.sync.status()
        reasons = [state.reason for state in status.subscriptions.values() if state.name == "failed"]
        if reasons:
            break
        await asyncio.sleep(0.02)
    assert reasons == ["the peer does not share it"]
    assert len(await b.store.execute("SELECT * FROM mine")) == 0
