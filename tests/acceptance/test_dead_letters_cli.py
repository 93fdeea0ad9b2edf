"""Dead letters as an operator meets them: listed, shown, repaired and sent again by the command line."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.acceptance.conftest import Whole
from tests.acceptance.test_flow_over_http import Crowd
from tests.support.ticketing import FIRST, Broker

FORGED = 1_000


@pytest.fixture
async def crowd(stack: Whole) -> AsyncIterator[Crowd]:
    async with aiohttp.ClientSession() as http:
        yield Crowd(http, stack)


async def fairgate(stack: Whole, *words: str) -> tuple[int, str, str]:
    """Exit status, stdout, stderr."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "fairgate", *words, "--data-dir", str(stack.config.data_dir),
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, err = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), err.decode()


async def listed(stack: Whole, topic: str, reason: str) -> dict[str, Any]:
    status, out, err = await fairgate(stack, "dlq", "list", "--topic", topic, "--json")
    assert status == 0, err
    none: dict[str, Any] = {"letters": 0, "redriven": 0}
    return next((heap for heap in json.loads(out) if heap["reason"] == reason), none)


async def until_listed(stack: Whole, topic: str, reason: str, letters: int, within_s: float = 60.0) -> dict[str, Any]:
    async with asyncio.timeout(within_s):
        while (heap := await listed(stack, topic, reason))["letters"] < letters:
            await asyncio.sleep(0.2)
    return heap


async def test_a_thousand_forged_orders_are_listed_and_nobody_got_a_ticket(stack: Whole, crowd: Crowd) -> None:
    event_id, fan = await crowd.event(capacity=10), await crowd.fan()
    before = await listed(stack, "ticket-issue", "unknown-admission")
    order = {"userId": fan.user_id, "eventId": event_id, "timestamp": 1}
    forged = [json.dumps({**order, "sequence": FIRST * 9 + i, "number": i + 1}) for i in range(FORGED)]
    broker = Broker(stack.config, "")
    await broker.send(broker.names.ticket_issue, [(event_id, value) for value in forged])
    other = await crowd.fan()
    await other.join(event_id)
    final = await other.until(event_id, "confirmed")
    assert (await other.get(f"/tickets/{final['ticketId']}"))["number"] == 1
    heap = await until_listed(stack, "ticket-issue", "unknown-admission", before["letters"] + FORGED)
    assert heap["letters"] == before["letters"] + FORGED
    assert (await fan.get("/tickets"))["tickets"] == []
    status, out, _ = await fairgate(stack, "dlq", "show", "ticket-issue", heap["newest"])
    assert status == 0 and "no such admission" in out and fan.user_id in out


async def test_a_repaired_message_is_sent_again_once(stack: Whole, crowd: Crowd) -> None:
    fan = await crowd.fan()
    message = {"messageId": f"news-{fan.user_id}", "userId": fan.user_id, "kind": "news", "body": "b", "timestamp": 1}
    before = await listed(stack, "notification", "unreadable")
    broker = Broker(stack.config, "")
    await broker.send(broker.names.notification, [(fan.user_id, json.dumps(message))])
    heap = await until_listed(stack, "notification", "unreadable", before["letters"] + 1)
    partition, offset = heap["newest"].split("@")
    one = ("dlq", "redrive", "--topic", "notification", "--partition", partition, "--offset", offset)
    status, out, err = await fairgate(stack, *one, "--set", "title=Hello")
    assert status == 0 and "would be sent: 1" in out and "--yes" in err
    status, out, _ = await fairgate(stack, *one, "--set", "title=Hello", "--yes")
    assert status == 0 and "sent: 1, redriven before: 0" in out
    status, out, _ = await fairgate(stack, *one, "--set", "title=Hello", "--yes")
    assert status == 0 and "sent: 0, redriven before: 1" in out
    async with asyncio.timeout(30):
        while not (inbox := (await fan.get("/notifications"))["notifications"]):
            await asyncio.sleep(0.05)
    assert [(note["id"], note["payload"]["title"]) for note in inbox] == [(message["messageId"], "Hello")]


async def test_reading_again_is_refused_while_the_group_is_active(stack: Whole) -> None:
    for more in ((), ("--yes",)):
        status, out, err = await fairgate(
            stack, "replay", "--group", "ticket-processor-group", "--to-earliest", "--json", *more
        )
        assert status == 4 and "is active" in err and "Traceback" not in err
        assert {move["topic"] for move in json.loads(out)["partitions"]} == {"ticket-issue"}


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("dlq", "show", "ticket-issue", "0@999999999"), 1),
        (("dlq", "show", "nothing", "0@1"), 1),
        (("dlq", "show", "ticket-issue", "seven"), 2),
        (("dlq", "redrive", "--offset", "3"), 2),
        (("replay", "--group", "ticket-processor-group"), 2),
        (("replay", "--group", "x", "--to-earliest"), 1),
    ],
)
async def test_what_cannot_be_done_is_said_in_a_line(stack: Whole, words: tuple[str, ...], status: int) -> None:
    found, _, err = await fairgate(stack, *words)
    assert found == status and err and "Traceback" not in err
