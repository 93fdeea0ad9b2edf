"""`fairgate up`, `status`, `down`: the whole stack on one machine."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgate.cli.interrupts import signals_interrupt

if TYPE_CHECKING:
    from fairgate.config import Config
    from fairgate.local.servers import Step
    from fairgate.local.state import State
    from fairgate.local.status import Report

DATA_DIR = Path("fairgate-data")
DataDir = Annotated[Path, typer.Option(envvar="FAIRGATE_DATA_DIR", help="Where everything that must stay is kept.")]
PortBase = Annotated[int | None, typer.Option(help="The first port; all others follow from it. Default: 8080.")]
Brokers = Annotated[int | None, typer.Option(help="1 (development) or 3 (survives the loss of one). Default: 1.")]

FOUND_PROBLEMS, REFUSED = 1, 4
# A stack stops within 20 s; a start that is being downloaded is only heard between two files.
DOWN_S = 40.0
BACKGROUND_READY_S = 300.0


def register(app: typer.Typer) -> None:
    for command in (up, status, down):
        app.command()(command)


def up(
    data_dir: DataDir = DATA_DIR,
    port_base: PortBase = None,
    brokers: Brokers = None,
    headless: Annotated[bool, typer.Option(help="Return when all is ready and leave it running.")] = False,
) -> None:
    """Start Kafka, Valkey, PostgreSQL and all of Fairgate; Ctrl-C stops everything.

    Servers named in FAIRGATE_KAFKA_BOOTSTRAP, FAIRGATE_VALKEY_URL or FAIRGATE_POSTGRES_DSN are used instead.

    Example: fairgate up --brokers 3 --port-base 9000
    """
    from fairgate.local.state import AlreadyRunning

    given = {"port_base": port_base, "brokers": brokers}
    try:
        if headless:
            _in_background(data_dir, given)
        else:
            _in_foreground(data_dir, given)
    except AlreadyRunning as refused:
        _say(f"✗ {refused.detail}\n  {refused.hint}")
        raise typer.Exit(REFUSED) from None


def _in_foreground(data_dir: Path, given: dict[str, int | None]) -> None:
    from fairgate import __version__
    from fairgate.config import Config
    from fairgate.local.state import State
    from fairgate.local.supervisor import Stack

    State(data_dir).forget_killed()
    settings: dict[str, Any] = {name: value for name, value in given.items() if value is not None}
    stack = Stack(Config(data_dir=data_dir, **settings))
    _say(f"fairgate {__version__} · local stack · NOT for production            (Ctrl+C stops everything)")
    with signals_interrupt():
        stack.start(_show)
        try:
            _say(_addresses(stack.config))
            threading.Event().wait()
        except KeyboardInterrupt:
            _say("stopping …")
        finally:
            stack.stop()
    _say("stopped; everything is kept in " + str(stack.config.data_dir) + "\nnext: fairgate up")


def _in_background(data_dir: Path, given: dict[str, int | None]) -> None:
    """The same command in a session of its own; its progress is shown until all is ready."""
    from fairgate.local.state import State

    state = State(data_dir)
    state.require_free()
    state.forget_killed()
    state.logs.mkdir(parents=True, exist_ok=True)
    options = [f"--{name.replace('_', '-')}={value}" for name, value in given.items() if value is not None]
    log = state.logs / "up.log"
    with log.open("wb") as out:
        command = [sys.executable, "-m", "fairgate", "up", f"--data-dir={data_dir}", *options]
        process = subprocess.Popen(  # noqa: S603 - our own command again
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True
        )
    _follow(process, log, state)


def _follow(process: subprocess.Popen[bytes], log: Path, state: State) -> None:
    deadline = time.monotonic() + BACKGROUND_READY_S
    with log.open("r") as lines:
        while not state.read().get("ready"):
            sys.stderr.write(lines.read())
            if process.poll() is not None or time.monotonic() > deadline:
                sys.stderr.write(lines.read())
                raise typer.Exit(process.poll() or FOUND_PROBLEMS)
            time.sleep(0.1)
        sys.stderr.write(lines.read())
    _say(f"runs in the background (pid {process.pid})\nnext: fairgate status   ·   fairgate down")


def status(
    data_dir: DataDir = DATA_DIR, as_json: Annotated[bool, typer.Option("--json", help="One JSON document.")] = False
) -> None:
    """Say what of the stack runs and answers. Exit status 1 when something does not.

    Example: fairgate status --json
    """
    import json

    from fairgate.config import Config
    from fairgate.local.state import State
    from fairgate.local.status import plain, report

    found = report(Config(data_dir=data_dir), State(data_dir))
    print(json.dumps(plain(found), indent=2) if as_json else _table(found))
    if not found.running:
        _say(f"no stack runs in {found.data_dir}\nnext: fairgate up")
    elif not found.started:
        _say("still starting, or stopping")
    if not found.ready:
        raise typer.Exit(FOUND_PROBLEMS)


def _table(found: Report) -> str:
    rows = [f"{'':<2}{'NAME':<16} {'ADDRESS':<36} {'PID':>8}  ANSWER"]
    for part in found.parts:
        mark = "✓" if part.ready else "✗"
        rows.append(f"{mark} {part.name:<16} {part.address:<36} {part.pid or '-':>8}  {part.detail}")
    return "\n".join(rows)


def down(
    data_dir: DataDir = DATA_DIR,
    purge: Annotated[bool, typer.Option(help="Also remove all data: lines, tickets, everything.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Stop the stack that runs in the data directory and wait for its end. Removes nothing unless told to.

    Example: fairgate down --purge --yes
    """
    from fairgate.local.state import State

    state = State(data_dir)
    if purge:
        _confirm_purge(state, yes)
    _stop(state)
    if purge:
        removed = state.purge()
        _say("removed: " + (", ".join(map(str, removed)) or "nothing was there"))
    _say("next: fairgate up")


def _confirm_purge(state: State, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        _say("✗ --purge removes all data of the stack: say --yes as well")
        raise typer.Exit(REFUSED)
    if not typer.confirm(f"Remove all data of the stack in {state.data_dir}?", err=True):
        raise typer.Exit(REFUSED)


def _stop(state: State) -> None:
    from fairgate.local.children import until

    pid = state.holder()
    if pid is None:
        _say(f"no stack runs in {state.data_dir}")
        return
    with contextlib.suppress(ProcessLookupError):  # it ended by itself just now
        os.kill(pid, signal.SIGTERM)
    if not until(lambda: not state.held(), DOWN_S, every_s=0.1):
        _say(f"✗ the stack (pid {pid}) still runs after {DOWN_S:.0f} s; its logs are in {state.logs}")
        raise typer.Exit(FOUND_PROBLEMS)
    _say(f"✓ stopped (pid {pid})")


def _show(step: Step) -> None:
    if step.seconds is None:
        _say(f"  · {step.title}")
    else:
        _say(f"  ✓ {step.title:<20} {step.address:<22} {step.seconds:6.1f} s   {step.note}".rstrip())


def _addresses(config: Config) -> str:
    at = f"http://{config.host}:{config.port_base}"
    return "\n".join(
        [
            f"  API            {at}",
            f"  API docs       {at}/docs",
            f"  Live           http://{config.host}:{config.ports.live}",
            f"  Metrics        http://{config.host}:{config.ports.ops('api')}/metrics",
            f"  Operator token in {config.data_dir / 'stack.json'}",
            "next: fairgate events create my-event --rate 50 --capacity 1000 --open",
        ]
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
