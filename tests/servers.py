"""Real servers for the tests: one stack per run, ports of its own, nothing left behind.

`FAIRGATE_TEST_STACK=<data dir>` uses a stack that already runs (`fairgate up --data-dir …`): a test that is run again
and again need not wait for servers.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from fairgate.config import Config
from fairgate.local.ports import PortTaken, free_base
from fairgate.local.supervisor import Stack

REUSE = "FAIRGATE_TEST_STACK"


@contextmanager
def short_data_dir() -> Iterator[Path]:
    """A directory that is gone afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="fairgate-test-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def running_stack(
    data_dir: Path, *, brokers: int = 1, roles: Mapping[str, int] | None = None, **settings: object
) -> Iterator[Stack]:
    """A stack on free ports; servers only unless `roles` are given. `settings` are fields of `Config`."""
    stack = _start(data_dir, roles or {}, {"brokers": brokers, **settings})
    try:
        yield stack
    finally:
        stack.stop()


def _start(data_dir: Path, roles: Mapping[str, int], settings: dict[str, Any]) -> Stack:
    """Another run on this machine may take the same free ports in the same moment: then others are tried."""
    for tries_left in (2, 1, 0):
        stack = Stack(Config(data_dir=data_dir, port_base=free_base(), **settings), roles=roles, quick_start=True)
        try:
            stack.start()
        except PortTaken:
            if not tries_left:
                raise
        else:
            return stack
    raise AssertionError("the last try raises")


@contextmanager
def own_stores(run: Config) -> Iterator[Stack]:
    """Valkey and PostgreSQL that a test may kill, wipe or fill, beside the Kafka of the run; topics of their own."""
    apart = {"kafka_bootstrap": run.kafka_bootstrap, "topic_prefix": f"t{uuid.uuid4().hex[:10]}-"}
    with short_data_dir() as directory, running_stack(directory / "data", **apart) as stack:
        yield stack


@contextmanager
def shared_servers() -> Iterator[Config]:
    """The settings that reach Kafka, Valkey and PostgreSQL with tables and topics in place."""
    if given := os.environ.get(REUSE):
        yield Config(data_dir=Path(given))
        return
    with short_data_dir() as data_dir, running_stack(data_dir) as stack:
        yield stack.config
