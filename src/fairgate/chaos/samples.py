"""What is measured twice a second, and what follows from the series. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import msgspec

from fairgate.chaos.scenario import Progress


class Sample(msgspec.Struct, kw_only=True):
    """As of `at_s` seconds from the start. None: nobody could say just then. Counts are of all events together.

    `lag` in messages of both groups, `waiting` by event, `bound` what decided most rounds of admission since the last.
    """

    at_s: float
    joins: int = 0
    told: int = 0
    sockets: int = 0
    waiting: dict[str, int] | None = None
    admitted: int | None = None
    issued: int | None = None
    unsent: int | None = None
    outbox_age_s: float | None = None
    lag: int | None = None
    bound: str | None = None

    @property
    def acknowledged(self) -> int | None:
        """Orders that the brokers have taken: admitted, and out of the outbox."""
        return None if self.admitted is None or self.unsent is None else max(0, self.admitted - self.unsent)

    def progress(self, what: Progress) -> int | None:
        value: int | None = getattr(self, what)
        return value

    @property
    def line(self) -> int | None:
        return None if self.waiting is None else sum(self.waiting.values())


def longest_stall_s(samples: Sequence[Sample], what: Progress, since_s: float) -> float:
    """The longest time without progress since then.

    A gap in the series is a stall only if nothing was gained over it. A stall lasts up to the first sample that shows
    progress, so the truth is at most one distance of samples below.
    """
    known = [(sample.at_s, value) for sample in samples if (value := sample.progress(what)) is not None]
    last = max((value for at_s, value in known if at_s <= since_s), default=0)
    longest, since = 0.0, since_s
    for at_s, value in known:
        if at_s > since_s and value > last:
            longest, since, last = max(longest, at_s - since), at_s, value
    return max(longest, samples[-1].at_s - since) if samples else 0.0


def rates(samples: Sequence[Sample], what: Progress) -> list[tuple[float, float | None]]:
    """(when, per second) between every two samples; None where one of them says nothing."""
    found: list[tuple[float, float | None]] = []
    for old, new in pairwise(samples):
        before, after, passed_s = old.progress(what), new.progress(what), new.at_s - old.at_s
        known = before is not None and after is not None and passed_s > 0
        found.append((new.at_s, (after - before) / passed_s if known else None))  # type: ignore[operator]
    return found


def thinned(samples: Sequence[Sample], most: int) -> list[Sample]:
    """At most so many, evenly: a report must stay small. The last one is kept."""
    step = -(-len(samples) // most) if most else 1
    return [*samples[:-1:step], samples[-1]] if step > 1 else list(samples)
