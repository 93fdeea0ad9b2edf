"""What is remembered of sessions: a hash each in Valkey, and in SQL what was revoked and the store's generation.

The generation says *which* Valkey a token was made with. It is one number in Valkey; a server that lacks it was found
empty, and gets the next one from SQL. So a missing session can be told from a lost one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any

import redis.asyncio
from redis.exceptions import NoScriptError, RedisError

from fairgate.errors import Unavailable
from fairgate.stores import keys
from fairgate.stores.channel import Script
from fairgate.stores.database import Database

# One call each for a whole batch: as single commands, the client alone costs 40 µs a session.
_WRITE, _TOUCH = Script("write_sessions"), Script("touch_sessions")

BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)


class SessionStore:
    """Every method raises `Unavailable` when its server does not answer."""

    def __init__(self, valkey: redis.asyncio.Redis, database: Database) -> None:
        self._valkey, self._database = valkey, database

    async def write(self, sessions: Sequence[tuple[str, str, int]]) -> None:
        """(hash, user id, seconds to live) each, as one step."""
        names = [keys.session(session_hash) for session_hash, _, _ in sessions]
        await self._run(_WRITE, names, [word for _, user_id, ttl_s in sessions for word in (user_id, ttl_s)])

    async def touch(self, sessions: Sequence[tuple[str, int]]) -> tuple[list[bool], int | None]:
        """(hash, seconds to live) each: which are there, and the generation of the store that said so; one step."""
        names = [keys.session(session_hash) for session_hash, _ in sessions]
        *there, generation = await self._run(
            _TOUCH, [keys.SESSIONS_GENERATION, *names], [ttl_s for _, ttl_s in sessions]
        )
        return [bool(found) for found in there], None if generation is None else int(generation)

    async def _run(self, script: Script, names: Sequence[str], words: Sequence[str | int]) -> Any:
        with translated():
            try:
                return await self._valkey.execute_command("EVALSHA", script.sha, len(names), *names, *words)  # type: ignore[no-untyped-call]
            except NoScriptError:
                return await self._valkey.execute_command("EVAL", script.text, len(names), *names, *words)  # type: ignore[no-untyped-call]

    async def delete(self, session_hash: str) -> None:
        with translated():
            await self._valkey.delete(keys.session(session_hash))

    async def generation(self) -> int:
        """The store's generation; an empty store begins the next one. Safe from many processes at once."""
        with translated():
            known = await self._valkey.get(keys.SESSIONS_GENERATION)
        if known is not None:
            return int(known)
        async with self._database.connection() as connection:
            fresh = await self._database.queries.next_session_generation(connection)
        with translated():
            await self._valkey.set(keys.SESSIONS_GENERATION, fresh, nx=True)
            return int(await self._valkey.get(keys.SESSIONS_GENERATION) or fresh)

    async def revoke(self, session_hash: str, until: int) -> None:
        """`until` in epoch seconds: when the token is dead anyway."""
        async with self._database.connection() as connection:
            await self._database.queries.revoke_session(connection, hash=session_hash, until=until)

    async def revoked_among(self, hashes: Sequence[str]) -> set[str]:
        async with self._database.connection() as connection:
            rows = await self._database.queries.revoked_among(connection, hashes=list(hashes))
            return {row["hash"] for row in rows}

    async def revoked_since(self, since: datetime) -> tuple[dict[str, float], datetime]:
        """Hash → dead anyway at (epoch s), and the time to ask from next."""
        async with self._database.connection() as connection:
            rows = list(await self._database.queries.revoked_since(connection, since=since))
        return {row["hash"]: row["until"] for row in rows}, max((row["at"] for row in rows), default=since)

    async def forget_revoked(self) -> None:
        async with self._database.connection() as connection:
            await self._database.queries.forget_revoked_sessions(connection)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError, TimeoutError) as error:
        raise Unavailable(f"Valkey does not answer: {error}") from error
