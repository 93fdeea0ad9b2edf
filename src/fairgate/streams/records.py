"""What a consumer hands over: records, in batches that know whether they are still ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cached_property
from operator import attrgetter
from typing import Any, Protocol, TypeAlias

import msgspec

Headers: TypeAlias = list[tuple[str, str | bytes | None]]
Where: TypeAlias = tuple[str, int]  # topic, partition


# Of a batch's records every so-many-th says how large the headers of all are. A large one may hide between them in one
# batch, many cannot, and it takes many to fill the memory.
HEADERS_WEIGHED_EACH = 64


class Record(msgspec.Struct, frozen=True, gc=False):
    """`kept_headers`: its headers, or how to have them made: few are asked for, and they cost as much as the rest."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    kept_headers: Headers | Callable[[], Headers | None]
    timestamp_ms: int

    @property
    def headers(self) -> Headers:
        return (self.kept_headers() or []) if callable(self.kept_headers) else self.kept_headers

    @property
    def where(self) -> Where:
        return self.topic, self.partition

    @property
    def size_bytes(self) -> int:
        """What it holds of the memory, about."""
        return len(self.key or b"") + len(self.value or b"") + self.header_bytes

    @property
    def header_bytes(self) -> int:
        return sum(len(name) + len(value or b"") for name, value in self.headers)

    def header(self, name: str) -> str | None:
        """The last header of this name as text; None where there is none or it is no text."""
        value = next((value for key, value in reversed(self.headers) if key == name), None)
        return value.decode(errors="replace") if isinstance(value, bytes) else value


def record_of(message: Any) -> Record:
    """What the client polled, which is no error."""
    return Record(
        message.topic(),
        message.partition(),
        message.offset(),
        message.key(),
        message.value(),
        message.headers,
        message.timestamp()[1],
    )


_where = attrgetter("topic", "partition")


def last_of_each(records: Sequence[Record]) -> dict[Where, Record]:
    """By partition."""
    return dict(zip(map(_where, records), records, strict=True))


class Sendable(Protocol):
    """What a producer takes."""

    @property
    def topic(self) -> str: ...
    @property
    def key(self) -> bytes | str | None: ...
    @property
    def value(self) -> bytes | str | None: ...
    @property
    def headers(self) -> Headers: ...


class Ownership:
    """Which partitions are ours, each with a token of this ownership: a partition that went and came back has a new
    one. Written by the consumer's thread, read by everybody: single dict operations are atomic.
    """

    def __init__(self) -> None:
        self._tokens: dict[Where, int] = {}
        self._last = 0

    def take(self, partitions: Iterable[Where]) -> None:
        for where in partitions:
            self._last += 1
            self._tokens[where] = self._last

    def drop(self, partitions: Iterable[Where]) -> None:
        for where in partitions:
            self._tokens.pop(where, None)

    def renew(self) -> None:
        """Whatever was handed over until now is not ours any more."""
        self.take(list(self._tokens))

    def owned(self) -> list[Where]:
        return list(self._tokens)

    def token(self, where: Where) -> int | None:
        return self._tokens.get(where)


class Batch:
    """Records in the order of their partitions, with what is needed to commit them.

    `group_metadata` was captured when they were polled: the broker refuses to commit with it once the partitions have
    been given to somebody else. `lot` names what the consumer waits for at a revocation; parts of a batch share it.
    """

    def __init__(
        self,
        records: list[Record],
        claims: Mapping[Where, int],
        group_metadata: Any,
        ownership: Ownership,
        lot: int = 0,
    ) -> None:
        self.records, self.claims, self.group_metadata, self.lot = records, dict(claims), group_metadata, lot
        self._ownership = ownership

    def __len__(self) -> int:
        return len(self.records)

    @cached_property
    def size_bytes(self) -> int:
        """What it holds of the memory, about: of the headers only some are weighed."""
        weighed = self.records[::HEADERS_WEIGHED_EACH]
        headers = sum(record.header_bytes for record in weighed) * len(self.records) // max(1, len(weighed))
        return headers + sum(len(record.key or b"") + len(record.value or b"") for record in self.records)

    @cached_property
    def positions(self) -> dict[Where, int]:
        """The offset after the last record, for each partition that occurs."""
        return {where: record.offset + 1 for where, record in last_of_each(self.records).items()}

    @property
    def still_ours(self) -> bool:
        """False as soon as one partition of it was revoked, lost or rewound."""
        return all(self._ownership.token(where) == token for where, token in self.claims.items())

    def kept(self) -> Batch:
        """The part that is still ours; this batch itself where that is all of it."""
        if self.still_ours:
            return self
        claims = {where: token for where, token in self.claims.items() if self._ownership.token(where) == token}
        return self._part([record for record in self.records if record.where in claims], claims)

    def split(self, count: int) -> tuple[Batch, Batch]:
        """The first `count` records, and the others."""
        return self._part(self.records[:count], self.claims), self._part(self.records[count:], self.claims)

    def joined(self, later: Batch) -> Batch:
        """Both. The earlier metadata stays: it is refused whenever either would be."""
        both = Batch(
            self.records + later.records, self.claims | later.claims, self.group_metadata, self._ownership, self.lot
        )
        both.size_bytes, both.positions = self.size_bytes + later.size_bytes, self.positions | later.positions
        return both

    def _part(self, records: list[Record], claims: Mapping[Where, int]) -> Batch:
        return Batch(records, claims, self.group_metadata, self._ownership, self.lot)
