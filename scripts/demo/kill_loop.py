#!/usr/bin/env python3
"""Kills `ditto import` with SIGKILL at random moments, again and again, and checks what is left each time.

After every kill each document whose batch was acknowledged must be there as it was in the file, nothing may
be there that was not in the file, batches must be whole, and `ditto check` must find no fault. The import
then goes on where it was acknowledged; a finished import starts over in a new folder.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from demo.content import Content, canonical

COLLECTION = "cities"
BATCH = 100


class Lost(Exception):
    """The promise is broken; the text says how."""


class Import:
    """One folder that is filled, with what was acknowledged so far."""

    def __init__(self, ditto: str, file: str, documents: list[dict]) -> None:
        self.ditto = ditto
        self.file = file
        self.documents = documents
        self.folder = tempfile.TemporaryDirectory(prefix="ditto-kill-")
        self.acknowledged = 0
        self.finished = False

    def command(self, *arguments: str) -> list[str]:
        return [self.ditto, *arguments, "--dir", self.folder.name]

    def run_and_kill(self, dice: random.Random) -> None:
        """Imports from where it was acknowledged, and kills the process a moment after some batch."""
        left = (len(self.documents) - self.acknowledged + BATCH - 1) // BATCH
        # Sometimes before the first acknowledgement: opening must survive a kill as well.
        batches = dice.randint(0, min(left, 8))
        pause = dice.random() * 0.02 if batches else dice.random() * 0.2
        process = subprocess.Popen(
            [
                *self.command(
                    "import", "--collection", COLLECTION, "--batch-size", str(BATCH), "--acknowledge"
                ),
                *("--skip-lines", str(self.acknowledged), self.file),
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        errors: list[bytes] = []
        drain = threading.Thread(target=lambda: errors.append(process.stderr.read()), daemon=True)
        drain.start()
        try:
            for _ in range(batches):
                if not self._acknowledge(process.stdout.readline()):
                    break
            time.sleep(pause)
            process.kill()
            # What was written before the kill was acknowledged too.
            for line in process.stdout:
                self._acknowledge(line)
        finally:
            process.kill()
            status = process.wait()
            drain.join()
            process.stdout.close()
            process.stderr.close()
        if status not in (0, -9):
            raise Lost(f"the import ended with {status}: {b''.join(errors).decode(errors='replace')}")

    def _acknowledge(self, line: bytes) -> bool:
        # The kill may cut the last line short.
        if not line.endswith(b"\n"):
            return False
        message = json.loads(line)
        if "imported" in message:
            self.finished = True
        elif message.get("commitId") is None:
            raise Lost(f"a batch was acknowledged without a commit: {message}")
        else:
            self.acknowledged = message["line"]
        return "line" in message

    def verify(self) -> int:
        """Returns the number of documents; raises when something is missing, altered or torn."""
        report = self._ask("check")
        if report["problems"]:
            raise Lost(f"ditto check: {report['problems']}")
        found = Content(self._ask("exec", f"SELECT * FROM {COLLECTION}")["items"])
        expected = Content(self.documents)
        for number, document in enumerate(self.documents[: self.acknowledged], 1):
            key = canonical(document["_id"])
            if found.by_id.get(key) != expected.by_id[key]:
                raise Lost(
                    f"line {number}, _id {key}, was acknowledged but is {found.by_id.get(key, 'absent')}"
                )
        for key, text in found.by_id.items():
            if expected.by_id.get(key) != text:
                raise Lost(f"_id {key} is there but not in the file: {text}")
        # A batch is one transaction: all of it is there or nothing.
        if (len(found) - self.acknowledged) % BATCH and len(found) != len(self.documents):
            raise Lost(f"{len(found)} documents after line {self.acknowledged}: a batch is there in part")
        if self.finished and len(found) != len(self.documents):
            raise Lost(
                f"the import said that it finished, with {len(found)} of {len(self.documents)} documents"
            )
        return len(found)

    def _ask(self, *arguments: str) -> dict:
        done = subprocess.run(
            self.command(*arguments), stdin=subprocess.DEVNULL, capture_output=True, timeout=120
        )
        if done.returncode != 0:
            raise Lost(
                f"ditto {arguments[0]} ended with {done.returncode}: "
                f"{done.stdout.decode(errors='replace')} {done.stderr.decode(errors='replace')}"
            )
        return json.loads(done.stdout)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--ditto", required=True, help="the program")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(4), "big"))
    parser.add_argument(
        "file", metavar="FILE.jsonl", help="documents with an `_id`, one a line, no blank line"
    )
    given = parser.parse_args()
    with open(given.file, "rb") as file:
        documents = [json.loads(line) for line in file]
    dice = random.Random(given.seed)
    begun = time.monotonic()
    folders = 1
    current = Import(given.ditto, given.file, documents)
    kill = 0
    try:
        for kill in range(1, given.kills + 1):
            if current.finished or current.acknowledged == len(documents):
                current.folder.cleanup()
                current = Import(given.ditto, given.file, documents)
                folders += 1
            current.run_and_kill(dice)
            held = current.verify()
            if kill % 10 == 0 or kill == given.kills:
                print(
                    f"  {kill} kills: {held} documents, {current.acknowledged} acknowledged, all there",
                    file=sys.stderr,
                )
    except (Lost, subprocess.TimeoutExpired) as error:
        print(f"FAILED at kill {kill} (seed {given.seed}): {error}", file=sys.stderr)
        return 1
    print(
        f"  {given.kills} kills in {folders} folders, {time.monotonic() - begun:.1f} s, seed {given.seed}",
        file=sys.stderr,
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
