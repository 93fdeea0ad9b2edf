"""What the parts can do by themselves, so that everybody sees how far from it the whole is: an HTTP server that does
nothing, Valkey's scripts, Kafka's own tool at the same durability, and plain inserts of the rows of a ticket.
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TypeVar
from uuid import uuid4

import asyncpg

from fairgate.bench import cpu
from fairgate.bench.cores import pin
from fairgate.bench.filling import Filler, guests
from fairgate.bench.load import Driver
from fairgate.bench.measured import Figure, Measured
from fairgate.bench.options import Options
from fairgate.bench.sides import API_CORE, FairgateSide, Side
from fairgate.bench.target import Address
from fairgate.bench.until import until
from fairgate.bench.works.join import CONNECTIONS
from fairgate.bench.works.position import filled
from fairgate.checker import books
from fairgate.domain.ids import ticket_ids
from fairgate.errors import Unavailable
from fairgate.local.kafka import tool_command
from fairgate.queue.queue import BATCH_MAX
from fairgate.streams.topics import Names, admin, apply

T = TypeVar("T")

ROLES = ("api", "admission")
FANS = 2_000
READY_S, TOOL_S = 15.0, 300.0
# As many calls in flight as a busy API has.
CALLS_AT_ONCE = 2
# A ticket's record with its headers; batches and waiting as our producers have them; a transaction as under a crowd.
RECORD_BYTES, LINGER_MS, BATCH_BYTES, TRANSACTION_MS = 350, 50, 1_000_000, 400
# Rows a statement, as admission, ticketing and notification have them under a crowd.
CLAIMS, TICKETS, NOTES = 1_000, 5_000, 2_500

_SENT = re.compile(r"records sent, ([\d.]+) records/sec")


async def measure(side: Side, driver: Driver, options: Options) -> Measured:
    assert isinstance(side, FairgateSide)
    await side.on(ROLES)
    users, _ = await driver.fans(side.target, FANS)
    event_id = await filled(side, driver, users)
    requests = [side.target.position(event_id, user) for user in users]
    answer = await _answer(side.target.api, requests[0])
    scripts = await _scripts(side, options.waiting)
    await side.off()
    return Measured(
        [
            *await _bare(side, driver, requests, answer, options.seconds),
            *scripts,
            *await _kafka(side, 2 * options.waiting),
            *await _inserts(side, options.waiting),
        ]
    )


# ---- HTTP: the same requests, the same answer, nothing between


async def _answer(api: Address, request: bytes) -> bytes:
    """What the API says to it, byte by byte."""
    reader, writer = await asyncio.open_connection(api.host, api.port)
    try:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"content-length: (\d+)", head)
        if length is None:
            raise Unavailable("an answer without a length")
        return head + await reader.readexactly(int(length[1]))
    finally:
        writer.close()


async def _bare(
    side: FairgateSide, driver: Driver, requests: Sequence[bytes], answer: bytes, seconds: float
) -> list[Figure]:
    figures = []
    async with _bare_server(side.target.api, answer) as pid:
        for connections in CONNECTIONS:
            asking = driver.load(side.target.api, requests, connections=connections, seconds=seconds, again=True)
            sample, spent_s = await _spent(lambda: cpu.usage({"bare": pid}), "bare", asking)
            name = f"bare server, {connections} connections"
            figures += [
                Figure("limits", name, "/s", side.name, sample.per_s),
                Figure("limits", f"{name}, driver busy", "% of a core", side.name, 100 * sample.busy),
                Figure("limits", f"{name}, CPU a request", "µs", side.name, 1e6 * spent_s / max(1, sample.ok)),
            ]
    return figures


@asynccontextmanager
async def _bare_server(address: Address, answer: bytes) -> AsyncIterator[int]:
    """Its process id."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairgate.bench.bare", str(address.port), stdin=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdin is not None
        process.stdin.write(answer)
        process.stdin.close()
        await until(lambda: _listens(address), READY_S, "a bare server that listens")
        pin(process.pid, API_CORE)
        yield process.pid
    finally:
        process.kill()
        await process.wait()


async def _listens(address: Address) -> bool:
    try:
        _, writer = await asyncio.open_connection(address.host, address.port)
    except OSError:
        return False
    writer.close()
    return True


# ---- Valkey: the scripts of joins and reads, a full batch at a time, past HTTP


async def _scripts(side: FairgateSide, count: int) -> list[Figure]:
    event_id = await side.open_line(f"bench-{uuid4().hex[:8]}", paused=True)
    users = guests(count)
    batches = [users[start : start + BATCH_MAX] for start in range(0, count, BATCH_MAX)]
    filler = Filler(side)
    try:
        await filler.ready(event_id)
        line, store = filler.line(event_id), filler.store
        _, joins_s = await _spent(side.usage, "valkey", _each(batches, lambda some: store.join(line, some)))
        _, reads_s = await _spent(side.usage, "valkey", _each(batches, lambda some: store.positions(line, some)))
    finally:
        await filler.close()
    return [
        Figure("limits", f"Valkey alone, CPU a {what}", "µs", side.name, 1e6 * spent_s / count)
        for what, spent_s in (("join", joins_s), ("place", reads_s))
    ]


