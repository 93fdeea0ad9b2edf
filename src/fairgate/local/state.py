"""What a stack keeps in its data directory: the lock, the credentials, and `stack.json` for every other command.

Files with secrets are readable by their owner alone. `stack.json` names its values like `Config`, which reads it; it
exists only while the stack runs (or after one was killed: then the lock is free, and its content is not believed).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import shutil
import signal
import time
from collections.abc import Iterable
from pathlib import Path
from typing import IO, Any

from pydantic import SecretStr

from fairgate.config import STACK_FILE, Config
from fairgate.errors import ConfigError
from fairgate.local.children import Child

LOCK_FILE, CREDENTIALS_FILE = "stack.lock", "credentials.json"
# Everything that a stack writes: `down --purge` removes this and nothing else.
OWN_FILES = (STACK_FILE, LOCK_FILE, CREDENTIALS_FILE)
OWN_DIRECTORIES = ("kafka", "valkey", "postgres", "postgres.new", "logs")
CREDENTIALS = ("session_key", "service_token", "operator_token", "postgres_password")
# What the kernel's parent-death signal takes, with a database that still writes its end.
LEFTOVERS_S = 10.0


class AlreadyRunning(ConfigError):
    """Another stack holds this data directory."""

    kind, title = "already-running", "A stack already runs here"


class State:
    """The files of one data directory."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir.resolve()
        self.stack_file = self.data_dir / STACK_FILE
        self._lock: IO[str] | None = None

    @property
    def logs(self) -> Path:
        return self.data_dir / "logs"

    # ---- who holds it

    def acquire(self) -> None:
        """Only one stack per directory: raises `AlreadyRunning` with the holder's pid.

        The kernel lets go when this process ends, however it ends.
        """
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = (self.data_dir / LOCK_FILE).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.close()
            raise self._already_running() from None
        file.truncate(0)
        file.write(json.dumps({"pid": os.getpid(), "created": born(os.getpid())}))
        file.flush()
        self._lock = file

    def require_free(self) -> None:
        """`acquire` without taking it."""
        if self.held():
            raise self._already_running()

    def _already_running(self) -> AlreadyRunning:
        hint = "`fairgate status` shows it, `fairgate down` stops it; a second stack needs its own --data-dir"
        return AlreadyRunning(f"a stack already runs in {self.data_dir} (pid {self._pid_in_lock()})", hint=hint)

    def release(self) -> None:
        self.stack_file.unlink(missing_ok=True)
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def held(self) -> bool:
        """Whether a stack runs here, or starts, or stops: the kernel knows."""
        try:
            with (self.data_dir / LOCK_FILE).open() as file:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        except FileNotFoundError:
            pass
        return False

    def holder(self) -> int | None:
        """The pid of the stack that runs here; None when none does."""
        return self._pid_in_lock() if self.held() else None

    def _pid_in_lock(self) -> int | None:
        """None while the holder has not written it yet: the pid of an earlier holder may be anybody's by now."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            holder = json.loads((self.data_dir / LOCK_FILE).read_text())
            return int(holder["pid"]) if born(holder["pid"]) == holder["created"] else None
        return None

    # ---- what it knows

    def credentials(self) -> dict[str, str]:
        """Made once and kept: a restart must not end every session."""
        file = self.data_dir / CREDENTIALS_FILE
        known: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}
        complete = {name: known.get(name) or secrets.token_urlsafe(32) for name in CREDENTIALS}
        if complete != known:
            write_private(file, complete)
        return complete

    def publish(self, config: Config, embedded: Iterable[str], children: Iterable[Child], *, ready: bool) -> None:
        """Let other commands find the stack: `Config` reads this file."""
        pids = {child.name: {"pid": child.pid, "created": born(child.pid)} for child in children}
        known = {name: _plain(getattr(config, name)) for name in _SHARED if getattr(config, name) is not None}
        write_private(self.stack_file, {**known, "embedded": sorted(embedded), "ready": ready, "pids": pids})

    def read(self) -> dict[str, Any]:
        """The last published content; empty when there is none."""
        try:
            content: dict[str, Any] = json.loads(self.stack_file.read_text())
        except (OSError, ValueError):
            return {}
        return content

    def purge(self) -> list[Path]:
        """Remove what a stack wrote, and nothing else. The caller has made sure that nobody holds it."""
        mine = [self.data_dir / name for name in (*OWN_DIRECTORIES, *OWN_FILES)]
        there = [path for path in mine if path.exists()]
        for path in there:
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):  # not empty: something there is not ours
            self.data_dir.rmdir()
        return there

    # ---- what a killed stack left

    def without_leftovers(self, config: Config) -> Config:
        """The settings as the operator gave them: addresses of servers that died with a killed stack are none."""
        left = self.read()
        stale = {
            name: None
            for name in left.get("embedded", [])
            if name in left and _plain(getattr(config, name)) == left[name]
        }
        return config.model_copy(update=stale) if stale else config

    def forget_killed(self) -> None:
        """Before settings are read: what a killed stack published must not count as the operator's wish.

        Its pids stay known, so that `end_leftovers` can wait for them.
        """
        if not self.held() and (left := self.read()):
            write_private(self.stack_file, {"pids": left.get("pids", {})})

    def end_leftovers(self) -> None:
        """Wait for processes that a killed stack left, and end those that stay; each is known by pid *and* birth."""
        left = [(entry["pid"], entry["created"]) for entry in self.read().get("pids", {}).values()]
        deadline = time.monotonic() + LEFTOVERS_S
        while any(born(pid) == created for pid, created in left) and time.monotonic() < deadline:
            time.sleep(0.05)
        for pid, created in left:
            if created is not None and born(pid) == created:
                os.kill(pid, signal.SIGKILL)


# Of the settings, what another command needs to work with this stack.
_SHARED = (
    *("port_base", "brokers", "host", "public_url", "live_url", "topic_prefix"),
    *("kafka_bootstrap", "kafka_security", "kafka_sasl_mechanism", "kafka_username", "kafka_password", "kafka_ca_file"),
    *("valkey_url", "valkey_live_url", "postgres_dsn", "session_key", "service_token", "operator_token"),
)


def _plain(value: Any) -> Any:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    return str(value) if isinstance(value, Path) else value


def born(pid: int | None) -> float | None:
    """When the process was born: a pid alone may belong to somebody else by now."""
    with contextlib.suppress(Exception):  # gone, not ours to see, or the package is not installed
        import psutil

        return float(psutil.Process(pid).create_time()) if pid else None
    return None


def write_private(file: Path, content: dict[str, Any]) -> None:
    """Whole or not at all, and never readable by others, not even for a moment."""
    draft = file.with_name(file.name + ".new")
    with contextlib.suppress(FileNotFoundError):
        draft.unlink()
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w") as out:
        json.dump(content, out, indent=2)
    draft.replace(file)
