"""`fairgate dlq`: dead letters. Looks by default; sends again only with `--yes`."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgate.cli.options import DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from fairgate.ops.dead_letters import Heap, Letter
    from fairgate.ops.redrive import Outcome, Repair, Wanted

FOUND_PROBLEMS = 1
SHOWN_LETTERS = 20

dlq = typer.Typer(help="Look at dead letters, and send them again.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(dlq, name="dlq")


@dlq.command("list")
def list_all(
    topic: Annotated[str | None, typer.Option(help="Only those of this topic.")] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """How many dead letters there are, by topic and reason, with the newest of each.

    Example: fairgate dlq list --topic ticket-issue
    """
    import msgspec

    found = asyncio.run(_heaps(data_dir, topic))
    print(json.dumps(msgspec.to_builtins(found), indent=2) if as_json else "\n".join(_table(found)))


@dlq.command()
def show(
    topic: Annotated[str, typer.Argument(help="The topic that the record was in.")],
    place: Annotated[str, typer.Argument(metavar="PARTITION@OFFSET", help="In the dead-letter topic, as listed.")],
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """One dead letter: cause, headers and value. Secrets are not shown.

    Example: fairgate dlq show ticket-issue 3@17
    """
    from fairgate.config import Config
    from fairgate.ops.dead_letters import letter_at, topics_of

    config = Config(data_dir=data_dir)
    letter = letter_at(config, topics_of(config, topic)[0], *_place(place))
    plain = _plain(letter)
    print(json.dumps(plain, indent=2, ensure_ascii=False) if as_json else "\n".join(_lines(plain)))


@dlq.command()
def redrive(
    topic: Annotated[str | None, typer.Option(help="Only those of this topic.")] = None,
    reason: Annotated[str | None, typer.Option(help="Only those of this reason, as listed.")] = None,
    partition: Annotated[int | None, typer.Option(help="Only those of this partition of the dead letters.")] = None,
    offset: Annotated[int | None, typer.Option(help="Only this one; with --topic and --partition.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    value_file: Annotated[Path | None, typer.Option(help="Send this instead; for one letter.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=JSON", help="Set a field first.")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Send. Otherwise only say what would be sent.")] = False,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Send dead letters to their topic again, each once, with the key and the id that they had.

    Example: fairgate dlq redrive --topic ticket-issue --partition 3 --offset 17 --set number=5 --yes
    """
    from fairgate.config import Config
    from fairgate.ops.dead_letters import topics_of
    from fairgate.ops.redrive import Wanted

    if offset is not None and (topic is None or partition is None):
        raise typer.BadParameter("--offset needs --topic and --partition")
    if value_file is not None and offset is None:
        raise typer.BadParameter("--value-file repairs one letter: name it with --topic, --partition and --offset")
    config = Config(data_dir=data_dir)
    place = None if offset is None or partition is None else (partition, offset)
    wanted = Wanted(topics_of(config, topic), reason, place, partition, limit)
    outcome = asyncio.run(_redrive(data_dir, wanted, _repair(value_file, set_ or []), yes))
    _tell(outcome, yes, as_json)
    if outcome.not_whole or outcome.not_repaired:
        raise typer.Exit(FOUND_PROBLEMS)


def _place(text: str) -> tuple[int, int]:
    partition, _, offset = text.partition("@")
    if not (partition.isdecimal() and offset.isdecimal()):
        raise typer.BadParameter("name it as PARTITION@OFFSET, for example 3@17")
    return int(partition), int(offset)


def _repair(value_file: Path | None, changes: list[str]) -> Repair:
    from fairgate.ops.redrive import Repair

    try:
        value = None if value_file is None else value_file.read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{value_file}: {error.strerror}") from error
    return Repair(value, [_change(change) for change in changes])


def _change(text: str) -> tuple[tuple[str, ...], Any]:
    """`data.seat="A 1"`; what is no JSON is taken as text."""
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise typer.BadParameter(f"--set {text}: write FIELD=JSON")
    try:
        return tuple(name.split(".")), json.loads(value)
    except ValueError:
        return tuple(name.split(".")), value


