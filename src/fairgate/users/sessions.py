"""Sessions (F15): made and checked in batches, answered by callback so that the hot lane needs no task."""

from __future__ import annotations

import asyncio
import contextlib
import math
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import NamedTuple, TypeAlias

import msgspec

from fairgate import telemetry
from fairgate.domain.session import Session, SessionSigner
from fairgate.errors import FairgateError, NoSession, Unavailable
from fairgate.stores.sessions import BEGINNING, SessionStore
from fairgate.users.batch import Batch

# One round trip of two commands each: long enough to fill a packet, short enough to answer within milliseconds.
BATCH_MAX = 256
# A second of work at full speed; beyond it 503 is kinder than growing.
WAITING_MAX = 20_000
# How long a process believes what Valkey said of a token. A logout is known sooner, by its row in SQL.
FRESH_S = 60.0
# A token is believed without Valkey only by who has heard of the latest logouts this lately: `refresh` is each second.
HEARD_S = 2.0
# While Valkey is away, a token that was seen is asked about again this often.
RETRY_S = 1.0
# Tokens that Valkey was asked about, 0.6 kB each. Beyond it the one of longest ago is forgotten, and asked about again.
SEEN_MAX = 100_000


class NewSession(msgspec.Struct, frozen=True):
    """A session just made. It ends at `expires_at` unless it is used before, and `max_age_s` after it was made."""

    token: str
    user_id: str
    expires_at: datetime


Checked: TypeAlias = Callable[[Session | FairgateError], None]
Made: TypeAlias = Callable[[NewSession | FairgateError], None]


class _Check(NamedTuple):
    token: str
    session: Session
    answer: Checked


class _Creation(NamedTuple):
    token: str
    session: Session
    answer: Made


class _Seen(msgspec.Struct):
    session: Session
    fresh_until: float  # monotonic: believed without asking
    known_until: float  # monotonic: believed while Valkey does not answer


