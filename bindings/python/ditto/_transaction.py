"""Transactions: several statements that apply together or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any

from . import _ffi, _json
from ._errors import DittoNestedTransactionError, native_errors
from ._result import QueryResult

if TYPE_CHECKING:
    from ._store import Store


class TransactionCompletionAction(str, Enum):
    """What to do with a transaction at its end."""

    COMMIT = "commit"
    ROLLBACK = "rollback"

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True, slots=True)
class TransactionInfo:
    """Facts about a transaction."""

    id: str
    hint: str | None
    is_read_only: bool


class Transaction:
    """A running transaction; valid until the end of its block."""

    def __init__(self, store: Store, native: _ffi.Transaction) -> None:
        self._store = store
        self._native = native
        self._finished = False
        self._commit_id: int | None = None

    async def execute(self, query: str, arguments: Mapping[str, Any] | None = None) -> QueryResult:
        """Runs one statement; it sees the earlier changes of this transaction.

        A statement that fails leaves no trace, and the transaction stays usable.

        Raises:
            DittoTransactionReadOnlyError: The statement writes and the transaction does not.
            DittoTransactionClosedError: The transaction is finished.
        """
        text, encoded = _json.encode_query(query, arguments)
        with native_errors:
            return QueryResult(await self._native.execute(text, encoded))

    async def commit(self) -> int | None:
        """Applies all changes before the end of the block and returns the commit id, if anything changed."""
        return await self._finish(TransactionCompletionAction.COMMIT)

    async def rollback(self) -> None:
        """Discards all changes before the end of the block."""
        await self._finish(TransactionCompletionAction.ROLLBACK)

    async def _finish(self, action: TransactionCompletionAction) -> int | None:
        self._finished = True
        # Whether it was committed must not depend on a cancellation that comes in between.
        return await asyncio.shield(asyncio.ensure_future(self._finish_native(action)))

    async def _finish_native(self, action: TransactionCompletionAction) -> int | None:
        with native_errors:
            if action is TransactionCompletionAction.COMMIT:
                self._commit_id = await self._native.commit()
            else:
                await self._native.rollback()
        return self._commit_id

    @property
    def commit_id(self) -> int | None:
        """The commit id after a commit that changed something."""
        return self._commit_id

    @property
    def info(self) -> TransactionInfo:
        """Facts about this transaction."""
        native = self._native.info()
        return TransactionInfo(native.id, native.hint, native.is_read_only)

    @property
    def store(self) -> Store:
        """The store that it belongs to."""
        return self._store


_current: ContextVar[Transaction | None] = ContextVar("ditto_transaction", default=None)


def refuse_nested(store: Store) -> None:
    """Waiting for the writer inside the block that holds it would never end, so it is an error at once."""
    running = _current.get()
    if running is not None and not running._finished and running.store._ditto is store._ditto:
        raise DittoNestedTransactionError("inside a transaction use the transaction's own execute")


class TransactionScope:
    """What `Store.transaction` returns: the block of a transaction, for ``async with``."""

    def __init__(self, store: Store, hint: str | None, read_only: bool) -> None:
        self._store = store
        self._options = _ffi.TransactionOptions(hint=hint, is_read_only=read_only)
        self._transaction: Transaction | None = None
        self._outer: Transaction | None = None

    async def __aenter__(self) -> Transaction:
        if self._transaction is not None:
            raise RuntimeError("the block of a transaction can be entered once")
        refuse_nested(self._store)
        with native_errors:
            native = await self._store._native.begin(self._options)
        self._transaction = Transaction(self._store, native)
        self._outer = _current.get()
        _current.set(self._transaction)
        return self._transaction

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        transaction = self._transaction
        _current.set(self._outer)
        if transaction is not None and not transaction._finished:
            await (transaction.commit() if error is None else transaction.rollback())
