"""The site's network, as scenarios break it: orders to the process of the proxies (`proxy.py`)."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading

import msgspec

from fairgate.chaos.proxy import Order, Way

ANSWER_S, END_S = 20.0, 5.0


class Network:
    """All links. Every method may be called from any thread and returns when it is done; raises `OSError`.

    The process lives from the first link until `close`, or until we die: it ends with its orders.
    """

    def __init__(self) -> None:
        self._fronts: dict[str, int] = {}
        self._lock = threading.Lock()
        self._proxies: _Proxies | None = None

    def add(self, name: str, port: int, target: int) -> None:
        """Listen on `port` and carry to `target`, which need not be there yet."""
        if self._proxies is None:
            self._proxies = _Proxies()
        self._do(Order("add", name, port=port, target=target))
        self._fronts[name] = port

    def front(self, name: str) -> int:
        """The port that clients are told."""
        return self._fronts[name]

    def cut(self, name: str, way: Way = "both", source: str = "") -> None:
        """Nothing gets through any more, in one direction or in both; for clients whose id begins with `source`."""
        self._do(Order("hold", name, way=way, source=source))

    def delay(self, name: str, seconds: float) -> None:
        """Every chunk takes this much longer, in each direction."""
        self._do(Order("delay", name, seconds=seconds))

    def lead(self, name: str, target: int) -> None:
        """From now on to another server: what a virtual address does at a fail-over. Old connections end."""
        self._do(Order("lead", name, target=target))

    def heal(self) -> None:
        """Every link is whole again."""
        self._do(Order("heal"))

    def close(self) -> None:
        """Every connection ends. Safe to repeat."""
        proxies, self._proxies = self._proxies, None
        if proxies is not None:
            proxies.end()

    def _do(self, order: Order) -> None:
        with self._lock:
            if self._proxies is not None:  # else there is no link to do it to
                self._proxies.obey(order)


class _Proxies:
    """The process."""

    def __init__(self) -> None:
        self._orders, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module
                [sys.executable, "-m", "fairgate.chaos.proxy", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # a Ctrl-C at the terminal is ours to hand on, in order
            )
        self._orders.settimeout(ANSWER_S)
        self._answers = self._orders.makefile("rb")

    def obey(self, order: Order) -> None:
        self._orders.sendall(msgspec.json.encode(order) + b"\n")
        answer = self._answers.readline()
        if not answer:
            raise ConnectionError("the process of the proxies has ended")
        wrong: str | None = msgspec.json.decode(answer)
        if wrong is not None:
            raise OSError(wrong)

    def end(self) -> None:
        self._answers.close()
        self._orders.close()
        try:
            self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(END_S)
