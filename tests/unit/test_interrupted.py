"""A signal ends a rehearsal wherever it comes, and what the rehearsal holds is given back first."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Iterator

import pytest

from fairgate.demo import interrupted


class Interrupting(asyncio.Protocol):
    """The signal comes while bytes are read, where uvloop loses what a handler raises."""

    def data_received(self, data: bytes) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        sum(range(1_000))  # so that the interpreter has looked at its signals


@pytest.fixture
def heard() -> Iterator[list[int]]:
    """A handler as the command line has it. Nothing of the signal comes to the tests' own loop later."""
    numbers: list[int] = []
    others = signal.set_wakeup_fd(-1)

    def interrupt(number: int, _: object) -> None:
        numbers.append(number)
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGINT, interrupt)
    yield numbers
    signal.signal(signal.SIGINT, before)
    signal.set_wakeup_fd(others)


async def rehearsal(given_back: list[str]) -> str:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    try:
        await asyncio.get_running_loop().create_connection(Interrupting, sock=ours)
        theirs.send(b"x")
        await asyncio.sleep(30)
    finally:
        given_back.append("all")
        theirs.close()
    return "went on"


def test_a_signal_while_bytes_are_read_is_not_lost(heard: list[int]) -> None:
    given_back: list[str] = []
    with pytest.raises(KeyboardInterrupt):
        interrupted.run(rehearsal(given_back))
    assert (heard, given_back) == ([signal.SIGINT], ["all"])


def test_the_handlers_of_before_are_back(heard: list[int]) -> None:
    before = signal.getsignal(signal.SIGINT)

    async def nothing() -> int:
        return 7

    assert interrupted.run(nothing()) == 7
    assert signal.getsignal(signal.SIGINT) is before
