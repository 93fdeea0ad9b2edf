"""`fairgate audit`: the books of every event, row by row, and everything that does not add up, with its users."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from fairgate.cli.options import DATA_DIR, DataDir, Json

if TYPE_CHECKING:
    from fairgate.links import Links
    from fairgate.ops.books import Books, Difference
    from fairgate.stores.accounts import Accounts, Finding

T = TypeVar("T")

FOUND_PROBLEMS = 1

audit = typer.Typer(
    help="Print the books and every difference with its users; status 1 where they do not balance.\n\n"
    "What moves is looked at again for ten seconds: only what lasts is a difference. Reads all rows.\n\n"
    "Example: fairgate audit --json",
    invoke_without_command=True,
    rich_markup_mode=None,
)


def register(app: typer.Typer) -> None:
    app.add_typer(audit, name="audit")


@audit.callback()
def books(context: typer.Context, data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    if context.invoked_subcommand is not None:
        return
    found = _ask(_books, data_dir)
    _print(found, [*_book_table(found), "", *_difference_lines(found.differences)], as_json)
    _status(found.differences)


@audit.command()
def order(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Who was admitted after somebody who had joined later (R5); status 1 where there is one.

    Example: fairgate audit order
    """
    found = _ask(lambda accounts, links: accounts.out_of_order(), data_dir)
    _print(
        _plain(found),
        _finding_lines({"out of order": found}, "✓ everybody was admitted in the order of joining"),
        as_json,
    )
    _status(found)


@audit.command()
def duplicates(data_dir: DataDir = DATA_DIR, as_json: Json = False) -> None:
    """Whoever has something twice: a live ticket, a number, a notification (R6); status 1 where there is one.

    Example: fairgate audit duplicates
    """
    found = _ask(lambda accounts, links: accounts.doubled(), data_dir)
    plain = {what: _plain(findings) for what, findings in found.items()}
    _print(plain, _finding_lines(found, "✓ nobody has anything twice"), as_json)
    _status([finding for findings in found.values() for finding in findings])


async def _books(accounts: Accounts, links: Links) -> Books:
    from fairgate.ops.books import read_books
    from fairgate.ops.lag import readings

    asked = readings(links.config)
    ticketing = asked[0]

    async def unread() -> int:
        return sum(partition.messages for partition in (await ticketing.log.unread(ticketing.topic)).values())

    try:
        return await read_books(accounts, unread)
    finally:
        for reading in asked:
            await reading.log.close()


def _ask(question: Callable[[Accounts, Links], Awaitable[T]], data_dir: Path) -> T:
    from fairgate.config import Config
    from fairgate.links import Links
    from fairgate.stores.accounts import Accounts

    async def run() -> T:
        links = Links(Config(data_dir=data_dir), "audit")
        try:
            return await question(Accounts(links.database, links.line.channel), links)
        finally:
            await links.close()

    return asyncio.run(run())


def _print(found: Any, lines: list[str], as_json: bool) -> None:
    import msgspec

    print(json.dumps(msgspec.to_builtins(found), indent=2) if as_json else "\n".join(lines))


def _status(problems: Sequence[object]) -> None:
    if problems:
        raise typer.Exit(FOUND_PROBLEMS)


def _plain(findings: Sequence[Finding]) -> list[dict[str, Any]]:
    return [
        {"eventId": one.event_id, "userId": one.user_id, "sequence": one.sequence, "number": one.number}
        for one in findings
    ]


_COLUMNS = ("joined", "waiting", "left", "told_over", "admitted", "outbox", "on_its_way")
_TICKETS = ("pending", "confirmed", "cancelled", "expired")


def _book_table(found: Books) -> list[str]:
    names = (*_COLUMNS, *_TICKETS)
    heads = " ".join(f"{name.replace('_', '-').upper():>10}" for name in names)
    return [f"{'EVENT':<24} {heads}"] + [
        f"{book.event_id:<24} " + " ".join(f"{getattr(book, name):>10}" for name in names) for book in found.books
    ]


def _difference_lines(found: Sequence[Difference]) -> list[str]:
    if not found:
        return ["✓ the books balance"]
    return [f"✗ {one.event_id}: {one.equation}: {one.what}: {_who(one)}" for one in found]


def _who(one: Difference) -> str:
    return f"{one.amount:+d}" if one.user_id is None else f"user {one.user_id}, sequence {one.sequence}"


def _finding_lines(found: Mapping[str, Sequence[Finding]], well: str) -> list[str]:
    lines = [
        f"✗ {one.event_id}: {what}: user {one.user_id}, sequence {one.sequence}, number {one.number}"
        for what, findings in found.items()
        for one in findings
    ]
    return lines or [well]
