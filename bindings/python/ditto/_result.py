"""Results of statements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, overload

from . import _ffi, _json
from ._errors import DittoClosedError

# Rows that are decoded with one call into the library when somebody goes through a result.
_PAGE = 256


class _Page:
    """Some neighbouring rows, decoded together when the first of them is used."""

    __slots__ = ("_count", "_first", "_native", "_rows")

    def __init__(self, native: _ffi.QueryResult, first: int, count: int) -> None:
        self._native: _ffi.QueryResult | None = native
        self._first = first
        self._count = count
        self._rows: list[Any] | None = None

    def row(self, offset: int) -> Any:
        rows = self._rows
        if rows is None:
            assert self._native is not None
            rows = self._rows = _json.decode(self._native.page_json(self._first, self._count))
            self._native = None
        return rows[offset]


class QueryResultItem:
    """One row of a result. It may outlive the result.

    It is decoded at the first use of `value` and then stays decoded, until `dematerialize`.
    """

    __slots__ = ("_index", "_native", "_offset", "_page", "_value")

    def __init__(self, native: _ffi.QueryResult, index: int, page: _Page | None = None, offset: int = 0) -> None:
        self._native: _ffi.QueryResult | None = native
        self._index = index
        # The page is good for one decoding; a later one is this row's own.
        self._page = page
        self._offset = offset
        self._value: dict[str, Any] | None = None

    @property
    def value(self) -> dict[str, Any]:
        """The row: column names and their values. Every access gives the same dictionary while it is materialized.

        Raises:
            DittoClosedError: The item was closed.
        """
        if self._value is None:
            native = self._open()
            if self._page is None:
                self._value = _json.decode(native.page_json(self._index, 1))[0]
            else:
                self._value = self._page.row(self._offset)
                self._page = None
        value: dict[str, Any] = self._value
        return value

    def materialize(self) -> None:
        """Decodes the row now and keeps it; does nothing when that is done."""
        _ = self.value

    def dematerialize(self) -> None:
        """Forgets the decoded form, to save memory; the next use decodes again."""
        self._value = None

    @property
    def is_materialized(self) -> bool:
        """Whether the decoded form is in memory."""
        return self._value is not None

    def json_string(self) -> str:
        """The row as compact JSON text, not kept. Bytes appear as ``{"$bytes": "<base64>"}``."""
        text: str = self._item().json_string()
        return text

    def json_bytes(self) -> bytes:
        """The row as UTF-8 JSON, not kept."""
        return self.json_string().encode()

    def cbor_data(self) -> bytes:
        """The row as CBOR, not kept."""
        data: bytes = self._item().cbor_data()
        return data

    def close(self) -> None:
        """Lets go of everything; the item cannot be used afterwards. Repeating is harmless."""
        self._native = self._page = self._value = None

    def _open(self) -> _ffi.QueryResult:
        if self._native is None:
            raise DittoClosedError("the item is closed")
        return self._native

    def _item(self) -> _ffi.QueryResultItem:
        item = self._open().item(self._index)
        assert item is not None
        return item

    def __repr__(self) -> str:
        state = "closed" if self._native is None else "decoded" if self.is_materialized else "encoded"
        return f"<QueryResultItem {self._index}, {state}>"


class QueryResult(Sequence[QueryResultItem]):
    """The immutable result of one statement: a sequence of rows.

    Rows stay encoded in the library until they are used. To go through many, iterate or use `values`: rows then
    cross many at a time.
    """

    __slots__ = ("_count", "_native")

    def __init__(self, native: _ffi.QueryResult) -> None:
        self._native: _ffi.QueryResult | None = native
        self._count: int = native.item_count()

    @property
    def items(self) -> Sequence[QueryResultItem]:
        """All rows in order."""
        return tuple(self)

    @property
    def item_count(self) -> int:
        """Number of rows; nothing is decoded for it."""
        return self._count

    def item(self, index: int) -> QueryResultItem | None:
        """The row at ``index``, or ``None`` if there are fewer."""
        if self._native is None or not 0 <= index < self._count:
            return None
        return QueryResultItem(self._native, index)

    def values(self) -> list[dict[str, Any]]:
        """All rows as dictionaries, in order, with one call into the library. They are not kept here."""
        rows: list[dict[str, Any]] = [] if self._native is None else _json.decode(self._native.items_json())
        return rows

    def json_string(self) -> str:
        """All rows as the text of a JSON array."""
        text: str = "[]" if self._native is None else self._native.items_json()
        return text

    def mutated_document_ids(self) -> list[Any]:
        """Ids of the documents that this statement changed locally; empty for SELECT."""
        ids = None if self._native is None else self._native.mutated_document_ids_json()
        decoded: list[Any] = [] if ids is None else _json.decode(ids)
        return decoded

    @property
    def commit_id(self) -> int | None:
        """Names the local store state after the statement; grows with every commit of this device.

        A mutation has that of its commit, a SELECT the newest one of when it began. ``None`` inside a transaction
        that writes until that is committed, and for the results of observers.
        """
        commit: int | None = None if self._native is None else self._native.commit_id()
        return commit

    def close(self) -> None:
        """Lets go of the rows; the result is empty afterwards. Items that were taken out stay usable.

        Repeating is harmless. Without it the rows go with the last reference.
        """
        self._native = None
        self._count = 0

    def __enter__(self) -> QueryResult:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[QueryResultItem]:
        # A handler may close the result while it goes through it.
        native, count = self._native, self._count
        if native is None:
            return
        for first in range(0, count, _PAGE):
            size = min(_PAGE, count - first)
            page = _Page(native, first, size)
            for offset in range(size):
                yield QueryResultItem(native, first + offset, page, offset)

    @overload
    def __getitem__(self, index: int) -> QueryResultItem: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[QueryResultItem]: ...

    def __getitem__(self, index: int | slice) -> QueryResultItem | Sequence[QueryResultItem]:
        if isinstance(index, slice):
            return self.items[index]
        item = self.item(index + self._count if index < 0 else index)
        if item is None:
            raise IndexError("the result has fewer rows")
        return item

    def __repr__(self) -> str:
        return f"QueryResult(item_count={self.item_count}, commit_id={self.commit_id})"
