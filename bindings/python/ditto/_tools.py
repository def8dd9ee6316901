"""Small services beside an instance: keys, checks, and what helps to find faults."""

from __future__ import annotations

from dataclasses import dataclass

from . import _ffi
from ._errors import native_errors


def generate_shared_key() -> bytes:
    """Makes a shared key for `DittoConfigConnect.small_peers_only`: a P-256 private key in PKCS#8 DER form.

    Every device of the mesh gets the same one, over a channel that you trust.
    """
    key: bytes = _ffi.generate_shared_key()
    return key


@dataclass(frozen=True, slots=True)
class InterfaceReport:
    """An address of this machine, for people who look for faults.

    Attributes:
        name: Name of the interface.
        ip: The address.
        is_usable: Whether others may be reached through it: it is up, and neither loopback nor cellular nor
            point to point.
        multicast_fault: Why a multicast datagram to this machine does not come back on it; ``None`` where it does.
    """

    name: str
    ip: str
    is_usable: bool
    multicast_fault: str | None


def interface_reports() -> list[InterfaceReport]:
    """The addresses of this machine, and what they are good for.

    Blocks up to 0.2 s for each on which multicast does not work; nothing leaves the machine.
    """
    with native_errors:
        reports = _ffi.interface_reports()
    return [InterfaceReport(r.name, r.ip, r.is_usable, r.multicast_fault) for r in reports]


@dataclass(frozen=True, slots=True)
class StoreCheckReport:
    """What `Store.check` found.

    Attributes:
        documents: Documents that are not deleted.
        tombstones: Deleted documents of which the tombstone is kept.
        gravestones: Deleted documents of which only a gravestone is kept.
        collections: Collections that ever held a document.
        indexes: Indexes that are complete.
        blobs: Blobs of attachments that are whole.
        head: Number of the newest commit.
        problems: What does not fit, in words; the first thousand.
        problem_count: How many problems there are.
    """

    documents: int
    tombstones: int
    gravestones: int
    collections: int
    indexes: int
    blobs: int
    head: int
    problems: tuple[str, ...]
    problem_count: int

    @property
    def is_clean(self) -> bool:
        """Whether everything fits."""
        return self.problem_count == 0

    @classmethod
    def _of(cls, native: _ffi.StoreCheckReport) -> StoreCheckReport:
        return cls(
            documents=native.documents,
            tombstones=native.tombstones,
            gravestones=native.gravestones,
            collections=native.collections,
            indexes=native.indexes,
            blobs=native.blobs,
            head=native.head,
            problems=tuple(native.problems),
            problem_count=native.problem_count,
        )
