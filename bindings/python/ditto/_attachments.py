"""Attachments: binary objects that documents refer to, and that travel apart from them."""

from __future__ import annotations

import io
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

from . import _ffi, _json
from ._errors import DittoAttachmentTokenInvalidError, DittoQueryArgumentsError, native_errors


@dataclass(frozen=True, slots=True)
class AttachmentToken:
    """The small reference to an attachment that documents hold. Immutable.

    In the arguments of a statement it makes its field an attachment; in strict mode the field has to be declared
    as ``ATTACHMENT``.

    Attributes:
        id: Hash of the content in 64 lower-case hexadecimal digits, the same on all peers.
        length: Length of the content in bytes, at most 1 TiB.
        metadata: Texts of the app.

    Raises:
        DittoAttachmentTokenInvalidError: Building one whose id or length cannot be.
    """

    id: str
    length: int
    metadata: Mapping[str, str] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "metadata", dict(self.metadata))
        str(self)

    @classmethod
    def from_bytes(cls, data: bytes | bytearray | memoryview) -> AttachmentToken:
        """Reads what `to_bytes` gives."""
        with native_errors:
            return cls._of(_ffi.attachment_token_from_bytes(bytes(data)))

    @classmethod
    def from_str(cls, text: str) -> AttachmentToken:
        """Reads JSON text."""
        with native_errors:
            return cls._of(_ffi.attachment_token_from_json(text))

    @classmethod
    def of(cls, token: AttachmentTokenLike) -> AttachmentToken:
        """The token of an attachment, the value of a field, JSON text or bytes."""
        if isinstance(token, AttachmentToken):
            return token
        if isinstance(token, Attachment):
            return token.token
        if isinstance(token, str):
            return cls.from_str(token)
        if isinstance(token, Mapping):
            try:
                return cls.from_str(_json.encode(token))
            except DittoQueryArgumentsError as e:
                raise DittoAttachmentTokenInvalidError(e.reason) from e
        return cls.from_bytes(token)

    def to_bytes(self) -> bytes:
        """The form that documents hold, in CBOR."""
        with native_errors:
            data: bytes = _ffi.attachment_token_to_bytes(self._native())
        return data

    def to_dict(self) -> dict[str, Any]:
        """The form that documents hold: ``id``, ``len`` and ``metadata``."""
        return {"id": self.id, "len": self.length, "metadata": dict(self.metadata)}

    def _to_argument(self) -> dict[str, Any]:
        return {"$attachment": self.to_dict()}

    def __str__(self) -> str:
        """JSON text."""
        with native_errors:
            text: str = _ffi.attachment_token_to_json(self._native())
        return text

    def _native(self) -> Any:
        try:
            return _lowered(_ffi.AttachmentToken(id=self.id, len=self.length, metadata=dict(self.metadata)))
        except (TypeError, ValueError) as e:
            raise DittoAttachmentTokenInvalidError(f"no attachment token: {e}") from e

    @classmethod
    def _of(cls, native: Any) -> AttachmentToken:
        return cls(native.id, native.len, native.metadata)


def _lowered(token: Any) -> Any:
    """The token, if its fields are of the right kinds and in range."""
    for name, value in (("id", token.id), *token.metadata.items()):
        if not isinstance(name, str) or not isinstance(value, str):
            raise TypeError(f"{name!r}: {value!r} is no text")
    if not isinstance(token.len, int) or not 0 <= token.len < 1 << 64:
        raise ValueError(f"the length {token.len!r} cannot be")
    return token