class Sessions:
    """Make, check and end sessions. `refresh` must be called each second (`SessionKeeper`).

    The protocol of the sliding expiry. A hash is kept half of the idle time longer than that, and the store is asked of
    no token that is younger than that half: nobody can have been idle for long enough, and whoever is asked about later
    still has the whole idle time before them. So on the night of a sale a session costs its signature, and neither a
    call nor memory.
    """

    def __init__(
        self,
        store: SessionStore,
        signer: SessionSigner,
        *,
        idle_s: int = 7_200,
        max_age_s: int = 86_400,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._store, self._signer = store, signer
        self.idle_s, self.max_age_s = idle_s, max_age_s
        self._young_s = idle_s // 2
        self._clock = clock
        self._generation: int | None = None
        self._revoked: dict[str, float] = {}
        self._revoked_at = BEGINNING
        self._heard_at = -math.inf
        # In the order in which they were asked about. A plain dict takes longer for each that it forgets at its front.
        self._seen: OrderedDict[str, _Seen] = OrderedDict()
        self._checks: Batch[_Check] = Batch(self._flush_checks, self._refuse_check, BATCH_MAX, WAITING_MAX)
        self._creations: Batch[_Creation] = Batch(self._flush_creations, _refuse_creation, BATCH_MAX, WAITING_MAX)

    # ---- making

    def create_guest(self, answer: Made) -> None:
        """A new user whose id nobody chose: 132 random bits."""
        self.create(f"g-{secrets.token_urlsafe(17)[:22]}", answer)

    def create(self, user_id: str, answer: Made) -> None:
        """A session of this user, whom somebody entitled has named. Answers exactly once."""
        if self._generation is None:
            answer(Unavailable("the session store is not ready yet"))
            return
        issued_at = int(self._clock())
        token = self._signer.new_token(user_id, self._generation, issued_at)
        session = Session(user_id, self._generation, issued_at, token)
        self._creations.add(_Creation(token, session, answer))

    async def _flush_creations(self, batch: list[_Creation]) -> None:
        await self._store.write(
            [(made.session.hash, made.session.user_id, self._ttl_s(made.session)) for made in batch]
        )
        telemetry.SESSIONS.labels("created").inc(len(batch))
        expires_at = datetime.fromtimestamp(int(self._clock()) + min(self.idle_s, self.max_age_s), UTC)
        for token, session, answer in batch:
            answer(NewSession(token, session.user_id, expires_at))

    # ---- checking

    def check(self, token: str, answer: Checked) -> None:
        """The session, or `NoSession` (forged, expired, revoked: all the same), or `Unavailable`. Exactly once.

        Answers before it returns for a young token, and where this process has asked about it within the last minute.
        """
        seen = self._seen.get(token)
        if seen is not None and time.monotonic() < seen.fresh_until:
            answer(NoSession() if self._was_ended(seen.session) else seen.session)
            return
        session = seen.session if seen is not None else self._signer.verified(token)
        age_s = 0.0 if session is None else self._clock() - session.issued_at
        if session is None or age_s >= self.max_age_s or self._was_ended(session):
            answer(NoSession())
        elif 0 <= age_s < self._young_s and time.monotonic() - self._heard_at < HEARD_S:
            answer(session)  # alive for certain, unless it was ended; and who ended lately is known
        else:
            self._checks.add(_Check(token, session, answer))

    async def verify(self, token: str) -> Session:
        """`check` for who can wait. Raises `NoSession`, `Unavailable`."""
        future: asyncio.Future[Session | FairgateError] = asyncio.get_running_loop().create_future()
        self.check(token, lambda answer: None if future.done() else future.set_result(answer))
        answer = await future
        if isinstance(answer, FairgateError):
            raise answer
        return answer

    async def _flush_checks(self, batch: list[_Check]) -> None:
        asked = [(check.session.hash, self._ttl_s(check.session)) for check in batch]
        there, self._generation = await self._touched(asked)
        missing = []
        for check, found in zip(batch, there, strict=True):
            if found:
                self._remember(check.token, check.session)
                check.answer(check.session)
            elif self._expired(check.session):
                self._end(check)
            else:
                missing.append(check)
        if missing:
            await self._restore(missing)

    async def _touched(self, asked: Sequence[tuple[str, int]]) -> tuple[list[bool], int]:
        there, generation = await self._store.touch(asked)
        return there, generation if generation is not None else await self._store.generation()

    def _expired(self, session: Session) -> bool:
        """Missing because nobody used it. A younger token than that cannot be: the store has lost it."""
        kept_s = self.idle_s + self._young_s
        return session.generation == self._generation and self._clock() - session.issued_at >= kept_s

    async def _restore(self, lost: list[_Check]) -> None:
        """Put back what the store lost, except what SQL says was ended."""
        try:
            revoked = await self._store.revoked_among([check.session.hash for check in lost])
            kept = [check for check in lost if check.session.hash not in revoked]
            await self._store.write([(c.session.hash, c.session.user_id, self._ttl_s(c.session)) for c in kept])
        except FairgateError as error:
            for check in lost:
                self._refuse_check(check, error)
            return
        telemetry.SESSIONS.labels("restored").inc(len(kept))
        for check in lost:
            if check.session.hash in revoked:
                self._end(check)
            else:
                self._remember(check.token, check.session)
                check.answer(check.session)

    def _end(self, check: _Check) -> None:
        self._seen.pop(check.token, None)
        check.answer(NoSession())

    def _refuse_check(self, check: _Check, error: FairgateError) -> None:
        """Nobody could be asked: who was seen before goes on, who was not must try again."""
        seen, now = self._seen.get(check.token), time.monotonic()
        if seen is None or now >= seen.known_until:
            check.answer(error)
            return
        seen.fresh_until = now + RETRY_S
        check.answer(check.session)

    # ---- ending

    async def revoke(self, session: Session) -> None:
        """SQL first: after this no process believes the token for more than two seconds. Raises `Unavailable`."""
        until = session.issued_at + self.max_age_s
        await self._store.revoke(session.hash, until)
        self._revoked[session.hash] = until
        telemetry.SESSIONS.labels("revoked").inc()
        with contextlib.suppress(Unavailable):  # the row in SQL decides; the hash expires by itself
            await self._store.delete(session.hash)

    def is_revoked(self, session: Session) -> bool:
        """For who holds a session open (a socket): ask again each second or two."""
        return self._was_ended(session) or self._ttl_s(session) <= 0

    def _was_ended(self, session: Session) -> bool:
        return bool(self._revoked) and session.hash in self._revoked

    async def refresh(self) -> None:
        """Learn what others revoked and which generation the store has. Raises `Unavailable`."""
        try:
            asked_at = time.monotonic()
            fresh, self._revoked_at = await self._store.revoked_since(self._revoked_at)
            self._revoked |= fresh
            self._heard_at = asked_at
        finally:  # sessions are made and checked also while SQL is away
            self._generation = await self._store.generation()

    async def tidy(self) -> None:
        """Forget revoked tokens that are too old by now, here and in SQL."""
        now = self._clock()
        self._revoked = {name: until for name, until in self._revoked.items() if until > now}
        await self._store.forget_revoked()

    # ---- what this process has seen

    def _remember(self, token: str, session: Session) -> None:
        now = time.monotonic()
        alive_s = session.issued_at + self.max_age_s - self._clock()
        self._seen[token] = _Seen(session, now + min(FRESH_S, alive_s), now + min(self.idle_s, alive_s))
        self._seen.move_to_end(token)
        if len(self._seen) > SEEN_MAX:
            self._seen.popitem(last=False)

    def _ttl_s(self, session: Session) -> int:
        """Seconds that the store keeps it from now, within the absolute age."""
        return min(self.idle_s + self._young_s, session.issued_at + self.max_age_s - int(self._clock()))


def _refuse_creation(creation: _Creation, error: FairgateError) -> None:
    creation.answer(error)
