"""One call for the joins and the reads of many lines: each is answered by itself, whatever is wrong with another."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec

from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Place, Status
from fairgate.errors import FairgateError, StaleGeneration, Unavailable
from fairgate.stores.line import Joining
from fairgate.stores.line_answers import Answered
from tests.support.line import Fans, Gatekeeper

NAMES = ("one", "stale", "broken", "other")


@asynccontextmanager
async def lines(crowd: Fans, event_id: str) -> AsyncIterator[list[Line]]:
    """Four lines, of which the second was prepared anew meanwhile and the third holds what is no journal."""
    found = [await crowd.create(f"{event_id}-{name}", state=LineState.PAUSED) for name in NAMES]
    await crowd.store.join(found[0], ["a", "b"])
    keys = crowd.store.keys(found[2].event_id)
    await crowd.store.channel.command("SET", keys.journal, "not a stream")
    await crowd.store.channel.command("SET", keys.outcomes, "not a hash")
    try:
        yield [found[0], msgspec.structs.replace(found[1], generation=found[1].generation + 1), *found[2:]]
    finally:
        await crowd.store.channel.command("DEL", keys.journal, keys.outcomes)


async def joined(crowd: Fans, joining: list[Joining]) -> list[Answered | FairgateError]:
    future: asyncio.Future[list[Answered | FairgateError]] = asyncio.get_running_loop().create_future()
    crowd.store.begin_joins(joining, lambda answers: future.set_result(list(answers)))
    return await future


async def test_each_line_of_a_call_is_answered_by_itself(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    async with lines(crowd, event_id) as (one, stale, broken, other):
        answers = await joined(crowd, [Joining(line, ["c", "a", "c"]) for line in (one, stale, broken, other)])
        assert isinstance(answers[1], StaleGeneration)
        assert isinstance(answers[2], Unavailable)
        for answer, positions in ((answers[0], [3, 1, 3]), (answers[3], [1, 2, 1])):
            assert isinstance(answer, Answered)
            assert [place.position for place in answer.places if isinstance(place, Place)] == positions
        assert [place.position for place in await crowd.store.positions(one, ["a", "b", "c"])] == [1, 2, 3]
        assert [place.position for place in await crowd.store.positions(other, ["c", "a"])] == [1, 2]


async def test_each_line_of_a_call_is_read_by_itself(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    async with lines(crowd, event_id) as asked:
        future: asyncio.Future[list[list[Place] | FairgateError]] = asyncio.get_running_loop().create_future()
        crowd.store.begin_positions(
            [(line, ["b", "nobody"]) for line in asked], lambda answers: future.set_result(list(answers))
        )
        first, second, third, fourth = await future
    assert isinstance(second, StaleGeneration)
    assert isinstance(third, Unavailable)
    assert isinstance(first, list) and isinstance(fourth, list)
    assert [(place.status, place.position) for place in first] == [(Status.WAITING, 2), (Status.NONE, None)]
    assert [place.status for place in fourth] == [Status.NONE, Status.NONE]


async def test_an_outcome_that_says_nothing_is_no_matter_of_other_lines(
    crowd: Fans, keeper: Gatekeeper, event_id: str
) -> None:
    broken, well = [await crowd.create(f"{event_id}-{name}", state=LineState.PAUSED) for name in ("broken", "well")]
    await crowd.store.channel.command("HSET", crowd.store.keys(broken.event_id).outcomes, "a", "issued")
    first, second = await joined(crowd, [Joining(line, ["a"]) for line in (broken, well)])
    assert isinstance(first, Unavailable)
    assert isinstance(second, Answered)


async def test_who_asks_in_many_lines_at_once_is_placed_in_each(crowd: Fans, keeper: Gatekeeper, event_id: str) -> None:
    found = [await crowd.create(f"{event_id}-{number}", state=LineState.PAUSED) for number in range(70)]
    places = await asyncio.gather(*(crowd.join(line.event_id, user) for user in "xyz" for line in found))
    assert [place.position for place in places] == [1] * 70 + [2] * 70 + [3] * 70
