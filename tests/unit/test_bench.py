"""The bench's own arithmetic, and its driver against a real server on the loopback."""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from fairgate.bench import cpu, proof
from fairgate.bench import run as bench_run
from fairgate.bench.driver import whole
from fairgate.bench.load import Driver
from fairgate.bench.measured import Curve, Figure, of_requests
from fairgate.bench.peer import numbered
from fairgate.bench.remote import address_of
from fairgate.bench.report import Report, markdown, page, write
from fairgate.bench.rows import rows, table
from fairgate.bench.samples import Sample, latencies, spread
from fairgate.bench.target import Address, get
from fairgate.bench.thresholds import THRESHOLDS, Threshold, judge
from fairgate.bench.works import WORKS
from fairgate.checker.books import Admission, Book, InboxRow, Stock, Ticket
from fairgate.errors import ConfigError
from fairgate.reports.machine import Machine


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


# ---- the report


def report(*figures: Figure, curves: list[Curve] | None = None) -> Report:
    where = Machine(
        began="2026-11-26 12:00 UTC",
        cores=2,
        memory_gib=24.0,
        system="Linux",
        versions={"Python": "3.11"},
        commit="abc",
    )
    return Report(
        machine=where, command="fairgate bench", setting=["3 brokers"], figures=list(figures), curves=curves or []
    )


def test_the_report_says_every_figure_and_every_threshold(tmp_path: Path) -> None:
    found = report(*measured("untold", 3.0), *measured("joins, 64 connections", 90.0, 100.0))
    assert not found.kept
    for text in (markdown(found), page(found)):
        assert "untold" in text and "joins, 64 connections" in text
        assert "✗ untold: 3.00 (≤ 0)" in text and "✗ joins, 64 connections: 0.90" in text
    assert {file.name for file in write(found, tmp_path)} == {"bench.html", "bench.md", "bench.json"}


def test_the_page_draws_every_curve_and_needs_no_network() -> None:
    sample = Sample(ok=3, refused=0, failed=0, seconds=1.0, latencies=latencies(array("d", [0.001, 0.002, 0.2])))
    of_sample = of_requests("join", "joins <64>", "fairgate", sample)
    drain = Curve(work="join", title="drain", side="peer", x="s", y="/s", points=[(0.0, 0.0), (1.0, 5.0)])
    html = page(report(*of_sample.figures, curves=[*of_sample.curves, drain]))
    assert html.count("<path") == 2 and "joins &lt;64&gt;: percentiles" in html
    assert "http" not in html.split("<body>")[1].replace("http 200", "") and "<script" not in html


def test_the_slowest_of_all_has_no_percentile() -> None:
    """The last of n is slower than all others: one in infinitely many, as far as anybody knows."""
    sample = Sample(ok=4, refused=0, failed=0, seconds=1.0, latencies=latencies(array("d", [0.001, 0.002, 0.003, 0.9])))
    [curve] = of_requests("join", "joins", "fairgate", sample).curves
    assert [round(x, 2) for x, _ in curve.points] == [1.33, 2.0, 4.0]
    assert max(y for _, y in curve.points) < 4.0


# ---- what a drain must have done


USERS = ["a", "b"]
STOCK = Stock(
    capacity=None, reserved=2, next_number=3, issued=2, confirmed=2, cancelled=0, expired=0, rate=1.0, burst=1,
    state="open", generation=1,
)  # fmt: skip


def book(**parts: object) -> Book:
    whole = {
        "event_id": "e",
        "stock": STOCK,
        "admissions": [admission(user, n, n) for n, user in enumerate(USERS, 1)],
        "departures": [],
        "tickets": [Ticket(f"t{n}", user, n, n, "confirmed", 0.0) for n, user in enumerate(USERS, 1)],
        "inbox": [InboxRow(user, f"i{n}", "ticket:issued", f"t{n}", False, 0.0) for n, user in enumerate(USERS, 1)],
        "log": [],
    }
    return Book(**{**whole, **parts})  # type: ignore[arg-type]


def admission(user: str, sequence: int, number: int) -> Admission:
    return Admission(user, sequence, number, "line", 0.0)


def test_a_drain_in_which_everybody_has_one_ticket_is_right() -> None:
    assert [str(finding) for finding in proof.judged(book(), ["a", "b"])] == []


@pytest.mark.parametrize(
    "joined, parts, says",
    [
        (["a", "b", "c"], {}, "joined, and has no ticket"),
        (["a"], {}, "has a ticket, and never joined"),
        (["a", "b"], {"inbox": []}, "has a ticket, and was not told"),
        (["a", "b"], {"tickets": [*book().tickets, Ticket("t3", "b", 2, 3, "confirmed", 0.0)]}, "2 live tickets"),
        (["a", "b"], {"admissions": [admission("a", 2, 1), admission("b", 1, 2)]}, "after place"),
    ],
)
def test_a_drain_that_went_wrong_is_found_out(joined: list[str], parts: dict[str, object], says: str) -> None:
    assert any(says in str(finding) for finding in proof.judged(book(**parts), joined))


# ---- what else it needs


def test_processes_of_a_kind_are_added_up() -> None:
    assert cpu.by_kind({"ticketing-0": 1.0, "ticketing-1": 2.0, "kafka-1": 1.0, "valkey": 4.0}) == {
        "ticketing": 3.0,
        "kafka": 1.0,
        "valkey": 4.0,
    }


@pytest.mark.parametrize("url", ["https://shop.example", "shop.example:80", "http://"])
def test_only_a_plain_address_can_be_driven(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address"):
        address_of(url)


def test_an_address_without_a_port_is_that_of_http() -> None:
    assert address_of("http://127.0.0.1") == Address("127.0.0.1", 80)


@pytest.mark.parametrize("url", ["redis://127.0.0.1:6379/0", "redis://127.0.0.1:6379", "redis://127.0.0.1:6379/7"])
def test_the_peer_has_a_valkey_database_of_its_own(url: str) -> None:
    """Beside a number that was there before, one client would take the first and the other the second."""
    assert numbered(url, 1) == "redis://127.0.0.1:6379/1"


def test_what_needs_servers_of_its_own_cannot_be_asked_from_outside() -> None:
    assert {name for name, work in WORKS.items() if work.anywhere} == {"join", "position", "latency"}
    assert all(work.ours for work in WORKS.values() if work.fresh)
