"""`fairgate demo` as its user meets it: right when all is well, right when processes die, and not right when it is not.

Small crowds; `fairgate demo --fans 20000 --capacity 15000 --brokers 3` is the same with more of everything.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fairgate.config import Ports
from fairgate.demo.options import Options
from fairgate.demo.run import run_demo
from fairgate.demo.verdict import Verdict
from fairgate.local.ports import free_base
from fairgate.local.supervisor import Stack

ENDS_S = 240
DEMO = [sys.executable, "-m", "fairgate", "demo"]
SMALL = ["--fans", "240", "--capacity", "200", "--listeners", "24", "--seconds", "8"]


@contextmanager
def demo(*arguments: str) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([*DEMO, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wrong(verdict: Verdict) -> dict[str, list[str]]:
    return {line.name: line.examples for line in verdict.lines if not line.kept}


def test_a_rehearsal_proves_that_everybody_got_what_is_due() -> None:
    done = subprocess.run([*DEMO, *SMALL, "--json"], capture_output=True, text=True, timeout=ENDS_S, check=False)
    assert done.returncode == 0, done.stderr
    verdict: dict[str, Any] = json.loads(done.stdout)
    lines = {line["name"]: line for line in verdict["lines"]}
    assert verdict["right"] is True
    assert lines["tickets"]["counts"] == {"clients": 200, "sql": 200, "kafka": 200}
    assert lines["sold out"]["counts"] == {"clients": 40, "sql": 40, "kafka": 40}
    assert lines["left"]["counts"]["clients"] >= 0
    assert "all right" in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("stopped; next: fairgate ")


def test_the_verdict_is_the_same_when_every_process_is_killed_once() -> None:
    """Who is killed comes back; nobody among the fans may notice more than a wait."""
    killed: list[str] = []

    def kill_one_after_the_other(stack: Stack) -> None:
        for role in ("admission", "relay", "ticketing", "notification", "live", "api"):
            time.sleep(2.0)
            stack.kill(role)
            killed.append(role)

    def disturb(stack: Stack) -> None:
        threading.Thread(target=kill_one_after_the_other, args=(stack,), daemon=True).start()

    verdict = run_demo(Options(fans=600, capacity=500, listeners=60, seconds=20), disturb)
    assert wrong(verdict) == {}
    assert len(killed) == 6


def test_a_ticket_from_nowhere_makes_it_fail() -> None:
    """The verdict is made from what is there, not from what should be."""
    verdict = run_demo(Options(fans=60, capacity=50, listeners=6, seconds=3), _issue_to_a_stranger)
    assert "from nowhere" in wrong(verdict)
    assert not verdict.right


def _issue_to_a_stranger(stack: Stack) -> None:
    """What a service may do, and a rehearsal must not contain."""
    config = stack.config
    assert config.operator_token is not None and config.service_token is not None
    url = f"http://{config.host}:{config.ports.api}"
    events = _asked(f"{url}/admin/events", config.operator_token.get_secret_value())["lines"]
    event_id = next(event["eventId"] for event in events if event["eventId"].startswith("demo-"))
    body = {"userId": "stranger", "eventId": event_id}
    _asked(f"{url}/tickets/issue", config.service_token.get_secret_value(), body)


def _asked(url: str, token: str, body: object = None) -> Any:
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, headers)  # noqa: S310 - our own server
    with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
        return json.load(answer)


def test_ctrl_c_stops_everything_in_order() -> None:
    with demo(*SMALL) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if line.startswith("  event demo-"):
                break
        children = _descendants(process.pid)
        process.send_signal(signal.SIGINT)
        assert process.wait(40) == 130
    assert len(children) >= 9
    assert [pid for pid in children if _alive(pid)] == []


def _descendants(pid: int) -> list[int]:
    import psutil

    return [child.pid for child in psutil.Process(pid).children(recursive=True)]


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_cannot_start_says_what_to_do() -> None:
    base = free_base()
    port = Ports(base).valkey
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        done = subprocess.run(
            [*DEMO, *SMALL, "--port-base", str(base)], capture_output=True, text=True, timeout=ENDS_S, check=False
        )
    assert done.returncode == 3
    assert str(port) in done.stderr and "--port-base" in done.stderr
