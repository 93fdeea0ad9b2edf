"""What a run of the bench is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

Tell = Callable[[str], None]

# So many are enough for the compilers, when something is drained once unmeasured.
WARMING_MAX = 100_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`seconds` of each closed loop. `waiting`: how many wait, for drain and position; `sizes`: how long the line is
    each time that the join is measured; `places`: how many are lost and rebuilt. `peer`: the folder of the other side's
    sources, None for Fairgate alone. `against`: what runs already and is driven instead. `tell` hears what happens.
    """

    works: Sequence[str]
    rounds: int
    brokers: int
    seconds: float
    waiting: int
    listeners: int
    watchers: int
    rate: float
    sizes: Sequence[int]
    lines: int
    places: int
    peer: Path | None = None
    against: Remote | None = None
    tell: Tell = print


class Remote(msgspec.Struct, frozen=True, kw_only=True):
    """An implementation that runs already. `event_id` None: a line of its own for each work."""

    url: str
    live_url: str | None = None
    event_id: str | None = None
    operator_token: str | None = None
