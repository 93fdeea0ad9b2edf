"""Fairgate's own processes: how a role is started, where it answers, and whether it is ready."""

from __future__ import annotations

import json
import os
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from fairgate.config import Config, Ports
from fairgate.local.children import Child
from fairgate.local.ports import LOOPBACK

# Upstream first: the order of stopping, so that intake ends before what drains it.
UPSTREAM_FIRST = ("api", "admission", "relay", "ticketing", "notification", "live")
assert set(UPSTREAM_FIRST) == set(Ports.ROLES)
# Ports of second and further instances lie behind everything else of the stack.
FURTHER_INSTANCES = 50


class Role:
    """One instance of a role. Its name stays the same over restarts: static members and slots depend on it."""

    def __init__(self, config: Config, role: str, index: int, logs: Path) -> None:
        self.role, self.index = role, index
        self.ops_port = ops_port(config, role, index)
        env = environment(config, f"{role}-{index}", self.ops_port)
        self.child = Child(f"{role}-{index}", command(role), logs / f"{role}-{index}.log", env=env)

    def ready(self) -> bool:
        return answers_ready(self.ops_port)


def answers_ready(port: int) -> bool:
    """Whether `/readyz` says 200."""
    try:
        with urllib.request.urlopen(f"http://{LOOPBACK}:{port}/readyz", timeout=2.0) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def command(role: str) -> list[str]:
    return [sys.executable, "-m", "fairgate", "run", role]


def ops_port(config: Config, role: str, index: int) -> int:
    """The first instance's follows from `Ports`; each further instance has a block of its own."""
    if index == 0:
        return config.ports.ops(role)
    return config.port_base + FURTHER_INSTANCES + 10 * (index - 1) + Ports.ROLES.index(role)


def environment(config: Config, instance: str, ops_port: int) -> Mapping[str, str]:
    """This process's environment with all that was decided here as FAIRGATE_…: a role reads nothing else."""
    names = {f"FAIRGATE_{name}".upper() for name in Config.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    decided = {name: getattr(config, name) for name in config.model_fields_set} | {
        "instance": instance,
        "ops_port": ops_port,
        "data_dir": config.data_dir,
    }
    given = {f"FAIRGATE_{name}".upper(): _text(value) for name, value in decided.items() if value is not None}
    return inherited | given


def _text(value: Any) -> str:
    match value:
        case SecretStr():
            return value.get_secret_value()
        case str() | Path():
            return str(value)
        case _:
            return json.dumps(value)
