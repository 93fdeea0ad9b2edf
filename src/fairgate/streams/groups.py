"""Consumer groups as their coordinator knows them: state and members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from fairgate.errors import ServerUnreachable

ANSWER_S = 10.0


class Group(NamedTuple):
    """`state` as Kafka calls it (`STABLE`, `EMPTY`, `DEAD` where nobody ever was …), and how many members."""

    name: str
    state: str
    members: int


def describe(client: Any, names: Sequence[str]) -> list[Group]:
    """In their order; `client` is `topics.admin`. Blocks. Raises `ServerUnreachable`."""
    from confluent_kafka import KafkaException

    answers = client.describe_consumer_groups(list(names), request_timeout=ANSWER_S)
    try:
        found = [answers[name].result(ANSWER_S) for name in names]
    except (KafkaException, TimeoutError) as error:
        raise ServerUnreachable(f"Kafka does not tell about its groups: {error}", "`fairgate status`") from error
    return [Group(group.group_id, group.state.name, len(group.members)) for group in found]
