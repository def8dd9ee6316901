from __future__ import annotations

import asyncio

import pytest

from ditto import (
    Ditto,
    DittoConfig,
    DittoError,
    DittoNestedTransactionError,
    DittoTransactionClosedError,
    DittoTransactionReadOnlyError,
    Transaction,
    TransactionCompletionAction,
)

INSERT = "INSERT INTO c DOCUMENTS (:doc)"


async def count(ditto: Ditto) -> int:
    return len(await ditto.store.execute("SELECT * FROM c"))


async def test_the_end_of_the_block_commits(ditto: Ditto) -> None:
    async with ditto.store.transaction(hint="two inserts") as txn:
        inserted = await txn.execute(INSERT, {"doc": {"_id": 1}})
        assert inserted.mutated_document_ids() == [1]
        assert inserted.commit_id is None
        await txn.execute(INSERT, {"doc": {"_id": 2}})
        assert len(await txn.execute("SELECT * FROM c")) == 2
        assert txn.info.hint == "two inserts"
        assert not txn.info.is_read_only
        assert txn.info.id
        assert txn.store is ditto.store
    assert txn.commit_id is not None
    assert await count(ditto) == 2
    with pytest.raises(DittoTransactionClosedError):
        await txn.execute("SELECT * FROM c")


async def test_an_exception_rolls_back_and_goes_on(ditto: Ditto) -> None:
    used: list[Transaction] = []

    async def fail() -> None:
        async with ditto.store.transaction() as txn:
            used.append(txn)
            await txn.execute(INSERT, {"doc": {"_id": 1}})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await fail()
    assert await count(ditto) == 0
    assert used[0].commit_id is None


async def test_a_handled_error_leaves_the_transaction_usable(ditto: Ditto) -> None:
    async with ditto.store.transaction() as txn:
        await txn.execute(INSERT, {"doc": {"_id": 1}})
        with pytest.raises(DittoError):
            await txn.execute(INSERT, {"doc": {"_id": 1}})
        with pytest.raises(DittoError):
            await txn.execute("SELEKT")
        await txn.execute(INSERT, {"doc": {"_id": 2}})
    assert await count(ditto) == 2


async def test_the_block_may_finish_early(ditto: Ditto) -> None:
    async with ditto.store.transaction() as txn:
        await txn.execute(INSERT, {"doc": {"_id": 1}})
        await txn.rollback()
        with pytest.raises(DittoTransactionClosedError):
            await txn.execute(INSERT, {"doc": {"_id": 2}})
    assert await count(ditto) == 0
    async with ditto.store.transaction() as txn:
        await txn.execute(INSERT, {"doc": {"_id": 1}})
        assert await txn.commit() == txn.commit_id
        assert await count(ditto) == 1
    with pytest.raises(DittoTransactionClosedError):
        await txn.commit()


async def test_a_function_returns_its_value(ditto: Ditto) -> None:
    async def body(txn: Transaction) -> str:
        await txn.execute(INSERT, {"doc": {"_id": 1}})
        return "value"

    assert await ditto.store.transaction_with(body, hint="h") == "value"
    assert await count(ditto) == 1

    async def undecided(txn: Transaction) -> TransactionCompletionAction:
        await txn.execute(INSERT, {"doc": {"_id": 2}})
        return TransactionCompletionAction.ROLLBACK

    assert await ditto.store.transaction_with(undecided) is TransactionCompletionAction.ROLLBACK
    assert await count(ditto) == 1

    async def failing(txn: Transaction) -> None:
        await txn.execute(INSERT, {"doc": {"_id": 3}})
        raise KeyError("x")

    with pytest.raises(KeyError):
        await ditto.store.transaction_with(failing)
    assert await count(ditto) == 1
    assert str(TransactionCompletionAction.COMMIT) == "commit"


