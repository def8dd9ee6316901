"""One `ditto` process that speaks JSON lines: requests with ids, answers, events, and its end."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from typing import Any


class ProcessFailed(Exception):
    """The process ended, or does not answer."""


class RequestFailed(Exception):
    """The process answered with an error."""

    def __init__(self, name: str, request: dict[str, Any], error: Any) -> None:
        self.error = error
        shown = {key: request[key] for key in ("kind", "statement", "action") if key in request}
        super().__init__(f"{name} refused {shown}: {error}")


class JsonLinesProcess:
    """Starts a command and talks to it. Standard error goes to a file, to be shown when something fails."""

    def __init__(self, name: str, command: list[str], log_path: str) -> None:
        self.name = name
        self.log_path = log_path
        self._ids = itertools.count(1)
        self._pending: dict[int, tuple[dict[str, Any], Future]] = {}
        self._changed = threading.Condition()
        self._events: list[dict[str, Any]] = []
        self._unasked: list[dict[str, Any]] = []
        self._ended = False
        self._log = open(log_path, "ab")
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log
        )
        self._reader = threading.Thread(target=self._read, name=f"{name} reader", daemon=True)
        self._reader.start()

    # Lines from the process.

    def _read(self) -> None:
        for line in self.process.stdout:
            try:
                message = json.loads(line)
            except ValueError:
                message = {"event": "unreadable", "line": line.decode(errors="replace")}
            self._dispatch(message)
        with self._changed:
            self._ended = True
            waiting, self._pending = self._pending, {}
            self._changed.notify_all()
        for _, future in waiting.values():
            future.set_exception(ProcessFailed(f"{self.name} ended before it answered; see {self.log_path}"))

    def _dispatch(self, message: Any) -> None:
        with self._changed:
            waiting = None
            if not isinstance(message, dict):
                message = {"event": "unreadable", "line": message}
            if "event" in message:
                self._events.append(message)
                self._note_event(message)
            elif isinstance(message.get("id"), int):
                waiting = self._pending.pop(message["id"], None)
            else:
                self._unasked.append(message)
            self._changed.notify_all()
        if waiting is not None:
            request, future = waiting
            if "error" in message:
                future.set_exception(RequestFailed(self.name, request, message["error"]))
            else:
                future.set_result(message)

    def _note_event(self, message: dict[str, Any]) -> None:
        """Events go between the process's own log lines, so that a failure can be read in order."""
        with contextlib.suppress(ValueError):
            now = time.strftime("%H:%M:%S")
            self._log.write(f"{now} event {json.dumps(message, ensure_ascii=False)[:500]}\n".encode())
            self._log.flush()

    def _until(self, look: Callable[[], Any], timeout: float, what: str) -> Any:
        """The first true value of `look`, asked again whenever a line arrives."""
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                found = look()
                if found:
                    return found
                if self._ended:
                    raise ProcessFailed(f"{self.name} ended while waiting for {what}; see {self.log_path}")
                left = deadline - time.monotonic()
                if left <= 0:
                    raise ProcessFailed(f"{self.name}: no {what} within {timeout:.0f} s; see {self.log_path}")
                self._changed.wait(left)

    def first_line(self, timeout: float) -> dict[str, Any]:
        """The line that the process prints of its own accord when it is ready."""
        return self._until(lambda: self._unasked and self._unasked[0], timeout, "ready line")

    def wait_event(
        self, accept: Callable[[dict[str, Any]], bool], timeout: float, what: str
    ) -> dict[str, Any]:
        """The first event, past or coming, that `accept` takes."""
        return self._until(lambda: next((e for e in self._events if accept(e)), None), timeout, what)

    def pause_for_news(self, at_most: float) -> None:
        """Waits for the next line of any kind, but not longer than `at_most` seconds."""
        with self._changed:
            self._changed.wait(at_most)

    # Requests.

    def submit(self, kind: str, **members: Any) -> Future:
        """Sends a request and returns at once; the future gives the answer."""
        number = next(self._ids)
        request = {"id": number, "kind": kind, **members}
        future: Future = Future()
        with self._changed:
            if self._ended:
                raise ProcessFailed(f"{self.name} has ended; see {self.log_path}")
            self._pending[number] = (request, future)
        line = json.dumps(request, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
        try:
            self.process.stdin.write(line)
            self.process.stdin.flush()
        except (BrokenPipeError, ValueError):
            raise ProcessFailed(f"{self.name} no longer takes requests; see {self.log_path}") from None
        return future

    def result(self, future: Future, timeout: float, what: str) -> dict[str, Any]:
        try:
            return future.result(timeout)
        except FutureTimeout:
            raise ProcessFailed(
                f"{self.name} gave no answer to {what} within {timeout:.0f} s; see {self.log_path}"
            ) from None

    def request(self, kind: str, timeout: float = 60.0, **members: Any) -> dict[str, Any]:
        """Sends a request and waits for its answer."""
        return self.result(self.submit(kind, **members), timeout, members.get("statement", kind))

    def execute(
        self, statement: str, args: dict[str, Any] | None = None, timeout: float = 60.0
    ) -> dict[str, Any]:
        return self.request("execute", timeout, statement=statement, args=args or {})

    def items(self, statement: str, args: dict[str, Any] | None = None, timeout: float = 60.0) -> list[Any]:
        return self.execute(statement, args, timeout)["items"]

    # The end.

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL: the process gets no chance to tidy up."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self._finish()

    def wait_end(self, timeout: float) -> int:
        try:
            status = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ProcessFailed(
                f"{self.name} did not end within {timeout:.0f} s; see {self.log_path}"
            ) from None
        self._finish()
        return status

    def abandon(self) -> None:
        """Ends the process whatever its state, for cleaning up."""
        if self.running:
            self.process.kill()
            self.process.wait()
        self._finish()

    def _finish(self) -> None:
        self._reader.join(10)
        for stream in (self.process.stdin, self.process.stdout):
            # What was not yet written to a dead process is lost anyway.
            with contextlib.suppress(OSError):
                stream.close()
        if not self._log.closed:
            self._log.close()

    def log_tail(self, lines: int = 15) -> str:
        if not os.path.exists(self.log_path):
            return ""
        with open(self.log_path, errors="replace") as file:
            return "".join(file.readlines()[-lines:])
