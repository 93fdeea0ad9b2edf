"""`fairgate demo`: rehearse an on-sale on real servers and prove the result."""

from __future__ import annotations

import contextlib
import json
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgate.cli.interrupts import signals_interrupt

if TYPE_CHECKING:
    from fairgate.demo.options import Options
    from fairgate.demo.verdict import Verdict
    from fairgate.demo.view import PlainShow
    from fairgate.local.supervisor import Stack

FOUND_PROBLEMS, CANNOT_START = 1, 3


def register(app: typer.Typer) -> None:
    app.command()(demo)


def demo(
    fans: Annotated[int, typer.Option(min=1, max=200_000, help="How many people want a ticket.")] = 3_000,
    seconds: Annotated[
        float | None, typer.Option(min=1.0, help="In which time they come. Default: 60, or 100 fans a second.")
    ] = None,
    capacity: Annotated[
        int | None, typer.Option(min=1, help="How many tickets there are. Default: for five fans of six.")
    ] = None,
    brokers: Annotated[int, typer.Option(help="1, or 3 for a cluster that survives the loss of one.")] = 1,
    listeners: Annotated[
        int | None, typer.Option(min=0, help="How many fans listen on Socket.IO. Default: 300.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The verdict as one JSON document on stdout.")] = False,
    keep: Annotated[bool, typer.Option(help="Leave everything running afterwards, until Ctrl-C.")] = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Keep the data here. Default: a temporary directory that is removed.")
    ] = None,
    port_base: Annotated[int | None, typer.Option(help="The first port. Default: ports that are free.")] = None,
    seed: Annotated[int, typer.Option(help="Decides which fans listen, leave, come twice.")] = 1998,
) -> None:
    """Rehearse an on-sale: start everything, let a crowd come as it came in 1998, and prove what became of each.

    Every fan is a real client and wants a ticket in the end: some ask twice, some leave and come back to the tail, some
    lose the network. So exactly as many tickets as there are (or fans, if fewer) are issued, and everybody else is told
    that it is sold out. Exit status 1 if anything is wrong.

    Example: fairgate demo --fans 20000 --capacity 15000 --brokers 3
    """
    from fairgate.demo.options import Options

    if brokers not in (1, 3):
        raise typer.BadParameter("1 or 3", param_hint="--brokers")
    options = Options(
        fans=fans,
        seconds=seconds,
        capacity=capacity,
        brokers=brokers,
        listeners=listeners,
        data_dir=data_dir,
        port_base=port_base,
        keep=keep,
        seed=seed,
    )
    _finish(_rehearse(options), as_json)


def _rehearse(options: Options) -> Verdict:
    from fairgate import __version__
    from fairgate.demo.run import run_demo
    from fairgate.demo.view import show
    from fairgate.errors import FairgateError

    def at_end(stack: Stack, verdict: Verdict) -> None:
        view.settle()
        view.say(verdict.told())
        if options.keep:
            _stay(stack, view)

    with signals_interrupt(), show() as view:
        view.say(f"fairgate {__version__} · local demo · NOT for production            (Ctrl+C stops everything)")
        try:
            verdict = run_demo(options, show=view, at_end=at_end)
        except FairgateError as error:
            view.say(f"✗ {error.detail}\n  {getattr(error, 'hint', '')}".rstrip())
            raise typer.Exit(CANNOT_START) from None
        view.say("stopped; next: fairgate up   (a stack that stays)")
    return verdict


def _stay(stack: Stack, view: PlainShow) -> None:
    """Until Ctrl-C, which here is no failure."""
    config = stack.config
    at = f"http://{config.host}:{config.ports.api}"
    view.say(f"  API            {at}")
    view.say(f"  API docs       {at}/docs")
    view.say(f"  Data           {config.data_dir}")
    view.say(f"everything goes on running; next: fairgate status --data-dir {config.data_dir}   ·   Ctrl-C")
    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()


def _finish(verdict: Verdict, as_json: bool) -> None:
    if as_json:
        print(json.dumps(verdict.plain(), indent=2))
    if not verdict.right:
        raise typer.Exit(FOUND_PROBLEMS)
