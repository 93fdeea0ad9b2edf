"""A line's journal in Valkey (`{K}:journal`): joins and leaves on their way to Kafka, one entry per batch.

An entry is a kind and a text. `j`: `<era> <first sequence> <user> <user> …`, consecutive joins. `p`: `<era> <sequence>
<user> …`, places that came back by a token. `l`: the same of leaves. `e`: `<era> <highest sequence before it>`, a new
era begins: what stands before is told by a snapshot.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from fairgate.domain.line import Line, first_sequence
from fairgate.errors import StaleGeneration
from fairgate.stores.channel import Script, Word
from fairgate.stores.keys import JOURNAL_CHANNEL, JOURNALED_CHANNEL
from fairgate.stores.line import LineStore

# 200 batches of 512 joins are 3 MB: a few milliseconds of everybody.
TAKE_MAX = 200
SCAN_MAX = 2_000

KINDS: Mapping[str, Literal["joined", "left"]] = {"j": "joined", "p": "joined", "l": "left"}

_TAKE, _ERA, _SCAN = (Script(f"journal_{name}") for name in ("take", "era", "scan"))


class Entry(NamedTuple):
    """`kind` as above; for `e`, `sequences` has the watermark alone."""

    id: str
    kind: str
    era: int
    users: list[str]
    sequences: list[int]


class Reached(NamedTuple):
    """Kafka has a line's journal up to this entry. Stream ids are those of the server that `fence` names."""

    fence: str
    entry_id: str


NOT_YET = Reached("", "")


class Taken(NamedTuple):
    """The oldest entries of a line, read under `fence`: only under the same one they may be forgotten."""

    line: Line
    fence: str
    era: int
    gap: bool
    snapshot_at: int
    entries: list[Entry]

    @property
    def reached(self) -> Reached:
        """Where the journal stands once Kafka has these."""
        return Reached(self.fence, self.entries[-1].id)


class JournalStore:
    """Raises `Unavailable`; `StaleGeneration` where this server is not the one that SQL names."""

    def __init__(self, store: LineStore) -> None:
        self._store = store

    async def take(self, lines: Sequence[Line], reached: Mapping[str, Reached]) -> list[Taken]:
        """Of each line the oldest entries behind what Kafka has (`reached`, by event id), which is forgotten here. A
        line that this server does not hold as SQL names it is left out.
        """
        await self._store.channel.connect()
        fences = [self._store.fence(line) for line in lines]
        calls: list[tuple[list[str], list[Word]]] = []
        for line, fence in zip(lines, fences, strict=True):
            k, known = self._store.keys(line.event_id), reached.get(line.event_id, NOT_YET)
            calls.append(([k.journal, k.state], [fence, TAKE_MAX, known.entry_id if known.fence == fence else ""]))
        answers = await self._store.channel.run_each(_TAKE, calls)
        taken = []
        for line, fence, answer in zip(lines, fences, answers, strict=True):
            if isinstance(answer, StaleGeneration):
                continue
            if isinstance(answer, Exception):
                raise answer
            era, gap, snapshot_at, *flat = answer
            entries = [entry(*flat[i : i + 3]) for i in range(0, len(flat), 3)]
            taken.append(Taken(line, fence, era, bool(gap), snapshot_at, entries))
        return taken

    async def say_reached(self, taken: Sequence[Taken]) -> None:
        """Kafka has these: whoever waits for it hears so at once, and reads it with `said_reached`."""
        said = [f"{one.line.event_id} {one.reached.entry_id} {one.fence}" for one in taken]
        await self._store.channel.command("PUBLISH", JOURNALED_CHANNEL, "\n".join(said))

    async def begin_era(self, taken: Taken) -> None:
        """End the gap, if there is one; who waits now is to be told by a snapshot."""
        k, line = self._store.keys(taken.line.event_id), taken.line
        await self._store.channel.run(
            _ERA,
            [k.journal, k.state, k.sequence],
            [taken.fence, taken.era, first_sequence(line.generation), JOURNAL_CHANNEL, line.event_id],
        )

    async def scan(self, taken: Taken, after: int) -> tuple[list[str], list[int], bool]:
        """Who waits behind this sequence, in order, and whether that is all."""
        k = self._store.keys(taken.line.event_id)
        ended, *flat = await self._store.channel.run(_SCAN, [k.line, k.claims, k.state], [taken.fence, after, SCAN_MAX])
        return [user.decode() for user in flat[::2]], [int(score) for score in flat[1::2]], bool(ended)

    async def waits(self, lines: Sequence[Line]) -> list[bool]:
        """Of each, whether there is anything to take, or a gap to close."""
        await self._store.channel.connect()
        ask = self._store.channel.ask
        keys = [self._store.keys(line.event_id) for line in lines]
        asked = [ask(*words) for k in keys for words in (("HGET", k.state, "journal_last"), ("XLEN", k.journal))]
        answers = await asyncio.gather(*asked)
        return [last == b"+" or entries > 0 for last, entries in zip(answers[::2], answers[1::2], strict=True)]

    async def journaled(self, event_id: str) -> str:
        """The entry up to which Kafka has this line's journal; empty where nothing was said."""
        await self._store.channel.connect()
        known = await self._store.channel.command("HGET", self._store.keys(event_id).state, "journaled")
        return "" if known is None else known.decode()


def said_reached(message: str) -> Iterator[tuple[str, Reached]]:
    """By event id, what `say_reached` said."""
    for said in message.split("\n"):
        event_id, entry_id, fence = said.split(" ")
        yield event_id, Reached(fence, entry_id)


def entry(id: bytes, kind: bytes, text: bytes) -> Entry:
    era, *words = text.decode().split(" ")
    if kind == b"j":
        first, users = int(words[0]), words[1:]
        return Entry(id.decode(), "j", int(era), users, list(range(first, first + len(users))))
    return Entry(id.decode(), kind.decode(), int(era), words[1::2], [int(word) for word in words[::2]])


def comes_before(earlier: str, later: str) -> bool:
    """Whether the stream id is smaller, or the same. The empty one comes before all."""
    return _parts(earlier) <= _parts(later)


def _parts(stream_id: str) -> list[int]:
    return [int(part) for part in stream_id.split("-")] if stream_id else []
