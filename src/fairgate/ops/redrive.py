"""Sending dead letters again, once (F24).

For each batch: mark the letters in SQL, send those that nobody had marked, await Kafka, commit the marks. A second
redrive finds the marks. A crash before the commit leaves none, so the letters are sent again, with the key and the id
that they always had: each stage absorbs a repeat. What dies again is a new letter.
"""

from __future__ import annotations

import asyncio
import itertools
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from fairgate.config import Config
from fairgate.errors import InvalidRequest
from fairgate.ops.dead_letters import SUFFIX, Letter, letter_at, letters
from fairgate.stores.redriven import Origin, RedrivenStore
from fairgate.streams.dead_letters import Message, original_headers
from fairgate.streams.sender import Sender

# A Kafka round trip within a SQL transaction; so many letters are far below what one may hold.
BATCH = 500
REDRIVEN_FROM = "fg_redriven_from"


class Wanted(msgspec.Struct, frozen=True):
    """Which letters. `place` is (partition, offset) in the dead-letter topic."""

    topics: Sequence[str]
    reason: str | None = None
    place: tuple[int, int] | None = None
    partition: int | None = None
    limit: int | None = None


class Repair(msgspec.Struct, frozen=True):
    """A whole new value, or fields to set: (path, value). Neither: as it was."""

    value: bytes | None = None
    changes: Sequence[tuple[tuple[str, ...], Any]] = ()

    def __call__(self, value: bytes | None) -> bytes | None:
        """Raises `InvalidRequest` where there is nothing to set fields of."""
        if self.value is not None:
            return self.value
        return self._changed(value) if self.changes else value

    def _changed(self, value: bytes | None) -> bytes:
        try:
            document = json.loads(value or b"")
            for path, new in self.changes:
                _set(document, path, new)
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise InvalidRequest(f"its fields cannot be set: {error}") from error
        return json.dumps(document, ensure_ascii=False).encode()


class Outcome(msgspec.Struct):
    """`ready` would be sent, or was; `already` was redriven before; `not_whole` has a cut key or value."""

    ready: list[Letter] = []
    already: list[Letter] = []
    not_whole: list[Letter] = []
    not_repaired: list[Letter] = []


async def redrive(config: Config, store: RedrivenStore, wanted: Wanted, repair: Repair, *, really: bool) -> Outcome:
    """Raises `NotFound`, `Unavailable`: what was sent until then is marked."""
    done = {origin for topic in wanted.topics for origin in await store.of_topic(topic)}
    outcome = Outcome()
    chosen = await asyncio.to_thread(lambda: list(_chosen(config, wanted, done, outcome)))
    sendable = [(letter, message) for letter in chosen if (message := _message(letter, repair, outcome))]
    if not really:
        outcome.ready += [letter for letter, _ in sendable]
        return outcome
    sender = Sender(config)
    for start in range(0, len(sendable), BATCH):
        await _send(store, sender, sendable[start : start + BATCH], outcome)
    return outcome


async def _send(
    store: RedrivenStore, sender: Sender, batch: Sequence[tuple[Letter, Message]], outcome: Outcome
) -> None:
    async with store.marking([letter.origin for letter, _ in batch]) as new:
        await sender.send([message for letter, message in batch if letter.origin in new])
    outcome.ready += [letter for letter, _ in batch if letter.origin in new]
    outcome.already += [letter for letter, _ in batch if letter.origin not in new]


def _chosen(config: Config, wanted: Wanted, done: set[Origin], outcome: Outcome) -> Iterator[Letter]:
    """Each letter once, at most `limit`, without those that were redriven."""
    return itertools.islice(_fresh(_found(config, wanted), wanted, done, outcome), wanted.limit)


def _found(config: Config, wanted: Wanted) -> Iterable[Letter]:
    if wanted.place is not None:
        return [letter_at(config, topic, *wanted.place) for topic in wanted.topics]
    return itertools.chain.from_iterable(letters(config, topic) for topic in wanted.topics)


def _fresh(found: Iterable[Letter], wanted: Wanted, done: set[Origin], outcome: Outcome) -> Iterator[Letter]:
    seen: set[Origin] = set()
    for letter in found:
        if wanted.reason not in {None, letter.reason} or wanted.partition not in {None, letter.record.partition}:
            continue
        if letter.origin in seen:
            continue
        seen.add(letter.origin)
        if letter.origin in done:
            outcome.already.append(letter)
        else:
            yield letter


def _message(letter: Letter, repair: Repair, outcome: Outcome) -> Message | None:
    """To the topic whose dead letters these are, whatever a header says; None where it cannot be sent."""
    if "key" in letter.cut or ("value" in letter.cut and repair.value is None):
        outcome.not_whole.append(letter)
        return None
    try:
        value = repair(letter.record.value)
    except InvalidRequest:
        outcome.not_repaired.append(letter)
        return None
    source = letter.record.topic
    headers = [*original_headers(letter.record), (REDRIVEN_FROM, f"{source}-{letter.place}".encode())]
    return Message(source.removesuffix(SUFFIX), letter.record.key, value, headers)


def _set(document: Any, path: tuple[str, ...], new: Any) -> None:
    for name in path[:-1]:
        document = document[name]
    if not isinstance(document, dict):
        raise TypeError(f"{'.'.join(path)} is in no object")
    document[path[-1]] = new
