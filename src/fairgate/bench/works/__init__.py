"""What can be measured, one question each: what is asked of a side, and the figures that answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from fairgate.bench.load import Driver
from fairgate.bench.measured import Measured
from fairgate.bench.options import Options
from fairgate.bench.sides import Side
from fairgate.bench.works import drain, join, latency, lines, listeners, position, recovery, waiters


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """`ours`: only Fairgate can be asked this. `fresh`: on servers of its own, that hold nothing else. `anywhere`: also
    of what runs already, from outside.
    """

    about: str
    measure: Callable[[Side, Driver, Options], Awaitable[Measured]]
    ours: bool = False
    fresh: bool = False
    anywhere: bool = False


WORKS: Mapping[str, Work] = {
    "join": Work(about="joins and guest sessions a second", measure=join.measure, anywhere=True),
    "position": Work(about="reads of places a second", measure=position.measure, anywhere=True),
    "drain": Work(about="tickets a second out of a full line", measure=drain.measure),
    "latency": Work(about="from the join's answer to the ticket at the fan", measure=latency.measure, anywhere=True),
    "listeners": Work(about="how old a place is at the socket; pushes a second", measure=listeners.measure, ours=True),
    "lines": Work(about="many open lines at once", measure=lines.measure, ours=True, fresh=True),
    "waiters": Work(about="joins and memory as the line grows", measure=waiters.measure, ours=True, fresh=True),
    "recovery": Work(about="a wiped line rebuilt; start-up", measure=recovery.measure, ours=True, fresh=True),
}
