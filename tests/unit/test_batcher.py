"""Batches: every answer exactly once, in order, and never one that waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from itertools import zip_longest

from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Place, Status
from fairgate.errors import FairgateError, Unavailable, UnknownLine
from fairgate.queue.batcher import Ask, Batcher, Came, ForLine, Later

Answered = Place | FairgateError


def line(event_id: str) -> Line:
    if event_id == "none":
        raise UnknownLine
    return Line(
        event_id=event_id, version=1, generation=1, shard=0, state=LineState.OPEN, title="", rate=1.0, burst=1,
        capacity=None, hold_s=None, opens_at=None, sold_out=False,
    )  # fmt: skip


def batcher_of(ask: Ask[str], *, users_max: int = 100, lines_max: int = 100) -> Batcher[str]:
    return Batcher(ask, line, users_max=users_max, lines_max=lines_max)


class Server:
    """Asks somebody else for each line, who answers when it is let; remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.let = asyncio.Event()

    def ask(self, asked: Sequence[tuple[Line, Sequence[str]]], came: Came) -> None:
        came([Later(self.send(known, users)) for known, users in asked])

    async def send(self, known: Line, users: Sequence[str]) -> list[Answered]:
        self.batches.append((known.event_id, list(users)))
        await self.let.wait()
        if "bad" in users:
            raise Unavailable("gone")
        return [Place(Status.WAITING, i, i + 1, len(users)) for i, _ in enumerate(users)]


class Calls:
    """Answers each call as a whole when it is told to; remembers them."""

    def __init__(self) -> None:
        self.seen: list[list[tuple[str, list[str]]]] = []
        self._came: list[Came] = []

    def ask(self, asked: Sequence[tuple[Line, Sequence[str]]], came: Came) -> None:
        self.seen.append([(known.event_id, list(users)) for known, users in asked])
        self._came.append(came)

    def answer(self, *instead: ForLine | None) -> None:
        """The oldest call, or of some of its lines something else."""
        call = self.seen[len(self.seen) - len(self._came)]
        well = [[Place(Status.WAITING, i, i + 1, len(users)) for i, _ in enumerate(users)] for _, users in call]
        self._came.pop(0)([other or one for other, one in zip_longest(instead, well)])


async def ask(batcher: Batcher[str], event_id: str, user_id: str) -> Answered:
    answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
    batcher.add(event_id, user_id, answer.set_result)
    return await answer


async def turns() -> None:
    for _ in range(4):
        await asyncio.sleep(0)


async def test_what_comes_while_a_batch_is_away_goes_together() -> None:
    server = Server()
    batcher = batcher_of(server.ask)
    first = asyncio.create_task(ask(batcher, "e", "a"))
    await turns()
    rest = [asyncio.create_task(ask(batcher, "e", name)) for name in "bcd"]
    await turns()
    server.let.set()
    await asyncio.gather(first, *rest)
    assert server.batches == [("e", ["a"]), ("e", ["b", "c", "d"])]


async def test_a_batch_is_never_larger_than_its_bound() -> None:
    server = Server()
    server.let.set()
    batcher = batcher_of(server.ask, users_max=10)
    await asyncio.gather(*(ask(batcher, "e", str(i)) for i in range(95)))
    assert max(len(users) for _, users in server.batches) <= 10
    assert [user for _, users in server.batches for user in users] == [str(i) for i in range(95)]


async def test_lines_that_are_asked_together_go_in_one_call_the_one_that_waited_longest_first() -> None:
    calls = Calls()
    batcher = batcher_of(calls.ask, users_max=5, lines_max=3)
    found: list[Answered] = []
    for event_id, user in (*(("a", str(i)) for i in range(7)), ("b", "x"), ("c", "x"), ("d", "x"), ("e", "x")):
        batcher.add(event_id, user, found.append)
    await turns()
    assert calls.seen == [[("a", ["0", "1", "2", "3", "4"])]]
    while len(found) < 11:
        calls.answer()
        await turns()
    assert calls.seen[1:] == [[("b", ["x"]), ("c", ["x"]), ("d", ["x"])], [("e", ["x"]), ("a", ["5", "6"])]]


