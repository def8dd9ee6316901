from __future__ import annotations

import asyncio
import dataclasses
import gc
import threading
from pathlib import Path

import pytest

import ditto as package
from ditto import (
    Ditto,
    DittoClosedError,
    DittoConfig,
    DittoConfigConnect,
    DittoInvalidConfigError,
    DittoPersistenceDirectoryLockedError,
    Durability,
)


async def test_open_is_awaitable_and_a_context_manager(config: DittoConfig) -> None:
    async with Ditto.open(config) as first:
        assert not first.is_closed
    assert first.is_closed
    async with await Ditto.open(config) as second:
        assert not second.is_closed
    assert second.is_closed


async def test_documents_outlive_the_instance(config: DittoConfig) -> None:
    async with Ditto.open(config) as one:
        key = one.peer_key
        await one.store.execute("INSERT INTO c DOCUMENTS (:doc)", {"doc": {"_id": "x", "n": 1}})
    async with Ditto.open(config) as two:
        assert (await two.store.execute("SELECT * FROM c")).values() == [{"_id": "x", "n": 1}]
        assert two.peer_key == key


async def test_close_is_idempotent_and_final(config: DittoConfig) -> None:
    ditto = await Ditto.open(config)
    await ditto.close()
    await ditto.close()
    assert ditto.is_closed
    assert ditto.absolute_persistence_directory is None
    assert "closed" in repr(ditto)
    with pytest.raises(DittoClosedError) as caught:
        await ditto.store.execute("SELECT * FROM c")
    assert caught.value.code == "lifecycle/closed"
    with pytest.raises(DittoClosedError):
        ditto.store.execute_sync("SELECT * FROM c")
    with pytest.raises(DittoClosedError):
        ditto.store.observe("SELECT * FROM c")
    with pytest.raises(DittoClosedError):
        ditto.sync.register_subscription("SELECT * FROM c")
    with pytest.raises(DittoClosedError):
        await ditto.sync.start()
    with pytest.raises(DittoClosedError):
        async with ditto.store.transaction():
            pytest.fail("entered")
    assert not ditto.sync.is_active


async def test_concurrent_closes_all_succeed(config: DittoConfig) -> None:
    ditto = await Ditto.open(config)
    await asyncio.gather(*(ditto.close() for _ in range(5)))
    assert ditto.is_closed


async def test_a_cancelled_close_still_closes(config: DittoConfig) -> None:
    ditto = await Ditto.open(config)
    closing = asyncio.ensure_future(ditto.close())
    await asyncio.sleep(0)
    closing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await closing
    # The directory becomes free although nobody waits for it.
    for _ in range(200):
        try:
            again = await Ditto.open(config)
            break
        except DittoPersistenceDirectoryLockedError:
            await asyncio.sleep(0.02)
    else:
        pytest.fail("the directory stayed locked")
    await again.close()


async def test_a_held_directory_is_refused_at_once(config: DittoConfig) -> None:
    async with Ditto.open(config):
        with pytest.raises(DittoPersistenceDirectoryLockedError) as caught:
            await asyncio.wait_for(Ditto.open(config), 5)
        assert caught.value.code == "store/persistence-directory-locked"
    async with Ditto.open(config) as free_again:
        assert not free_again.is_closed


async def test_an_invalid_id_names_the_field(tmp_path: Path) -> None:
    with pytest.raises(DittoInvalidConfigError, match="database_id"):
        await Ditto.open(DittoConfig("not a uuid", persistence_directory=tmp_path / "a"))
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"database_id": 5}, "database_id"),
        ({"connect": "peers"}, "connect"),
        ({"connect": DittoConfigConnect.small_peers_only("text")}, "private_key"),  # type: ignore[arg-type]
        ({"connect": DittoConfigConnect.small_peers_only(b"no key")}, "private_key"),
        ({"persistence_directory": 5}, "persistence_directory"),
        ({"persistence_directory": "\udcff"}, "persistence_directory"),
        ({"durability": "sometimes"}, "durability"),
    ],
)
async def test_invalid_fields_are_named(config: DittoConfig, change: dict[str, object], field: str) -> None:
    with pytest.raises(DittoInvalidConfigError, match=field):
        await Ditto.open(dataclasses.replace(config, **change))  # type: ignore[arg-type]


