"""`fairgate ops`: how the pipeline stands, for a person at night. Looks only, changes nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from fairgate.cli.options import DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from fairgate.config import Config
    from fairgate.links import Links
    from fairgate.ops.lag import GroupLag
    from fairgate.ops.orphans import Orphan
    from fairgate.stores.accounts import Backlog

T = TypeVar("T")

FOUND_PROBLEMS = 1
# What waits for Kafka longer than this is worth a look: the alert's bound.
OUTBOX_LATE_S = 10.0

ops = typer.Typer(help="Look at the pipeline: lag, outbox, orphans.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(ops, name="ops")


@ops.command()
def lag(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """How far each consumer group is behind, in messages and seconds; status 1 where admission holds for it.

    Example: fairgate ops lag
    """
    from fairgate.config import Config
    from fairgate.ops.lag import group_lags

    config = Config(data_dir=data_dir)
    found = asyncio.run(group_lags(config))
    _print(found, _lag_table(found, config), as_json)
    _status(one.messages >= config.lag_hold_from for one in found)


@ops.command()
def outbox(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """What Kafka does not have yet, by shard; status 1 where the oldest is older than 10 s.

    Example: fairgate ops outbox
    """
    from fairgate.stores.accounts import Accounts

    found = _ask(lambda links: Accounts(links.database, links.line.channel).backlog(), data_dir)
    _print(found, _outbox_table(found), as_json)
    _status(one.age_s > OUTBOX_LATE_S for one in found)


@ops.command()
def orphans(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Every waiter between the line and the outbox, and what will happen; status 1 where one is overdue (10 s).

    Example: fairgate ops orphans --json
    """
    from fairgate.ops.orphans import all_orphans
    from fairgate.stores.accounts import Accounts

    found = _ask(lambda links: all_orphans(Accounts(links.database, links.line.channel)), data_dir)
    _print(found, _orphan_table(found), as_json)
    _status(one.overdue for one in found)


def _ask(question: Callable[[Links], Awaitable[T]], data_dir: Path) -> T:
    from fairgate.config import Config
    from fairgate.links import Links

    async def run() -> T:
        links = Links(Config(data_dir=data_dir), "ops")
        try:
            return await question(links)
        finally:
            await links.close()

    return asyncio.run(run())


def _print(found: Any, table: list[str], as_json: bool) -> None:
    import msgspec

    print(json.dumps(msgspec.to_builtins(found), indent=2) if as_json else "\n".join(table))


def _status(problems: Any) -> None:
    if any(problems):
        raise typer.Exit(FOUND_PROBLEMS)


def _lag_table(found: Sequence[GroupLag], config: Config) -> list[str]:
    lines = [f"{'GROUP':<28} {'TOPIC':<16} {'MESSAGES':>9} {'SECONDS':>8} {'MEMBERS':>8}  STATE"]
    lines += [
        f"{one.group:<28} {one.topic:<16} {one.messages:>9} {one.seconds:>8.1f} {one.members:>8}  {one.state}"
        for one in found
    ]
    for one in found:
        if one.messages >= config.lag_slow_from and one.members < one.partitions:
            lines.append(
                f"! {one.group}: {one.members} of at most {one.partitions} members: start "
                f"{one.partitions - one.members} more processes"
            )
    return lines


def _outbox_table(found: Sequence[Backlog]) -> list[str]:
    lines = [f"{'SHARD':>5} {'ROWS':>8} {'MESSAGES':>9} {'OLDEST-S':>9}  OWNER"]
    return lines + [
        f"{one.shard:>5} {one.rows:>8} {one.messages:>9} {one.age_s:>9.1f}  {one.lease_owner or 'nobody'}"
        for one in found
    ]


def _orphan_table(found: Sequence[Orphan]) -> list[str]:
    if not found:
        return ["✓ nobody is between the line and the outbox"]
    lines = [f"{'EVENT':<24} {'USER':<24} {'SEQUENCE':>16} {'AGE-S':>7}  THEN"]
    return lines + [
        f"{one.event_id:<24} {one.user_id:<24} {one.sequence:>16} {one.age_s:>7.1f}  "
        f"{'! overdue: ' if one.overdue else ''}{one.then}"
        for one in found
    ]
