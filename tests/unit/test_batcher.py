"""Batches: every answer exactly once, in order, and never one that waits for nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from fairgate.domain.line import Line, LineState
from fairgate.domain.place import Place, Status
from fairgate.errors import FairgateError, Unavailable, UnknownLine
from fairgate.queue.batcher import Batcher, Came, Later

Answered = Place | FairgateError


def line(event_id: str) -> Line:
    if event_id == "none":
        raise UnknownLine
    return Line(
        event_id=event_id, version=1, generation=1, shard=0, state=LineState.OPEN, title="", rate=1.0, burst=1,
        capacity=None, hold_s=None, opens_at=None, sold_out=False,
    )  # fmt: skip


class Server:
    """Answers when it is let; remembers what came together."""

    def __init__(self) -> None:
        self.batches: list[tuple[str, list[str]]] = []
        self.let = asyncio.Event()

    def ask(self, known: Line, users: Sequence[str], came: Came) -> None:
        came(Later(self.send(known, users)))

    async def send(self, known: Line, users: Sequence[str]) -> list[Answered]:
        self.batches.append((known.event_id, list(users)))
        await self.let.wait()
        if "bad" in users:
            raise Unavailable("gone")
        return [Place(Status.WAITING, i, i + 1, len(users)) for i, _ in enumerate(users)]


async def ask(batcher: Batcher, event_id: str, user_id: str) -> Answered:
    answer: asyncio.Future[Answered] = asyncio.get_running_loop().create_future()
    batcher.add(event_id, user_id, answer.set_result)
    return await answer


async def test_what_comes_while_a_batch_is_away_goes_together() -> None:
    server = Server()
    batcher = Batcher(server.ask, line, 100)
    first = asyncio.create_task(ask(batcher, "e", "a"))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    rest = [asyncio.create_task(ask(batcher, "e", name)) for name in "bcd"]
    await asyncio.sleep(0)
    server.let.set()
    await asyncio.gather(first, *rest)
    assert server.batches == [("e", ["a"]), ("e", ["b", "c", "d"])]


async def test_a_batch_is_never_larger_than_its_bound() -> None:
    server = Server()
    server.let.set()
    batcher = Batcher(server.ask, line, 10)
    await asyncio.gather(*(ask(batcher, "e", str(i)) for i in range(95)))
    assert max(len(users) for _, users in server.batches) <= 10
    assert [user for _, users in server.batches for user in users] == [str(i) for i in range(95)]


async def test_lines_do_not_wait_for_each_other() -> None:
    server = Server()
    batcher = Batcher(server.ask, line, 100)
    tasks = [asyncio.create_task(ask(batcher, event_id, "a")) for event_id in ("one", "two")]
    for _ in range(4):
        await asyncio.sleep(0)
    assert {event_id for event_id, _ in server.batches} == {"one", "two"}
    server.let.set()
    await asyncio.gather(*tasks)


async def test_a_failed_batch_answers_everybody_and_the_next_one_is_sent() -> None:
    server = Server()
    server.let.set()
    batcher = Batcher(server.ask, line, 100)
    answers = await asyncio.gather(ask(batcher, "e", "bad"), ask(batcher, "e", "neighbour"))
    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert isinstance(await ask(batcher, "e", "c"), Place)


async def test_an_unknown_line_is_told_to_its_own_callers_only() -> None:
    server = Server()
    server.let.set()
    batcher = Batcher(server.ask, line, 100)
    unknown, known = await asyncio.gather(ask(batcher, "none", "a"), ask(batcher, "e", "a"))
    assert isinstance(unknown, UnknownLine)
    assert isinstance(known, Place)


async def test_a_batch_needs_no_task_and_the_next_is_asked_before_this_one_is_answered() -> None:
    seen: list[list[str]] = []
    asked_when_answered: list[int] = []

    def answered(_: Line, users: Sequence[str], came: Came) -> None:
        seen.append(list(users))
        asyncio.get_running_loop().call_soon(came, [Place(Status.WAITING, int(user), 1, 1) for user in users])

    batcher: Batcher[str] = Batcher(answered, line, 3)
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
