"""What lies in the dead-letter topics, for people: how many of which reason, and each with its cause.

A letter is known by its origin, the record that died. The same record may die twice (a replay, a crash before its
commit): that is one letter, and a repeat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set

import msgspec

from fairgate.config import Config
from fairgate.errors import InvalidRequest
from fairgate.stores.redriven import Origin
from fairgate.streams import dead_letters as form
from fairgate.streams.reading import read_at, read_topic
from fairgate.streams.records import Record
from fairgate.streams.topics import Names

SUFFIX = ".dlq"
INT64_MAX = 2**63 - 1


class Letter(msgspec.Struct, frozen=True):
    """A dead letter. `record` is as it lies there; the other fields are what its headers say of the cause."""

    record: Record
    origin: Origin
    reason: str
    text: str
    attempts: int
    first_failed_ms: int
    failed_ms: int
    group: str
    instance: str
    cut: tuple[str, ...]

    @property
    def place(self) -> str:
        return f"{self.record.partition}@{self.record.offset}"


class Heap(msgspec.Struct, rename="camel"):
    """The letters of one topic and reason. `repeats` of the same letters are counted apart."""

    topic: str
    reason: str
    letters: int = 0
    repeats: int = 0
    redriven: int = 0
    newest: str = ""
    newest_ms: int = -1
    newest_text: str = ""


def topics_of(config: Config, topic: str | None) -> list[str]:
    """The work topics that are meant, with their prefix. Raises `InvalidRequest` for one that has no dead letters."""
    known = Names(config.topic_prefix).work
    if topic is None:
        return list(known)
    name = topic.removesuffix(SUFFIX)
    found = [each for each in known if name in {each, each.removeprefix(config.topic_prefix)}]
    if not found:
        raise InvalidRequest(f"{topic} has no dead letters: one of {', '.join(known)}")
    return found


def letters(config: Config, topic: str) -> Iterator[Letter]:
    """All of `<topic>.dlq`, repeats included, in the order of each partition. Blocks."""
    return map(letter_of, read_topic(config, topic + SUFFIX))


def letter_at(config: Config, topic: str, partition: int, offset: int) -> Letter:
    """Blocks. Raises `NotFound`, `Unavailable`."""
    return letter_of(read_at(config, topic + SUFFIX, partition, offset))


def heaps(found: Iterator[Letter], redriven: Set[Origin]) -> list[Heap]:
    """By reason, the largest first."""
    seen: set[Origin] = set()
    by_reason: dict[str, Heap] = {}
    for letter in found:
        heap = by_reason.setdefault(letter.reason, Heap(letter.origin.topic, letter.reason))
        if letter.origin in seen:
            heap.repeats += 1
            continue
        seen.add(letter.origin)
        heap.letters += 1
        heap.redriven += letter.origin in redriven
        if letter.failed_ms >= heap.newest_ms:
            heap.newest, heap.newest_ms, heap.newest_text = letter.place, letter.failed_ms, letter.text
    return sorted(by_reason.values(), key=lambda heap: -heap.letters)


def letter_of(record: Record) -> Letter:
    """Whoever wrote it: what is missing or no number counts as unknown, and its topic decides where it came from."""
    said = {name: record.header(name) or "" for name, _ in record.headers if name.startswith(form.OURS)}
    return Letter(
        record=record,
        origin=_origin(record, said),
        reason=said.get(form.REASON_TYPE, "unknown"),
        text=said.get(form.REASON, ""),
        attempts=_number(said, form.ATTEMPTS) or 0,
        first_failed_ms=_number(said, form.FIRST_FAILED_AT) or 0,
        failed_ms=_number(said, form.FAILED_AT) or 0,
        group=said.get(form.GROUP, ""),
        instance=said.get(form.INSTANCE, ""),
        cut=tuple(part for part in said.get(form.CUT, "").split(",") if part),
    )


def _origin(record: Record, said: Mapping[str, str]) -> Origin:
    """A letter that does not say where it stood is known by where it lies."""
    partition, offset = _number(said, form.PARTITION), _number(said, form.OFFSET)
    written_ms = _number(said, form.TIMESTAMP)
    if partition is None or offset is None or written_ms is None or partition > 2**31 - 1:
        return Origin(record.topic, record.partition, record.offset, record.timestamp_ms)
    return Origin(record.topic.removesuffix(SUFFIX), partition, offset, written_ms)


def _number(said: Mapping[str, str], name: str) -> int | None:
    text = said.get(name, "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= INT64_MAX else None
