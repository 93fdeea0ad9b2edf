"""The bench's own arithmetic, and its driver against a real server on the loopback."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fairgate.bench import run as bench_run
from fairgate.bench.driver import whole
from fairgate.bench.load import Driver
from fairgate.bench.rows import Figure, rows, table
from fairgate.bench.samples import latencies, spread
from fairgate.bench.target import Address, get
from fairgate.bench.thresholds import THRESHOLDS, Threshold, judge


def test_percentiles_are_values_that_occurred() -> None:
    found = latencies(array("d", [n / 1_000 for n in range(1, 101)]))
    assert found is not None
    assert (found.p50, found.p99, found.max) == (50.0, 99.0, 100.0)
    assert found.buckets[-1][1] == 100
    assert latencies(array("d")) is None


@pytest.mark.parametrize("values, median", [([3.0, 1.0, 2.0], 2.0), ([4.0, 1.0, 2.0, 3.0], 2.0), ([7.0], 7.0)])
def test_a_median_is_a_value_that_occurred(values: list[float], median: float) -> None:
    assert spread(values).median == median


@pytest.mark.parametrize(
    "data, length",
    [
        (b"HTTP/1.1 200 OK\r\ncontent-le", -1),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}", 40),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", 40),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 27),
    ],
)
def test_an_answer_is_whole_when_its_body_is(data: bytes, length: int) -> None:
    assert whole(data) == length


def test_ratios_are_of_the_same_round() -> None:
    measured = [
        ("fairgate", 10.0),
        ("peer", 20.0),
        ("fairgate", 30.0),
        ("peer", 10.0),
        ("fairgate", 8.0),
        ("peer", 8.0),
    ]
    [row] = rows([Figure("join", "joins", "/s", side, value) for side, value in measured])
    assert row.ratio is not None
    assert (row.ratio.least, row.ratio.median, row.ratio.most) == (0.5, 1.0, 3.0)
    assert "1.00 (0.50 – 3.00)" in table([row])


@asynccontextmanager
async def server(answer_after_s: float = 0.0, refuse_every: int = 0) -> AsyncIterator[Address]:
    """Answers every request in two pieces, some of them with 503."""
    asked = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        while await reader.readline():
            await reader.readuntil(b"\r\n\r\n")
            asked += 1
            status = b"503 No" if refuse_every and asked % refuse_every == 0 else b"200 OK"
            await asyncio.sleep(answer_after_s)
            writer.write(b"HTTP/1.1 " + status + b"\r\ncontent-le")
            await writer.drain()
            writer.write(b"ngth: 2\r\n\r\n{}")
        writer.close()

    running = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with running:
        yield Address("127.0.0.1", running.sockets[0].getsockname()[1])


async def test_a_closed_loop_counts_what_was_answered_and_what_was_refused() -> None:
    async with server(refuse_every=10) as address:
        sample = await Driver().load(address, [get("/x")] * 200, connections=4, seconds=60.0)
    assert (sample.ok, sample.refused, sample.failed) == (180, 20, 0)
    assert sample.latencies is not None and sample.latencies.buckets[-1][1] == 200


async def test_in_an_open_loop_who_waits_for_a_free_connection_waits_in_the_figures_too() -> None:
    """One connection that needs 50 ms for each, asked 100 times a second: the last wait is that of the whole queue."""
    async with server(answer_after_s=0.05) as address:
        sample = await Driver().load(address, [get("/x")] * 20, connections=1, seconds=0.2, rate=100.0)
    assert sample.ok == 20
    assert sample.latencies is not None and sample.latencies.max > 400.0, "20 × 50 ms, less the 200 ms of asking"


def measured(name: str, ours: float, theirs: float | None = None) -> list[Figure]:
    figures = [Figure("work", name, "/s", "fairgate", ours)]
    return figures if theirs is None else [*figures, Figure("work", name, "/s", "peer", theirs)]


@pytest.mark.parametrize("ours, kept", [(99.0, False), (100.0, True)])
def test_a_threshold_is_a_ratio_to_the_peer_of_the_same_rounds(ours: float, kept: bool) -> None:
    [judged] = judge(rows(measured("joins", ours, 100.0)), [Threshold(row="joins", at_least=1.0)])
    assert (judged.value, judged.kept) == (ours / 100, kept)
    assert judged.text.startswith("✓ joins: 1.00 × the peer's (≥ 1)" if kept else "✗ joins: 0.99")


def test_a_threshold_may_be_a_number_or_another_row() -> None:
    found = rows([*measured("sessions", 80.0), *measured("joins", 100.0), *measured("untold", 3.0)])
    thresholds = [
        Threshold(row="sessions", to="joins", at_least=0.8),
        Threshold(row="untold", to="value", at_most=0),
    ]
    assert [(one.value, one.kept) for one in judge(found, thresholds)] == [(0.8, True), (3.0, False)]


def test_what_was_not_measured_is_not_judged() -> None:
    assert judge(rows(measured("joins", 1.0)), [Threshold(row="joins"), Threshold(row="tickets", to="value")]) == []


def test_the_thresholds_name_rows_that_the_works_make() -> None:
    """A row that was renamed would never be judged again."""
    names = {threshold.row for threshold in THRESHOLDS} | {t.to for t in THRESHOLDS} - {"peer", "value"}
    files = Path(bench_run.__file__).parent.rglob("*.py")
    source = "".join(file.read_text(encoding="utf-8") for file in files if file.name != "thresholds.py")
    for name in names:
        stem = name.split(",")[0]
        assert f'"{stem}' in source, name
