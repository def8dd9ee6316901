"""What the demonstration prints: progress, tables, the list of checks and the summary."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO


def table(head: list[str], rows: list[list[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart."""
    cells = [head, *rows]
    widths = [max(len(row[column]) for row in cells) for column in range(len(head))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip() for row in cells]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def size(count: int) -> str:
    """Bytes for people."""
    value = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if value < 1000 or unit == "GB":
            return f"{count} B" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1000
    raise AssertionError("unreachable: the last unit always returns")


class Report:
    """Collects checks and figures while it prints them."""

    def __init__(self, out: TextIO = sys.stdout, clock: Callable[[], float] = time.monotonic) -> None:
        self._out = out
        self._clock = clock
        self._begun = clock()
        self.checks: list[tuple[str, bool, str]] = []
        self.figures: list[list[str]] = []

    def line(self, text: str = "") -> None:
        print(text, file=self._out, flush=True)

    def headline(self, text: str) -> None:
        self.line(f"\n[{self._clock() - self._begun:6.1f} s] {text}")

    def table(self, head: list[str], rows: list[list[str]]) -> None:
        self.line("\n".join("  " + line for line in table(head, rows).splitlines()))

    def check(self, what: str, held: bool, detail: str = "") -> bool:
        """Notes whether something that must hold did."""
        self.checks.append((what, bool(held), detail))
        mark = "ok    " if held else "FAILED"
        self.line(f"  {mark} {what}" + (f" ({detail})" if detail else ""))
        return bool(held)

    def figure(self, what: str, value: Any) -> None:
        self.figures.append([what, str(value)])

    def passed(self) -> bool:
        """True only if something was checked and every check held."""
        return bool(self.checks) and all(held for _, held, _ in self.checks)

    def summary(self) -> None:
        self.headline("summary")
        if self.figures:
            self.table(["figure", "value"], self.figures)
        failed = [what for what, held, _ in self.checks if not held]
        self.line(f"  {len(self.checks) - len(failed)} of {len(self.checks)} checks held")
        for what in failed:
            self.line(f"  FAILED {what}")
        self.line(f"  total time {self._clock() - self._begun:.1f} s")