async def test_read_only_sees_one_snapshot_and_refuses_to_write(ditto: Ditto) -> None:
    await ditto.store.execute(INSERT, {"doc": {"_id": 1}})
    async with ditto.store.transaction(read_only=True) as txn:
        assert txn.info.is_read_only
        assert len(await txn.execute("SELECT * FROM c")) == 1
        with pytest.raises(DittoTransactionReadOnlyError) as caught:
            await txn.execute(INSERT, {"doc": {"_id": 2}})
        assert caught.value.code == "store/transaction-read-only"

        # Another task is no part of the block, so it may write meanwhile.
        write = ditto.store.transaction()
        finished = asyncio.Event()

        async def other() -> None:
            txn._finished = True  # The task inherits the context; it stands for one that does not.
            try:
                async with write as writing:
                    await writing.execute(INSERT, {"doc": {"_id": 3}})
            finally:
                txn._finished = False
            finished.set()

        await asyncio.wait_for(asyncio.ensure_future(other()), 10)
        assert finished.is_set()
        assert len(await txn.execute("SELECT * FROM c")) == 1
    assert await count(ditto) == 2


async def test_the_store_inside_its_own_transaction_is_an_error_at_once(ditto: Ditto) -> None:
    async with ditto.store.transaction() as txn:

        async def inner(inner_txn: Transaction) -> None:
            await inner_txn.execute("SELECT * FROM c")

        with pytest.raises(DittoNestedTransactionError) as caught:
            await asyncio.wait_for(ditto.store.execute("SELECT * FROM c"), 5)
        assert caught.value.code == "store/nested-transaction"
        with pytest.raises(DittoNestedTransactionError):
            await asyncio.wait_for(ditto.store.transaction_with(inner), 5)
        with pytest.raises(DittoNestedTransactionError):
            ditto.store.execute_sync("SELECT * FROM c")
        await txn.execute(INSERT, {"doc": {"_id": 1}})
    assert await count(ditto) == 1


async def test_writers_wait_their_turn(ditto: Ditto) -> None:
    await ditto.store.execute(INSERT, {"doc": {"_id": "counter", "n": 0}})

    async def increment() -> None:
        async with ditto.store.transaction() as txn:
            [row] = (await txn.execute("SELECT n FROM c WHERE _id = 'counter'")).values()
            await asyncio.sleep(0)
            await txn.execute("UPDATE c SET n = :n WHERE _id = 'counter'", {"n": row["n"] + 1})

    await asyncio.gather(*(increment() for _ in range(25)))
    assert (await ditto.store.execute("SELECT n FROM c")).values() == [{"n": 25}]


async def test_a_cancelled_block_rolls_back_and_lets_others_in(ditto: Ditto) -> None:
    entered = asyncio.Event()

    async def hold() -> None:
        async with ditto.store.transaction() as txn:
            await txn.execute(INSERT, {"doc": {"_id": 1}})
            entered.set()
            await asyncio.sleep(60)

    holding = asyncio.ensure_future(hold())
    await asyncio.wait_for(entered.wait(), 10)
    # One that waits for its turn and is cancelled must not keep it.
    waiting = asyncio.ensure_future(ditto.store.transaction().__aenter__())
    await asyncio.sleep(0.05)
    waiting.cancel()
    holding.cancel()
    for task in (waiting, holding):
        with pytest.raises(asyncio.CancelledError):
            await task
    async with ditto.store.transaction() as txn:
        await asyncio.wait_for(txn.execute(INSERT, {"doc": {"_id": 2}}), 10)
    assert (await ditto.store.execute("SELECT * FROM c")).values() == [{"_id": 2}]


async def test_a_block_is_entered_once(ditto: Ditto) -> None:
    scope = ditto.store.transaction()
    async with scope:
        pass
    with pytest.raises(RuntimeError, match="once"):
        await scope.__aenter__()


async def test_instances_do_not_disturb_each_other(config: DittoConfig, ditto: Ditto) -> None:
    path = f"{config.persistence_directory}-other"
    async with (
        Ditto.open(DittoConfig(config.database_id, persistence_directory=path)) as other,
        ditto.store.transaction() as txn,
    ):
        await txn.execute(INSERT, {"doc": {"_id": 1}})
        await other.store.execute(INSERT, {"doc": {"_id": 2}})
    assert await count(ditto) == 1
