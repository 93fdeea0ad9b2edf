"""A port that is taken is found before anything starts, and named with its owner and the flag that moves it."""

from __future__ import annotations

import contextlib
import socket

from fairgate.errors import ConfigError

LOOPBACK = "127.0.0.1"


class PortTaken(ConfigError):
    """Another process listens where one of our servers should."""

    kind, title = "port-taken", "A port is already in use"


def require_free(wanted: dict[int, str]) -> None:
    """Raises `PortTaken` for the first of port → what it is for that nobody can listen on."""
    for port, purpose in wanted.items():
        if not _free(port):
            raise PortTaken(
                f"port {port} ({purpose}) is taken by {_owner(port)}",
                hint="stop that process, or move the whole stack: --port-base (now the ports follow from it)",
            )


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # connections that are just closing do no harm
        with contextlib.suppress(OSError):
            probe.bind((LOOPBACK, port))
            return True
    return False


def _owner(port: int) -> str:
    """Best effort: other users' processes are not always visible."""
    with contextlib.suppress(Exception):
        import psutil

        for connection in psutil.net_connections(kind="tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"{psutil.Process(connection.pid).name()} (pid {connection.pid})"
    return "another process (not visible to this user)"


def free_base(span: int = 100, first: int = 10_000, last: int = 32_000) -> int:
    """A base whose next `span` ports are all free now; for rehearsals and tests, which may not disturb anybody.

    Below 32,768: from there on the system takes the ports of outgoing connections, and a moment later one may be gone.
    """
    import random

    for base in random.sample(range(first, last, span), 100):
        if all(_free(base + offset) for offset in range(span)):
            return base
    raise ConfigError(f"no {span} free ports in a row between {first} and {last}")
