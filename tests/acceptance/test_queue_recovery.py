"""A wiped Valkey and `fairgate queue`, as operators and clients of a running stack see them."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import uuid
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import redis.asyncio

from fairgate.local.supervisor import Stack
from tests.acceptance.conftest import Whole
from tests.servers import running_stack

ROLES = {"api": 1, "admission": 1, "relay": 1}


@pytest.fixture
def own(data_dir: Path) -> Any:
    """A stack of our own: it is wiped."""
    with running_stack(data_dir, roles=ROLES, guest_rate_per_minute=100_000, recovery_grace_s=0.5) as stack:
        yield Whole(stack)


def fairgate(stack: Stack, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "fairgate", *words, "--data-dir", str(stack.config.data_dir)]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=180, stdin=subprocess.DEVNULL)


async def asked(http: aiohttp.ClientSession, whole: Whole, path: str, body: Any, headers: Any) -> dict[str, Any]:
    """The answer, however often it takes: 503 means later, and a line that was just made may not be known yet."""
    async with asyncio.timeout(120):
        while True:
            async with http.post(f"{whole.api_url}{path}", json=body, headers=headers) as answer:
                if answer.status < 300:
                    return dict(await answer.json())
                assert answer.status in (404, 503), await answer.text()
            await asyncio.sleep(0.1)


async def test_a_wiped_stack_restores_itself_and_an_operator_may_rebuild_it(own: Whole) -> None:
    event_id = f"event-{uuid.uuid4().hex[:8]}"
    async with aiohttp.ClientSession() as http:
        await asked(http, own, "/admin/events", {"eventId": event_id, "rate": 10, "state": "paused"}, own.operator)
        order = [{"eventId": event_id, "userId": f"u{i}"} for i in range(20)]
        before = [await asked(http, own, "/queue/join", one, own.service) for one in order]

        valkey = redis.asyncio.Redis.from_url(own.config.valkey_url or "")
        await valkey.flushall()
        await valkey.aclose()
        again = [
            await asked(http, own, "/queue/join", one | {"placeToken": place["placeToken"]}, own.service)
            for one, place in zip(order, before, strict=True)
        ]
        places = [await asked(http, own, "/queue/join", one, own.service) for one in order]
    assert [place["sequence"] for place in again] == [place["sequence"] for place in before]
    assert [place["position"] for place in places] == list(range(1, 21))

    refused = await asyncio.to_thread(fairgate, own.stack, "queue", "rebuild", event_id)
    assert refused.returncode == 4, refused.stderr  # no terminal: nobody said yes
    rebuilt = await asyncio.to_thread(fairgate, own.stack, "queue", "rebuild", event_id, "--yes", "--json")
    assert rebuilt.returncode == 0, rebuilt.stderr
    [row] = json.loads(rebuilt.stdout)
    assert (row["cause"], row["present"], row["waiting"], row["removed"]) == ("operator", 20, 20, 0)

    shown = await asyncio.to_thread(fairgate, own.stack, "queue", "status", event_id)
    assert shown.returncode == 0 and event_id in shown.stdout and "operator" in shown.stdout
    unknown = await asyncio.to_thread(fairgate, own.stack, "queue", "rebuild", "no-such-line", "--yes")
    assert (unknown.returncode, unknown.stderr.strip()) == (1, "✗ there is no line no-such-line")
    own.stack.pause("admission")
    unowned = await asyncio.to_thread(fairgate, own.stack, "queue", "rebuild", event_id, "--yes", "--within-s", "8")
    assert unowned.returncode == 3 and len(unowned.stderr.strip().splitlines()) <= 2
    own.stack.resume("admission")
    unclear = await asyncio.to_thread(fairgate, own.stack, "queue", "rebuild")
    assert unclear.returncode == 2
