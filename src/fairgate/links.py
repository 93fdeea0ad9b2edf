"""What the stages of one process share: connections, stores and the objects made of them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Sequence
from functools import cached_property
from typing import Any

from fairgate.config import SHARDS, Config
from fairgate.domain.place import Outcome, PlaceSigner
from fairgate.domain.session import Session, SessionSigner
from fairgate.domain.ticket import Ticket
from fairgate.errors import ConfigError, FairgateError, Unavailable
from fairgate.failpoints import failpoint
from fairgate.notification.inbox import Inbox
from fairgate.queue.journaled import Journaled
from fairgate.queue.queue import Queue
from fairgate.stores.channel import Channel
from fairgate.stores.database import Database
from fairgate.stores.inbox import InboxStore
from fairgate.stores.journal import JournalStore
from fairgate.stores.leases import Shards, Slot
from fairgate.stores.line import LineStore
from fairgate.stores.lines import LineBook
from fairgate.stores.outbox import OutboxBell
from fairgate.stores.presence import Presence
from fairgate.stores.sessions import SessionStore
from fairgate.stores.valkey import client
from fairgate.streams.consumer import GroupConsumer
from fairgate.streams.log import Log
from fairgate.users.sessions import Sessions


def dsn_of(config: Config) -> str:
    """Raises `ConfigError` where no PostgreSQL is known."""
    if config.postgres_dsn is None:
        raise ConfigError("no PostgreSQL is known", "start one with `fairgate up`, or set FAIRGATE_POSTGRES_DSN")
    return config.postgres_dsn.get_secret_value()


def database_of(config: Config) -> Database:
    return Database(dsn_of(config))


class Links:
    """What the stages of one process share, each made when it is first asked for."""

    def __init__(self, config: Config, role: str) -> None:
        self.config, self.role = config, role
        # The name outlives the process where the operator gives one: slots and leases are then taken back at once.
        self.owner = config.instance or f"{role}@{socket.gethostname()}:{os.getpid()}"

    @cached_property
    def database(self) -> Database:
        return database_of(self.config)

    @cached_property
    def valkey_url(self) -> str:
        if self.config.valkey_url is None:
            raise ConfigError("no Valkey is known", "start one with `fairgate up`, or set FAIRGATE_VALKEY_URL")
        return self.config.valkey_url

    @cached_property
    def session_key(self) -> bytes:
        if self.config.session_key is None:
            raise ConfigError("no session key is set", "set FAIRGATE_SESSION_KEY to 32 random characters or more")
        return self.config.session_key.get_secret_value().encode()

    @cached_property
    def valkey(self) -> Any:
        return client(self.valkey_url)

    @cached_property
    def live_valkey(self) -> Any:
        return client(self.config.valkey_live_url or self.valkey_url)

    @cached_property
    def line(self) -> LineStore:
        return LineStore(Channel(self.valkey_url), self.config.journal_max_bytes)

    @cached_property
    def book(self) -> LineBook:
        return LineBook(self.database)

    @cached_property
    def slot(self) -> Slot:
        return Slot(self.database, self.role, self.owner)

    @cached_property
    def bell(self) -> OutboxBell:
        return OutboxBell(self.database)

    @cached_property
    def queue(self) -> Queue:
        return Queue(
            self.book,
            self.line,
            self.database,
            PlaceSigner(self.session_key),
            self.journaled,
            joins_wait=self.joins_wait,
        )

    @cached_property
    def journaled(self) -> Journaled:
        """What leaves wait for, and joins where they do."""
        return Journaled(JournalStore(self.line))

    @property
    def joins_wait(self) -> bool:
        return self.config.join_durability == "journal"

    @cached_property
    def sessions(self) -> Sessions:
        return Sessions(
            SessionStore(self.valkey, self.database),
            SessionSigner(self.session_key),
            idle_s=self.config.session_idle_s,
            max_age_s=self.config.session_max_age_s,
        )

    @cached_property
    def inbox_rows(self) -> InboxStore:
        return InboxStore(self.database)

    @cached_property
    def inbox(self) -> Inbox:
        return Inbox(self.inbox_rows)

    @cached_property
    def presence(self) -> Presence:
        return Presence(self.live_valkey)

    async def authenticate(self, token: str) -> str:
        """The user of a session that is alive. Raises `NoSession`, `Unavailable`."""
        answer: asyncio.Future[Session | FairgateError] = asyncio.get_running_loop().create_future()
        self.sessions.check(token, lambda found: None if answer.done() else answer.set_result(found))
        found = await answer
        if isinstance(found, FairgateError):
            raise found
        return found.user_id

    async def ticket_changed(self, tickets: Sequence[Ticket]) -> None:
        """Something became of tickets outside the stream: into the line's cache, and to the relay."""
        self.bell.ring()
        failpoint("tickets.rung")
        with contextlib.suppress(Unavailable):  # a cache: SQL has it
            for ticket in tickets:
                outcome = Outcome(ticket.status.seen_from_the_line, ticket.sequence, ticket.ticket_id)
                await self.line.remember(ticket.event_id, [(ticket.user_id, outcome)])

    def consumer(self, group: str, topics: Sequence[str]) -> GroupConsumer:
        """A member of the group under this process's slot. Raises `Unavailable` until there is one."""
        if self.slot.number is None:
            raise Unavailable(f"no slot for {self.role} yet")
        return GroupConsumer(self.config, group=self.config.topic_prefix + group, topics=topics, slot=self.slot.number)

    def log_of(self, group: str) -> Log:
        """What this group has read."""
        return Log(self.config, self.config.topic_prefix + group)

    def shards(self, kind: str) -> Shards:
        return Shards(self.database, kind, self.role, self.owner, SHARDS)

    async def close(self) -> None:
        made = vars(self)
        if "line" in made:
            await self.line.channel.close()
        for name in ("valkey", "live_valkey"):
            if name in made:
                await made[name].aclose()
        if "database" in made:
            await self.database.close()
