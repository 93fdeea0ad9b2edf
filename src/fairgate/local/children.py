"""Processes that we started, each known by the handle that started it and never by its name.

They die with us, also when we are killed (`launch.py`), and each wait for one is bounded.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path

LAUNCHER = Path(__file__).with_name("launch.py")
TAIL_BYTES = 2_000


class _Forker:
    """The one thread that starts children.

    Linux sends the parent-death signal when the *thread* that forked ends, not the process: a child started from a
    worker thread would die with that worker. This one lives as long as the process.
    """

    def __init__(self) -> None:
        self._orders: queue.SimpleQueue[tuple[Callable[[], subprocess.Popen[bytes]], Future[subprocess.Popen[bytes]]]]
        self._orders = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def run(self, start: Callable[[], subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._serve, name="fairgate-forker", daemon=True)
                self._thread.start()
        future: Future[subprocess.Popen[bytes]] = Future()
        self._orders.put((start, future))
        return future.result()

    def _serve(self) -> None:
        while True:
            start, future = self._orders.get()
            try:
                future.set_result(start())
            except BaseException as error:
                future.set_exception(error)


_forker = _Forker()


class Child:
    """One program with its log. `wanted` says whether it should be running now: the supervisor restarts those."""

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: str | None = None,
        stop_signals: Sequence[signal.Signals] = (signal.SIGTERM,),
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> None:
        self.name, self.command, self.log = name, list(command), log
        self.env = dict(env) if env is not None else None  # as of the next start
        self._cwd, self._user = cwd, user
        self._stop_signals, self._orphan_signal = stop_signals, orphan_signal
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.RLock()
        self.wanted = False
        self.restarts = 0

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        return self._process.poll() if self._process else None

    def start(self) -> None:
        """Returns once the process exists, which is long before it is ready. Nothing happens when it runs already."""
        with self._lock:  # the supervisor may want to restart it at this very moment
            self.wanted = True
            if not self.running:
                self.log.parent.mkdir(parents=True, exist_ok=True)
                self._process = _forker.run(self._spawn)

    def revive(self) -> bool:
        """Start again what should be running and is not. True when it had to."""
        with self._lock:
            if not self.wanted or self.running:
                return False
            self.restarts += 1
            self.start()
            return True

    def _spawn(self) -> subprocess.Popen[bytes]:
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(self._orphan_signal))]
        with self.log.open("ab") as log:
            return subprocess.Popen(
                [*launch, self._user or "-", *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self.env,
                cwd=self._cwd,
                start_new_session=True,  # a Ctrl-C at the terminal is ours to hand on, in order
            )

    def signal(self, number: signal.Signals) -> None:
        """Nothing happens to one that has already ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    def kill(self) -> None:
        """A crash on purpose: it stays down until `start`."""
        self.wanted = False
        self.signal(signal.SIGKILL)
        self.wait(5.0)

    def ask_to_stop(self) -> None:
        """The first, polite signal; returns at once."""
        self.wanted = False
        self.signal(signal.SIGCONT)  # a frozen process cannot hear anything else
        self.signal(self._stop_signals[0])

    def stop(self, within_s: float) -> bool:
        """Polite signals first, SIGKILL at the bound. True when it went without being killed."""
        self.ask_to_stop()
        for number in (None, *self._stop_signals[1:]):
            if number is not None:
                self.signal(number)
            if self.wait(within_s / len(self._stop_signals)):
                return True
        self.kill()
        return False

    def wait(self, within_s: float) -> bool:
        """True when the process has ended (or never ran)."""
        if self._process is None:
            return True
        try:
            self._process.wait(max(within_s, 0.0))
        except subprocess.TimeoutExpired:
            return False
        return True

    def tail(self) -> str:
        """The end of its log, for the error message that nobody should have to look up."""
        try:
            return self.log.read_bytes()[-TAIL_BYTES:].decode(errors="replace").strip()
        except OSError:
            return ""


def until(ready: Callable[[], bool], within_s: float, every_s: float = 0.05) -> bool:
    """Ask again and again; True as soon as the answer is yes, False when the time is up."""
    deadline = time.monotonic() + within_s
    while not ready():
        if time.monotonic() > deadline:
            return False
        time.sleep(every_s)
    return True


def stop_together(children: Sequence[Child], within_s: float) -> bool:
    """Ask all at once, then give them one common bound. True when none had to be killed."""
    deadline = time.monotonic() + within_s
    for child in children:
        child.ask_to_stop()
    patient = [child.wait(deadline - time.monotonic()) for child in children]
    for child in children:
        if child.running:
            child.kill()
    return all(patient)
