"""The book of lines misses no change, in whatever order changes are committed."""

from __future__ import annotations

import asyncio
import uuid

import pytest

from fairgate.domain.line import LineState
from fairgate.queue.lines import Lines
from fairgate.stores import lines as stores_lines
from fairgate.stores.database import Database
from fairgate.stores.lines import LineBook
from tests.support.ticketing import Books


@pytest.fixture
async def book(database: Database) -> LineBook:
    """One that has read everything so far."""
    book = LineBook(database)
    await book.refresh()
    return book


async def test_a_line_that_is_committed_late_is_not_missed(database: Database, book: LineBook, event_id: str) -> None:
    """It took its version first; another change took the next one, and was committed and read before."""
    other = f"event-{uuid.uuid4().hex[:12]}"
    async with database.transaction() as slow:
        await slow.execute(
            "insert into lines (event_id, shard, state, rate, burst) values ($1, 0, 'open', 1, 1)", event_id
        )
        await slow.execute("insert into inventory (event_id) values ($1)", event_id)
        await Books(database).event(other)
        await book.refresh()
        assert book.get(other).event_id == other
    await book.refresh()
    assert book.get(event_id).version < book.get(other).version


async def test_a_change_that_is_committed_late_is_not_missed(database: Database, book: LineBook, event_id: str) -> None:
    other = f"event-{uuid.uuid4().hex[:12]}"
    for each in (event_id, other):
        await Books(database).event(each)
    async with database.transaction() as slow:
        await slow.execute(
            "update lines set state = 'paused', version = nextval('line_versions') where event_id = $1", event_id
        )
        await Lines(database).pause(other)
        await book.refresh()
        assert (book.get(event_id).state, book.get(other).state) == (LineState.OPEN, LineState.PAUSED)
    await book.refresh()
    assert book.get(event_id).state is LineState.PAUSED


async def test_who_watches_hears_of_each_change_once(database: Database, book: LineBook, event_id: str) -> None:
    """Also while an old transaction keeps the edge back, so that the same rows are read again and again."""
    heard: list[int] = []
    book.on_change(lambda line: heard.append(line.version) if line.event_id == event_id else None)
    async with database.transaction() as old:
        await old.execute("select pg_current_xact_id()")
        await Books(database).event(event_id)
        await asyncio.gather(*(book.refresh() for _ in range(3)))
        await Lines(database).pause(event_id)
        await book.refresh()
    await book.refresh()
    assert len(heard) == 2 and heard[0] < heard[1]


async def test_many_changes_together_are_few_reads(
    database: Database, event_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each notice would be one of its own, in every process."""
    monkeypatch.setattr(stores_lines, "READ_EVERY_S", 2.0)
    book, reads, notices = LineBook(database), 0, 0
    refresh = book.refresh

    async def counted() -> None:
        nonlocal reads
        reads += 1
        await refresh()

    def noticed(_event_id: str) -> None:
        nonlocal notices
        notices += 1

    monkeypatch.setattr(book, "refresh", counted)
    book.on_notice(noticed)
    await Books(database).event(event_id)
    async with book.signals["read"].expect(1, 20):
        await book.start()
    try:
        for number in range(40):
            await Lines(database).change(event_id, title=f"number {number}")
        async with asyncio.timeout(20):
            while book.get(event_id).title != "number 39":
                async with book.signals["read"].expect(1, 20):
                    pass
        assert notices >= 40
        assert reads < notices / 2
    finally:
        await book.stop()