async def test_what_is_wrong_with_one_line_is_told_to_its_own_callers() -> None:
    calls = Calls()
    batcher = batcher_of(calls.ask)
    tasks = [asyncio.create_task(ask(batcher, event_id, "x")) for event_id in ("a", "b")]
    await turns()
    calls.answer([Unavailable("gone")])
    broken, well = await asyncio.gather(*tasks)
    assert isinstance(broken, Unavailable)
    assert isinstance(well, Place)


async def test_a_line_that_waits_for_somebody_else_keeps_its_order_and_lets_the_others_go() -> None:
    calls, let = Calls(), asyncio.Event()

    async def elsewhere() -> list[Answered]:
        await let.wait()
        return [Place(Status.ADMITTED, 7, 0, 1)]

    batcher, came = batcher_of(calls.ask), []
    batcher.add("slow", "first", lambda _: came.append("first"))
    await turns()
    calls.answer(Later(elsewhere()))
    batcher.add("slow", "second", lambda _: came.append("second"))
    batcher.add("other", "third", lambda _: came.append("third"))
    await turns()
    assert calls.seen[1:] == [[("other", ["third"])]]
    calls.answer()
    assert came == ["third"]
    let.set()
    await turns()
    assert calls.seen[2:] == [[("slow", ["second"])]]
    calls.answer()
    assert came == ["third", "first", "second"]


async def test_a_call_that_cannot_be_made_answers_everybody_however_many_lines_there_are() -> None:
    def raises(asked: Sequence[tuple[Line, Sequence[str]]], came: Came) -> None:
        raise Unavailable("no connection")

    batcher, found = batcher_of(raises, lines_max=1), []
    for number in range(3_000):
        batcher.add(str(number), "x", found.append)
    for _ in range(3_100):
        await asyncio.sleep(0)
    assert len(found) == 3_000
    assert all(isinstance(answer, Unavailable) for answer in found)


async def test_many_lines_that_wait_for_somebody_else_are_held_one_call_after_the_other() -> None:
    server = Server()
    batcher, found = batcher_of(server.ask, lines_max=1), []
    for number in range(3_000):
        batcher.add(str(number), "x", found.append)
    server.let.set()
    for _ in range(3_100):
        await asyncio.sleep(0)
    assert len(found) == 3_000
    assert all(isinstance(answer, Place) for answer in found)


async def test_a_failed_batch_answers_everybody_and_the_next_one_is_sent() -> None:
    server = Server()
    server.let.set()
    batcher = batcher_of(server.ask)
    answers = await asyncio.gather(ask(batcher, "e", "bad"), ask(batcher, "e", "neighbour"))
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert isinstance(await ask(batcher, "e", "c"), Place)


async def test_an_unknown_line_is_told_to_its_own_callers_only() -> None:
    server = Server()
    server.let.set()
    batcher = batcher_of(server.ask, lines_max=1)
    unknown, known = await asyncio.gather(ask(batcher, "none", "a"), ask(batcher, "e", "a"))
    assert isinstance(unknown, UnknownLine)
    assert isinstance(known, Place)


async def test_a_batch_needs_no_task_and_the_next_is_asked_before_this_one_is_answered() -> None:
    seen: list[list[str]] = []
    asked_when_answered: list[int] = []

    def answered(asked: Sequence[tuple[Line, Sequence[str]]], came: Came) -> None:
        [(_, users)] = asked
        seen.append(list(users))
        asyncio.get_running_loop().call_soon(came, [[Place(Status.WAITING, int(user), 1, 1) for user in users]])

    batcher = batcher_of(answered, users_max=3)
    found: list[Answered] = []

    def take(answer: Answered) -> None:
        found.append(answer)
        asked_when_answered.append(len(seen))

    for number in range(8):
        batcher.add("e", str(number), take)
    before = asyncio.all_tasks()
    for _ in range(5):
        await asyncio.sleep(0)
    assert asyncio.all_tasks() == before
    assert asked_when_answered == [2, 2, 2, 3, 3, 3, 3, 3]
    assert [place.sequence for place in found if isinstance(place, Place)] == list(range(8))
    assert seen == [["0", "1", "2"], ["3", "4", "5"], ["6", "7"]]
