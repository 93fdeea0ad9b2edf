"""A user's inbox as the edge sees it (F18): kept until acknowledged, each with an id that is shown once."""

from __future__ import annotations

from collections.abc import Collection
from typing import TypeAlias

from fairgate.stores.inbox import InboxItem, InboxStore, Name, Owned

__all__ = ["Inbox", "InboxItem", "Name", "Owned"]

Items: TypeAlias = list[InboxItem]
OwnedItems: TypeAlias = list[Owned]

PAGE_MAX = 200
# More unacknowledged ones than this wait until some are acknowledged: a client that never answers costs a bounded sum.
UNSEEN_EACH = 100


class Inbox:
    """Every call names the user, who comes from the session: nobody can read or acknowledge another's."""

    def __init__(self, store: InboxStore) -> None:
        self._store = store

    async def list(self, user_id: str, after: str | None = None, limit: int = 50) -> Items:
        """Oldest first, seen or not, behind the cursor `after` (each item carries its own).

        Nothing ever appears in front of a cursor that was given out. Raises `InvalidRequest` for a bad cursor.
        """
        return await self._store.after(user_id, after, max(1, min(limit, PAGE_MAX)))

    async def seen(self, user_id: str, id: str) -> bool:
        """Acknowledge. False when this user has no such notification; repeating it changes nothing."""
        return bool(await self._store.mark_seen([Name(user_id, id)]))

    async def seen_many(self, names: Collection[Name]) -> set[Name]:
        """Acknowledge for many users at once. → those that exist: a hint may come before its row."""
        return await self._store.mark_seen(names)

    async def unseen(self, user_ids: Collection[str]) -> OwnedItems:
        """What these users have not acknowledged, oldest first, at most `UNSEEN_EACH` each."""
        return await self._store.unseen(user_ids, UNSEEN_EACH)

    async def seen_among(self, names: Collection[Name]) -> set[Name]:
        """Which of these somebody has acknowledged, on any device."""
        return await self._store.seen_among(names)

    async def edge(self) -> str:
        """Where `since` starts."""
        return await self._store.edge()

    async def since(self, edge: str, user_ids: Collection[str]) -> tuple[str, OwnedItems]:
        """The next edge, and what these users got in between and have not acknowledged."""
        return await self._store.since(edge, user_ids)
