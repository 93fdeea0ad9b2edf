"""`fairgate queue`: rebuild lines from the journal, and what became of the lines that lost something."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgate.cli.options import DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from fairgate.queue.rebuild import Rebuilds, Rebuilt

QUESTION = "While a line is rebuilt, joins to it are answered 503 and nobody is admitted. Go on?"

queue = typer.Typer(help="Rebuild lines, and see what they lost.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(queue, name="queue")


@queue.command()
def rebuild(
    event_id: Annotated[str | None, typer.Argument(help="The event whose line is rebuilt.")] = None,
    all_lines: Annotated[bool, typer.Option("--all", help="Every line.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    within_s: Annotated[float, typer.Option(min=1, help="How long to wait for the end.")] = 120.0,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Make lines anew from the journal in Kafka, what Valkey has, and SQL. Places and their order stay.

    Example: fairgate queue rebuild concert --yes
    """
    from fairgate.cli.main import REFUSED

    if (event_id is None) != all_lines:
        raise typer.BadParameter("name an event, or say --all")
    if not yes and not _agreed():
        print("nothing was done", file=sys.stderr)
        raise typer.Exit(REFUSED)

    async def act(rebuilds: Rebuilds) -> list[Rebuilt]:
        asked = await rebuilds.ask([event_id] if event_id is not None else None)
        print(f"asked for {len(asked)} lines; waiting for their owners", file=sys.stderr)
        return await rebuilds.wait(asked, within_s)

    _print(_run(act, data_dir), as_json)


@queue.command()
def status(
    event_id: Annotated[str | None, typer.Argument(help="Only this line.")] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """The last recovery of each line: why, how many places came back and by what, how long it took."""
    _print(_run(lambda rebuilds: rebuilds.last(event_id), data_dir), as_json)


def _agreed() -> bool:
    """Without a terminal nobody agrees."""
    try:
        return typer.confirm(QUESTION, err=True)
    except typer.Abort:
        print(file=sys.stderr)
        return False


def _run(act: Callable[[Rebuilds], Awaitable[list[Rebuilt]]], data_dir: Path) -> list[Rebuilt]:
    from fairgate.config import Config
    from fairgate.links import database_of
    from fairgate.queue.rebuild import Rebuilds

    async def run() -> list[Rebuilt]:
        database = database_of(Config(data_dir=data_dir))
        try:
            return await act(Rebuilds(database))
        finally:
            await database.close()

    return asyncio.run(run())


def _print(found: list[Rebuilt], as_json: bool) -> None:
    if as_json:
        import msgspec

        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
        return
    if not found:
        print("no line was ever rebuilt", file=sys.stderr)
        return
    heads = ("BEFORE", "AFTER", "JOURNAL", "TOKEN", "REMOVED", "SECONDS")
    print(f"{'EVENT':<24} {'CAUSE':<15} " + " ".join(f"{head:>8}" for head in heads))
    for one in found:
        counts = (one.present, one.waiting, one.by_journal, one.by_token, one.removed, f"{one.seconds:.2f}")
        print(f"{one.event_id:<24} {one.cause:<15} " + " ".join(f"{count:>8}" for count in counts))
