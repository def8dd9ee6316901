from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest

BLOCKS = re.findall(
    r"^```python\n(.*?)^```", Path(__file__).parents[1].joinpath("README.md").read_text(), re.M | re.S
)


@pytest.mark.parametrize("block", BLOCKS, ids=range(len(BLOCKS)))
def test_every_block_is_python(block: str) -> None:
    compile(block, "README.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)


async def test_the_quickstart_runs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    eventually: Callable[..., Awaitable[None]],
) -> None:
    started: list[Coroutine[Any, Any, None]] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(asyncio, "run", started.append)
    exec(compile(BLOCKS[0], "README.md", "exec"), {})
    running = asyncio.ensure_future(started[0])
    printed = ""

    def shown() -> bool:
        nonlocal printed
        printed += capsys.readouterr().out
        return "1 cars" in printed or running.done()

    try:
        await eventually(shown, "the output")
        assert printed.splitlines() == ["123 3001", "1 cars"]
    finally:
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
