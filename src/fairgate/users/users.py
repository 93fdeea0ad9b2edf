"""What a user says of themselves (F15): language, e-mail address, channels."""

from __future__ import annotations

from fairgate.stores.users import Preferences, User, UserStore

__all__ = ["Preferences", "User", "Users"]


class Users:
    """Both methods raise `Unavailable`."""

    def __init__(self, store: UserStore) -> None:
        self._store = store

    async def get(self, user_id: str) -> User:
        """Who has said nothing yet has the defaults."""
        return await self._store.get(user_id) or User(user_id=user_id)

    async def put(self, user: User) -> User:
        """Replaces all of it. Repeating changes nothing."""
        await self._store.put(user)
        return user
