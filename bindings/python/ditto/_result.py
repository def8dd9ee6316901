"""Results of statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, overload

from . import _ffi, _json


class QueryResultItem:
    """One row of a result. It may outlive the result."""

    __slots__ = ("_value",)

    def __init__(self, value: dict[str, Any]) -> None:
        self._value = value

    @property
    def value(self) -> dict[str, Any]:
        """The row: column names and their values. Every access gives the same dictionary."""
        return self._value

    def json_string(self) -> str:
        """The row as compact JSON text. Bytes appear as ``{"$bytes": "<base64>"}``."""
        return _json.encode(self._value)

    def json_bytes(self) -> bytes:
        """The row as UTF-8 JSON."""
        return self.json_string().encode()

    def __repr__(self) -> str:
        return f"QueryResultItem({self._value!r})"


class QueryResult(Sequence[QueryResultItem]):
    """The immutable result of one statement: a sequence of rows.

    Rows are decoded together when the first one is used.
    """

    __slots__ = ("_items", "_native")

    def __init__(self, native: _ffi.QueryResult) -> None:
        self._native = native
        self._items: tuple[QueryResultItem, ...] | None = None

    @property
    def items(self) -> Sequence[QueryResultItem]:
        """All rows in order."""
        if self._items is None:
            self._items = tuple(map(QueryResultItem, _json.decode(self._native.items_json)))
        return self._items

    @property
    def item_count(self) -> int:
        """Number of rows; nothing is decoded for it."""
        count: int = self._native.item_count
        return count

    def item(self, index: int) -> QueryResultItem | None:
        """The row at ``index``, or ``None`` if there are fewer."""
        return self.items[index] if 0 <= index < len(self) else None

    def values(self) -> list[dict[str, Any]]:
        """All rows as dictionaries, in order."""
        return [item.value for item in self.items]

    def mutated_document_ids(self) -> list[Any]:
        """Ids of the documents that this statement changed locally; empty for SELECT."""
        ids = self._native.mutated_document_ids_json
        decoded: list[Any] = [] if ids is None else _json.decode(ids)
        return decoded

    @property
    def commit_id(self) -> int | None:
        """Names the local store state after a mutating statement; grows with every commit of this device."""
        commit: int | None = self._native.commit_id
        return commit

    def close(self) -> None:
        """Does nothing: a result owns its rows. It is here for code that closes results everywhere."""

    def __enter__(self) -> QueryResult:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self.item_count

    def __iter__(self) -> Iterator[QueryResultItem]:
        return iter(self.items)

    @overload
    def __getitem__(self, index: int) -> QueryResultItem: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[QueryResultItem]: ...

    def __getitem__(self, index: int | slice) -> QueryResultItem | Sequence[QueryResultItem]:
        return self.items[index]

    def __repr__(self) -> str:
        return f"QueryResult(item_count={self.item_count}, commit_id={self.commit_id})"
