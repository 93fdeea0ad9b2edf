"""What one fan is like. Pure."""

from __future__ import annotations

import msgspec


class Habits(msgspec.Struct, frozen=True, kw_only=True):
    """How often somebody looks, in seconds: near the turn at the least, far back at the longest.

    Who listens looks seldom: the site calls. `soon_s`: the first look once it is one's turn, longer each time.
    `leave_after_s`, `away_s`, `reconnect_s`: from and to.
    """

    look_min_s: float = 1.0
    look_max_s: float = 15.0
    look_listening_s: float = 10.0
    soon_s: float = 0.3
    soon_max_s: float = 5.0
    leave_after_s: tuple[float, float] = (0.2, 3.0)
    away_s: tuple[float, float] = (0.5, 4.0)
    reconnect_s: tuple[float, float] = (2.0, 15.0)


PERSON = Habits()


class Traits(msgspec.Struct, frozen=True):
    """One fan. `reconnects` only who `listens`.

    Who `stays` waits to be told; who does not goes as soon as it knows its end. Who `leaves` and `regrets` comes back.
    Who `lingers` keeps listening until the crowd is sent home.
    """

    listens: bool = False
    joins_twice: bool = False
    leaves: bool = False
    reconnects: bool = False
    stays: bool = True
    regrets: bool = True
    lingers: bool = False
    habits: Habits = PERSON
