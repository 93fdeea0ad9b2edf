"""Asks over raw HTTP/1.1 connections as fast as one core can, in a process of its own.

A library's client costs more than the server that is measured. This one writes prepared bytes and looks for the end of
the answer: it knows no more of HTTP than a correct answer with `Content-Length` needs, and counts everything else as
failed. A job comes as one JSON document, the requests as files beside it, the result goes to stdout.
"""

from __future__ import annotations

import asyncio
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from fairgate.bench.samples import Sample, latencies

# A run is over when its time is; what is still in the air then may take this long.
LAST_ANSWER_S = 10.0
# Beyond this many failures a target is broken, not slow.
FAILURES_MAX = 100

SEPARATOR = b"\0\0\0"


class Job(msgspec.Struct, frozen=True, kw_only=True):
    """`rate` None: closed loop. `again`: start over when the requests are used up. `core` None: not pinned.

    `answers`: a file for the bodies of all answers, one a line, in the order in which they came.
    """

    host: str
    port: int
    requests: str
    connections: int
    seconds: float
    rate: float | None = None
    again: bool = False
    core: int | None = None
    answers: str | None = None


class _Tally:
    """What all connections count together."""

    def __init__(self) -> None:
        self.ok = self.refused = self.failed = 0
        self.seconds = array("d")
        self.bodies: list[bytes] = []


class Connection(asyncio.Protocol):
    """One keep-alive connection with at most one request in the air. `idle` is told when it could take the next."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._transport: Any = None
        self._buffer = b""
        self._since: float | None = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self._run.idle(self)

    def ask(self, request: bytes, since: float) -> None:
        """`since` is when the asker wanted it: in an open loop that may lie before now."""
        self._since = since
        self._transport.write(request)

    def data_received(self, data: bytes) -> None:
        if self._buffer:
            data = self._buffer + data
        length = whole(data)
        if length < 0 or len(data) < length:
            self._buffer = data
            return
        self._buffer = b""
        assert self._since is not None, "an answer that nobody asked for"
        self._run.answered(data, self._since)
        self._since = None
        self._run.idle(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._run.gone(self, in_the_air=self._since is not None)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def whole(data: bytes) -> int:
    """How long the first answer in `data` is; -1 while its head is not complete."""
    head = data.find(b"\r\n\r\n")
    if head < 0:
        return -1
    start = data.find(b"ontent-length: ", 0, head)
    if start < 0:
        start = data.find(b"ontent-Length: ", 0, head)
    if start < 0:
        return head + 4
    return head + 4 + int(data[start + 15 : data.find(b"\r", start)])


class Run:
    """One load on one target: closed or open."""

    def __init__(self, job: Job, requests: Iterator[bytes]) -> None:
        self._job, self._requests = job, requests
        self._tally = _Tally()
        self._idle: list[Connection] = []
        self._due: list[float] = []
        self._open = 0
        self._started = self._end = float("inf")
        self._over = asyncio.get_running_loop().create_future()

    async def measure(self) -> Sample:
        """Connect, load for the job's time, wait for the last answers."""
        loop = asyncio.get_running_loop()
        connections = []
        for _ in range(self._job.connections):
            _, connection = await loop.create_connection(lambda: Connection(self), self._job.host, self._job.port)
            connections.append(connection)
        self._open = len(connections)
        self._started, cpu_s = time.perf_counter(), time.process_time()
        self._end = self._started + self._job.seconds
        if self._job.rate is None:
            idle, self._idle = self._idle, []
            for connection in idle:
                self.idle(connection)
        else:
            await self._keep_time(self._job.rate)
        await asyncio.wait([self._over], timeout=max(0.0, self._end - time.perf_counter()) + LAST_ANSWER_S)
        took_s = min(time.perf_counter(), max(self._end, self._last)) - self._started
        busy = (time.process_time() - cpu_s) / took_s if took_s > 0 else 0.0
        for connection in connections:
            connection.close()
        unanswered = self._open - len(self._idle)
        return Sample(
            ok=self._tally.ok,
            refused=self._tally.refused,
            failed=self._tally.failed + max(0, unanswered),
            seconds=took_s,
            latencies=latencies(self._tally.seconds),
            busy=busy,
        )

    @property
    def bodies(self) -> list[bytes]:
        """Of the answers, where the job wants them."""
        return self._tally.bodies

    # ---- what connections tell

    _last = 0.0

    def idle(self, connection: Connection) -> None:
        now = time.perf_counter()
        if self._started > now:
            self._idle.append(connection)
        elif self._job.rate is not None:
            self._idle.append(connection)
            self._serve_due()
        elif now >= self._end or (request := next(self._requests, None)) is None:
            self._rest(connection)
        else:
            connection.ask(request, now)

    def answered(self, answer: bytes, since: float) -> None:
        self._last = time.perf_counter()
        self._tally.seconds.append(self._last - since)
        if answer[9:11] == b"20":
            self._tally.ok += 1
        else:
            self._tally.refused += 1
        if self._job.answers is not None:
            self._tally.bodies.append(answer.partition(b"\r\n\r\n")[2])

    def gone(self, connection: Connection, *, in_the_air: bool) -> None:
        self._open -= 1
        self._tally.failed += in_the_air
        if self._open <= 0 or self._tally.failed > FAILURES_MAX:
            self._finish()

    # ---- how it ends, how it keeps time

    def _rest(self, connection: Connection) -> None:
        self._idle.append(connection)
        if len(self._idle) >= self._open:
            self._finish()

    def _finish(self) -> None:
        if not self._over.done():
            self._over.set_result(None)

    async def _keep_time(self, rate: float) -> None:
        """Request n is due at n / rate. Late ones wait in line and their latency tells it, also where it is us who are
        late: all are asked.
        """
        count, whole_run = 0, int(self._job.seconds * rate)
        while (now := time.perf_counter()) < self._end:
            due = min(int((now - self._started) * rate) + 1, whole_run)
            self._due += [self._started + n / rate for n in range(count, due)]
            count = max(count, due)
            self._serve_due()
            await asyncio.sleep(max(0.0005, self._started + count / rate - time.perf_counter()))
        self._due += [self._started + n / rate for n in range(count, whole_run)]
        while self._due or len(self._idle) < self._open:
            if time.perf_counter() > self._end + LAST_ANSWER_S or not self._open:
                break
            self._serve_due()
            await asyncio.sleep(0.005)
        self._finish()

    def _serve_due(self) -> None:
        served = 0
        for since in self._due:
            if not self._idle or (request := next(self._requests, None)) is None:
                break
            self._idle.pop().ask(request, since)
            served += 1
        del self._due[:served]


def read_requests(file: Path, *, again: bool) -> Iterator[bytes]:
    requests = file.read_bytes().split(SEPARATOR)
    while True:
        yield from requests
        if not again:
            return


async def _measure(job: Job) -> tuple[Sample, list[bytes]]:
    run = Run(job, read_requests(Path(job.requests), again=job.again))
    return await run.measure(), run.bodies


def main() -> None:
    """`python -m fairgate.bench.driver`: a job on stdin, a sample on stdout."""
    from fairgate.bench.cores import pin

    job = msgspec.json.decode(sys.stdin.buffer.read(), type=Job)
    pin(0, job.core)
    sample, bodies = uvloop.run(_measure(job))
    if job.answers is not None:
        Path(job.answers).write_bytes(b"\n".join(bodies))
    sys.stdout.buffer.write(msgspec.json.encode(sample))


if __name__ == "__main__":
    main()
