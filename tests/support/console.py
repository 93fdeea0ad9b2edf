"""Kafka's own console consumer, as an operator would start it."""

from __future__ import annotations

import asyncio
import subprocess

from fairgate.local.jars import KAFKA_LOCK, KAFKA_TOOLS_LOCK, class_path
from fairgate.local.java import find_java


async def read_all(bootstrap: str, topic: str, messages: int, within_s: float = 60.0) -> list[str]:
    """The first `messages` of a topic, from the beginning, one line each: key, then value."""
    java, jars = await asyncio.to_thread(_program)
    order = ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning"]
    order += ["--max-messages", str(messages), "--timeout-ms", "20000"]
    order += ["--formatter-property", "print.key=true", "--formatter-property", "key.separator= "]
    process = await asyncio.create_subprocess_exec(
        java, "-Xmx128m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", jars,
        "org.apache.kafka.tools.consumer.ConsoleConsumer", *order,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), within_s)
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines()


def _program() -> tuple[str, str]:
    def quiet(_: str) -> None:
        return None

    jars = [*class_path(KAFKA_LOCK, quiet), *class_path(KAFKA_TOOLS_LOCK, quiet)]
    return str(find_java()), ":".join(map(str, jars))
