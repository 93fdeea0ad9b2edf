"""What is remembered of a user: how to speak to them and where to reach them."""

from __future__ import annotations

from typing import Literal

import msgspec

from fairgate.stores.database import Database

Locale = Literal["en", "ko"]


class Preferences(msgspec.Struct, frozen=True, kw_only=True):
    """Channels that the user wants beside the page itself."""

    email: bool = True
    push: bool = True


class User(msgspec.Struct, frozen=True, kw_only=True):
    user_id: str
    locale: Locale = "en"
    email: str | None = None
    preferences: Preferences = Preferences()


class UserStore:
    """Both methods raise `Unavailable`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: str) -> User | None:
        async with self._database.connection() as connection:
            row = await self._database.queries.user_by_id(connection, user_id=user_id)
        if row is None:
            return None
        preferences = msgspec.json.decode(row["preferences"], type=Preferences)
        return User(user_id=row["user_id"], locale=row["locale"], email=row["email"], preferences=preferences)

    async def put(self, user: User) -> None:
        preferences = msgspec.json.encode(user.preferences).decode()
        async with self._database.connection() as connection:
            await self._database.queries.put_user(
                connection, user_id=user.user_id, locale=user.locale, email=user.email, preferences=preferences
            )
