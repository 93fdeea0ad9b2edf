"""The protocol in Promela (`fairgate.pml`), searched to the end by spin, and searched again with a step taken away.

Needs `spin` and a C compiler (Debian: `spin`, `gcc`). `.ci/run` installs both and says so in FAIRGATE_MODEL, and then
their absence is a failure.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

MODEL = Path(__file__).with_name("fairgate.pml")
# A search takes seconds; one that takes this long will not end.
BOUND_S = 600

MISSING = [tool for tool in ("spin", "gcc") if shutil.which(tool) is None]
REQUIRED = os.environ.get("FAIRGATE_MODEL") == "required"

pytestmark = pytest.mark.skipif(
    bool(MISSING) and not REQUIRED,
    reason=f"the model is not checked: {' and '.join(MISSING)} not installed (apt-get install spin gcc)",
)

# What is taken away → which half finds out.
WITHOUT = {
    "POP_FIRST": "FIRST_HALF",  # out of the line before there is a claim
    "CLEAR_FIRST": "FIRST_HALF",  # the claim is cleared before the row is there
    "NO_LEASE_CHECK": "FIRST_HALF",  # SQL does not ask whose epoch it is
    "NO_EPOCH_IN_VALKEY": "FIRST_HALF",  # nor do the scripts
    "NO_FENCE": "FIRST_HALF",  # a server that lost something answers as if nothing had happened
    "NO_JOURNAL": "FIRST_HALF",  # it is opened again with what it has
    "NO_ADMISSION_KEY": "FIRST_HALF",  # the same claim is admitted twice
    "MARK_FIRST": "SECOND_HALF",  # marked as sent before it is acknowledged
    "AFTER_THE_LAST": "SECOND_HALF",  # the relay reads `id > last` instead of what is not sent
    "GOES_ON_AFTER_A_FAILURE": "SECOND_HALF",  # later records are sent although an earlier one failed
    "NO_TICKET_KEY": "SECOND_HALF",  # an admission is settled twice
    "NO_SOURCE": "SECOND_HALF",  # the ticket does not say which record made it
    "OFFSET_FIRST": "SECOND_HALF",  # the offset is committed before the effect
    "FRESH_METADATA": "SECOND_HALF",  # who lost the partition commits as if it were its own
}


class Verdict:
    """What a search says."""

    def __init__(self, report: str) -> None:
        self.report = report
        found = re.search(r"errors: (\d+)", report)
        assert found, report
        self.errors = int(found[1])
        self.finished = not re.search(r"not completed|max search depth too small|out of memory", report)


def search(directory: Path, defines: Sequence[str], *, for_cycles: bool = False) -> Verdict:
    """Every run of the model with these defines. → the verdict; with `for_cycles`, on runs that do not end."""
    _run(directory, "spin", "-a", *(f"-D{define}" for define in defines), str(MODEL))
    _run(directory, "gcc", "-O1", "-w", "-DNP" if for_cycles else "-DSAFETY", "-o", "pan", "pan.c")
    return Verdict(_run(directory, "./pan", "-m100000", "-w22", *(["-l"] if for_cycles else [])))


def _run(directory: Path, *command: str) -> str:
    assert not MISSING, f"{MISSING} not installed, though .ci/run says that the model must be checked"
    done = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=BOUND_S, check=False)
    assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"
    return done.stdout


@pytest.mark.parametrize(
    "defines",
    [
        pytest.param(["FIRST_HALF", "USERS=3", "FAULTS=3"], id="from-the-join-to-the-outbox"),
        pytest.param(["SECOND_HALF", "USERS=2", "FAULTS=2"], id="from-the-outbox-to-the-announcement"),
        pytest.param(["USERS=2", "FAULTS=1"], id="the-whole-flow"),
    ],
)
def test_nobody_is_lost_or_served_twice_and_order_is_kept_in_any_run(tmp_path: Path, defines: list[str]) -> None:
    verdict = search(tmp_path, defines)
    assert verdict.errors == 0, verdict.report
    assert verdict.finished, verdict.report


@pytest.mark.parametrize("half", ["FIRST_HALF", "SECOND_HALF"])
def test_every_run_comes_to_an_end(tmp_path: Path, half: str) -> None:
    verdict = search(tmp_path, [half, "USERS=2", "FAULTS=1"], for_cycles=True)
    assert verdict.errors == 0, verdict.report
    assert verdict.finished, verdict.report


@pytest.mark.parametrize("step", WITHOUT)
def test_no_step_of_the_protocol_can_be_taken_away(tmp_path: Path, step: str) -> None:
    verdict = search(tmp_path, [WITHOUT[step], step])
    assert verdict.errors > 0, verdict.report


def test_every_step_that_the_model_can_do_without_is_tried() -> None:
    named = set(re.findall(r"^#if(?:n?def) (\w+)", MODEL.read_text(encoding="utf-8"), re.MULTILINE))
    assert named - {"USERS", "FAULTS", "FIRST_HALF", "SECOND_HALF"} == set(WITHOUT)