async def test_properties(config: DittoConfig, tmp_path: Path) -> None:
    async with Ditto.open(config) as ditto:
        assert ditto.database_id == config.database_id
        assert ditto.absolute_persistence_directory == str((tmp_path / "a").resolve())
        assert ditto.peer_key.startswith("pk")
        ditto.device_name = "näme"
        assert ditto.device_name == "näme"
        assert ditto.is_activated
        assert not ditto.is_authenticated_mesh
        ditto.set_offline_only_license_token("anything")
        assert ditto.config == dataclasses.replace(config, persistence_directory=str(tmp_path / "a"))
        assert ditto.store is ditto.store
        assert ditto.store.ditto is ditto
    assert package.__version__ == Ditto.version()
    assert package.__version__.count(".") == 2
    assert Path(Ditto.default_root_directory()).is_absolute()


def test_config_round_trips_and_hides_its_secret() -> None:
    config = DittoConfig(
        DittoConfig.default_database_id(),
        DittoConfigConnect.small_peers_only(b"secret"),
        Path("data"),
        Durability.FULL,
    )
    assert "secret" not in repr(config)
    assert config.to_dict()["persistenceDirectory"] == "data"
    again = DittoConfig.from_dict(config.to_dict())
    assert again == dataclasses.replace(config, persistence_directory="data")
    assert DittoConfig.from_dict(DittoConfig.default().to_dict()) == DittoConfig.default()
    for broken in ({}, {"databaseId": "x", "connect": {"type": "server"}}, {"databaseId": "x", "connect": 1}):
        with pytest.raises(DittoInvalidConfigError):
            DittoConfig.from_dict(broken)


def test_open_sync_and_execute_sync_need_no_loop(config: DittoConfig) -> None:
    ditto = Ditto.open_sync(config)
    ditto.store.execute_sync("INSERT INTO c DOCUMENTS ({'_id': 1})")
    assert ditto.store.execute_sync("SELECT * FROM c").values() == [{"_id": 1}]
    asyncio.run(ditto.close())


def test_one_instance_serves_several_loops(config: DittoConfig) -> None:
    ditto = Ditto.open_sync(config)
    failures: list[BaseException] = []

    async def insert(n: int) -> None:
        for i in range(20):
            await ditto.store.execute("INSERT INTO c DOCUMENTS (:d)", {"d": {"_id": f"{n}-{i}"}})

    def run(n: int) -> None:
        try:
            asyncio.run(insert(n))
        except BaseException as e:
            failures.append(e)

    threads = [threading.Thread(target=run, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert len(ditto.store.execute_sync("SELECT * FROM c")) == 80
    asyncio.run(ditto.close())


async def test_an_instance_that_is_dropped_warns_and_frees_its_directory(config: DittoConfig) -> None:
    box = [await Ditto.open(config)]

    def drop() -> None:
        box.clear()
        gc.collect()

    with pytest.warns(ResourceWarning, match="unclosed <Ditto"):
        drop()
    async with Ditto.open(config) as again:
        assert not again.is_closed


async def test_close_while_statements_are_pending(config: DittoConfig) -> None:
    ditto = await Ditto.open(config)
    running = [
        asyncio.ensure_future(ditto.store.execute("INSERT INTO c DOCUMENTS (:d)", {"d": {"_id": i}}))
        for i in range(200)
    ]
    await asyncio.sleep(0)
    await ditto.close()
    outcomes = await asyncio.gather(*running, return_exceptions=True)
    done = [i for i, outcome in enumerate(outcomes) if not isinstance(outcome, BaseException)]
    assert all(isinstance(o, DittoClosedError) for o in outcomes if isinstance(o, BaseException)), outcomes
    async with Ditto.open(config) as again:
        kept = {row["_id"] for row in (await again.store.execute("SELECT * FROM c")).values()}
    assert set(done) <= kept
