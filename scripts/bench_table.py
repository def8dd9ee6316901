#!/usr/bin/env python3
"""Puts the rows of a benchmark run (JSON lines on stdin) into their table in docs/performance.md.

The table of a group stands between `<!-- bench:NAME -->` and `<!-- /bench:NAME -->`; everything
else in the file is written by hand and stays. A file or a group that is not there yet is added.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import re
import subprocess
import sys

FIELDS = ("workload", "ours", "peer", "peer_name", "unit", "ratio", "target", "pass")
HEAD = "| workload | ours | peer | unit | ratio | target | |\n|---|--:|--:|---|--:|--:|---|"

PREAMBLE = "# Performance\n\nMade by `scripts/bench`: every row beside something else of the same run.\n"


class BadRow(Exception):
    """A line that is no result row."""


def parse(lines):
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            missing = [name for name in FIELDS if name not in row]
        except (ValueError, TypeError):
            raise BadRow(f"line {number} is not a JSON object") from None
        if missing:
            raise BadRow(f"line {number} lacks {', '.join(missing)}")
        rows.append(row)
    if not rows:
        raise BadRow("no result row")
    return rows


def number(value):
    """Three significant digits, without an exponent."""
    if value is None:
        return ""
    value = float(value)
    if value == 0:
        return "0"
    digits = max(0, 2 - len(str(int(abs(value)))) + 1) if abs(value) >= 1 else 3
    return f"{value:,.{digits}f}"


def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def table(rows, caption):
    lines = [HEAD]
    for row in rows:
        verdict = {True: "ok", False: "**missed**", None: ""}[row["pass"]]
        target = "" if row["target"] is None else f"≤ {number(row['target'])}"
        peer = f"{number(row['peer'])} ({cell(row['peer_name'])})"
        lines.append(
            f"| {cell(row['workload'])} | {number(row['ours'])} | {peer} | {cell(row['unit'])} "
            f"| {number(row['ratio'])} | {target} | {verdict} |"
        )
    return "\n".join([*lines, "", caption])


def replace(text, group, body):
    """The text with the group's part replaced, or added at the end."""
    begin, end = f"<!-- bench:{group} -->", f"<!-- /bench:{group} -->"
    part = f"{begin}\n{body}\n{end}"
    found = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    if found.search(text):
        return found.sub(lambda _: part, text, count=1)
    if begin in text or end in text:
        raise BadRow(f"only one of the two markers of {group} is in the file")
    start = text or PREAMBLE
    return f"{start.rstrip()}\n\n## {group}\n\n{part}\n"


def caption(quick):
    """Where and when, so that nobody compares figures of different machines unawares."""
    parts = [
        datetime.date.today().isoformat(),
        f"{os.cpu_count()} cores",
        processor(),
        f"{platform.system()} {platform.machine()}",
        commit(),
        "quick run: rough figures" if quick else "",
    ]
    return "_" + ", ".join(part for part in parts if part) + "_"


def commit():
    """The commit that was measured; empty outside a git checkout."""
    try:
        done = subprocess.run(
            ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return ""
    return "commit " + done.stdout.strip()


def processor():
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
    except OSError:
        return ""
    return names[0] if names else ""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--group", required=True)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("file")
    given = parser.parse_args()
    try:
        rows = parse(sys.stdin)
        text = ""
        if os.path.exists(given.file):
            with open(given.file, encoding="utf-8") as file:
                text = file.read()
        text = replace(text, given.group, table(rows, caption(given.quick)))
    except BadRow as error:
        sys.exit(f"error: {error}")
    with open(given.file + ".new", "w", encoding="utf-8") as file:
        file.write(text)
    os.replace(given.file + ".new", given.file)


if __name__ == "__main__":
    main()
