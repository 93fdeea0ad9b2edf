"""`fairgate bench`: how fast, on servers of its own, alone or side by side with the peer."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from fairgate.cli.interrupts import signals_interrupt

CANNOT_START = 3


def register(app: typer.Typer) -> None:
    app.command()(bench)


def bench(
    work: Annotated[
        list[str] | None, typer.Argument(help="join, position, drain, latency. Default: all of them.")
    ] = None,
    side_by_side: Annotated[
        bool, typer.Option("--side-by-side", help="Alternate with the peer on the same servers (needs node).")
    ] = False,
    peer: Annotated[Path, typer.Option(help="The peer's sources.")] = Path("bench/peer"),
    quick: Annotated[bool, typer.Option("--quick", help="One short round: a look, not a measurement.")] = False,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="How often each is measured.")] = 5,
    brokers: Annotated[int, typer.Option(help="1 or 3.")] = 3,
    waiting: Annotated[
        int, typer.Option(min=100, max=2_000_000, help="How many wait, for drain and position.")
    ] = 100_000,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Measure joins, position reads, the drain of a full line and the time from the join to the ticket at the fan.

    The API and the driver run on a core each where the system allows it. Compare ratios of one run, never single times.
    The exit status is 1 when a threshold was missed.

    Example: fairgate bench join --rounds 5
    """
    from fairgate.bench.rows import table
    from fairgate.bench.run import WORKS, Options, run
    from fairgate.bench.thresholds import judge
    from fairgate.errors import FairgateError

    unknown = set(work or ()) - set(WORKS)
    if unknown:
        raise typer.BadParameter(f"{', '.join(sorted(unknown))}; there are {', '.join(WORKS)}", param_hint="WORK")
    if brokers not in (1, 3):
        raise typer.BadParameter("1 or 3", param_hint="--brokers")
    options = Options(
        works=work or list(WORKS),
        rounds=1 if quick else rounds,
        brokers=brokers,
        seconds=1.0 if quick else 4.0,
        waiting=min(waiting, 5_000) if quick else waiting,
        listeners=100 if quick else 500,
        rate=100.0,
        peer=peer if side_by_side else None,
    )
    try:
        with signals_interrupt():
            found = asyncio.run(run(options, _say))
    except FairgateError as error:
        _say(f"✗ {error.detail}\n  {getattr(error, 'hint', '')}".rstrip())
        raise typer.Exit(CANNOT_START) from None
    judged = judge(found)
    if as_json:
        import msgspec

        thresholds = [{**msgspec.to_builtins(one), "kept": one.kept} for one in judged]
        print(json.dumps({"rows": msgspec.to_builtins(found), "thresholds": thresholds}, indent=2))
    else:
        print(table(found))
        print("", *(one.text for one in judged), sep="\n")
    if not all(one.kept for one in judged):
        raise typer.Exit(1)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
