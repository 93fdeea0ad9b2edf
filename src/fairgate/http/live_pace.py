"""How often a waiter is told where they stand: often near the head, rarely far back. Pure."""

from __future__ import annotations

from fairgate.domain.place import Place, Status

# A push goes out with the tick after it is due, a second later at most: so nobody's place is older than 15 s.
NEXT_S, FAR_S = 1.0, 13.0
# A tenth of the remaining wait: nobody is told a place that is off by more than that.
PART_OF_THE_WAIT = 0.1
SOON_S = 2.0

_SOON = frozenset({Status.ADMITTED})


def pause_s(place: Place, rate: float) -> float:
    """Seconds until the next push. `rate` in admissions per second, above 0. Never below `NEXT_S` or above `FAR_S`,
    and never shorter for who stands further back in the same line.
    """
    if place.status is Status.WAITING and place.position is not None:
        return min(FAR_S, max(NEXT_S, PART_OF_THE_WAIT * place.position / rate))
    return SOON_S if place.status in _SOON else FAR_S
