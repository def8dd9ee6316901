"""The main job, step by step. Each step waits for conditions, never for the clock, and notes its checks."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from concurrent.futures import Future
from typing import Any

from demo.content import Content, Document, Sample, batches
from demo.peer import BATCH, Peer
from demo.process import ProcessFailed
from demo.report import Report, size

CITIES = "cities"
# The collection whose transfer is interrupted; each further try takes the next number.
TRANSFER = "transfer"
TRIES = 3
# What the concurrent edits write; unlikely to be in a file already.
EDITS = "demoEdits"
LAST_EDITOR = "demoLastEditor"


class Scenario:
    """Three peers: alpha imports, bravo edits while its sync is stopped, charlie is killed."""

    def __init__(
        self, report: Report, ditto: str, folder: str, database_id: str, sample: Sample, patience: float
    ) -> None:
        self.report = report
        self.sample = sample
        self.patience = patience
        self.transfers = [f"{TRANSFER}{n}" for n in range(1, TRIES + 1)]
        subscriptions = [f"SELECT * FROM {name}" for name in (CITIES, *self.transfers)]
        self.alpha, self.bravo, self.charlie = self.peers = [
            Peer(ditto, name, os.path.join(folder, name), database_id, subscriptions)
            for name in ("alpha", "bravo", "charlie")
        ]
        # What every peer must hold at the end, apart from the edits.
        self.expected: dict[str, Content] = {}
        self.edited_id: Any = sample.documents[0]["_id"]
        # True when peers are told each other's address instead of looking by mDNS.
        self.addresses = False

    def abandon(self) -> None:
        for peer in self.peers:
            if peer.process is not None:
                peer.process.abandon()

    # 1. Start and discovery.

    def start(self, multicast: list[str], reason: str) -> None:
        self.report.headline("three peers start, each with its own folder and key")
        self.addresses = not multicast
        if self.addresses:
            self.report.line(f"  multicast is not available on any interface: {reason}")
            self.report.line("  falling back to configured addresses")
        else:
            self.report.line(f"  discovery by mDNS on {', '.join(multicast)}; no address is configured")
        known: list[str] = []
        for peer in self.peers:
            if self.addresses:
                peer.connect = list(known)
            peer.start()
            known.append(_dialable(peer.listen))
        self.report.table(
            ["peer", "key", "listens on"], [[p.name, p.key[:24] + "…", p.listen] for p in self.peers]
        )
        self.report.check("the three keys differ", len({p.key for p in self.peers}) == 3)

    def discover(self) -> None:
        begun = time.monotonic()
        self.wait_full_mesh()
        took = time.monotonic() - begun
        how = "by configured addresses" if self.addresses else "by mDNS, without configured addresses"
        self.report.check(f"all found each other {how}", True, f"{took:.2f} s")
        self.report.figure("time to find each other", f"{took:.2f} s")

    def wait_full_mesh(self) -> None:
        """Every peer is directly connected to both others."""
        for peer in self.peers:
            others = {p.key for p in self.peers} - {peer.key}
            peer.wait_graph(lambda g, o=others: g.connected_to(o), self.patience, "connection to both others")

    # 2. Import and first sync.

    def import_file(self) -> None:
        count = len(self.sample.documents)
        self.report.headline(f"alpha imports {count} documents, {size(self.sample.bytes)}")
        select = f"SELECT _id FROM {CITIES}"
        receivers = [self.bravo, self.charlie]
        begun = time.monotonic()
        waits = [peer.submit_wait(select, count, self.patience) for peer in receivers]
        commits = self.alpha.import_documents(CITIES, self.sample.documents, self.patience)
        imported = time.monotonic() - begun
        self.report.line(f"  imported in {imported:.2f} s, {commits} commits")
        self.report.figure("documents", count)
        self.report.figure("bytes in the file", f"{self.sample.bytes} ({size(self.sample.bytes)})")
        self.report.figure("import on alpha", f"{imported:.2f} s, {count / imported:,.0f} documents/s")
        arrived = self._arrivals(receivers, waits, begun)
        for peer in receivers:
            self.report.figure(f"everything on {peer.name} after", f"{arrived[peer.name]:.2f} s")
        expected = self.expected[CITIES] = Content(self.sample.documents)
        for peer in self.peers:
            found = peer.content(CITIES)
            same = self.report.check(
                f"{peer.name} holds exactly the file",
                found == expected,
                f"{len(found)} documents, {found.digest()}",
            )
            if not same:
                self._show_difference(expected, found)

    def _arrivals(self, receivers: list[Peer], waits: list[Future], begun: float) -> dict[str, float]:
        arrived: dict[str, float] = {}
        for peer, wait in zip(receivers, waits):
            wait.add_done_callback(
                lambda _, name=peer.name: arrived.setdefault(name, time.monotonic() - begun)
            )
        for peer, wait in zip(receivers, waits):
            peer.process.result(wait, self.patience + 10, "the wait for all documents")
        return arrived

    # 3. Concurrent edits, a stopped sync and a kill.

    def trouble(self) -> None:
        self.report.headline("bravo's sync is stopped; charlie is killed in the middle of a transfer")
        self.bravo.sync("stop")
        self.alpha.wait_graph(
            lambda g: self.bravo.key not in g.neighbours(), self.patience, "loss of the connection to bravo"
        )
        self.report.check("alpha sees that bravo is gone", True)
        self._edit(self.bravo)
        self._kill_charlie()
        self._edit(self.alpha)
        held = {p.name: self._edits(p.content(CITIES)) for p in (self.alpha, self.bravo)}
        self.report.check(
            "the edits are concurrent: neither peer knows the other's",
            "bravo" not in held["alpha"] and "alpha" not in held["bravo"],
        )

    def _edit(self, peer: Peer) -> None:
        """One document, one field that all write (the newest wins) and one that is this peer's alone."""
        peer.process.execute(
            f"UPDATE {CITIES} SET {LAST_EDITOR} = :name, {EDITS}.{peer.name} = :edit WHERE _id = :id",
            {
                "name": peer.name,
                "edit": {"by": peer.name, "note": "edited while apart"},
                "id": self.edited_id,
            },
        )

    def _edits(self, content: Content) -> dict[str, Any]:
        return content.document(self.edited_id).get(EDITS, {})

    def _kill_charlie(self) -> None:
        for collection in self.transfers:
            self._kill_during(collection)
            total = len(self.expected[collection])
            report = self.charlie.check_folder()
            self.report.check(
                "ditto check finds the killed folder clean", report["problems"] == [], _found(report)
            )
            kept = self.charlie.offline_items(
                f"SELECT * FROM {CITIES} WHERE _id = :id", {"id": self.edited_id}
            )
            self.report.check(
                "charlie's own edit, acknowledged just before the kill, is on its disk",
                len(kept) == 1 and "charlie" in kept[0].get(EDITS, {}),
            )
            on_disk = len(self.charlie.offline_items(f"SELECT _id FROM {collection}"))
            if 0 < on_disk < total:
                self.report.check(
                    "the kill came in the middle", True, f"{on_disk} of {total} documents had arrived"
                )
                return
            self.report.line(f"  all {total} documents had arrived before the kill; once more")
            self._return_charlie()
        self.report.check("the kill came in the middle", False, f"the transfer was too quick {TRIES} times")

    def _kill_during(self, collection: str) -> None:
        """Alpha inserts the sample again under another name; charlie dies when it holds a part of it."""
        documents = self.sample.documents
        # Small files are repeated under other ids, so that the transfer lasts.
        while len(documents) < 4 * BATCH:
            documents = [_renamed(d, n) for n in range(2) for d in documents]
        self.expected[collection] = Content(documents)
        waiting: list[Future] = []
        # A thread of its own: a full pipe makes it wait for alpha, and the kill must not wait with it.
        importing = threading.Thread(
            target=self._submit_all, args=(collection, documents, waiting), daemon=True
        )
        importing.start()
        # Charlie writes while it receives. The edit is answered before the first look at what has arrived.
        self._edit(self.charlie)
        deadline = time.monotonic() + self.patience
        while not self.charlie.process.items(f"SELECT _id FROM {collection} LIMIT 1"):
            if time.monotonic() > deadline:
                raise ProcessFailed(f"charlie received nothing of {collection} within {self.patience:.0f} s")
        self.charlie.process.kill()
        done = sum(1 for future in waiting if future.done())
        total = len(list(batches(documents, BATCH)))
        importing.join(self.patience)
        if importing.is_alive() or len(waiting) != total:
            raise ProcessFailed(f"alpha took only {len(waiting)} of {total} inserts")
        self.report.line(f"  SIGKILL to charlie when alpha had done {done} of {total} inserts")
        for future in waiting:
            self.alpha.process.result(future, self.patience, "an INSERT")

    def _submit_all(self, collection: str, documents: list[Document], waiting: list[Future]) -> None:
        # When alpha ends, the count of what it took says so.
        with contextlib.suppress(ProcessFailed):
            for batch in batches(documents, BATCH):
                waiting.append(self.alpha.submit_insert(collection, batch))

    # 4. All come back.

    def come_back(self) -> None:
        self.report.headline("all come back")
        begun = time.monotonic()
        self._return_charlie()
        self.bravo.sync("start")
        self.wait_full_mesh()
        self.converge(begun)

    def _return_charlie(self) -> None:
        key = self.charlie.key
        self.charlie.start()
        self.report.check("charlie restarts from its folder with the same key", self.charlie.key == key)

    def converge(self, begun: float) -> None:
        """Waits until the full content of every collection is the same everywhere."""
        deadline = time.monotonic() + self.patience
        for peer in self.peers:
            for collection, expected in self.expected.items():
                count, left = len(expected), max(deadline - time.monotonic(), 1)
                wait = peer.submit_wait(f"SELECT _id FROM {collection}", count, left)
                peer.process.result(wait, left + 10, f"the wait for {count} rows of {collection}")
        while True:
            contents = {name: [p.content(name) for p in self.peers] for name in self.expected}
            equal = all(c == held[0] for held in contents.values() for c in held)
            if equal or time.monotonic() > deadline:
                break
            # A difference that remains is an update on its way: wait for the next sign of life.
            self.peers[-1].process.pause_for_news(0.2)
        took = time.monotonic() - begun
        for name, held in contents.items():
            same = all(c == held[0] for c in held)
            self.report.check(
                f"{name}: full content is the same on all three",
                same,
                f"{len(held[0])} documents, {held[0].digest()}",
            )
            if not same:
                for peer, content in zip(self.peers[1:], held[1:]):
                    if content != held[0]:
                        self.report.line(f"         alpha <> {peer.name}")
                        self._show_difference(held[0], content)
            intact = held[0].without(self.edited_id, (EDITS, LAST_EDITOR)) == self.expected[name]
            self.report.check(f"{name}: no document is lost or altered but by the edits", intact)
        self.report.line(f"  converged {took:.2f} s after the return")
        self.report.figure("convergence after kill and stop", f"{took:.2f} s")
        self._check_edits(contents[CITIES])
        self.report.figure(
            "documents on each peer at the end", f"{sum(len(held[0]) for held in contents.values())}"
        )
        self.report.figure(
            "content on each peer at the end", size(sum(held[0].bytes() for held in contents.values()))
        )

    def _check_edits(self, contents: list[Content]) -> None:
        wanted = {p.name for p in self.peers}
        self.report.check(
            "the edits of all three peers survived in the one document",
            all(set(self._edits(content)) == wanted for content in contents),
            ", ".join(sorted(self._edits(contents[0]))),
        )
        winners = {content.document(self.edited_id).get(LAST_EDITOR) for content in contents}
        self.report.check(
            "the field that all wrote has one winner everywhere",
            len(winners) == 1 and winners <= wanted,
            ", ".join(sorted(map(str, winners))),
        )

    def _show_difference(self, one: Content, other: Content) -> None:
        for line in one.difference(other):
            self.report.line(f"         {line}")

    # 5. Messages and the mesh.

    def messages(self) -> None:
        self.report.headline("messages over the Bus")
        for sender, receiver, reliability in (
            (self.alpha, self.bravo, "reliable"),
            (self.bravo, self.charlie, "reliable"),
            (self.charlie, self.alpha, "unreliable"),
        ):
            text = f"hello {receiver.name}, this is {sender.name} ✓ {os.urandom(4).hex()}"
            begun = time.monotonic()
            arrived = self._message(sender, receiver, text, reliability)
            took = (time.monotonic() - begun) * 1000
            self.report.check(
                f"{reliability} message from {sender.name} to {receiver.name} arrived",
                arrived,
                f"{took:.1f} ms",
            )

    def _message(self, sender: Peer, receiver: Peer, text: str, reliability: str) -> bool:
        # An unreliable message may be lost by right; five losses in a row on one machine are a fault.
        tries = 5 if reliability == "unreliable" else 1
        for last in [False] * (tries - 1) + [True]:
            sender.send(receiver.key, text, reliability)
            try:
                receiver.process.wait_event(
                    lambda e: (
                        e["event"] == "message" and e.get("from") == sender.key and e.get("text") == text
                    ),
                    2 if not last else 20,
                    "message",
                )
                return True
            except ProcessFailed:
                if not receiver.process.running:
                    raise
        return False

    def show_mesh(self) -> None:
        self.report.headline("the presence graph as alpha sees it")
        everyone = {p.key for p in self.peers}
        pairs = 3
        graph = self.alpha.wait_graph(
            lambda g: (
                len({c.ends for c in g.connections}) == pairs and g.remote_keys() | {g.local_key} == everyone
            ),
            self.patience,
            "presence graph with all three connections",
        )
        self.report.table(["peer", "key", "os", "version", "reached"], graph.peer_rows())
        self.report.line()
        self.report.table(["from", "to", "transport", "connection"], graph.connection_rows())
        names = graph.names()
        self.report.check(
            "the graph names all three peers", all(names.get(p.key) == p.name for p in self.peers)
        )
        self.report.check(
            "it shows the connections between all of them", len({c.ends for c in graph.connections}) == pairs
        )
        self.report.check(
            "every connection says its transport",
            all(
                c.transport in ("AccessPoint", "Bluetooth", "P2PWiFi", "WebSocket") for c in graph.connections
            ),
        )

    # 6. The end.

    def close(self) -> None:
        self.report.headline("all close")
        for peer in self.peers:
            status = peer.close()
            self.report.check(f"{peer.name} ends cleanly", status == 0, f"exit {status}")
        for peer in self.peers:
            report = peer.check_folder()
            self.report.check(
                f"ditto check finds {peer.name}'s folder clean",
                report["problems"] == [],
                f"{_found(report)}, {size(peer.store_bytes())} on disk",
            )
            self.report.figure(f"{peer.name} on disk", size(peer.store_bytes()))


def _found(report: dict[str, Any]) -> str:
    """What `ditto check` says, in words."""
    problems = report["problems"]
    return "; ".join(map(str, problems[:3])) if problems else f"{report['documents']} documents"


def _dialable(listen: str) -> str:
    """A listener on every address is reached through loopback on the same machine."""
    host, _, port = listen.rpartition(":")
    return f"127.0.0.1:{port}" if host in ("", "0.0.0.0", "[::]", "::", "*") else listen


def _renamed(document: Document, number: int) -> Document:
    return {**document, "_id": f"{document['_id']}-{number}"}
