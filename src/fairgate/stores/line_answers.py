"""What the scripts of a line answer, as values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

from fairgate.domain.place import Outcome, Place, Status
from fairgate.errors import FairgateError, LineNotOpen, Unavailable
from fairgate.stores.channel import refused

T = TypeVar("T")

# In place of the entry that makes a place safe: Kafka is away for too long.
NOWHERE = "+"

_NOT_OPEN, _SEE_OUTCOME = -1, -3
_STATUS_OF = {0: Status.ADMITTED, -2: Status.SOLD_OUT, -4: Status.NONE, -5: Status.LEFT}


class Answered(NamedTuple):
    """What a script said of some users, and the journal entry that makes it safe: `NOWHERE` when there will be none,
    empty where nothing has to be. Stream ids are those of the server and generation that `fence` names.
    """

    places: list[Place | FairgateError]
    journal_id: str
    fence: str


def each_answered(answers: Any, fences: Sequence[str]) -> list[Answered | FairgateError]:
    """Of each line of a call what was answered, or what went wrong: with the call, or with this line alone."""
    each = [answers] * len(fences) if isinstance(answers, Exception) else answers
    return [_answered_or_error(answer, fence) for answer, fence in zip(each, fences, strict=True)]


def _answered_or_error(answer: Any, fence: str) -> Answered | FairgateError:
    if isinstance(answer, FairgateError):
        return answer
    if isinstance(answer, Exception):
        return refused(answer)
    try:
        return answered_of(answer, fence)
    except Exception as error:  # what is no outcome is no matter of the other lines
        return Unavailable(repr(error))


def only(answers: Sequence[T | FairgateError]) -> T:
    """Of one line what was answered. Raises the error."""
    [answer] = answers
    if isinstance(answer, FairgateError):
        raise answer
    return answer


def each_places(answers: Any, count: int) -> list[list[Place] | FairgateError]:
    """The same for a call that nobody is refused by."""
    return [
        [place for place in one.places if isinstance(place, Place)] if isinstance(one, Answered) else one
        for one in each_answered(answers, [""] * count)
    ]


def answered_of(answer: list[Any], fence: str) -> Answered:
    size, recovering, journal_id, *flat = answer
    waiting, is_recovering = Status.WAITING, bool(recovering)
    places: list[Place | FairgateError] = [
        Place(waiting, sequence, position, size, None, is_recovering)
        if position > 0
        else _not_waiting(sequence, position, size)
        for sequence, position in zip(flat[::2], flat[1::2], strict=True)
    ]
    return Answered(places, journal_id.decode(), fence)


def _not_waiting(sequence: Any, position: int, size: int) -> Place | FairgateError:
    """The answer codes of the scripts' heads as values."""
    if position == _NOT_OPEN:
        return LineNotOpen()
    if position == _SEE_OUTCOME:
        outcome = Outcome.unpacked(sequence.decode())
        return Place(outcome.status, outcome.sequence, None, size, outcome.ticket_id)
    return Place(_STATUS_OF[position], sequence or None, None, size)
