"""How an instance is opened."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from . import _ffi
from ._errors import DittoInvalidConfigError


class Durability(str, Enum):
    """When a commit counts as durable."""

    NORMAL = "normal"
    """A killed process loses nothing; a power cut may lose the last moments but never corrupts."""
    FULL = "full"
    """A power cut loses nothing that was acknowledged; each commit waits for the disk."""


class DittoConfigConnect:
    """How an instance finds and admits peers. Build one with a factory method."""

    __slots__ = ()

    @staticmethod
    def small_peers_only(private_key: bytes | None = None) -> DittoConfigConnectSmallPeersOnly:
        """Peer to peer only; no server is ever contacted.

        Args:
            private_key: Shared secret, a P-256 private key in PKCS#8 DER form. With it only peers that hold the
                same key are admitted. Without it the mesh is encrypted but open to anybody who knows the
                database id; for development.
        """
        return DittoConfigConnectSmallPeersOnly(private_key)


@dataclass(frozen=True, slots=True)
class DittoConfigConnectSmallPeersOnly(DittoConfigConnect):
    """Peer to peer only; see `DittoConfigConnect.small_peers_only`."""

    private_key: bytes | None = field(default=None, repr=False)


def _default_connect() -> DittoConfigConnect:
    return DittoConfigConnect.small_peers_only()


@dataclass(frozen=True, slots=True)
class DittoConfig:
    """Everything that `Ditto.open` needs. A plain value; fields are checked at open.

    Attributes:
        database_id: The logical database, a UUID. Only peers with the same id meet and sync.
        connect: How peers are found and admitted.
        persistence_directory: Where data is kept. Relative paths resolve against `Ditto.default_root_directory`;
            none means a folder there that is named after the database.
        durability: When a commit counts as durable.
    """

    database_id: str
    connect: DittoConfigConnect = field(default_factory=_default_connect)
    persistence_directory: str | os.PathLike[str] | None = None
    durability: Durability = Durability.NORMAL

    @staticmethod
    def default_database_id() -> str:
        """The id for apps that name none. Two apps that use it can meet each other in the mesh."""
        text: str = _ffi.default_database_id()
        return text

    @classmethod
    def default(cls) -> DittoConfig:
        """The default id, no shared key, the default directory: a convenience for development."""
        return cls(cls.default_database_id())

    def to_dict(self) -> dict[str, Any]:
        """The config as a JSON-like map, with its secrets."""
        if not isinstance(self.connect, DittoConfigConnectSmallPeersOnly):
            raise DittoInvalidConfigError("connect: unknown kind")
        connect: dict[str, Any] = {"type": "small_peers_only"}
        if self.connect.private_key is not None:
            connect["privateKey"] = base64.b64encode(self.connect.private_key).decode("ascii")
        fields: dict[str, Any] = {
            "databaseId": self.database_id,
            "connect": connect,
            "durability": self.durability.value,
        }
        if self.persistence_directory is not None:
            fields["persistenceDirectory"] = os.fspath(self.persistence_directory)
        return fields

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> DittoConfig:
        """The config that `to_dict` made.

        Raises:
            DittoInvalidConfigError: A field is missing or has the wrong form; the reason names it.
        """
        try:
            connect = fields["connect"]
            if connect["type"] != "small_peers_only":
                raise DittoInvalidConfigError(f"connect: unknown type {connect['type']!r}")
            key = connect.get("privateKey")
            return cls(
                database_id=fields["databaseId"],
                connect=DittoConfigConnect.small_peers_only(
                    None if key is None else base64.b64decode(key, validate=True)
                ),
                persistence_directory=fields.get("persistenceDirectory"),
                durability=Durability(fields.get("durability", Durability.NORMAL)),
            )
        except KeyError as e:
            raise DittoInvalidConfigError(f"the field {e} is missing") from e
        except (TypeError, ValueError) as e:
            raise DittoInvalidConfigError(f"a field has the wrong form: {e}") from e


def to_native(config: DittoConfig) -> _ffi.DittoConfig:
    """The native form.

    Raises:
        DittoInvalidConfigError: A field has the wrong type; the reason names it.
    """
    if not isinstance(config.database_id, str):
        raise DittoInvalidConfigError(f"database_id: expected str, not {type(config.database_id).__name__}")
    if not isinstance(config.connect, DittoConfigConnectSmallPeersOnly):
        raise DittoInvalidConfigError(f"connect: unknown kind {type(config.connect).__name__}")
    key = config.connect.private_key
    if key is not None and not isinstance(key, (bytes, bytearray)):
        raise DittoInvalidConfigError(f"private_key: expected bytes, not {type(key).__name__}")
    directory: str | None = None
    if config.persistence_directory is not None:
        try:
            directory = os.fspath(config.persistence_directory)
            directory.encode()
        except (TypeError, AttributeError, UnicodeEncodeError) as e:
            raise DittoInvalidConfigError(f"persistence_directory: {e}") from e
    try:
        durability = _DURABILITY[Durability(config.durability)]
    except ValueError as e:
        raise DittoInvalidConfigError(f"durability: {e}") from e
    return _ffi.DittoConfig(
        database_id=config.database_id,
        # The generated class says only at run time that its variants are its subclasses.
        connect=_ffi.DittoConfigConnect.SMALL_PEERS_ONLY(  # type: ignore[arg-type]
            private_key=None if key is None else bytes(key)
        ),
        persistence_directory=directory,
        durability=durability,
    )


def from_native(config: _ffi.DittoConfig) -> DittoConfig:
    """The config of an open instance; secrets are replaced."""
    key: bytes | None = getattr(config.connect, "private_key", None)
    return DittoConfig(
        database_id=config.database_id,
        connect=DittoConfigConnect.small_peers_only(key),
        persistence_directory=config.persistence_directory,
        durability=next(ours for ours, theirs in _DURABILITY.items() if theirs == config.durability),
    )


_DURABILITY: dict[Durability, _ffi.Durability] = {
    Durability.NORMAL: _ffi.Durability.NORMAL,
    Durability.FULL: _ffi.Durability.FULL,
}
