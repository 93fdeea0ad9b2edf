"""Hints to the live processes: notifications for who is connected there. At most once; the inbox is the delivery."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias

import msgspec

from fairgate.stores.inbox import Note
from fairgate.stores.presence import Presence

# Far below the output buffer limit at which Valkey cuts a pub/sub client off.
HINT_MAX_BYTES = 262_144


# The notes of those of these users who are to be told, in the words of each one's language.
NotesFor: TypeAlias = Callable[[Collection[str]], Awaitable[Sequence[Note]]]


def written(notes: Sequence[Note]) -> NotesFor:
    """Of notes that have their words already."""

    async def notes_for(users: Collection[str]) -> list[Note]:
        return _of(notes, users)

    return notes_for


async def give(presence: Presence, user_ids: Collection[str], notes_for: NotesFor) -> None:
    """To who of them is connected: one message per process, however many users it is for. Raises `Unavailable`."""
    where = await presence.where(sorted(set(user_ids)))
    here = {user_id for users in where.values() for user_id in users}
    if not here:
        return
    notes = await notes_for(here)
    messages = [(process, hint) for process, users in where.items() for hint in encoded_hints(_of(notes, users))]
    await presence.tell(messages)


class Hint(msgspec.Struct, frozen=True, array_like=True):
    """One notification on its way to a live process."""

    user_id: str
    id: str
    kind: str
    payload: msgspec.Raw


def encoded_hints(notes: Sequence[Note]) -> list[bytes]:
    """As few messages as the size bound allows."""
    messages: list[bytes] = []
    some: list[Hint] = []
    size = 0
    for note in notes:
        if some and size + len(note.payload) > HINT_MAX_BYTES:
            messages.append(msgspec.json.encode(some))
            some, size = [], 0
        some.append(Hint(note.user_id, note.id, note.kind, msgspec.Raw(note.payload)))
        size += len(note.payload) + len(note.user_id) + len(note.id) + 100
    return [*messages, msgspec.json.encode(some)] if some else messages


def decoded_hints(message: str) -> list[Hint]:
    """Raises `msgspec.MsgspecError`."""
    return msgspec.json.decode(message, type=list[Hint])


def _of(notes: Sequence[Note], users: Collection[str]) -> list[Note]:
    here = frozenset(users)
    return [note for note in notes if note.user_id in here]
