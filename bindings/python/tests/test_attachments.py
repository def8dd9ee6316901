from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ditto import (
    Attachment,
    AttachmentFetchCancelled,
    AttachmentFetchCompleted,
    AttachmentFetchDeleted,
    AttachmentFetchEvent,
    AttachmentFetchProgress,
    AttachmentToken,
    Ditto,
    DittoAttachmentCreateFailedError,
    DittoAttachmentFetchFailedError,
    DittoAttachmentFileNotFoundError,
    DittoAttachmentTokenInvalidError,
)

CONTENT = bytes(range(256)) * 4_000
INSERT = "INSERT INTO cars DOCUMENTS (:car)"
SELECT = "SELECT photo FROM cars"
ID = "0a" * 32

Pair = tuple[Ditto, Ditto]
Eventually = Callable[..., Awaitable[None]]


async def make(ditto: Ditto, content: bytes = CONTENT) -> Attachment:
    return await ditto.store.new_attachment(content, {"name": "x", "created_at": "today"})


async def test_an_attachment_shows_what_it_was_made_of(ditto: Ditto, tmp_path: Path) -> None:
    source = tmp_path / "photo.jpg"
    source.write_bytes(CONTENT)
    a = await ditto.store.new_attachment(source, {"name": "x", "created_at": "today"})
    assert (a.len, a.size, a.metadata) == (len(CONTENT), len(CONTENT), {"name": "x", "created_at": "today"})
    assert (a.created_at, a.updated_at) == ("today", None)
    assert await a.data() == CONTENT
    assert a.path.read_bytes() == CONTENT
    assert a == await make(ditto)
    assert a.id == (await ditto.store.new_attachment(io.BytesIO(CONTENT))).id

    out = tmp_path / "out"
    out.write_text("older")
    await a.copy_to(out)
    assert out.read_bytes() == CONTENT
    with pytest.raises(Exception, match="missing"):
        await a.copy_to(tmp_path / "missing" / "out")


async def test_its_reader_is_a_file(ditto: Ditto) -> None:
    a = await make(ditto)
    with a.open() as file:
        a.close()
        assert file.read(3) == CONTENT[:3]
        assert file.seek(-2, io.SEEK_END) == len(CONTENT) - 2
        assert file.read() == CONTENT[-2:]
        assert file.read() == b""
        file.seek(1_000)
        assert (file.tell(), file.read(300_000)) == (1_000, CONTENT[1_000:301_000])
        with pytest.raises(ValueError, match="negative"):
            file.seek(-1)
    with pytest.raises(ValueError, match="closed"):
        file.read()


async def test_a_closed_one_cannot_be_used(ditto: Ditto) -> None:
    with await make(ditto) as a:
        assert repr(a).startswith("<Attachment ")
    a.close()
    with pytest.raises(ValueError, match="closed"):
        a.token.to_bytes()
    assert repr(a) == "<Attachment, closed>"


async def test_what_cannot_be_made_says_why(ditto: Ditto, tmp_path: Path) -> None:
    with pytest.raises(DittoAttachmentFileNotFoundError):
        await ditto.store.new_attachment(tmp_path / "missing")
    with pytest.raises(DittoAttachmentCreateFailedError):
        await ditto.store.new_attachment(tmp_path)
    with pytest.raises(TypeError):
        await ditto.store.new_attachment(7)  # type: ignore[arg-type]

    class Broken:
        def read(self, _size: int, /) -> bytes:
            raise OSError("the tape has torn")

    with pytest.raises(OSError, match="torn"):
        await ditto.store.new_attachment(Broken())
    with pytest.raises(TypeError):
        await ditto.store.new_attachment(io.StringIO("text"))  # type: ignore[arg-type]


def test_tokens_are_read_back_from_every_form() -> None:
    token = AttachmentToken(ID, 7, {"name": 'a "b".jpg'})
    assert (token.id, token.length) == (ID, 7)
    for form in (token.to_bytes(), str(token), token.to_dict(), token):
        assert AttachmentToken.of(form) == token
    assert AttachmentToken.from_str(f'{{"id":"{ID}","len":7}}') == AttachmentToken(ID, 7)
    assert json.loads(str(token)) == token.to_dict()
    assert len({token, AttachmentToken.from_bytes(token.to_bytes())}) == 1


