"""Where a user stands, as `join`, `position` and `leave` answer it; and the signed form of a place."""

from __future__ import annotations

import enum
import hashlib
import hmac

import msgspec

from fairgate.domain.line import generation_of


class Status(enum.StrEnum):
    """`waiting → admitted → issued → confirmed`; `left · sold_out · closed · cancelled · expired` end early."""

    WAITING = "waiting"
    ADMITTED = "admitted"
    ISSUED = "issued"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"
    EXPIRED = "expired"
    SOLD_OUT = "sold_out"
    CLOSED = "closed"
    LEFT = "left"
    NONE = "none"


class Place(msgspec.Struct, frozen=True, gc=False):
    """One user in one line. `position` is 1-based and set only while waiting; `size` is the line's length.

    `recovering`: the line has lost data and is given back its places; who comes back may move this one.
    """

    status: Status
    sequence: int | None = None
    position: int | None = None
    size: int = 0
    ticket_id: str | None = None
    recovering: bool = False


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What became of who no longer waits, as Valkey caches it: `status:sequence[:ticket id]`."""

    status: Status
    sequence: int
    ticket_id: str | None = None

    def packed(self) -> str:
        head = f"{self.status}:{self.sequence}"
        return f"{head}:{self.ticket_id}" if self.ticket_id else head

    @classmethod
    def unpacked(cls, text: str) -> Outcome:
        status, sequence, *rest = text.split(":", 2)
        return cls(Status(status), int(sequence), rest[0] if rest else None)


# 96 bits of a keyed hash: nobody guesses it within the life of a line, and the token stays short.
_MAC_BYTES = 12


class PlaceSigner:
    """Signs places (F9): `p1.<key id>.<sequence>.<mac>`. Event and user come from the request that shows the token.

    Costs about 2 µs. The generation is part of the sequence.
    """

    def __init__(self, key: bytes) -> None:
        own_key = hashlib.blake2b(key, digest_size=32, person=b"fairgate-place").digest()
        # Copied for each token: a third of what a new one costs.
        self._keyed = hashlib.blake2b(key=own_key, digest_size=_MAC_BYTES)
        self._kid = hashlib.blake2b(own_key, digest_size=3).hexdigest()

    def sign(self, event_id: str, user_id: str, sequence: int) -> str:
        keyed = self._keyed.copy()
        keyed.update(f"{event_id}\0{user_id}\0{sequence}".encode())
        return f"p1.{self._kid}.{sequence}.{keyed.hexdigest()}"

    def sequence(self, token: str, event_id: str, user_id: str) -> int | None:
        """The sequence that this token proves for this user in this line, or None (forged, old key, another's)."""
        parts = token.split(".")
        if len(parts) != 4 or parts[0] != "p1" or parts[1] != self._kid or not parts[2].isascii():
            return None
        if not parts[2].isdigit() or len(parts[2]) > 16:
            return None
        sequence = int(parts[2])
        genuine = hmac.compare_digest(token.encode(), self.sign(event_id, user_id, sequence).encode())
        return sequence if genuine and generation_of(sequence) > 0 else None
