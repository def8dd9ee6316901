from __future__ import annotations

import pytest

from ditto import Diff, Differ, DiffMove, Ditto, DittoClosedError, DittoQueryArgumentsError

SELECT = "SELECT * FROM c ORDER BY n"


async def put(ditto: Ditto, key: str, n: int) -> None:
    insert = "INSERT INTO c DOCUMENTS ({'_id': :key, 'n': :n}) ON ID CONFLICT DO UPDATE"
    await ditto.store.execute(insert, {"key": key, "n": n})


async def test_results_are_compared_with_the_last(ditto: Ditto) -> None:
    with Differ() as differ:
        for key, n in [("a", 1), ("b", 2), ("c", 3)]:
            await put(ditto, key, n)
        first = differ.diff(await ditto.store.execute(SELECT))
        assert first == Diff(insertions=frozenset({0, 1, 2}))
        assert not differ.diff(await ditto.store.execute(SELECT))
        await put(ditto, "a", 9)
        await put(ditto, "d", 0)
        await ditto.store.execute("DELETE FROM c WHERE _id = 'b'")
        # a b c -> d c a
        diff = differ.diff(await ditto.store.execute(SELECT))
        assert Diff(diff.insertions, diff.deletions, diff.updates) == Diff(
            frozenset({0}), frozenset({1}), frozenset({2})
        )
        assert diff.moves in ((DiffMove(0, 2),), (DiffMove(2, 1),))
        assert diff.to_dict()["moves"] == [{"from": diff.moves[0].from_, "to": diff.moves[0].to}]
    with pytest.raises(DittoClosedError):
        differ.diff([])


async def test_items_and_dictionaries_are_rows_too(ditto: Ditto) -> None:
    await put(ditto, "a", 1)
    await put(ditto, "b", 2)
    result = await ditto.store.execute(SELECT)
    differ = Differ()
    assert differ.diff(list(result)) == Diff(insertions=frozenset({0, 1}))
    assert differ.diff([]) == Diff(deletions=frozenset({0, 1}))
    assert differ.diff(result).insertions == {0, 1}
    changed = differ.diff([{"_id": "a", "n": 5}, {"_id": "b", "n": 2}])
    assert changed == Diff(updates=frozenset({0}))
    with pytest.raises(DittoQueryArgumentsError):
        differ.diff([{"_id": object()}])
