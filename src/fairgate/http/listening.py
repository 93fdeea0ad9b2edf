"""A listening socket, or an error that names the port and what moves it."""

from __future__ import annotations

import errno
import socket

from fairgate.errors import ConfigError

# A connection that was accepted during a rush must not be refused by the kernel meanwhile.
BACKLOG = 4_096


def listening(host: str, port: int, *, hint: str, reuse_port: bool = False) -> socket.socket:
    """A bound socket. Raises `ConfigError` that names the port and, by `hint`, what moves it."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    bound = socket.socket(family, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if reuse_port:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        bound.bind((host, port))
        bound.listen(BACKLOG)
        bound.setblocking(False)
    except OSError as error:
        bound.close()
        why = "is taken" if error.errno == errno.EADDRINUSE else f"cannot be used: {error.strerror}"
        raise ConfigError(f"port {port} on {host} {why}", hint) from error
    return bound
