"""What changed between two results, for lists on a screen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple

from . import _ffi, _json
from ._errors import DittoClosedError, native_errors
from ._result import QueryResult, QueryResultItem


class DiffMove(NamedTuple):
    """A row that changed its place among the rows that are in both lists."""

    from_: int
    """Index in the old list."""
    to: int
    """Index in the new list."""


@dataclass(frozen=True)
class Diff:
    """The difference between an old and a new list of rows. Indexes count from 0."""

    insertions: frozenset[int] = frozenset()
    """Indexes in the new list of rows that were not in the old one."""
    deletions: frozenset[int] = frozenset()
    """Indexes in the old list of rows that are not in the new one."""
    updates: frozenset[int] = frozenset()
    """Indexes in the new list of rows whose content changed."""
    moves: tuple[DiffMove, ...] = field(default=())
    """Rows that are elsewhere among those that stayed, ascending by ``to``. A row that moved and changed is here
    and in ``updates``; rows that only shift because of others have not moved."""

    def __bool__(self) -> bool:
        """Whether anything changed."""
        return bool(self.insertions or self.deletions or self.updates or self.moves)

    def to_dict(self) -> dict[str, list[Any]]:
        """The four lists by name, ascending, moves as ``{"from": 3, "to": 0}``."""
        return {
            "insertions": sorted(self.insertions),
            "deletions": sorted(self.deletions),
            "updates": sorted(self.updates),
            "moves": [{"from": move.from_, "to": move.to} for move in self.moves],
        }


class Differ:
    """Computes the difference between the rows it is given and the rows of the call before.

    Two rows are the same row when their ``_id`` is equal. The first call reports every row as an insertion. It
    keeps 32 bytes a row.

    ::

        differ = Differ()
        async for cars in ditto.store.observe("SELECT * FROM cars ORDER BY name"):
            for index in sorted(differ.diff(cars).insertions):
                print("new:", cars[index].value)
    """

    def __init__(self) -> None:
        self._native: _ffi.Differ | None = _ffi.Differ()  # type: ignore[no-untyped-call]

    def diff(self, rows: QueryResult | Iterable[QueryResultItem | Mapping[str, Any]]) -> Diff:
        """Compares these rows with those of the last call and remembers them in their place.

        A whole result is compared inside of the library. Items and dictionaries have to be handed over.

        Raises:
            DittoClosedError: The differ or an item was closed.
            DittoQueryArgumentsError: A row is no value.
        """
        if self._native is None:
            raise DittoClosedError("the differ is closed")
        with native_errors:
            if isinstance(rows, QueryResult) and rows._native is not None:
                native = self._native.diff_result(rows._native)
            else:
                texts = (
                    row.json_string() if isinstance(row, QueryResultItem) else _json.encode(row) for row in rows
                )
                native = self._native.diff_json(f"[{','.join(texts)}]")
        return Diff(
            frozenset(native.insertions),
            frozenset(native.deletions),
            frozenset(native.updates),
            tuple(DiffMove(move._from, move.to) for move in native.moves),
        )

    def close(self) -> None:
        """Lets go of what it remembers; it cannot be used afterwards. Repeating is harmless."""
        self._native = None

    def __enter__(self) -> Differ:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
