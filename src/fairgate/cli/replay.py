"""`fairgate replay`: let a group read again. Says what would be done; does it only with `--yes`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fairgate.cli.options import DataDir

if TYPE_CHECKING:
    from fairgate.ops.replay import Move, To


def register(app: typer.Typer) -> None:
    app.command()(replay)


def replay(
    group: Annotated[str, typer.Option(help="ticket-processor-group, notification-group, or one of your own.")],
    topic: Annotated[str | None, typer.Option(help="Only this topic. Default: all that the group reads.")] = None,
    to_offset: Annotated[int | None, typer.Option(min=0, help="In every partition, as far as it has it.")] = None,
    to_datetime: Annotated[str | None, typer.Option(help="ISO 8601; UTC unless it says otherwise.")] = None,
    to_earliest: Annotated[bool, typer.Option("--to-earliest", help="All that is there.")] = False,
    to_latest: Annotated[bool, typer.Option("--to-latest", help="Nothing that is there.")] = False,
    skip_unread: Annotated[bool, typer.Option("--skip-unread", help="Also skip what nobody has read.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Move. Otherwise only say what would be moved.")] = False,
    data_dir: DataDir = Path("fairgate-data"),
    as_json: Annotated[bool, typer.Option("--json", help="One JSON document on stdout.")] = False,
) -> None:
    """Move the offsets of a group that nobody is in; refused (status 4) while it is active. No effect is repeated.

    Example: fairgate replay --group ticket-processor-group --to-datetime 2026-05-01T20:00
    """
    from fairgate.config import Config
    from fairgate.ops.replay import apply, plan, refuse_while_active

    to = _to(to_offset, to_datetime, to_earliest, to_latest)
    config = Config(data_dir=data_dir)
    moves = plan(config, group, topic, to)
    print(_json(moves, yes) if as_json else _table(moves))
    if yes:
        apply(config, group, moves, skip=skip_unread)
        print("✓ moved: start the processes of the group again", file=sys.stderr)
    else:
        refuse_while_active(config, group)
        print("nothing was moved: add --yes", file=sys.stderr)


def _to(offset: int | None, moment: str | None, earliest: bool, latest: bool) -> To:
    from fairgate.ops.replay import To

    if [offset is not None, moment is not None, earliest, latest].count(True) != 1:
        raise typer.BadParameter("say where to: one of --to-offset, --to-datetime, --to-earliest, --to-latest")
    return To(offset, None if moment is None else _moment(moment), earliest, latest)


def _moment(text: str) -> datetime:
    try:
        found = datetime.fromisoformat(text)
    except ValueError as error:
        raise typer.BadParameter(f"{text} is no ISO 8601 date and time") from error
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def _json(moves: list[Move], yes: bool) -> str:
    import msgspec

    return json.dumps({"dryRun": not yes, "partitions": msgspec.to_builtins(moves)}, indent=2)


def _table(moves: list[Move]) -> str:
    lines = [f"{'TOPIC':<20} {'PARTITION':>9} {'BEFORE':>12} {'AFTER':>12} {'REPEATED':>9} {'SKIPPED':>8}"]
    lines += [
        f"{move.topic:<20} {move.partition:>9} {move.before:>12} {move.after:>12} {move.repeated:>9} {move.skipped:>8}"
        for move in moves
    ]
    repeated, skipped = sum(move.repeated for move in moves), sum(move.skipped for move in moves)
    return "\n".join([*lines, f"{'together':<20} {'':>9} {'':>12} {'':>12} {repeated:>9} {skipped:>8}"])
