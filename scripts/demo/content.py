"""Documents as comparable content: reading a JSON-lines file, canonical text, differences."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Document = dict[str, Any]


class BadFile(Exception):
    """The file cannot be used; the text says where and why."""


@dataclass
class Sample:
    """The documents of a file, each id once."""

    documents: list[Document]
    bytes: int
    generated_ids: int
    replaced: int


def canonical(value: Any) -> str:
    """One text per value: keys sorted, integers and floats kept apart."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def read_sample(path: str) -> Sample:
    """Reads a JSON-lines file. A missing `_id` is made from the line; the last of equal ids stays."""
    found: dict[str, Document] = {}
    size = generated = lines = 0
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            size += len(line)
            if not line.strip():
                continue
            try:
                document = json.loads(line, parse_constant=_refuse_constant)
            except ValueError as error:
                raise BadFile(f"{path}, line {number}: not JSON: {error}") from None
            if not isinstance(document, dict):
                raise BadFile(f"{path}, line {number}: a document is a JSON object")
            if "_id" not in document:
                document["_id"] = f"line-{number}"
                generated += 1
            lines += 1
            found[canonical(document["_id"])] = document
    if not found:
        raise BadFile(f"{path} has no document")
    return Sample(list(found.values()), size, generated, lines - len(found))


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def batches(documents: list[Document], most: int, bytes_most: int = 8 << 20) -> Iterable[list[Document]]:
    """Slices of at most `most` documents and about `bytes_most` bytes, at least one document each."""
    batch: list[Document] = []
    held = 0
    for document in documents:
        weight = len(canonical(document))
        if batch and (len(batch) == most or held + weight > bytes_most):
            yield batch
            batch, held = [], 0
        batch.append(document)
        held += weight
    if batch:
        yield batch


class Content:
    """The documents of a collection as one peer holds them."""

    def __init__(self, documents: Iterable[Document]) -> None:
        self.by_id: dict[str, str] = {}
        for document in documents:
            self.by_id[canonical(document.get("_id"))] = canonical(document)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Content) and self.by_id == other.by_id

    def __len__(self) -> int:
        return len(self.by_id)

    def document(self, document_id: Any) -> Document:
        """The document with this id; empty when there is none."""
        return json.loads(self.by_id.get(canonical(document_id), "{}"))

    def without(self, document_id: Any, fields: Iterable[str]) -> Content:
        """A copy in which one document lacks these fields."""
        copy = Content([])
        copy.by_id = dict(self.by_id)
        if canonical(document_id) in copy.by_id:
            left = {name: value for name, value in self.document(document_id).items() if name not in fields}
            copy.by_id[canonical(document_id)] = canonical(left)
        return copy

    def bytes(self) -> int:
        return sum(len(text.encode()) for text in self.by_id.values())

    def digest(self) -> str:
        """Short hash over the sorted content."""
        state = hashlib.sha256()
        for key in sorted(self.by_id):
            state.update(self.by_id[key].encode())
            state.update(b"\n")
        return state.hexdigest()[:16]

    def difference(self, other: Content, limit: int = 3) -> list[str]:
        """The first documents that differ, as readable lines; empty when the contents are equal."""
        out = []
        for key in sorted(self.by_id.keys() | other.by_id.keys()):
            mine, theirs = self.by_id.get(key), other.by_id.get(key)
            if mine != theirs:
                out.append(f"_id {key}: {_short(mine)} <> {_short(theirs)}")
                if len(out) == limit:
                    break
        return out


def _short(text: str | None, limit: int = 400) -> str:
    if text is None:
        return "(absent)"
    return text if len(text) <= limit else text[:limit] + "…"
