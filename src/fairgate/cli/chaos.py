"""`fairgate chaos`: break real servers under load, heal them, and prove what became of everybody."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgate.cli.interrupts import signals_interrupt

if TYPE_CHECKING:
    from fairgate.chaos.results import Report
    from fairgate.chaos.run import Options
    from fairgate.chaos.scenario import Scenario

FOUND_PROBLEMS = 1


def register(app: typer.Typer) -> None:
    app.command()(chaos)


def chaos(
    scenario: Annotated[
        list[str] | None,
        typer.Option(help="Only this one: R1 … R8. May be given several times. Default: all, and the mix."),
    ] = None,
    mix: Annotated[bool, typer.Option("--mix", help="Only the mix of random faults, or besides --scenario.")] = False,
    quick: Annotated[bool, typer.Option("--quick", help="Shorter faults, less than 15 minutes in all.")] = False,
    soak: Annotated[bool, typer.Option("--soak", help="Instead: a long run with a fault every two minutes.")] = False,
    minutes: Annotated[float, typer.Option(min=1.0, max=600.0, help="How long --soak lasts.")] = 30.0,
    joins_per_s: Annotated[
        float | None, typer.Option(min=1.0, max=500.0, help="The load. Default: 150, for --soak 100.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Decides who comes when, and the mix's faults.")] = 1998,
    report: Annotated[Path, typer.Option(help="Write the report here.")] = Path("chaos-report"),
    as_json: Annotated[bool, typer.Option("--json", help="The results as one JSON document on stdout.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the data here. Default: a temporary directory that is removed.")
    ] = None,
    listed: Annotated[bool, typer.Option("--list", help="Only say which scenarios there are.")] = False,
) -> None:
    """Break what the eight risks name, on three real brokers under load, and check that nobody is lost or served twice.

    Exit status 1 if a promise was broken. What cannot be run here is marked so.

    Example: fairgate chaos --scenario R3 --quick --report r3
    """
    if listed:
        return _list()
    from fairgate.chaos.run import JOINS_PER_S, Options
    from fairgate.chaos.soak import SOAK_JOINS_PER_S
    from fairgate.chaos.soak import scenario as soak_of

    scenarios = (soak_of(minutes),) if soak else _chosen(scenario or [], mix)
    options = Options(
        scenarios=scenarios,
        quick=quick,
        seed=seed,
        joins_per_s=joins_per_s or (SOAK_JOINS_PER_S if soak else JOINS_PER_S),
        data_dir=data_dir,
        keep_in=report,
    )
    _finish(_run(options), report, "soak" if soak else "chaos", as_json)
    return None


def _list() -> None:
    from fairgate.chaos.scenarios import ALL, MIX

    for one in (*ALL, MIX):
        print(f"{one.risk:<4} {one.title}: {one.about}")


def _chosen(risks: list[str], mix: bool) -> tuple[Scenario, ...]:
    """All when nothing is named."""
    from fairgate.chaos.scenarios import ALL, MIX

    known = {one.risk.upper(): one for one in (*ALL, MIX)}
    wanted = [risk.upper() for risk in risks] + (["MIX"] if mix else [])
    unknown = [risk for risk in wanted if risk not in known]
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; there are {', '.join(known)}", param_hint="--scenario")
    return tuple(known[risk] for risk in dict.fromkeys(wanted)) or (*ALL, MIX)


def _run(options: Options) -> Report:
    from fairgate.chaos.run import run_chaos

    with signals_interrupt():
        _say("three brokers and a crowd on this machine · NOT for production            (Ctrl+C stops everything)")
        return run_chaos(options, _say)


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _finish(report: Report, directory: Path, name: str, as_json: bool) -> None:
    from fairgate.chaos.report import write
    from fairgate.chaos.words import headline

    written = write(report, directory, name)
    _say(f"{'✓' if report.right else '✗'} {headline(report)}")
    for result in report.results:
        if result.not_run:
            _say(f"  {result.risk} was not run: {result.not_run}")
    _say(f"the report: {written[0]}")
    if as_json:
        print(json.dumps(report.plain(), indent=2))
    if not report.right:
        raise typer.Exit(FOUND_PROBLEMS)
