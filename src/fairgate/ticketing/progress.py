"""How far each partition has been concluded and committed, under which claim. Pure."""

from __future__ import annotations

from collections.abc import Callable

from fairgate.streams.records import Batch, Where
from fairgate.ticketing.parked import Parked


class Progress:
    """Offsets are "the next one". What is parked holds back its own partition."""

    def __init__(self) -> None:
        self.parked = Parked()
        self._claims: dict[Where, int] = {}
        self._reached: dict[Where, int] = {}
        self._sent: dict[Where, int] = {}

    def keep_only(self, owns: Callable[[Where, int], bool]) -> None:
        """Forget the partitions that are not read under their claim any more."""
        for where in [where for where, claim in self._claims.items() if not owns(where, claim)]:
            del self._claims[where]
            self._reached.pop(where, None)
            self._sent.pop(where, None)
        self.parked.keep_only(self._claims)

    def forget(self) -> None:
        self.keep_only(lambda where, claim: False)

    def concluded(self, batch: Batch) -> None:
        """All of it is settled, dead or parked."""
        self._claims |= batch.claims
        self._reached |= batch.positions

    def to_commit(self) -> tuple[dict[Where, int], dict[Where, int]]:
        """Positions that the next transaction commits, as far as the last one did not; and the claims on those."""
        now = {where: self.parked.committable(where, reached) for where, reached in self._reached.items()}
        positions = {where: offset for where, offset in now.items() if self._sent.get(where) != offset}
        self._sent |= positions
        return positions, {where: self._claims[where] for where in positions}
