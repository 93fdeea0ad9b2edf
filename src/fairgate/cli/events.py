"""`fairgate events`: what an operator does to lines, straight in SQL; the owner of each line carries it to Valkey."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fairgate.cli.options import DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from fairgate.domain.line import Line
    from fairgate.queue.lines import Lines

EventId = Annotated[str, typer.Argument(help="The event id: 1 to 64 of A-Z a-z 0-9 _ . : @ -")]

events = typer.Typer(help="Create, list, open, pause and close lines.", no_args_is_help=True, rich_markup_mode=None)


def register(app: typer.Typer) -> None:
    app.add_typer(events, name="events")


@events.command()
def create(
    event_id: EventId,
    title: Annotated[str, typer.Option(help="What people read.")] = "",
    rate: Annotated[float, typer.Option(help="Admissions per second.")] = 50.0,
    burst: Annotated[
        int | None, typer.Option(help="How many may pass at once. Default: one second of the rate.")
    ] = None,
    capacity: Annotated[int | None, typer.Option(help="Tickets. Default: unlimited.")] = None,
    hold: Annotated[int | None, typer.Option(help="Seconds to confirm a ticket. Default: confirmed at issue.")] = None,
    open_now: Annotated[bool, typer.Option("--open", help="Open the line at once.")] = False,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Create a line for an event.

    Example: fairgate events create concert --rate 50 --capacity 1000 --open
    """
    from fairgate.domain.line import LineState

    state = LineState.OPEN if open_now else LineState.SCHEDULED
    _act(
        lambda lines: lines.create(
            event_id, title=title, rate=rate, burst=burst, capacity=capacity, hold_s=hold, state=state
        ),
        data_dir,
        as_json,
    )


@events.command("list")
def list_all(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Every line with its settings."""
    _act(lambda lines: lines.list(), data_dir, as_json)


@events.command("open")
def open_line(event_id: EventId, data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Let people in, and admit them at the line's rate."""
    _act(lambda lines: lines.open(event_id), data_dir, as_json)


@events.command()
def pause(event_id: EventId, data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Go on letting people join, but admit nobody."""
    _act(lambda lines: lines.pause(event_id), data_dir, as_json)


@events.command()
def close(event_id: EventId, data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """End the line: who waits is told, who was admitted keeps the right."""
    _act(lambda lines: lines.close(event_id), data_dir, as_json)


@events.command("sell-out")
def sell_out(event_id: EventId, data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Say that no ticket will come back: who waits is told."""
    _act(lambda lines: lines.sell_out(event_id), data_dir, as_json)


@events.command("set")
def change(
    event_id: EventId,
    rate: Annotated[float | None, typer.Option(help="Admissions per second.")] = None,
    burst: Annotated[int | None, typer.Option(help="How many may pass at once.")] = None,
    capacity: Annotated[int | None, typer.Option(help="Tickets; -1 is unlimited.")] = None,
    hold: Annotated[int | None, typer.Option(help="Seconds to confirm a ticket; 0: confirmed at issue.")] = None,
    title: Annotated[str | None, typer.Option(help="What people read.")] = None,
    data_dir: DataDir = DATA_DIR,
    as_json: Json = False,
) -> None:
    """Change a line's settings while it runs."""
    settings = {"rate": rate, "burst": burst, "capacity": capacity, "hold_s": hold, "title": title}
    given = {name: value for name, value in settings.items() if value is not None}
    _act(lambda lines: lines.change(event_id, **given), data_dir, as_json)


def _act(act: Callable[[Lines], Awaitable[Any]], data_dir: Path, as_json: bool) -> None:
    """Run one act against SQL and print the line or lines."""
    from fairgate.config import Config
    from fairgate.links import database_of
    from fairgate.queue.lines import Lines

    async def run() -> Any:
        database = database_of(Config(data_dir=data_dir))
        try:
            return await act(Lines(database))
        finally:
            await database.close()

    found = asyncio.run(run())
    lines: list[Line] = found if isinstance(found, list) else [found]
    if as_json:
        print(json.dumps([_plain(line) for line in lines], indent=2))
    else:
        _print_table(lines)


def _plain(line: Line) -> dict[str, Any]:
    import msgspec

    plain: dict[str, Any] = msgspec.to_builtins(line)
    return plain


def _print_table(lines: list[Line]) -> None:
    print(f"{'EVENT':<24} {'STATE':<10} {'RATE/S':>8} {'BURST':>7} {'CAPACITY':>9} {'HOLD-S':>7}  TITLE")
    for line in lines:
        state = "sold out" if line.sold_out else line.state.value
        capacity = "∞" if line.capacity is None else str(line.capacity)
        hold = "-" if line.hold_s is None else str(line.hold_s)
        print(f"{line.event_id:<24} {state:<10} {line.rate:>8g} {line.burst:>7} {capacity:>9} {hold:>7}  {line.title}")
