"""One `ditto peer --control` process with its folder, its key and what it can be asked."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from demo.content import Content, Document, batches
from demo.graph import Graph
from demo.process import JsonLinesProcess, ProcessFailed

BATCH = 500
# Requests that may wait in a peer's input at the same time while importing.
WINDOW = 4


class Peer:
    """A peer that can be started, killed and started again on the same folder."""

    def __init__(
        self, ditto: str, name: str, folder: str, database_id: str, subscriptions: list[str]
    ) -> None:
        self.ditto = ditto
        self.name = name
        self.folder = folder
        self.database_id = database_id
        self.subscriptions = subscriptions
        self.connect: list[str] = []
        self.key = ""
        self.listen = ""
        self.process: JsonLinesProcess | None = None
        self.log_path = os.path.join(folder, "peer.log")
        os.makedirs(folder, exist_ok=True)

    @property
    def store_folder(self) -> str:
        return os.path.join(self.folder, "store")

    def start(self, timeout: float = 30.0) -> None:
        command = [self.ditto, "peer", "--control", "--dir", self.store_folder, "--name", self.name]
        command += ["--database-id", self.database_id]
        for statement in self.subscriptions:
            command += ["--subscribe", statement]
        for address in self.connect:
            command += ["--connect", address]
        self.process = JsonLinesProcess(self.name, command, self.log_path)
        ready = self.process.first_line(timeout)
        if ready.get("ready") is not True or not ready.get("peerKey"):
            raise ProcessFailed(f"{self.name}: the first line is not the ready line: {ready}")
        self.key = ready["peerKey"]
        self.listen = ready.get("listen") or ""

    def graph(self) -> Graph:
        return Graph(self.process.request("graph")["graph"])

    def wait_graph(self, accept: Callable[[Graph], bool], timeout: float, what: str) -> Graph:
        """The first graph that `accept` takes. Looks again at every event and at least every half second."""
        deadline = time.monotonic() + timeout
        while True:
            graph = self.graph()
            if accept(graph):
                return graph
            if time.monotonic() > deadline:
                raise ProcessFailed(
                    f"{self.name}: no {what} within {timeout:.0f} s; it sees {graph.summary()}"
                )
            self.process.pause_for_news(0.5)

    def submit_insert(self, collection: str, documents: list[Document]) -> Future:
        """Sends one batch without waiting; the future gives its commit."""
        return self.process.submit(
            "execute",
            statement=f"INSERT INTO {collection} DOCUMENTS (:docs) ON ID CONFLICT DO UPDATE",
            args={"docs": documents},
        )

    def import_documents(self, collection: str, documents: list[Document], timeout: float) -> int:
        """Inserts in batches, a few at a time; returns the number of commits."""
        waiting: list[Future] = []
        commits = 0

        def take() -> None:
            answer = self.process.result(waiting.pop(0), timeout, "an INSERT")
            if answer.get("commitId") is None:
                raise ProcessFailed(f"{self.name} acknowledged an INSERT without a commitId")

        for batch in batches(documents, BATCH):
            waiting.append(self.submit_insert(collection, batch))
            commits += 1
            if len(waiting) > WINDOW:
                take()
        while waiting:
            take()
        return commits

    def submit_wait(self, statement: str, count: int, timeout: float) -> Future:
        """The answer comes when the statement returns `count` rows."""
        return self.process.submit("wait", statement=statement, count=count, timeoutMs=int(timeout * 1000))

    def content(self, collection: str) -> Content:
        return Content(self.process.items(f"SELECT * FROM {collection}", timeout=120))

    def send(self, to: str, text: str, reliability: str) -> None:
        self.process.request("send", to=to, text=text, reliability=reliability)

    def sync(self, action: str) -> None:
        self.process.request("sync", action=action)

    def close(self, timeout: float = 30.0) -> int:
        self.process.request("close", timeout)
        return self.process.wait_end(timeout)

    # On the folder, while no peer runs.

    def run_offline(self, *arguments: str, timeout: float = 120.0) -> dict[str, Any]:
        """Runs another command of the program on this folder and returns its one JSON line."""
        if self.process is not None and self.process.running:
            raise ProcessFailed(f"{self.name} still holds its folder")
        command = [self.ditto, *arguments, "--dir", self.store_folder, "--database-id", self.database_id]
        try:
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(
                f"{self.name}: ditto {arguments[0]} did not end within {timeout:.0f} s"
            ) from None
        output = done.stdout.decode(errors="replace").strip()
        if done.returncode != 0:
            errors = done.stderr.decode(errors="replace").strip()
            raise ProcessFailed(
                f"{self.name}: ditto {arguments[0]} ended with {done.returncode}: {output} {errors}"
            )
        return json.loads(output.splitlines()[-1])

    def offline_items(self, statement: str, args: dict[str, Any] | None = None) -> list[Any]:
        return self.run_offline("exec", statement, "--args", json.dumps(args or {}))["items"]

    def check_folder(self) -> dict[str, Any]:
        """`ditto check`: digests, keys and sequence numbers. Raises when something is wrong."""
        return self.run_offline("check")

    def store_bytes(self) -> int:
        total = 0
        for folder, _, files in os.walk(self.store_folder):
            for name in files:
                try:
                    total += os.path.getsize(os.path.join(folder, name))
                except OSError:
                    # A running peer may have removed it in between.
                    pass
        return total