def test_what_is_no_token_is_refused() -> None:
    for id, length, metadata in [
        ("", 1, {}),
        (ID.upper(), 1, {}),
        (ID, -1, {}),
        (ID, 1 << 80, {}),
        (ID, (1 << 40) + 1, {}),
        (ID, 1.5, {}),
        (7, 1, {}),
        (ID, 1, {"a": 1}),
    ]:
        with pytest.raises(DittoAttachmentTokenInvalidError):
            AttachmentToken(id, length, metadata)  # type: ignore[arg-type]
    for form in ("", "{", "[]", {}, {"id": ID}, {"id": ID, "len": object()}, b"", b"\xff"):
        with pytest.raises(DittoAttachmentTokenInvalidError):
            AttachmentToken.of(form)


async def test_it_is_fetched_from_a_peer_whose_document_refers_to_it(pair: Pair, eventually: Eventually) -> None:
    a, b = pair
    made = await make(a)
    b.sync.register_subscription("SELECT * FROM cars")
    await a.store.execute(INSERT, {"car": {"_id": 1, "photo": made.token}})
    rows: list[dict[str, object]] = []

    async def arrived() -> None:
        async for result in b.store.observe(SELECT):
            rows[:] = result.values()
            if rows:
                return

    await asyncio.wait_for(arrived(), 20)
    photo = rows[0]["photo"]
    assert photo == made.token.to_dict()
    assert b.store.attachment(photo) is None

    events: list[AttachmentFetchEvent] = []
    fetcher = b.store.fetch_attachment(photo, events.append)
    got = await asyncio.wait_for(fetcher, 20)
    assert got == made
    assert await got.data() == CONTENT
    assert (fetcher.is_completed, fetcher.is_ended, fetcher.progress) == (True, True, 1.0)
    assert fetcher.bytes_downloaded == fetcher.total_bytes == len(CONTENT)
    await eventually(lambda: events and isinstance(events[-1], AttachmentFetchCompleted), "the last event")
    assert all(isinstance(event, AttachmentFetchProgress) for event in events[:-1])
    assert b.store.attachment(made) == made
    assert b.store.attachment_fetchers == frozenset()

    holders = await b.store.attachment_holders(made.token, 1)
    assert [(h.peer_key, h.is_complete, h.hops) for h in holders] == [
        (a.presence.graph.local_peer.peer_key, True, 1)
    ]


async def test_a_fetch_that_nobody_can_serve_waits_until_it_is_cancelled(ditto: Ditto) -> None:
    events: list[AttachmentFetchEvent] = []
    told = threading.Event()

    def handler(event: AttachmentFetchEvent) -> None:
        # How far it is may be told before.
        if not isinstance(event, AttachmentFetchProgress):
            events.append(event)
            told.set()
        raise RuntimeError("what a handler raises is logged")

    fetcher = ditto.store.fetch_attachment(AttachmentToken(ID, 9), handler, deliver_on="thread")
    assert ditto.store.attachment_fetchers == {fetcher}
    assert not fetcher.is_ended
    fetcher.cancel()
    fetcher.cancel()
    with pytest.raises(DittoAttachmentFetchFailedError, match="cancelled"):
        await fetcher
    assert told.wait(20)
    assert events == [AttachmentFetchCancelled()]
    assert fetcher.is_ended
    assert not fetcher.is_completed


async def test_closing_the_instance_ends_fetches(ditto: Ditto) -> None:
    fetcher = ditto.store.fetch_attachment(AttachmentToken(ID, 9))
    await ditto.close()
    with pytest.raises(DittoAttachmentFetchFailedError):
        await asyncio.wait_for(fetcher, 20)


async def test_it_can_give_up_by_itself(pair: Pair) -> None:
    _, b = pair
    with pytest.raises(DittoAttachmentFetchFailedError):
        await b.store.fetch_attachment(AttachmentToken(ID, 9), timeout=0.05)
    ended: asyncio.Queue[AttachmentFetchEvent] = asyncio.Queue()

    async def handler(event: AttachmentFetchEvent) -> None:
        if not isinstance(event, AttachmentFetchProgress):
            await ended.put(event)

    fetcher = b.store.fetch_attachment(AttachmentToken(ID, 9), handler, unavailable_after=0)
    assert await asyncio.wait_for(ended.get(), 20) == AttachmentFetchDeleted()
    with pytest.raises(DittoAttachmentFetchFailedError, match="no peer"):
        await fetcher


async def test_what_nothing_refers_to_is_collected(ditto: Ditto) -> None:
    kept, gone = await make(ditto), await make(ditto, b"other")
    token = gone.token
    gone.close()
    assert [await ditto.store.collect_attachments() for _ in range(3)] == [0, 1, 0]
    assert ditto.store.attachment(token) is None
    assert await kept.data() == CONTENT