class Attachment:
    """A binary object that is here, all of it. Immutable; named by its content.

    It is kept as long as an object like this lives, or a document here refers to it. What has neither is deleted
    in the background, after 10 to 20 minutes by default. ``with`` lets go of it with the block.
    """

    def __init__(self, native: _ffi.Attachment) -> None:
        self._native: _ffi.Attachment | None = native

    def _here(self) -> _ffi.Attachment:
        if self._native is None:
            raise ValueError("the attachment was closed")
        return self._native

    @property
    def id(self) -> str:
        """Hash of the content in hexadecimal digits, the same on all peers."""
        text: str = self._here().id()
        return text

    @property
    def len(self) -> int:
        """Length in bytes."""
        length: int = self._here().len()
        return length

    @property
    def size(self) -> int:
        """Length in bytes."""
        return self.len

    @property
    def metadata(self) -> dict[str, str]:
        """Texts of the app, which travel with the token."""
        texts: dict[str, str] = self._here().metadata()
        return texts

    @property
    def created_at(self) -> str | None:
        """When it was created, as the app has put it into the metadata under ``created_at`` or ``createdAt``."""
        text: str | None = self._here().created_at()
        return text

    @property
    def updated_at(self) -> str | None:
        """When it was changed, as the app has put it into the metadata under ``updated_at`` or ``updatedAt``."""
        text: str | None = self._here().updated_at()
        return text

    @property
    def token(self) -> AttachmentToken:
        """The reference to put into a document."""
        return AttachmentToken._of(self._here().token())

    @property
    def path(self) -> Path:
        """The file that holds the content. It must not be changed, and is there while this object is open."""
        return Path(self._here().path())

    async def data(self) -> bytes:
        """The whole content in memory."""
        with native_errors:
            content: bytes = await self._here().data()
        return content

    def open(self) -> io.BufferedReader:
        """Opens it for reading from any place, as a file that blocks. It keeps the attachment while it is open."""
        with native_errors:
            return io.BufferedReader(_Raw(self._here().open(), self.len), 256 << 10)

    async def copy_to(self, path: str | os.PathLike[str]) -> None:
        """Copies the content to a file. Its folder must exist.

        A file that is there is replaced, at once and only when the copy is complete.
        """
        with native_errors:
            await self._here().copy_to(os.fspath(path))

    def close(self) -> None:
        """Lets go of it; later use raises ``ValueError``. Repeating is harmless."""
        self._native = None

    def __enter__(self) -> Attachment:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __eq__(self, other: object) -> bool:
        return self.token == other.token if isinstance(other, Attachment) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.token)

    def __repr__(self) -> str:
        return "<Attachment, closed>" if self._native is None else f"<Attachment {self.id}, {self.len} bytes>"


AttachmentTokenLike = AttachmentToken | Attachment | Mapping[str, Any] | str | bytes
"""What stands for a token: one, an attachment, the value of a field, JSON text, or the bytes of one."""


class _Raw(io.RawIOBase):
    """Reads an attachment piece by piece."""

    def __init__(self, native: _ffi.AttachmentReader, size: int) -> None:
        self._native: _ffi.AttachmentReader | None = native
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer)
        with native_errors:
            data = self._open().read(len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        at = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if at < 0:
            raise ValueError(f"negative seek position {at}")
        with native_errors:
            self._open().seek(at)
        self._at = at
        return at

    def tell(self) -> int:
        return self._at

    def close(self) -> None:
        self._native = None
        super().close()

    def _open(self) -> _ffi.AttachmentReader:
        if self._native is None:
            raise ValueError("I/O operation on closed file")
        return self._native


class Readable(Protocol):
    """An open file, or anything else that gives its bytes piece by piece."""

    def read(self, size: int, /) -> bytes:
        """At most so many bytes; none at the end."""
        ...


AttachmentContent = str | os.PathLike[str] | bytes | bytearray | memoryview | Readable
"""What an attachment is made of: the path of a file, bytes, or an open file."""


class _Source(_ffi.AttachmentSource):
    def __init__(self, file: Readable) -> None:
        self._file = file
        self.error: Exception | None = None

    def read(self, max: int) -> bytes:
        try:
            return bytes(self._file.read(max))
        except Exception as e:
            self.error = e
            raise


async def create(
    store: _ffi.Store,
    source: AttachmentContent,
    metadata: Mapping[str, str] | None,
) -> Attachment:
    """Makes an attachment of a file, of bytes, or of what an open file gives."""
    texts = dict(metadata or {})
    with native_errors:
        if isinstance(source, (str, os.PathLike)):
            return Attachment(await store.new_attachment(os.fspath(source), texts))
        if isinstance(source, (bytes, bytearray, memoryview)):
            return Attachment(await store.new_attachment_from_bytes(bytes(source), texts).completion())
        if not hasattr(source, "read"):
            raise TypeError(f"an attachment is made of a path, bytes or an open file, not {type(source).__name__}")
        pieces = _Source(source)
        try:
            return Attachment(await store.new_attachment_from_source(pieces, texts))
        except Exception:
            # What the app's file has raised says more than that something was raised.
            if pieces.error is not None:
                raise pieces.error from None
            raise


@dataclass(frozen=True, slots=True)
class AttachmentHolder:
    """Who has an attachment, or some of it.

    Attributes:
        peer_key: Which peer.
        is_complete: Whether it has all of it.
        hops: How many connections away it is: 1 for a neighbour.
    """

    peer_key: str
    is_complete: bool
    hops: int
