"""The store: statements, observers and transactions."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from . import _attachment_fetch, _attachments, _ffi, _json, _observers
from ._attachment_fetch import AttachmentFetcher, AttachmentFetchHandler
from ._attachments import Attachment, AttachmentContent, AttachmentHolder, AttachmentToken, AttachmentTokenLike
from ._errors import native_errors
from ._handles import DeliverOn
from ._observers import QueryHandler, QueryResults, SignalNext, StoreObserver
from ._result import QueryResult
from ._tools import StoreCheckReport
from ._transaction import Transaction, TransactionCompletionAction, TransactionScope, refuse_nested

if TYPE_CHECKING:
    from ._instance import Ditto

T = TypeVar("T")


class QueryExecutor(Protocol):
    """What `Store` and `Transaction` have in common, for helper code that takes either."""

    async def execute(self, query: str, arguments: Mapping[str, Any] | None = None) -> QueryResult:
        """Runs one statement."""
        ...


class Store:
    """Gateway to the local data.

    It never waits for peers; what others wrote arrives through subscriptions and is then here like any other
    document.
    """

    def __init__(self, ditto: Ditto, native: _ffi.Store) -> None:
        self._ditto = ditto
        self._native = native

    async def execute(self, query: str, arguments: Mapping[str, Any] | None = None) -> QueryResult:
        """Runs one DQL statement on the local store. It is atomic: on an error nothing of it is kept.

        Args:
            query: The statement.
            arguments: Values of its placeholders, by name without the colon: ``None``, booleans, integers,
                floats, strings, bytes, attachment tokens, and lists and mappings of them. Names of fields that are
                no strings become strings.

        Raises:
            DittoQueryInvalidError: The statement is not valid; ``line`` and ``column`` say where.
            DittoQueryArgumentsError: An argument is missing or no value.
            DittoNestedTransactionError: Called inside a transaction of this store.
        """
        refuse_nested(self)
        text, encoded = _json.encode_query(query, arguments)
        with native_errors:
            return QueryResult(await self._native.execute(text, encoded))

    def check_syntax(self, statement: str) -> None:
        """Checks the text of a statement without running it, for editors and tools.

        Raises:
            DittoQueryInvalidError: The statement is not valid; ``line`` and ``column`` say where.
        """
        text, _ = _json.encode_query(statement, None)
        with native_errors:
            self._native.check_syntax(text)

    def execute_sync(self, query: str, arguments: Mapping[str, Any] | None = None) -> QueryResult:
        """As `execute`, but blocks the calling thread."""
        refuse_nested(self)
        text, encoded = _json.encode_query(query, arguments)
        with native_errors:
            return QueryResult(self._native.execute_sync(text, encoded))

    def register_observer(
        self,
        query: str,
        handler: QueryHandler,
        arguments: Mapping[str, Any] | None = None,
        *,
        deliver_on: DeliverOn = "loop",
    ) -> StoreObserver:
        """Calls ``handler`` with the current result of a SELECT soon after, and again whenever it has changed.

        Calls for one observer are in order and never overlap; changes in quick succession arrive as one. The
        observer lives until it is cancelled or the instance closes, also if the handle is dropped.

        Args:
            query: A SELECT.
            handler: Takes the result. What it raises is logged. On the loop it may be a coroutine function;
                the next call then waits for it.
            arguments: As for `execute`.
            deliver_on: ``"loop"`` calls on the event loop that is running now. ``"thread"`` calls on a thread of
                the library: return quickly, and do not wait there for a loop that may be cancelling.
        """
        return _observers.register(self._ditto, self._native, query, handler, arguments, deliver_on)

    def register_observer_with_signal_next(
        self,
        query: str,
        handler: Callable[[QueryResult, SignalNext], object],
        arguments: Mapping[str, Any] | None = None,
        *,
        deliver_on: DeliverOn = "loop",
    ) -> StoreObserver:
        """As `register_observer`, but after one call the observer stays silent until the signal is called.

        The next call folds everything in between into one result.
        """
        return _observers.register_with_signal_next(
            self._ditto, self._native, query, handler, arguments, deliver_on
        )

    def observe(self, query: str, arguments: Mapping[str, Any] | None = None) -> QueryResults:
        """The results of a SELECT as an async iterator: the current one at once, then one per change.

        Call it on the event loop that iterates. Wrap it in ``async with`` to end it with a block.
        """
        return QueryResults._open(self._ditto, self._native, query, arguments)

    @property
    def observers(self) -> frozenset[StoreObserver]:
        """The observers that are active now."""
        held: list[StoreObserver] = self._ditto._handles.of_type(StoreObserver)
        return frozenset(observer for observer in held if not observer.is_cancelled)

    def transaction(self, hint: str | None = None, read_only: bool = False) -> TransactionScope:
        """Opens a block of statements that apply together or not at all.

        ::

            async with ditto.store.transaction() as txn:
                await txn.execute("UPDATE a SET n = 1 WHERE _id = 'x'")
                await txn.execute("UPDATE b SET n = 2 WHERE _id = 'y'")

        The end of the block commits; an exception that leaves it rolls back and goes on. At most one transaction
        that writes runs at a time; others wait their turn. Inside the block use ``txn``: the store itself raises.

        Args:
            hint: Free text for logs.
            read_only: One snapshot that runs beside others and refuses to write.
        """
        return TransactionScope(self, hint, read_only)

    async def transaction_with(
        self, fn: Callable[[Transaction], Awaitable[T]], *, hint: str | None = None, read_only: bool = False
    ) -> T:
        """Runs ``fn`` in a transaction and returns its value; an exception rolls back and goes on.

        A function that returns a `TransactionCompletionAction` decides with it.
        """
        async with TransactionScope(self, hint, read_only) as transaction:
            value = await fn(transaction)
            if value is TransactionCompletionAction.ROLLBACK:
                await transaction.rollback()
        return value

    async def new_attachment(
        self, content: AttachmentContent, metadata: Mapping[str, str] | None = None
    ) -> Attachment:
        """Keeps a copy of a file, of bytes, or of what an open file gives until its end, as an attachment.

        Put its token into a document; the metadata travels with it. A file is never in memory as a whole. An open
        file is read on a thread of the library.

        Raises:
            DittoAttachmentFileNotFoundError: There is no such file.
            DittoAttachmentFilePermissionDeniedError: It cannot be read.
            DittoAttachmentCreateFailedError: It could not be copied.
            DittoSizeLimitExceededError: It is larger than 1 TiB.
            DittoStorageFullError: No space is left.
        """
        return await _attachments.create(self._native, content, metadata)

    def fetch_attachment(
        self,
        token: AttachmentTokenLike,
        handler: AttachmentFetchHandler | None = None,
        *,
        timeout: timedelta | float | None = None,
        unavailable_after: timedelta | float | None = None,
        deliver_on: DeliverOn = "loop",
    ) -> AttachmentFetcher:
        """Begins to fetch an attachment from whoever has it; ``await`` the fetcher for the attachment.

        It survives disconnections and goes on where it was, also in another run of the app, with any peer that has
        some of it. Peers further off are reached through others, which need not hold it. By default it waits as
        long as it takes.

        Args:
            token: A token, an attachment, the value of a field, JSON text or bytes.
            handler: Takes what happens: progress, then exactly one event that ends it. What it raises is logged.
                On the loop it may be a coroutine function; the next call then waits for it.
            timeout: It fails when it is not here after this time; a number counts seconds.
            unavailable_after: It ends as deleted when other peers are there, all that can be asked were, and none
                has had any of it for this time; at least 3 s.
            deliver_on: ``"loop"`` calls on the event loop that is running now, ``"thread"`` on a thread of the
                library: return quickly there.

        Raises:
            DittoAttachmentTokenInvalidError: It is no token.
        """
        return _attachment_fetch.fetch(
            self._ditto, self._native, token, handler, timeout, unavailable_after, deliver_on
        )

    @property
    def attachment_fetchers(self) -> frozenset[AttachmentFetcher]:
        """The fetches that run now."""
        held: list[AttachmentFetcher] = self._ditto._handles.of_type(AttachmentFetcher)
        return frozenset(fetcher for fetcher in held if not fetcher.is_ended)

    def attachment(self, token: AttachmentTokenLike) -> Attachment | None:
        """The attachment of a token, if all of it is here.

        Raises:
            DittoAttachmentTokenInvalidError: It is no token.
        """
        wanted = AttachmentToken.of(token)._native()
        with native_errors:
            here = self._native.attachment(wanted)
        return None if here is None else Attachment(here)

    async def attachment_holders(
        self, token: AttachmentTokenLike, patience: timedelta | float = 3.0
    ) -> list[AttachmentHolder]:
        """Asks the mesh who has an attachment, and waits so many seconds for the answers. Nothing is fetched.

        Raises:
            DittoAttachmentTokenInvalidError: It is no token.
        """
        wanted = AttachmentToken.of(token)._native()
        with native_errors:
            found = await self._native.attachment_holders(wanted, _attachment_fetch.milliseconds(patience))
        return [AttachmentHolder(h.peer_key, h.is_complete, h.hops) for h in found]

    async def collect_attachments(self) -> int:
        """Deletes the attachments that no object and no document here refers to, and returns how many went.

        Only those that the run before found so too. It also runs by itself.
        """
        with native_errors:
            gone: int = await self._native.collect_attachments()
        return gone

    async def check(self) -> StoreCheckReport:
        """Recomputes every digest, index entry and sequence number. It reads the whole database."""
        with native_errors:
            return StoreCheckReport._of(await self._native.check())

    @property
    def ditto(self) -> Ditto:
        """The instance that it belongs to."""
        return self._ditto
