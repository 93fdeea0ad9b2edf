"""What a recovery does to a line in Valkey: hold it, look at what it still has, put places back, open it."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

from fairgate.domain.journal import Ledger, Places
from fairgate.domain.line import Line, first_sequence
from fairgate.domain.messages import QueueJournal
from fairgate.stores.channel import Script
from fairgate.stores.journal import KINDS, TAKE_MAX, entry
from fairgate.stores.keys import JOURNAL_CHANNEL
from fairgate.stores.line import LineStore, settings_of

# One call of the server: about two milliseconds of everybody else.
PIECE = 2_000

_HOLD, _RESTORE, _REOPEN, _SETTLE = Script("hold"), Script("restore"), Script("reopen"), Script("settle")

T = TypeVar("T")


class Held(NamedTuple):
    """A line that nobody can join or leave: the era of its journal, and how many had left."""

    era: int
    left: int


class RecoveryStore:
    """Raises `Unavailable`; `StaleEpoch` where somebody else owns the line."""

    def __init__(self, store: LineStore) -> None:
        self._store = store

    async def hold(self, line: Line, epoch: int) -> Held:
        """From here the line stands still until `reopen`."""
        await self._store.channel.connect()
        return Held(*await self._store.channel.run(_HOLD, [self._store.keys(line.event_id).state], [epoch]))

    async def present(self, line: Line) -> tuple[Places, Places]:
        """(who waits, who is claimed), as far as this server knows."""
        k = self._store.keys(line.event_id)
        return await self._members(k.line), await self._members(k.claims)

    async def read_journal(self, line: Line, ledger: Ledger) -> None:
        """Take in what is still on its way to Kafka."""
        journal, after = self._store.keys(line.event_id).journal, "-"
        while True:
            found = await self._store.channel.command("XRANGE", journal, after, "+", "COUNT", TAKE_MAX)
            for id, (kind, text) in found:
                _take_in(ledger, line, id, kind, text)
            if len(found) < TAKE_MAX:
                return
            after = f"({found[-1][0].decode()}"

    async def restore(self, line: Line, epoch: int, added: Mapping[str, int], removed: Iterable[str]) -> None:
        """Put these places in and take these users out. May be repeated."""
        k = self._store.keys(line.event_id)
        for piece in _pieces(added.items()):
            flat = [word for user, sequence in piece for word in (sequence, user)]
            await self._store.channel.run(_RESTORE, [k.state, k.line], [epoch, len(piece), *flat])
        for gone in _pieces(removed):
            await self._store.channel.run(_RESTORE, [k.state, k.line], [epoch, 0, *gone])

    async def reopen(self, line: Line, epoch: int, era: int, fields: Mapping[str, int]) -> None:
        """The line is whole: the claims are among its waiters, a new era of the journal begins, joins go on."""
        k = self._store.keys(line.event_id)
        given: list[str | int] = [word for field in fields.items() for word in field]
        await self._store.channel.run(
            _REOPEN,
            [k.state, k.sequence, k.claims, k.claimed_at, k.journal],
            [
                *(self._store.fence(line), epoch, era, first_sequence(line.generation)),
                *(JOURNAL_CHANNEL, line.event_id),
                *("version", line.version, *settings_of(line), *given),
            ],
        )

    async def settle(self, line: Line, epoch: int) -> int:
        """The time to show tokens is over. → how many came back by them."""
        k = self._store.keys(line.event_id)
        back: int = await self._store.channel.run(_SETTLE, [k.state], [self._store.fence(line), epoch])
        return back

    async def by_token(self, line: Line) -> int:
        """How many came back by their tokens in this generation."""
        await self._store.channel.connect()
        known = await self._store.channel.command("HGET", self._store.keys(line.event_id).state, "restored")
        return int(known or 0)

    async def given(self, line: Line) -> int:
        """The highest sequence of its generation that this server has given."""
        await self._store.channel.connect()
        counter = await self._store.channel.command("GET", self._store.keys(line.event_id).sequence)
        return first_sequence(line.generation) + int(counter or 0)

    async def _members(self, key: str) -> Places:
        places: Places = {}
        for start in itertools.count(0, PIECE):
            pairs = await self._store.channel.command("ZRANGE", key, start, start + PIECE - 1, "WITHSCORES")
            places.update((user.decode(), int(score)) for user, score in pairs)
            if len(pairs) < PIECE:
                break
        return places


def _take_in(ledger: Ledger, line: Line, id: bytes, kind: bytes, text: bytes) -> None:
    found = entry(id, kind, text)
    ledger.last_era = max(ledger.last_era, found.era)
    if found.kind in KINDS:
        ledger.read(
            QueueJournal(
                event_id=line.event_id,
                kind=KINDS[found.kind],
                era=found.era,
                timestamp=0,
                users=found.users,
                sequences=found.sequences,
            )
        )


def _pieces(items: Iterable[T]) -> Iterator[Sequence[T]]:
    rest = iter(items)
    while piece := list(itertools.islice(rest, PIECE)):
        yield piece
