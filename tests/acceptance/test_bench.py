"""`fairgate bench` as its user meets it. A small run of everything: what it counts must be right; how fast it was is
not judged here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.acceptance.conftest import Whole

ENDS_S = 300
BENCH = [sys.executable, "-m", "fairgate", "bench"]
# Those that share one set of servers: each of the others starts its own.
WORKS_HERE = ("join", "position", "drain", "latency", "listeners")
# Counts: right on the slowest machine, or something is broken.
COUNTS = {
    "joins, 64 connections, not answered 200": 0.0,
    "joins, 512 connections, not answered 200": 0.0,
    "positions, 64 connections, not answered 200": 0.0,
    "positions, 512 connections, not answered 200": 0.0,
    "drained wrongly": 0.0,
    "untold": 0.0,
    "told twice": 0.0,
}
# What a short run spends may be less than the system counts CPU time in.
LIMITS = {
    *(f"bare server, {connections} connections" for connections in (64, 512)),
    *(f"bare server, {connections} connections, driver busy" for connections in (64, 512)),
    *(f"bare server, {connections} connections, CPU a request" for connections in (64, 512)),
    "Valkey alone, CPU a join",
    "Valkey alone, CPU a place",
    "Kafka's own tool, records",
    "Kafka's own tool, brokers' CPU a record",
    "PostgreSQL alone, CPU a ticket's rows",
}


def bench(
    *arguments: str, env: dict[str, str] | None = None, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BENCH, *arguments],
        capture_output=True,
        text=True,
        timeout=ENDS_S,
        check=False,
        env={**os.environ, **(env or {})},
        cwd=cwd,
    )


def medians(done: subprocess.CompletedProcess[str]) -> dict[str, float]:
    assert done.returncode in (0, 1), done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    assert (done.returncode == 0) == all(one["kept"] for one in found["thresholds"])
    return {row["name"]: row["sides"][next(iter(row["sides"]))]["median"] for row in found["rows"]}


def test_what_is_measured_is_right_in_every_count(tmp_path: Path) -> None:
    done = bench(*WORKS_HERE, "--quick", "--brokers", "1", "--json", "--report", str(tmp_path))
    found = medians(done)
    assert {name: found.get(name) for name in COUNTS} == COUNTS, done.stderr
    assert {row["work"] for row in json.loads(done.stdout)["rows"]} - {"session"} == set(WORKS_HERE)
    assert all(
        value > 0 for name, value in found.items() if name.endswith(("connections", "waiting")) or name == "tickets"
    )
    assert "<svg" in (tmp_path / "bench.html").read_text(encoding="utf-8")


def test_what_the_parts_can_do_by_themselves_is_measured_and_leaves_nothing_behind(tmp_path: Path) -> None:
    found = medians(bench("limits", "--quick", "--brokers", "1", "--waiting", "2000", "--json", cwd=tmp_path))
    assert set(found) == LIMITS
    assert all(value >= 0 for value in found.values())
    assert all(found[name] > 0 for name in LIMITS if "CPU" not in name)
    assert list(tmp_path.iterdir()) == []


def test_what_runs_already_can_be_driven_from_outside(stack: Whole) -> None:
    assert stack.config.operator_token is not None
    token = {"FAIRGATE_OPERATOR_TOKEN": stack.config.operator_token.get_secret_value()}
    done = bench(
        "join", "latency", "--quick", "--against", stack.api_url, "--live", stack.live_url, "--json", env=token
    )
    found = medians(done)
    assert found["joins, 64 connections"] > 0 and found["joins, 64 connections, not answered 200"] == 0, done.stderr
    assert found["untold"] == 0


def test_wrong_input_is_answered_in_words() -> None:
    unknown = bench("speed")
    assert unknown.returncode == 2 and "there are" in unknown.stderr
    inside = bench("drain", "--against", "http://127.0.0.1:9")
    assert inside.returncode == 3 and "only where the bench starts the servers itself" in inside.stderr
    nobody = bench("join", "--against", "http://127.0.0.1:9")
    assert nobody.returncode == 3 and "does not answer" in nobody.stderr
