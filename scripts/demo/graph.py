"""The presence graph as JSON gives it: who is there, who is connected to whom and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Connection:
    """A connection between two peers; `ends` are their keys, sorted."""

    id: str
    ends: tuple[str, str]
    transport: str


class Graph:
    """Read-only view of a presence graph."""

    def __init__(self, json: dict[str, Any]) -> None:
        self.local = json["localPeer"]
        self.remote = json["remotePeers"]
        found: dict[tuple[str, tuple[str, str]], Connection] = {}
        for peer in [self.local, *self.remote]:
            for entry in peer.get("connections", []):
                ends = tuple(sorted((_end(entry, 1), _end(entry, 2))))
                connection = Connection(entry.get("id", ""), ends, entry.get("connectionType", "?"))
                found[(connection.id, ends)] = connection
        self.connections = sorted(found.values(), key=lambda c: (c.ends, c.transport))

    @property
    def local_key(self) -> str:
        return key_of(self.local)

    def remote_keys(self) -> set[str]:
        return {key_of(peer) for peer in self.remote}

    def neighbours(self) -> set[str]:
        """Peers with a connection to the local peer."""
        out = set()
        for connection in self.connections:
            if self.local_key in connection.ends:
                out.update(connection.ends)
        return out - {self.local_key}

    def connected_to(self, keys: set[str]) -> bool:
        return keys <= self.neighbours() and keys <= self.remote_keys()

    def names(self) -> dict[str, str]:
        return {key_of(peer): peer.get("deviceName", "?") for peer in [self.local, *self.remote]}

    def summary(self) -> str:
        names = self.names()
        seen = ", ".join(names[key] for key in sorted(self.remote_keys())) or "nobody"
        direct = ", ".join(names.get(key, key[:12]) for key in sorted(self.neighbours())) or "nobody"
        return f"{seen} (connected to: {direct})"

    def peer_rows(self) -> list[list[str]]:
        """Rows for a table: name, key, system, version, how it is reached."""
        neighbours = self.neighbours()
        rows = []
        for peer in [self.local, *sorted(self.remote, key=lambda p: p.get("deviceName", ""))]:
            key = key_of(peer)
            if key == self.local_key:
                reach = "this peer"
            else:
                reach = "direct" if key in neighbours else "over others"
            rows.append(
                [
                    peer.get("deviceName", "?"),
                    key[:16] + "…",
                    peer.get("os", "?"),
                    peer.get("dittoSdkVersion", "?"),
                    reach,
                ]
            )
        return rows

    def connection_rows(self) -> list[list[str]]:
        """Rows for a table: one end, the other end, transport, id."""
        names = self.names()
        rows = []
        for connection in self.connections:
            ends = sorted(names.get(key, key[:16] + "…") for key in connection.ends)
            rows.append([*ends, connection.transport, _shorten(connection.id, 32)])
        return sorted(rows)


def key_of(peer: dict[str, Any]) -> str:
    return peer.get("peerKey") or peer["peerKeyString"]


def _end(connection: dict[str, Any], number: int) -> str:
    return connection.get(f"peer{number}") or connection[f"peerKeyString{number}"]


def _shorten(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
