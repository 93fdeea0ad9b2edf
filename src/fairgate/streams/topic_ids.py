"""The id that Kafka gave a topic. A topic made anew under the same name has another: its offsets start again, and must
not be taken for those of the old one.
"""

from __future__ import annotations

import asyncio

from confluent_kafka import KafkaException, TopicCollection

from fairgate.config import Config
from fairgate.errors import Unavailable
from fairgate.streams.topics import admin

ANSWER_S = 5.0


async def topic_id(config: Config, topic: str) -> str:
    """Raises `Unavailable`, also while there is no such topic."""
    return await asyncio.to_thread(_topic_id, config, topic)


def _topic_id(config: Config, topic: str) -> str:
    try:
        client = admin(config)  # held until the answer is there: its end would end the question
        answer = client.describe_topics(TopicCollection([topic]), request_timeout=ANSWER_S)
        return str(answer[topic].result(2 * ANSWER_S).topic_id)
    except (KafkaException, TimeoutError) as error:
        raise Unavailable(f"Kafka does not tell about {topic}: {error}") from error
