"""What one client saw, written down as it happens. The judges get these; times are the crowd's own monotonic seconds.

A `Call` is one thing that the client wanted, with all its tries: `invoked_at` is before the first try that may have had
an effect, `answered_at` after the answer that counts. A try without an answer has an unknown outcome: it may have
happened at any time since. So every interval here is at least as wide as the truth, and nothing true is ever accused.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Literal

import msgspec

ENDED_WITH_TICKET = frozenset({"issued", "confirmed"})
ENDED_WITHOUT = frozenset({"sold_out", "closed"})
ENDS = ENDED_WITH_TICKET | ENDED_WITHOUT | {"cancelled", "expired"}


class Call(msgspec.Struct):
    """`what`: join, position, leave. Without an answer (`answered_at` None) the rest is empty.

    `refused`: the answer was an error that says that nothing happened. `recovering`: the answer came with the
    announcement that places are being recovered, so that its position binds nobody.
    """

    what: str
    invoked_at: float
    unknowns: int = 0
    answered_at: float | None = None
    status: str = ""
    sequence: int | None = None
    position: int | None = None
    ticket_id: str | None = None
    refused: str = ""
    recovering: bool = False

    @property
    def outcome(self) -> Literal["ok", "fail", "info"]:
        """As Jepsen names it: it happened, it did not, nobody knows."""
        if self.refused:
            return "fail"
        return "info" if self.answered_at is None else "ok"


class Told(msgspec.Struct):
    """A notification as it reached the client, each time that it came. `via`: socket or inbox."""

    id: str
    kind: str
    at: float
    via: str
    ticket_id: str | None = None
    event_id: str | None = None


class History(msgspec.Struct):
    """One fan in one event.

    `arrived_at` is when this fan came; `ended_at` when it knew its end; `done` when it was told, too. `quit`: it went
    away for good before that, and looks at nothing any more: the system owes its place an end, but nobody a word.
    """

    user_id: str = ""
    event_id: str = ""
    listens: bool = False
    calls: list[Call] = []
    told: list[Told] = []
    arrived_at: float | None = None
    ended_at: float | None = None
    end: str = ""
    at_the_door: bool = False
    done: bool = False
    quit: bool = False
    refused: str = ""

    def answered(self, what: str) -> list[Call]:
        return [call for call in self.calls if call.what == what and call.outcome == "ok"]

    @property
    def joined(self) -> bool:
        """Whether a join was answered with 200."""
        return any(call.what == "join" and call.outcome == "ok" for call in self.calls)

    @property
    def may_have_joined(self) -> bool:
        return any(call.what == "join" and call.outcome != "fail" for call in self.calls)

    @property
    def left(self) -> int:
        """How often it left (and was told so)."""
        return sum(call.status == "left" for call in self.answered("leave"))

    @property
    def may_have_left(self) -> int:
        return sum(
            call.what == "leave" and (call.outcome == "info" or (call.outcome == "ok" and call.status == "left"))
            for call in self.calls
        )

    @property
    def sequences(self) -> set[int]:
        """Every place that this client was ever told to have."""
        return {call.sequence for call in self.calls if call.sequence}

    @property
    def ticket_ids(self) -> set[str]:
        """Every ticket that this client was ever told to have."""
        seen = {call.ticket_id for call in self.calls} | {told.ticket_id for told in self.told}
        return {ticket for ticket in seen if ticket is not None}


def write(path: Path, histories: Iterable[History]) -> None:
    """One JSON document a line, so that a run that failed can be looked at, cut down and kept as a test."""
    path.write_bytes(msgspec.json.Encoder().encode_lines(histories))


def read(path: Path) -> list[History]:
    """What `write` wrote. Raises `OSError`, `msgspec.ValidationError`."""
    return msgspec.json.Decoder(History).decode_lines(path.read_bytes())
