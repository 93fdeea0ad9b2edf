"""The supervisor brings back what died, and gives what cannot start a pause that grows."""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path

from fairgate.local.children import Child, until
from fairgate.local.watch import BACKOFF_FIRST_S, Watch

# It fails only after it has worked for a while, as a server with a full disk does.
FAILS_AFTER_S = 0.5
FAILING = [sys.executable, "-S", "-c", f"import sys, time; time.sleep({FAILS_AFTER_S}); sys.exit(1)"]


def test_what_fails_again_and_again_has_growing_pauses_from_its_end_on(tmp_path: Path) -> None:
    child, restarts = Child("failing", FAILING, tmp_path / "log"), list[float]()
    watch = Watch(lambda: [child], lambda _: restarts.append(time.monotonic()))
    child.start()
    watch.start()
    try:
        assert until(lambda: len(restarts) == 4, 60.0)
    finally:
        watch.stop()
        child.kill()
    apart = [later - earlier for earlier, later in pairwise(restarts)]
    for number, seconds in enumerate(apart, start=1):
        assert seconds >= FAILS_AFTER_S + BACKOFF_FIRST_S * 2**number


def test_what_was_stopped_on_purpose_stays_down(tmp_path: Path) -> None:
    child, told = Child("stopped", [sys.executable, "-S", "-c", "import time; time.sleep(60)"], tmp_path / "log"), []
    other = Child("failing", FAILING, tmp_path / "other")
    watch = Watch(lambda: [child, other], told.append)
    child.start()
    other.start()
    child.kill()
    watch.start()
    try:
        assert until(lambda: len(told) >= 1, 60.0)
    finally:
        watch.stop()
        other.kill()
    assert not child.running and all("failing" in word for word in told)
