from __future__ import annotations

import math
import pickle
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any

import pytest

from ditto import (
    Ditto,
    DittoDocumentIdError,
    DittoError,
    DittoQueryArgumentsError,
    DittoQueryError,
    DittoQueryInvalidError,
    QueryExecutor,
)


async def test_values_keep_their_kind(ditto: Ditto) -> None:
    document = {
        "_id": "kinds",
        "integer": 1,
        "float": 1.0,
        "large": (1 << 63) - 1,
        "unsigned": (1 << 64) - 1,
        "negative": -(1 << 63),
        "tiny": 5e-324,
        "huge": 1.7976931348623157e308,
        "bytes": b"\x00\x01\xff",
        "empty": b"",
        "text": 'quote " backslash \\ ünï 🙂 \u0000',
        "yes": True,
        "nothing": None,
        "list": [1, 1.0, b"x", None, {"deep": b"y"}],
        "map": {"a": {"b": [False]}},
    }
    await ditto.store.execute("INSERT INTO c DOCUMENTS (:doc)", {"doc": document})
    [row] = (await ditto.store.execute("SELECT * FROM c")).values()
    assert row == document
    assert [type(row[name]) for name in ("integer", "float", "yes", "bytes")] == [int, float, bool, bytes]
    assert [type(item) for item in row["list"]] == [int, float, bytes, type(None), dict]


async def test_arguments_may_be_any_mapping_and_tuples_are_lists(ditto: Ditto) -> None:
    arguments = MappingProxyType(
        {"doc": MappingProxyType({"_id": ("a", 1), "view": memoryview(b"m"), "array": bytearray(b"b")})}
    )
    await ditto.store.execute("INSERT INTO c DOCUMENTS (:doc)", arguments)
    [row] = (await ditto.store.execute("SELECT * FROM c")).values()
    assert row == {"_id": ["a", 1], "view": b"m", "array": b"b"}


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        1 << 64,
        -(1 << 63) - 1,
        object(),
        {1, 2},
        datetime(2026, 1, 1, tzinfo=timezone.utc),
        "\ud800",
        {("tuple", "key"): 1},
    ],
    ids=repr,
)
async def test_what_is_no_value_is_refused_before_anything_happens(ditto: Ditto, value: Any) -> None:
    with pytest.raises(DittoQueryArgumentsError) as caught:
        await ditto.store.execute("INSERT INTO c DOCUMENTS (:doc)", {"doc": {"_id": 1, "value": value}})
    assert caught.value.code == "query/arguments-invalid"
    assert len(await ditto.store.execute("SELECT * FROM c")) == 0


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({1, 2}, r"doc\.list\[1\]\.x is a set, which a document cannot hold"),
        (float("nan"), r"doc\.list\[1\]\.x is nan"),
        (1 << 64, r"doc\.list\[1\]\.x is an integer outside of the 64-bit range"),
        ("\udc00", r"doc\.list\[1\]\.x is not valid Unicode text: .* at character 0"),
        ({(1, 2): 3}, r"doc\.list\[1\]\.x has the name \(1, 2\), which is not text"),
    ],
)
async def test_the_place_of_what_is_no_value_is_named(ditto: Ditto, value: Any, reason: str) -> None:
    with pytest.raises(DittoQueryArgumentsError, match=reason):
        await ditto.store.execute("SELECT * FROM c", {"doc": {"list": [0, {"x": value}]}})


async def test_a_value_that_holds_itself_is_refused(ditto: Ditto) -> None:
    value: list[Any] = []
    value.append({"back": value})
    with pytest.raises(DittoQueryArgumentsError, match=r"v\[0\]\.back holds itself"):
        await ditto.store.execute("SELECT * FROM c", {"v": value})


async def test_long_digits_in_text_are_no_large_integers(ditto: Ditto) -> None:
    await ditto.store.execute("INSERT INTO c DOCUMENTS (:doc)", {"doc": {"_id": "9" * 40, "f": 1e300}})
    [row] = (await ditto.store.execute("SELECT * FROM c")).values()
    assert row == {"_id": "9" * 40, "f": 1e300}


async def test_arguments_must_be_a_mapping(ditto: Ditto) -> None:
    with pytest.raises(DittoQueryArgumentsError, match="mapping"):
        await ditto.store.execute("SELECT * FROM c", [1])  # type: ignore[arg-type]


async def test_a_missing_argument_is_named(ditto: Ditto) -> None:
    with pytest.raises(DittoQueryArgumentsError, match="wanted"):
        await ditto.store.execute("SELECT * FROM c WHERE a = :wanted", {"other": 1})


async def test_faults_have_their_place(ditto: Ditto) -> None:
    with pytest.raises(DittoQueryInvalidError) as caught:
        await ditto.store.execute("SELECT *\nFROM c\n  WHERE = 1")
    error = caught.value
    assert isinstance(error, DittoQueryError)
    assert isinstance(error, DittoError)
    assert (error.code, error.line, error.column) == ("query/invalid", 3, 9)
    assert str(error).startswith("DittoError(query/invalid): ")
    assert str(error).endswith("(line 3, column 9)")
    assert error.reason
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.code, again.line, str(again)) == (type(error), error.code, 3, str(error))


