from __future__ import annotations

import pytest

from ditto import Ditto, DittoClosedError, QueryResult

COUNT = 600  # More than one page.


@pytest.fixture
async def filled(ditto: Ditto) -> Ditto:
    for first in range(0, COUNT, 100):
        documents = [{"_id": i, "f": i / 2, "b": bytes([i % 256])} for i in range(first, first + 100)]
        async with ditto.store.transaction() as txn:
            for document in documents:
                await txn.execute("INSERT INTO c DOCUMENTS (:d)", {"d": document})
    return ditto


async def select(ditto: Ditto) -> QueryResult:
    return await ditto.store.execute("SELECT * FROM c ORDER BY _id")


async def test_rows_come_together_page_by_page_or_alone(filled: Ditto) -> None:
    result = await select(filled)
    want = [{"_id": i, "f": i / 2, "b": bytes([i % 256])} for i in range(COUNT)]
    assert len(result) == result.item_count == COUNT
    assert result.values() == want
    assert [item.value for item in result] == want
    assert [item.value["_id"] for item in result[597:]] == [597, 598, 599]
    assert result[-1].value == want[-1]
    last = result.item(COUNT - 1)
    assert last is not None
    assert last.value == want[-1]
    assert result.item(COUNT) is None
    assert result.item(-1) is None
    with pytest.raises(IndexError):
        _ = result[COUNT]
    assert type(result[2].value["f"]) is float


async def test_items_decode_when_asked_and_forget_when_told(filled: Ditto) -> None:
    result = await select(filled)
    for item in [result[300], list(result)[300]]:
        assert not item.is_materialized
        assert item.json_bytes() == b'{"_id":300,"b":{"$bytes":"LA=="},"f":150.0}'
        assert item.cbor_data().startswith(b"\xa3")
        assert not item.is_materialized
        first = item.value
        assert item.value is first
        assert item.is_materialized
        item.dematerialize()
        item.dematerialize()
        assert not item.is_materialized
        assert item.value == first
        assert item.value is not first
        item.materialize()
        assert item.is_materialized


async def test_items_outlive_their_result(filled: Ditto) -> None:
    with await select(filled) as result:
        taken = result[7]
        walked = next(iter(result))
    assert len(result) == 0
    assert result.values() == []
    assert list(result) == []
    assert result.item(0) is None
    assert result.commit_id is None
    result.close()
    await filled.close()
    assert taken.value["_id"] == 7
    assert walked.value["_id"] == 0
    taken.close()
    taken.close()
    with pytest.raises(DittoClosedError):
        _ = taken.value
    with pytest.raises(DittoClosedError):
        taken.json_string()


async def test_commit_ids_name_states(ditto: Ditto) -> None:
    write = await ditto.store.execute("INSERT INTO c DOCUMENTS ({'_id': 1})")
    assert write.commit_id is not None
    assert (await select(ditto)).commit_id == write.commit_id
    async with ditto.store.transaction() as txn:
        inside = await txn.execute("UPDATE c SET n = 1")
        assert inside.commit_id is None
    assert inside.commit_id is not None
    assert inside.commit_id > write.commit_id
    assert inside.mutated_document_ids() == [1]


async def test_statements_can_be_checked(ditto: Ditto) -> None:
    ditto.store.check_syntax("SELECT * FROM c WHERE a = :a")
    with pytest.raises(Exception, match="line 2") as error:
        ditto.store.check_syntax("SELECT *\nFRO c")
    assert getattr(error.value, "code", None) == "query/invalid"
