"""A process ends as it should, whatever the library is doing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PREAMBLE = """
import asyncio, sys, threading, time
from ditto import Ditto, DittoConfig
config = DittoConfig(DittoConfig.default_database_id(), persistence_directory=sys.argv[1])
"""

# The handler runs while the interpreter ends, and again and again if it were for the library.
IN_A_HANDLER = """
ditto = Ditto.open_sync(config)
entered = threading.Event()
def handler(result):
    entered.set()
    time.sleep(0.3)
    print("handled")
ditto.store.register_observer("SELECT * FROM c", handler, deliver_on="thread")
entered.wait()
"""

# Changes of the mesh and of documents come all the time.
UNCLOSED = """
ditto = Ditto.open_sync(config)
async def main():
    await ditto.sync.start()
    ditto.presence.observe(lambda graph: None)
    ditto.store.register_observer("SELECT * FROM c", lambda result: None)
    for i in range(20):
        await ditto.store.execute("INSERT INTO c DOCUMENTS (:d)", {"d": {"i": i}})
asyncio.run(main())
"""

# The last thing that happens is that an awaited call comes back.
CLOSED = """
async def main():
    async with Ditto.open(config) as ditto:
        await ditto.store.execute("INSERT INTO c DOCUMENTS (:d)", {"d": {}})
asyncio.run(main())
"""

# Awaited work that never comes back is dropped with its loop.
GIVEN_UP = """
async def main():
    ditto = await Ditto.open(config)
    messages = ditto.bus.incoming_messages()
    waiting = asyncio.ensure_future(messages.__anext__())
    await asyncio.sleep(0)
asyncio.run(main())
"""


@pytest.mark.parametrize("script", [IN_A_HANDLER, UNCLOSED, CLOSED, GIVEN_UP])
def test_the_interpreter_ends(script: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PREAMBLE + script, str(tmp_path / "db")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    assert "FATAL" not in ended.stderr
    if script is IN_A_HANDLER:
        assert ended.stdout.count("handled") == 1, "the handler that ran was waited for"
