"""Documents and arguments as JSON text, the form in which they cross into the library.

Integers, floats and bytes keep their kind; bytes travel as ``{"$bytes": "<base64>"}``.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

from ._errors import DittoInternalError, DittoQueryArgumentsError, DittoQueryInvalidError

_BYTES_KEY: Final = "$bytes"
_BYTES_MARK: Final = f'"{_BYTES_KEY}"'

# Shorter runs of digits cannot be an integer that is out of range.
_LONG_INTEGER: Final = re.compile(r"[0-9]{19}")


@runtime_checkable
class Argument(Protocol):
    """Something that arguments hold in a form of its own."""

    def _to_argument(self) -> dict[str, Any]: ...


def _unknown(value: object) -> object:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {_BYTES_KEY: base64.b64encode(value).decode("ascii")}
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, Argument):
        return value._to_argument()
    raise TypeError(f"{type(value).__name__} is not a value that a document can hold")


_ENCODER: Final = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_unknown)


def encode(value: object) -> str:
    """Compact JSON text.

    Raises:
        DittoQueryArgumentsError: The value holds something that a document cannot hold.
    """
    try:
        text = _ENCODER.encode(value)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as e:
        raise DittoQueryArgumentsError(f"not a value: {e}") from e
    if _LONG_INTEGER.search(text):
        _refuse_large_integers(value)
    return text


def _refuse_large_integers(value: object) -> None:
    """Integers outside of 64 bits would silently become floats."""
    if isinstance(value, int):
        if not -(1 << 63) <= value < (1 << 64):
            raise DittoQueryArgumentsError("not a value: an integer is outside of the 64-bit range")
    elif isinstance(value, Mapping):
        for item in value.values():
            _refuse_large_integers(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            _refuse_large_integers(item)


def decode(text: str) -> Any:
    """The value of JSON text that the library made."""
    if _BYTES_MARK in text:
        return json.loads(text, object_hook=_bytes_or_object)
    return json.loads(text)


def _bytes_or_object(fields: dict[str, Any]) -> Any:
    if len(fields) == 1 and isinstance(content := fields.get(_BYTES_KEY), str):
        try:
            return base64.b64decode(content, validate=True)
        except binascii.Error as e:
            raise DittoInternalError(f"malformed bytes from the library: {e}") from e
    return fields


def encode_query(query: str, arguments: Mapping[str, Any] | None) -> tuple[str, str | None]:
    """Checks a statement and encodes its arguments.

    Raises:
        DittoQueryInvalidError: The statement is not Unicode text.
        DittoQueryArgumentsError: The arguments are not a mapping of names to values.
    """
    if not query.isascii():
        try:
            query.encode()
        except UnicodeEncodeError as e:
            raise DittoQueryInvalidError(f"the statement is not valid Unicode text: {e}") from e
    if arguments is None:
        return query, None
    if not isinstance(arguments, Mapping):
        kind = type(arguments).__name__
        raise DittoQueryArgumentsError(f"arguments must be a mapping of names to values, not {kind}")
    return query, encode(dict(arguments))
