"""Runs the driver on a target: requests into a file, a process on a core of its own, the sample back."""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import Iterable
from itertools import repeat
from pathlib import Path
from uuid import uuid4

import msgspec

from fairgate.bench.driver import LAST_ANSWER_S, SEPARATOR, Job
from fairgate.bench.samples import Sample
from fairgate.bench.target import Address, Target
from fairgate.errors import Unavailable

# Reading a million requests back before the first is sent.
PREPARE_S = 30.0


class Driver:
    """`core`: where the driver may run; None leaves it to the system."""

    def __init__(self, core: int | None = None) -> None:
        self._core = core

    async def load(
        self,
        address: Address,
        requests: Iterable[bytes],
        *,
        connections: int,
        seconds: float,
        rate: float | None = None,
        again: bool = False,
        answers: Path | None = None,
    ) -> Sample:
        """Raises `Unavailable` when the driver ended without a result."""
        with tempfile.TemporaryDirectory(prefix="fairgate-bench-") as directory:
            file = Path(directory) / "requests"
            file.write_bytes(SEPARATOR.join(requests))
            job = Job(
                host=address.host,
                port=address.port,
                requests=str(file),
                connections=connections,
                seconds=seconds,
                rate=rate,
                again=again,
                core=self._core,
                answers=None if answers is None else str(answers),
            )
            return await _run(job)

    async def fans(self, target: Target, count: int, connections: int = 64) -> tuple[list[str], Sample | None]:
        """Users that nobody has seen before, each with a session in the target's `tokens` where it wants one."""
        if target.session is None:
            run = uuid4().hex[:8]
            return [f"{run}-{number}" for number in range(count)], None
        with tempfile.TemporaryDirectory(prefix="fairgate-bench-") as directory:
            answers = Path(directory) / "answers"
            sample = await self.load(
                target.api, repeat(target.session, count), connections=connections, seconds=LONG_S, answers=answers
            )
            made = [msgspec.json.decode(line, type=_Session) for line in answers.read_bytes().splitlines()]
        if sample.ok < count:
            raise Unavailable(f"{target.name} made {sample.ok} of {count} sessions")
        target.tokens |= {session.userId: session.token for session in made}
        return [session.userId for session in made], sample


# Until the requests are used up.
LONG_S = 600.0


class _Session(msgspec.Struct):
    userId: str
    token: str


async def _run(job: Job) -> Sample:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "fairgate.bench.driver",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(job.seconds + LAST_ANSWER_S + PREPARE_S):
            out, _ = await process.communicate(msgspec.json.encode(job))
    except BaseException:
        process.kill()
        raise
    if process.returncode != 0:
        raise Unavailable(f"the driver ended with {process.returncode}")
    return msgspec.json.decode(out, type=Sample)
