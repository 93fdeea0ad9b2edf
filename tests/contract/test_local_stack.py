"""The supervisor: one stack per directory and port, roles that come back, and an end in order and in time."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fairgate.config import Config
from fairgate.local import roles
from fairgate.local.children import Child, until
from fairgate.local.ports import PortTaken, free_base
from fairgate.local.roles import UPSTREAM_FIRST
from fairgate.local.state import AlreadyRunning
from fairgate.local.supervisor import ALL_ROLES, Stack
from tests.conftest import Servers
from tests.servers import running_stack, short_data_dir

FAKE_ROLE = Path(__file__).parents[1] / "fake_role.py"


@pytest.fixture
def fake_roles(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(roles, "command", lambda role: [sys.executable, str(FAKE_ROLE)])


def with_servers(servers: Servers) -> dict[str, object]:
    """Servers of the run: these tests are about roles."""
    config = servers.config
    return {name: getattr(config, name) for name in ("kafka_bootstrap", "valkey_url", "postgres_dsn")}


@pytest.fixture
def stack(servers: Servers, data_dir: Path, fake_roles: None) -> Iterator[Stack]:
    with running_stack(data_dir, roles=ALL_ROLES, **with_servers(servers)) as running:
        yield running


def diary(stack: Stack) -> list[str]:
    return (stack.config.data_dir / "diary").read_text().splitlines()


def test_a_second_stack_on_the_same_data_is_refused_and_names_the_first(stack: Stack) -> None:
    again = Config(data_dir=stack.config.data_dir, port_base=free_base())
    with pytest.raises(AlreadyRunning, match=f"pid {os.getpid()}"):
        Stack(again).start()
    assert stack.state.read(), "the refused one must not remove what the first published"


def test_the_command_refuses_a_second_stack_with_its_own_exit_status(stack: Stack) -> None:
    command = [sys.executable, "-m", "fairgate", "up", "--data-dir", str(stack.config.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 4
    assert f"pid {os.getpid()}" in done.stderr


def test_a_taken_port_is_named_with_its_owner_and_the_flag(data_dir: Path) -> None:
    base = free_base()
    with socket.socket() as other:
        other.bind(("127.0.0.1", base + 20))
        other.listen()
        with pytest.raises(PortTaken, match=rf"port {base + 20} \(valkey\).*pid {os.getpid()}") as error:
            Stack(Config(data_dir=data_dir, port_base=base), roles={}).start()
    assert "--port-base" in error.value.hint


def test_a_role_that_dies_comes_back_under_its_name(stack: Stack) -> None:
    before = stack.role("ticketing").child.pid
    stack.kill("ticketing")
    assert until(lambda: stack.role("ticketing").child.pid != before and stack.role("ticketing").ready(), 10)
    assert diary(stack).count("start ticketing-0") == 2
    assert stack.state.read()["pids"]["ticketing-0"]["pid"] == stack.role("ticketing").child.pid


def test_a_role_that_was_killed_for_good_stays_down_until_it_is_restarted(stack: Stack) -> None:
    stack.kill("relay", restart=False)
    assert stack.role("relay").child.wait(5)
    assert not until(lambda: stack.role("relay").child.running, 1.0)
    stack.restart("relay")
    assert stack.role("relay").ready()


def test_a_stop_ends_the_roles_from_the_source_and_in_time(stack: Stack) -> None:
    began = time.monotonic()
    stack.stop()
    assert time.monotonic() - began < 20
    stopped = [line.split()[1] for line in diary(stack) if line.startswith("stop")]
    assert stopped == [f"{role}-0" for role in UPSTREAM_FIRST]


def test_frozen_roles_do_not_hold_up_the_stop(stack: Stack) -> None:
    for role in UPSTREAM_FIRST:
        stack.pause(role)
    began = time.monotonic()
    stack.stop()
    assert time.monotonic() - began < 20
    assert not any(child.running for child in stack.children())


def test_status_says_which_role_does_not_answer(stack: Stack) -> None:
    stack.kill("live", restart=False)
    stack.role("live").child.wait(5)
    command = [sys.executable, "-m", "fairgate", "status", "--data-dir", str(stack.config.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert [line.split()[1] for line in done.stdout.splitlines() if line.startswith("✗")] == ["live-0"]


def test_several_instances_of_a_role_have_names_and_ports_of_their_own(
    servers: Servers, data_dir: Path, fake_roles: None
) -> None:
    with running_stack(data_dir, roles={"ticketing": 3}, **with_servers(servers)) as running:
        assert sorted(diary(running)) == ["start ticketing-0", "start ticketing-1", "start ticketing-2"]
        assert len({instance.ops_port for instance in running.roles}) == 3


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    """The parent-death signal is tied to the thread that forks: a worker's end must not end a server."""
    child = Child("sleeper", ["sleep", "60"], tmp_path / "log")
    starter = threading.Thread(target=child.start)
    starter.start()
    starter.join()
    try:
        assert not child.wait(0.5)
    finally:
        child.kill()


