"""Kafka's own console consumer, as an operator would start it."""

from __future__ import annotations

import asyncio
import subprocess
from functools import partial

from fairgate.local.kafka import tool_command


async def read_all(bootstrap: str, topic: str, messages: int, within_s: float = 60.0) -> list[str]:
    """The first `messages` of a topic, from the beginning, one line each: key, then value."""
    java = await asyncio.to_thread(partial(tool_command, quick_start=True))
    order = ["--bootstrap-server", bootstrap, "--topic", topic, "--from-beginning"]
    order += ["--max-messages", str(messages), "--timeout-ms", "20000"]
    order += ["--formatter-property", "print.key=true", "--formatter-property", "key.separator= "]
    process = await asyncio.create_subprocess_exec(
        *java, "org.apache.kafka.tools.consumer.ConsoleConsumer", *order,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), within_s)
    assert process.returncode == 0, err.decode()
    return out.decode().splitlines()
