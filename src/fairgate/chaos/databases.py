"""What can happen to Valkey and PostgreSQL beyond a signal. Asked directly, past every proxy."""

from __future__ import annotations

import asyncio
import os
import signal
from typing import Any

import asyncpg
import redis.asyncio

from fairgate.chaos.network import Network
from fairgate.chaos.settings import REPLICATION_LINK
from fairgate.errors import Unavailable
from fairgate.local.ports import LOOPBACK
from fairgate.local.supervisor import Stack
from fairgate.local.valkey import Valkey
from fairgate.stores.valkey import client, translated

ANSWER_S = 10.0


class Databases:
    """`primary` is the Valkey that clients are led to. Raises `Unavailable` where a server does not answer."""

    def __init__(self, stack: Stack, replica: Valkey | None, network: Network) -> None:
        self._stack, self._network = stack, network
        self.primary, self.replica = stack.valkey, replica
        self._limited = False

    # ---- Valkey

    async def ask_valkey(self, *command: Any, server: Valkey | None = None) -> Any:
        """One command to the primary, or to `server`."""
        valkey: redis.asyncio.Redis = client((server or self.primary).own_url)
        try:
            with translated():
                return await valkey.execute_command(*command)  # type: ignore[no-untyped-call]
        finally:
            await valkey.aclose()

    async def flush(self) -> None:
        """FLUSHALL: the line is gone."""
        await self.ask_valkey("FLUSHALL")

    async def limit_memory(self, spare_bytes: int = 0) -> None:
        """No more than what is used now and a little: writes are refused, nothing is evicted."""
        memory = await self.ask_valkey("INFO", "memory")
        self._limited = True
        await self.ask_valkey("CONFIG", "SET", "maxmemory", int(memory["used_memory"]) + spare_bytes)

    async def allow_memory(self) -> None:
        await self.ask_valkey("CONFIG", "SET", "maxmemory", 0)
        self._limited = False

    async def replica_lag_bytes(self) -> int:
        """How much of the primary's stream the replica has not confirmed."""
        info = await self.ask_valkey("INFO", "replication")
        follower = info.get("slave0")
        return (
            int(info["master_repl_offset"]) - int(follower["offset"]) if follower else int(info["master_repl_offset"])
        )

    def hold_replication(self) -> None:
        """Nothing reaches the replica any more. (A frozen one would find it in its socket when it wakes up.)"""
        self._network.cut(REPLICATION_LINK, "back")

    async def promote_replica(self) -> None:
        """The fail-over: what the replica has is the truth from now on, and clients are led there."""
        assert self.replica is not None, "this site has no replica"
        await self.ask_valkey("REPLICAOF", "NO", "ONE", server=self.replica)
        self.primary, self.replica = self.replica, self.primary
        for link in ("valkey", REPLICATION_LINK):
            await asyncio.to_thread(self._network.lead, link, self.primary.port)

    async def _follow(self) -> None:
        """Whoever is not the primary follows it."""
        if self.replica is not None:
            link = self._network.front(REPLICATION_LINK)
            await self.ask_valkey("REPLICAOF", LOOPBACK, link, server=self.replica)

    # ---- PostgreSQL

    async def sql(self, statement: str, *values: Any) -> list[Any]:
        """Rows, past the proxy."""
        try:
            connection = await asyncpg.connect(self._stack.postgres.own_dsn, timeout=ANSWER_S, command_timeout=ANSWER_S)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable(f"PostgreSQL does not answer: {error}") from error
        try:
            return list(await connection.fetch(statement, *values))
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise Unavailable(f"PostgreSQL: {error}") from error
        finally:
            connection.terminate()

    async def kill_backend(self) -> int:
        """SIGKILL one of PostgreSQL's own processes: it ends all the others and recovers from its log. → its pid."""
        rows = await self.sql(
            "select pid from pg_stat_activity where backend_type = 'client backend' and pid <> pg_backend_pid() limit 1"
        )
        if not rows:
            raise Unavailable("nobody is connected to PostgreSQL")
        pid: int = rows[0]["pid"]
        os.kill(pid, signal.SIGKILL)
        return pid

    async def heal(self) -> None:
        """Valkey has room, and the replica follows."""
        deadline = asyncio.get_running_loop().time() + 60.0
        while True:
            try:
                await self.allow_memory()
                return await self._follow()
            except Unavailable:
                if asyncio.get_running_loop().time() > deadline:
                    raise
                await asyncio.sleep(0.2)