async def _each(batches: Sequence[list[str]], call: Callable[[list[str]], Awaitable[object]]) -> None:
    for start in range(0, len(batches), CALLS_AT_ONCE):
        await asyncio.gather(*(call(batch) for batch in batches[start : start + CALLS_AT_ONCE]))


async def _spent(usage: Callable[[], dict[str, cpu.Usage]], kind: str, work: Awaitable[T]) -> tuple[T, float]:
    """What the work comes to, and the CPU seconds of these processes meanwhile, whoever else shares the machine."""
    before = usage()
    result = await work
    return result, cpu.by_kind(cpu.since(before, usage())).get(kind, 0.0)


# ---- Kafka: its own tool


async def _kafka(side: FairgateSide, records: int) -> list[Figure]:
    """Into a topic like the pipeline's own. Twice, and the first one is for the compilers."""
    java = await asyncio.to_thread(tool_command)
    prefix = f"bench-{uuid4().hex[:8]}-"
    await asyncio.to_thread(apply, admin(side.config), prefix)
    order = ["--topic", Names(prefix).ticket_issue, "--num-records", str(records), "--record-size", str(RECORD_BYTES)]
    order += ["--throughput", "-1", "--transactional-id", f"{prefix}tool"]
    order += ["--transaction-duration-ms", str(TRANSACTION_MS), "--producer-props"]
    order += [f"bootstrap.servers={side.config.kafka_bootstrap}", "acks=all", "enable.idempotence=true"]
    order += [f"linger.ms={LINGER_MS}", f"batch.size={BATCH_BYTES}"]
    for _ in range(2):
        sending = _tool([*java, "org.apache.kafka.tools.ProducerPerformance", *order])
        rate, spent_s = await _spent(side.usage, "kafka", sending)
    return [
        Figure("limits", "Kafka's own tool, records", "/s", side.name, rate),
        Figure("limits", "Kafka's own tool, brokers' CPU a record", "µs", side.name, 1e6 * spent_s / records),
    ]


async def _tool(order: Sequence[str]) -> float:
    """Records a second, of all of them. Raises `Unavailable`."""
    process = await asyncio.create_subprocess_exec(
        *order, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    try:
        async with asyncio.timeout(TOOL_S):
            out, _ = await process.communicate()
    except BaseException:
        process.kill()
        raise
    text = out.decode(errors="replace")
    rates = _SENT.findall(text)
    if process.returncode != 0 or not rates:
        raise Unavailable(f"Kafka's own tool: {text[-500:]}")
    return float(rates[-1])


# ---- PostgreSQL: the rows of a ticket, in tables like ours, and nothing asked


async def _inserts(side: FairgateSide, count: int) -> list[Figure]:
    sql = await books.connect(side.config)
    try:
        _, spent_s = await _spent(side.usage, "postgres", _insert(sql, count))
    finally:
        await sql.close()
    return [Figure("limits", "PostgreSQL alone, CPU a ticket's rows", "µs", side.name, 1e6 * spent_s / count)]


async def _insert(sql: asyncpg.Connection[asyncpg.Record], count: int) -> None:
    """Into tables like `admissions`, `tickets` and `tickets_told`, indexes too, in statements of our sizes."""
    users = guests(count)
    numbers, now = list(range(1, count + 1)), datetime.now(UTC)
    ids = [id for start in range(0, count, TICKETS) for id in ticket_ids(min(TICKETS, count - start))]
    for table in ("admissions", "tickets", "tickets_told"):
        await sql.execute(f"create table bench_{table} (like {table} including all)")
    try:
        for size, statement, columns in (
            (CLAIMS, _ADMISSIONS, (numbers, users)),
            (TICKETS, _TICKETS, (ids, numbers, users)),
            (NOTES, _NOTES, (ids, users)),
        ):
            for start in range(0, count, size):
                await sql.execute(statement, now, *(column[start : start + size] for column in columns))
    finally:
        await sql.execute("drop table bench_admissions, bench_tickets, bench_tickets_told")


_ADMISSIONS = """
insert into bench_admissions (event_id, number, user_id, sequence, source, admitted_at)
select 'bench', number, user_id, number, 'line', $1 from unnest($2::bigint[], $3::text[]) as c (number, user_id)
"""
_TICKETS = """
insert into bench_tickets (ticket_id, event_id, user_id, sequence, number, status, issued_at, changed_at, settled_by)
select id, 'bench', user_id, number, number, 'confirmed', $1, $1, 'bench-0@' || number
from unnest($2::uuid[], $3::bigint[], $4::text[]) as c (id, number, user_id)
"""
_NOTES = """
insert into bench_tickets_told (ticket_id, user_id, created_at)
select id, user_id, $1 from unnest($2::uuid[], $3::text[]) as c (id, user_id)
"""
