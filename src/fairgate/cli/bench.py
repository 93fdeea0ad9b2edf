"""`fairgate bench`: how fast, on servers of its own, alone, beside the peer, or against what runs already."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgate.cli.interrupts import signals_interrupt

if TYPE_CHECKING:
    from fairgate.bench.options import Options
    from fairgate.bench.report import Report

CANNOT_START = 3
ALL = "all"
SHORTEST = 1_000


Works = Annotated[
    list[str] | None,
    typer.Argument(
        help="join, position, drain, latency, listeners, lines, waiters, recovery, limits, or all (default)."
    ),
]
SideBySide = Annotated[
    bool, typer.Option("--side-by-side", help="Alternate with the peer on the same servers (needs node).")
]
Peer = Annotated[Path, typer.Option(help="The peer's sources.")]
Quick = Annotated[bool, typer.Option("--quick", help="One short round: a look, not a measurement.")]
Rounds = Annotated[int, typer.Option(min=1, max=50, help="How often each is measured.")]
Brokers = Annotated[int, typer.Option(help="1 or 3.")]
Waiting = Annotated[int, typer.Option(min=100, max=2_000_000, help="How many wait, for drain and position.")]
Listeners = Annotated[int, typer.Option(min=10, max=20_000, help="How many listen at one live process.")]
Lines = Annotated[int, typer.Option(min=2, max=5_000, help="How many lines are open at once.")]
Longest = Annotated[int, typer.Option(min=SHORTEST, max=20_000_000, help="The longest line, for waiters.")]
Places = Annotated[int, typer.Option(min=100, max=10_000_000, help="How many places are rebuilt.")]
Against = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Drive what runs there (join, position, latency) and start nothing."),
]
Live = Annotated[str | None, typer.Option(metavar="URL", help="With --against: where its Socket.IO is, if elsewhere.")]
Event = Annotated[
    str | None,
    typer.Option(help="With --against: a line there. Without, one is made with FAIRGATE_OPERATOR_TOKEN."),
]
ReportTo = Annotated[Path | None, typer.Option("--report", help="Write bench.html, bench.md and bench.json here.")]
AsJson = Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")]


def register(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    work: Works = None,
    side_by_side: SideBySide = False,
    peer: Peer = Path("bench/peer"),
    quick: Quick = False,
    rounds: Rounds = 5,
    brokers: Brokers = 3,
    waiting: Waiting = 100_000,
    listeners: Listeners = 5_000,
    lines: Lines = 1_000,
    longest: Longest = 1_000_000,
    places: Places = 1_000_000,
    against: Against = None,
    live: Live = None,
    event: Event = None,
    report: ReportTo = None,
    as_json: AsJson = False,
) -> None:
    """Measure joins, reads of places, the drain of a full line, the time to the ticket, sockets, growth and recovery.

    The API and the driver run on a core each where the system allows it. Compare ratios of one run, never single times.
    The exit status is 1 when a threshold was missed.

    Example: fairgate bench join --rounds 5
    """
    from fairgate.bench.options import Options, Remote

    options = Options(
        works=_works(work, against),
        rounds=1 if quick else rounds,
        brokers=_brokers(brokers),
        seconds=0.5 if quick else 4.0,
        waiting=min(waiting, 5_000) if quick else waiting,
        listeners=100 if quick else 500,
        watchers=min(listeners, 200) if quick else listeners,
        rate=100.0,
        sizes=_sizes(min(longest, 20_000) if quick else longest),
        lines=min(lines, 20) if quick else lines,
        places=min(places, 20_000) if quick else places,
        peer=peer if side_by_side else None,
        against=Remote(url=against, live_url=live, event_id=event, operator_token=_token()) if against else None,
        tell=_say,
    )
    _told(_run(options), report, as_json=as_json)


def _run(options: Options) -> Report:
    from fairgate.bench.run import run
    from fairgate.errors import FairgateError

    try:
        with signals_interrupt():
            return asyncio.run(run(options, " ".join(["fairgate", *sys.argv[1:]])))
    except FairgateError as error:
        _say(f"✗ {error.detail}\n  {getattr(error, 'hint', '')}".rstrip())
        raise typer.Exit(CANNOT_START) from None


def _told(found: Report, directory: Path | None, *, as_json: bool) -> None:
    """Exits with 1 when a threshold was missed."""
    from fairgate.bench.report import write
    from fairgate.bench.rows import table

    for file in write(found, directory) if directory is not None else ():
        _say(f"written: {file}")
    if as_json:
        print(json.dumps(found.plain(), indent=2))
    else:
        print(table(found.rows))
        print("", *(one.text for one in found.judged), sep="\n")
    if not found.kept:
        raise typer.Exit(1)


def _works(work: list[str] | None, against: str | None) -> list[str]:
    """Raises `typer.BadParameter`."""
    from fairgate.bench.works import WORKS

    unknown = set(work or ()) - {*WORKS, ALL}
    if unknown:
        there = ", ".join([*WORKS, ALL])
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}; there are {there}", param_hint="WORK")
    if work and ALL not in work:
        return list(dict.fromkeys(work))
    return [name for name, one in WORKS.items() if one.anywhere or against is None]


def _brokers(brokers: int) -> int:
    if brokers not in (1, 3):
        raise typer.BadParameter("1 or 3", param_hint="--brokers")
    return brokers


def _sizes(longest: int) -> list[int]:
    """Ten times as long each time."""
    sizes = [SHORTEST]
    while sizes[-1] * 10 <= longest:
        sizes.append(sizes[-1] * 10)
    return sizes if sizes[-1] == longest else [*sizes, longest]


def _token() -> str | None:
    return os.environ.get("FAIRGATE_OPERATOR_TOKEN")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
