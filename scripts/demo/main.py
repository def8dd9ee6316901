#!/usr/bin/env python3
"""Runs the main job on three real peers and checks it. `scripts/run` builds the program and calls this."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import uuid

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))

from demo.content import BadFile, Sample, read_sample
from demo.multicast import usable_interfaces
from demo.process import ProcessFailed, RequestFailed
from demo.report import Report
from demo.scenario import Scenario

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SAMPLE = os.path.join(ROOT, "data", "cities.jsonl")


class Interrupted(Exception):
    """A signal or the time limit ended the run."""


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/run", description=__doc__.splitlines()[0])
    parser.add_argument("file", nargs="?", metavar="FILE.jsonl", help="documents, one JSON object a line")
    parser.add_argument("--ditto", default="", help=argparse.SUPPRESS)
    parser.add_argument("--validate", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--debug", action="store_true", help="use the unoptimised program (quicker to build)")
    parser.add_argument(
        "--addresses", action="store_true", help="use configured addresses even if multicast works"
    )
    parser.add_argument(
        "--keep", metavar="DIR", help="keep the folders and logs of the peers in this new folder"
    )
    parser.add_argument(
        "--patience", type=float, default=120.0, metavar="SECONDS", help="longest wait for one condition"
    )
    parser.add_argument("--limit", type=int, default=900, metavar="SECONDS", help="longest run")
    given = parser.parse_args()
    for name in ("file", "keep"):
        path = getattr(given, name)
        if path:
            setattr(given, name, os.path.join(os.environ.get("DITTO_CALLER_DIR", os.getcwd()), path))
    given.file = given.file or SAMPLE
    return given


def run(given: argparse.Namespace, sample: Sample, report: Report, folder: str) -> None:
    report.line(f"{os.path.relpath(given.file)}: {len(sample.documents)} documents")
    if sample.generated_ids:
        report.line(f"  {sample.generated_ids} documents without _id are named after their line")
    if sample.replaced:
        report.line(f"  {sample.replaced} documents are replaced by later ones with the same _id")
    interfaces, reason = ([], "switched off by --addresses") if given.addresses else usable_interfaces()
    # A fresh database id per run: peers of another run on this network stay apart.
    scenario = Scenario(report, given.ditto, folder, str(uuid.uuid4()), sample, given.patience)
    try:
        scenario.start(interfaces, reason)
        scenario.discover()
        scenario.import_file()
        scenario.trouble()
        scenario.come_back()
        scenario.messages()
        scenario.show_mesh()
        scenario.close()
    except (ProcessFailed, RequestFailed, Interrupted) as error:
        report.check("the run went through", False, str(error))
        for peer in scenario.peers:
            tail = peer.process.log_tail() if peer.process else ""
            if tail:
                report.line(f"\nlast log lines of {peer.name}:\n{tail}")
    finally:
        scenario.abandon()


def main() -> int:
    given = arguments()
    try:
        sample = read_sample(given.file)
    except (BadFile, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.validate:
        return 0
    if not os.access(given.ditto, os.X_OK):
        print(f"error: {given.ditto} is not an executable program", file=sys.stderr)
        return 3
    if given.keep:
        os.makedirs(given.keep)
    folder = given.keep or tempfile.mkdtemp(prefix="ditto-run-")

    def interrupt(number: int, _frame: object) -> None:
        what = f"longer than {given.limit} s" if number == signal.SIGALRM else signal.Signals(number).name
        raise Interrupted(what)

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM):
        signal.signal(number, interrupt)
    signal.alarm(given.limit)
    report = Report()
    try:
        run(given, sample, report, folder)
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    finally:
        signal.alarm(0)
        if not given.keep and (report.passed() or not report.checks):
            shutil.rmtree(folder, ignore_errors=True)
    report.summary()
    if not report.passed():
        report.line(f"  folders and logs of the peers: {folder}")
        return 1
    if given.keep:
        report.line(f"  folders and logs of the peers: {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
