"""Documents and arguments as JSON text, the form in which they cross into the library.

Integers, floats and bytes keep their kind; bytes travel as ``{"$bytes": "<base64>"}``.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final, Protocol, runtime_checkable

from ._errors import DittoInternalError, DittoQueryArgumentsError, DittoQueryInvalidError

_BYTES_KEY: Final = "$bytes"
_BYTES_MARK: Final = f'"{_BYTES_KEY}"'

# Shorter runs of digits cannot be an integer that is out of range.
_LONG_INTEGER: Final = re.compile(r"[0-9]{19}")


# The library refuses deeper values; the search for a fault goes no further than this.
_DEEPEST: Final = 200


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
        DittoQueryArgumentsError: The value holds what a document cannot hold; the reason names the place.
    """
    try:
        text = _ENCODER.encode(value)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError) as e:
        _refuse(value, "", ())
        raise DittoQueryArgumentsError(f"not a value: {e}") from e
    if _LONG_INTEGER.search(text):
        _refuse(value, "", ())
    return text


def _refuse(value: object, place: str, around: tuple[int, ...]) -> None:
    """Names what a document cannot hold, and where it is."""
    fault = None
    if isinstance(value, (Mapping, list, tuple)) and id(value) in around:
        fault = "holds itself"
    elif len(around) > _DEEPEST:
        # How deep values may be is the library's to say.
        return
    elif isinstance(value, Mapping):
        for name, item in value.items():
            if not isinstance(name, (str, int, float)) and name is not None:
                fault = f"has the name {name!r}, which is not text"
                break
            _refuse(item, f"{place}.{name}" if place else str(name), (*around, id(value)))
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            _refuse(item, f"{place}[{index}]", (*around, id(value)))
    elif isinstance(value, str):
        if not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError as e:
                fault = f"is not valid Unicode text: {e.reason} at character {e.start}"
    elif isinstance(value, float):
        if not math.isfinite(value):
            fault = f"is {value}, which a document cannot hold"
    elif isinstance(value, int):
        # It would become a float.
        if not -(1 << 63) <= value < (1 << 64):
            fault = "is an integer outside of the 64-bit range"
    elif value is not None and not isinstance(value, (bytes, bytearray, memoryview, Argument)):
        fault = f"is a {type(value).__name__}, which a document cannot hold"
    if fault is not None:
        raise DittoQueryArgumentsError(f"{place or 'the value'} {fault}")


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
