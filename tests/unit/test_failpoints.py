"""Failpoints: the catalogue is the code's, arming is strict, and an armed process really dies."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest

from fairgate import failpoints
from fairgate.errors import ConfigError
from tests.unit.test_docs import DOCS, first_cells
from tests.unit.test_style import sources

DIES = """
import os
from fairgate import failpoints
failpoints.arm(os.environ)
for i in range(9):
    failpoints.failpoint("relay.read")
    print(i, flush=True)
"""


def called() -> Counter[str]:
    """The name in every `failpoint("…")` of the source."""
    names: Counter[str] = Counter()
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "failpoint":
                assert isinstance(node.args[0], ast.Constant), f"{path}:{node.lineno} names no literal"
                names[node.args[0].value] += 1
    return names


def test_every_failpoint_stands_once_in_the_code_and_in_the_catalogue() -> None:
    assert called() == Counter(dict.fromkeys(failpoints.CATALOGUE, 1))


def test_the_page_names_every_failpoint_with_its_sentence() -> None:
    assert first_cells(DOCS / "failpoints.md") == {name: [text] for name, text in failpoints.CATALOGUE.items()}


@pytest.fixture(autouse=True)
def _disarmed() -> object:
    yield
    failpoints.arm({})


def test_what_is_not_armed_does_nothing() -> None:
    assert failpoints.arm({}) == []
    failpoints.failpoint("relay.read")
    failpoints.arm({"FAIRGATE_FAILPOINTS": "relay.sent=exit@1"})
    failpoints.failpoint("relay.read")


@pytest.mark.parametrize(
    "order",
    [
        "relay.rad=exit@1",
        "relay.read",
        "relay.read=exit",
        "relay.read=exit@0",
        "relay.read=explode@1",
        "relay.read=stall@1",
    ],
)
def test_an_order_that_cannot_be_obeyed_ends_the_start(order: str) -> None:
    with pytest.raises(ConfigError):
        failpoints.arm({"FAIRGATE_FAILPOINTS": f"relay.sent=exit@1,{order}"})


def test_a_seed_draws_the_same_hit_every_time_within_its_bound() -> None:
    def at(seed: int) -> int:
        return failpoints.arm({"FAIRGATE_FAILPOINTS": f"relay.read=exit@random:{seed}:6"})[0].at

    drawn = [at(seed) for seed in range(60)]
    assert drawn == [at(seed) for seed in range(60)] and set(drawn) == {1, 2, 3, 4, 5, 6}


def test_an_armed_process_ends_at_the_hit_named_and_says_at_its_start_that_it_will() -> None:
    armed = {"FAIRGATE_FAILPOINTS": "relay.read=exit@3", "PYTHONPATH": str(Path(__file__).parents[2] / "src")}
    ended = subprocess.run([sys.executable, "-c", DIES], env=armed, capture_output=True, text=True, check=False)
    assert ended.returncode == failpoints.EXIT_STATUS
    warning, *passed = ended.stdout.splitlines()
    assert "A FAILPOINT IS ARMED" in warning and passed == ["0", "1"]


def test_a_stall_blocks_the_thread_that_is_there_once() -> None:
    failpoints.arm({"FAIRGATE_FAILPOINTS": "relay.read=stall:0.2@2"})
    took = []
    for _ in range(3):
        began = time.monotonic()
        failpoints.failpoint("relay.read")
        took.append(time.monotonic() - began)
    assert took[1] >= 0.2  # the other two are shorter on any machine, but no test should say by how much
