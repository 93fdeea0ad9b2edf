"""What can be measured, one question each: what is asked of a side, and the figures that answer it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from fairgate.bench.load import Driver
from fairgate.bench.measured import Measured
from fairgate.bench.options import Options
from fairgate.bench.sides import Side
from fairgate.bench.works import drain, join, latency, limits, lines, listeners, position, recovery, waiters


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """`ours`: only Fairgate can be asked this. `fresh`: on servers of its own, that hold nothing else. `anywhere`: also
    of what runs already, from outside. `warms`: once unmeasured before the first of several rounds, since compilers are
    still at work then, most of all in the brokers. `quick_brokers`: these do without their slow compiler,
    which takes a fifth of two cores in their first minutes and nothing in an installation that has been up.
    """

    measure: Callable[[Side, Driver, Options], Awaitable[Measured]]
    ours: bool = False
    fresh: bool = False
    anywhere: bool = False
    warms: bool = False
    quick_brokers: bool = False


WORKS: Mapping[str, Work] = {
    "join": Work(measure=join.measure, anywhere=True),
    "position": Work(measure=position.measure, anywhere=True),
    "drain": Work(measure=drain.measure, warms=True),
    "latency": Work(measure=latency.measure, anywhere=True),
    "listeners": Work(measure=listeners.measure, ours=True),
    "lines": Work(measure=lines.measure, ours=True, fresh=True, quick_brokers=True),
    "waiters": Work(measure=waiters.measure, ours=True, fresh=True),
    "recovery": Work(measure=recovery.measure, ours=True, fresh=True),
    "limits": Work(measure=limits.measure, ours=True, fresh=True),
}