async def test_columns_count_characters(ditto: Ditto) -> None:
    with pytest.raises(DittoQueryInvalidError) as caught:
        await ditto.store.execute("SELECT '🙂ü' FROM FROM c")
    with pytest.raises(DittoQueryInvalidError) as plain:
        await ditto.store.execute("SELECT 'ab' FROM FROM c")
    assert (caught.value.line, caught.value.column) == (plain.value.line, plain.value.column)


async def test_a_statement_that_is_no_text_is_refused(ditto: Ditto) -> None:
    with pytest.raises(DittoQueryInvalidError):
        await ditto.store.execute("SELECT '\ud800'")


async def test_a_bad_id_is_refused(ditto: Ditto) -> None:
    with pytest.raises(DittoDocumentIdError):
        await ditto.store.execute("INSERT INTO c DOCUMENTS (:doc)", {"doc": {"_id": 1.5}})
    assert len(await ditto.store.execute("SELECT * FROM c")) == 0


async def test_a_statement_is_atomic(ditto: Ditto) -> None:
    await ditto.store.execute("INSERT INTO c DOCUMENTS ({'_id': 'b'})")
    with pytest.raises(DittoError):
        await ditto.store.execute("INSERT INTO c DOCUMENTS (:a), (:b)", {"a": {"_id": "a"}, "b": {"_id": "b"}})
    assert (await ditto.store.execute("SELECT * FROM c")).values() == [{"_id": "b"}]


async def test_results_are_sequences(ditto: Ditto) -> None:
    documents = [{"_id": i, "n": i * i} for i in range(5)]
    await ditto.store.execute(
        "INSERT INTO c DOCUMENTS (:a), (:b), (:c), (:d), (:e)", dict(zip("abcde", documents, strict=True))
    )
    result = await ditto.store.execute("SELECT * FROM c ORDER BY n")
    assert len(result) == result.item_count == 5
    assert [item.value for item in result] == result.values() == documents
    assert result[0].value == documents[0]
    assert result[-1].value == documents[4]
    assert [item.value for item in result[1:3]] == documents[1:3]
    assert [item.value["n"] for item in reversed(result)] == [16, 9, 4, 1, 0]
    item = result.item(2)
    assert item is not None
    assert item.json_string() == '{"_id":2,"n":4}'
    assert item.json_bytes() == b'{"_id":2,"n":4}'
    assert result.item(5) is None
    assert result.item(-1) is None
    with pytest.raises(IndexError):
        result[5]
    with result as same:
        assert same is result
    assert item.value == documents[2]


async def test_mutations_tell_what_they_changed(ditto: Ditto) -> None:
    inserted = await ditto.store.execute(
        "INSERT INTO c DOCUMENTS (:a), (:b)", {"a": {"_id": "a", "n": 1}, "b": {"_id": b"b", "n": 2}}
    )
    assert len(inserted) == 0
    assert sorted(map(repr, inserted.mutated_document_ids())) == ["'a'", "b'b'"]
    assert inserted.commit_id is not None
    updated = await ditto.store.execute("UPDATE c SET n = 3 WHERE _id = :id", {"id": b"b"})
    assert updated.mutated_document_ids() == [b"b"]
    assert updated.commit_id is not None
    assert updated.commit_id > inserted.commit_id
    selected = await ditto.store.execute("SELECT n FROM c WHERE _id = :id", {"id": b"b"})
    assert selected.values() == [{"n": 3}]
    assert selected.mutated_document_ids() == []
    deleted = await ditto.store.execute("DELETE FROM c WHERE _id = 'a'")
    assert deleted.mutated_document_ids() == ["a"]


async def test_store_and_transaction_are_executors(ditto: Ditto) -> None:
    async def count(executor: QueryExecutor) -> int:
        return len(await executor.execute("SELECT * FROM c"))

    await ditto.store.execute("INSERT INTO c DOCUMENTS ({'_id': 1})")
    assert await count(ditto.store) == 1
    async with ditto.store.transaction() as txn:
        assert await count(txn) == 1


async def test_large_results(ditto: Ditto) -> None:
    documents = {f"d{i}": {"_id": i, "text": "x" * 100} for i in range(500)}
    placeholders = ", ".join(f"(:{name})" for name in documents)
    for batch in range(4):
        arguments = {name: {**d, "_id": d["_id"] + 500 * batch} for name, d in documents.items()}  # type: ignore[operator]
        await ditto.store.execute(f"INSERT INTO c DOCUMENTS {placeholders}", arguments)
    result = await ditto.store.execute("SELECT * FROM c")
    assert {item.value["_id"] for item in result} == set(range(2000))