async def _heaps(data_dir: Path, topic: str | None) -> list[Heap]:
    from fairgate.config import Config
    from fairgate.links import database_of
    from fairgate.ops.dead_letters import heaps, letters, topics_of
    from fairgate.stores.redriven import RedrivenStore

    config = Config(data_dir=data_dir)
    database = database_of(config)
    store, found = RedrivenStore(database), []
    try:
        for name in topics_of(config, topic):
            redriven = await store.of_topic(name)
            found += await asyncio.to_thread(heaps, letters(config, name), redriven)
    finally:
        await database.close()
    return found


async def _redrive(data_dir: Path, wanted: Wanted, repair: Repair, really: bool) -> Outcome:
    from fairgate.config import Config
    from fairgate.links import database_of
    from fairgate.ops.redrive import redrive as send_again
    from fairgate.stores.redriven import RedrivenStore

    config = Config(data_dir=data_dir)
    database = database_of(config)
    try:
        return await send_again(config, RedrivenStore(database), wanted, repair, really=really)
    finally:
        await database.close()


def _tell(outcome: Outcome, sent: bool, as_json: bool) -> None:
    counts = {
        ("sent" if sent else "wouldSend"): len(outcome.ready),
        "alreadyRedriven": len(outcome.already),
        "notWhole": len(outcome.not_whole),
        "notRepairable": len(outcome.not_repaired),
    }
    if as_json:
        places = [{"topic": letter.origin.topic, "place": letter.place} for letter in outcome.ready]
        print(json.dumps(counts | {"letters": places}, indent=2))
        return
    for letter in outcome.ready[:SHOWN_LETTERS]:
        print(f"{letter.origin.topic} {letter.place}  {letter.reason}")
    if len(outcome.ready) > SHOWN_LETTERS:
        print(f"… and {len(outcome.ready) - SHOWN_LETTERS} more")
    print(f"{'sent' if sent else 'would be sent'}: {len(outcome.ready)}, redriven before: {len(outcome.already)}")
    if outcome.not_whole:
        print(f"! {len(outcome.not_whole)} are cut and need --value-file", file=sys.stderr)
    if outcome.not_repaired:
        print(f"! {len(outcome.not_repaired)} have no such field to set", file=sys.stderr)
    if not sent:
        print("nothing was sent: add --yes", file=sys.stderr)


def _table(found: list[Heap]) -> list[str]:
    from fairgate.ops.shown import printable

    if not found:
        return ["✓ there are no dead letters"]
    lines = [f"{'TOPIC':<16} {'REASON':<18} {'LETTERS':>8} {'REDRIVEN':>9} {'REPEATS':>8} {'NEWEST':>10}  AT, WHY"]
    return lines + [
        f"{heap.topic:<16} {printable(heap.reason):<18} {heap.letters:>8} {heap.redriven:>9} {heap.repeats:>8} "
        f"{heap.newest:>10}  {_moment(heap.newest_ms)} {printable(heap.newest_text)[:60]}"
        for heap in found
    ]


def _plain(letter: Letter) -> dict[str, Any]:
    from fairgate.ops.shown import headers_shown, printable, shown

    return {
        "topic": letter.origin.topic,
        "place": letter.place,
        "origin": f"{letter.origin.partition}@{letter.origin.offset}",
        "reason": printable(letter.reason),
        "why": shown(letter.text),
        "attempts": letter.attempts,
        "firstFailedAt": _moment(letter.first_failed_ms),
        "failedAt": _moment(letter.failed_ms),
        "group": printable(letter.group),
        "instance": printable(letter.instance),
        "cut": [printable(part) for part in letter.cut],
        "key": shown(letter.record.key),
        "headers": headers_shown(letter.record),
        "value": shown(letter.record.value),
    }


def _lines(plain: dict[str, Any]) -> list[str]:
    lines = [f"{name:<14} {value}" for name, value in plain.items() if name not in {"headers", "cut"}]
    lines += [f"{'cut':<14} {part}" for part in plain["cut"]]
    return lines + [f"{'header':<14} {name}: {value}" for name, value in plain["headers"]]


def _moment(epoch_ms: int) -> str:
    """In UTC; `-` for what is no time."""
    try:
        return datetime.fromtimestamp(epoch_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%SZ") if epoch_ms > 0 else "-"
    except (OverflowError, ValueError, OSError):
        return "-"