def test_what_ignores_a_polite_signal_is_killed_at_the_bound(tmp_path: Path) -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('deaf', flush=True); time.sleep(60)"
    )
    child = Child("deaf", [sys.executable, "-c", deaf], tmp_path / "log")
    child.start()
    assert until(lambda: "deaf" in child.tail(), 10)
    assert child.stop(0.5) is False
    assert not child.running


def test_three_brokers_take_part_and_a_killed_one_stays_down_until_it_is_started() -> None:
    with short_data_dir() as directory, running_stack(directory, brokers=3) as running:
        assert running.kafka.view().brokers == 3
        running.kafka.broker(2).kill()
        assert until(lambda: running.kafka.view().brokers == 2, 30)
        assert not running.kafka.broker(2).running
        running.kafka.broker(2).start()
        running.kafka.wait_ready()
        assert running.kafka.view().brokers == 3
        began = time.monotonic()
        running.stop()
        assert time.monotonic() - began < 20


def test_down_stops_what_up_started(servers: Servers, data_dir: Path) -> None:
    """`up` itself needs the roles; here a stack in another process stands for it."""
    script = (
        "import signal, sys, threading\n"
        "from fairgate.cli.interrupts import signals_interrupt\n"
        "from fairgate.config import Config\n"
        "from fairgate.local.supervisor import Stack\n"
        "with signals_interrupt(), Stack(Config(data_dir=sys.argv[1], port_base=int(sys.argv[2])), roles={}):\n"
        "    print('ready', flush=True)\n"
        "    threading.Event().wait()\n"
    )
    environment = {
        **os.environ,
        "FAIRGATE_KAFKA_BOOTSTRAP": servers.kafka_bootstrap,
        "FAIRGATE_POSTGRES_DSN": servers.postgres_dsn,
    }
    process = subprocess.Popen(
        [sys.executable, "-c", script, str(data_dir), str(free_base())],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        command = [sys.executable, "-m", "fairgate", "down", "--purge", "--yes", "--data-dir", str(data_dir)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        assert process.wait(5) != 0  # interrupted
        assert not data_dir.exists()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)


def test_down_without_a_stack_says_so_and_purge_asks_first(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "mine").write_text("not the stack's")
    command = [sys.executable, "-m", "fairgate", "down", "--data-dir", str(data_dir)]
    plain = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (plain.returncode, "no stack runs" in plain.stderr) == (0, True)
    unasked = subprocess.run([*command, "--purge"], capture_output=True, text=True, timeout=30, check=False, stdin=-3)
    assert unasked.returncode == 4
    agreed = subprocess.run([*command, "--purge", "--yes"], capture_output=True, text=True, timeout=30, check=False)
    assert agreed.returncode == 0
    assert (data_dir / "mine").exists(), "what is not the stack's must stay"
