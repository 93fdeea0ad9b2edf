"""`fairgate topics`: what the Kafka topics must be like, and bringing them there."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgate.cli.options import DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from fairgate.streams.topics import Plan

DEVELOPMENT = "development: fewer than three brokers, so a lost broker loses records; not for production"

topics = typer.Typer(help="Bring the Kafka topics to what they must be.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(topics, name="topics")


@topics.command("apply")
def apply_(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")] = False,
    shorten: Annotated[bool, typer.Option(help="Also shorten a longer retention: this deletes records.")] = False,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Create missing topics, correct what is safe, and say what is left as it is.

    Example: fairgate topics apply --dry-run
    """
    from fairgate.config import Config
    from fairgate.streams import topics as streams

    config = Config(data_dir=data_dir)
    act = streams.survey if dry_run else streams.apply
    done = act(streams.admin(config), config.topic_prefix, shorten=shorten)
    print(json.dumps(_plain(done), indent=2) if as_json else _text(done, dry_run))
    _remark(done.development)


@topics.command("list")
def list_all(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Every topic of Fairgate as it is in the cluster."""
    from fairgate.config import Config
    from fairgate.streams import topics as streams

    config = Config(data_dir=data_dir)
    names = [topic.name for topic in streams.catalogue(config.topic_prefix, 3)]
    brokers, found = streams.look(streams.admin(config), names)
    shown = ("min.insync.replicas", "retention.ms", "retention.bytes", "cleanup.policy", "segment.bytes", "segment.ms")
    rows = [
        {"topic": name, "partitions": topic.partitions, "replication": topic.replication}
        | {setting: topic.settings[setting] for setting in shown}
        for name, topic in found.items()
    ]
    print(json.dumps(rows, indent=2) if as_json else _table(rows))
    missing = [name for name in names if name not in found]
    if missing:
        print(f"missing: {', '.join(missing)}\nnext: fairgate topics apply", file=sys.stderr)
    _remark(brokers < 3)


def _remark(development: bool) -> None:
    if development:
        print(DEVELOPMENT, file=sys.stderr)


def _text(done: Plan, dry_run: bool) -> str:
    would = "would be " if dry_run else ""
    lines = [
        f"+ {create.topic.name}: {would}created with {create.topic.partitions} partitions, "
        f"replication {create.topic.replication}"
        for create in done.creates
    ]
    for correct in done.corrects:
        lines += [
            f"~ {correct.name}: {name} {would}changed, {was} → {to}" for name, (was, to) in correct.changes.items()
        ]
    lines += [f"! {leave.name}: left as it is: {leave.reason}" for leave in done.leaves]
    return "\n".join(lines) or "✓ every topic is as it should be"


def _plain(done: Plan) -> dict[str, Any]:
    return {
        "development": done.development,
        "created": [create.topic.name for create in done.creates],
        "corrected": {correct.name: dict(correct.changes) for correct in done.corrects},
        "left": [{"topic": leave.name, "reason": leave.reason} for leave in done.leaves],
    }


def _table(rows: list[dict[str, Any]]) -> str:
    lines = [f"{'TOPIC':<22} {'PART':>4} {'RF':>3} {'ISR':>3} {'RETENTION-MS':>13} {'RETENTION-BYTES':>15}  CLEANUP"]
    lines += [
        f"{row['topic']:<22} {row['partitions']:>4} {row['replication']:>3} {row['min.insync.replicas']:>3} "
        f"{row['retention.ms']:>13} {row['retention.bytes']:>15}  {row['cleanup.policy']}"
        for row in rows
    ]
    return "\n".join(lines)
