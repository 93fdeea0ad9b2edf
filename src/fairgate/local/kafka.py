"""A real Apache Kafka (KRaft) of one or three brokers on the loopback; by default every node is controller as well.

The storage is formatted once. A cluster cannot grow from one broker to three afterwards: replicas and quorum voters
are written down in it, so another number of brokers is refused instead of being half believed.
"""

from __future__ import annotations

import json
import secrets
import subprocess
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fairgate.config import Ports
from fairgate.errors import ConfigError
from fairgate.local.children import Child, stop_together, until
from fairgate.local.jars import KAFKA_LOCK, KAFKA_TOOLS_LOCK, class_path
from fairgate.local.java import find_java
from fairgate.local.kafka_settings import broker_settings, controller_settings, numbers
from fairgate.local.layout import Layout
from fairgate.local.ports import LOOPBACK
from fairgate.local.probes import KafkaView, kafka_view

READY_S = 90.0  # 3 to 8 s on two cores; a recovery after a crash reads segments first
FORMAT_S = 60.0
CLUSTER_FILE = "cluster.json"
LOG_SETTINGS = Path(__file__).with_name("log4j2.properties")
# Compiling less gets three brokers ready in 4.1 s instead of 7.0, and costs a quarter of their throughput later.
QUICK_START = "-XX:TieredStopAtLevel=1"
# Half of what Kafka asks for by default: thousands of small messages a second need no more (320 MB resident each).
HEAP = ["-Xmx384m", "-XX:+UseSerialGC"]


class Broker:
    """One node, or a controller alone. `start` returns when it exists; the cluster knows when it takes part."""

    def __init__(self, number: int, name: str, settings: dict[str, str], directory: Path, log: Path) -> None:
        self.number, self.settings, self.directory, self.log = number, settings, directory, log
        self.settings_file = directory / "server.properties"
        self.child = Child(name, [], log.with_suffix(".out"))

    def start(self) -> None:
        self.child.start()

    def stop(self, within_s: float = 10.0) -> bool:
        return self.child.stop(within_s)

    def kill(self) -> None:
        """A crash; `start` brings it back."""
        self.child.kill()

    @property
    def running(self) -> bool:
        return self.child.running

    def prepare(self, java: list[str]) -> None:
        """Write its settings and its command; the data is left as it is."""
        for directory in (self.directory, self.directory / "tmp", self.log.parent):
            directory.mkdir(parents=True, exist_ok=True)
        self.settings_file.write_text("".join(f"{name}={value}\n" for name, value in self.settings.items()))
        own = [*_logging_to(self.log), f"-Djava.io.tmpdir={self.directory / 'tmp'}"]
        self.child.command = [*java, *own, "kafka.Kafka", str(self.settings_file)]


class Kafka:
    """The cluster: one start, one stop, and each broker by its number from 1."""

    def __init__(
        self,
        brokers: int,
        ports: Ports,
        data_dir: Path,
        log_dir: Path,
        *,
        quick_start: bool = False,
        layout: Layout | None = None,
    ) -> None:
        layout = layout or Layout()
        self.data_dir, self._quick_start = data_dir, quick_start
        self.bootstrap = _addresses(layout.port(f"kafka-{number}", ports.kafka(number)) for number in numbers(brokers))
        own = ports.observer if layout.fronts.get("kafka-1") else ports.kafka
        self.own_bootstrap = _addresses(own(number) for number in numbers(brokers))

        def node(number: int, name: str, settings: dict[str, str], directory: Path) -> Broker:
            return Broker(number, name, settings, directory, log_dir / f"{name}.log")

        self.brokers = [
            node(number, f"kafka-{number}", broker_settings(number, brokers, ports, directory, layout), directory)
            for number in numbers(brokers)
            for directory in [data_dir / f"broker-{number}"]
        ]
        self.controllers = [
            node(
                number,
                f"controller-{number}",
                controller_settings(number, brokers, ports, directory, layout),
                directory,
            )
            for number in numbers(layout.controllers)
            for directory in [data_dir / f"controller-{number}"]
        ]
        self.version = next(name.split(":")[2] for name in _lock_names() if name.startswith("org.apache.kafka:kafka_"))

    @property
    def nodes(self) -> list[Broker]:
        """Every process, in the order of starting."""
        return [*self.controllers, *self.brokers]

    def broker(self, number: int) -> Broker:
        return self.brokers[number - 1]

    def start(self, progress: Callable[[str], None] = lambda _: None) -> None:
        """Returns when every broker takes part; raises `ConfigError` with the end of the log that explains it."""
        cluster_id = self._cluster_id()
        java = java_command(find_java(), class_path(KAFKA_LOCK, progress), quick_start=self._quick_start)
        for node in self.nodes:
            node.prepare(java)
        self._format(java, cluster_id)
        for node in self.nodes:
            node.start()
        self.wait_ready()

    def wait_ready(self, within_s: float = READY_S) -> None:
        """Until all brokers that should run take part again."""
        if not until(self._all_take_part, within_s, every_s=0.1):
            raise ConfigError(
                f"kafka did not get ready in {within_s:.0f} s", hint=f"its logs are {self.brokers[0].log.parent}"
            )

    def stop(self, within_s: float = 8.0) -> bool:
        """All at once: one by one, the last would wait for a quorum that is gone."""
        return stop_together([node.child for node in self.nodes], within_s)

    def view(self) -> KafkaView:
        return kafka_view({"bootstrap.servers": self.own_bootstrap})

    def _all_take_part(self) -> bool:
        wanted = [broker for broker in self.brokers if broker.child.wanted]
        for broker in wanted:
            if not broker.running:
                why = _tail(broker.log) or broker.child.tail()
                raise ConfigError(f"kafka broker {broker.number} ended while starting: {why}", hint=f"see {broker.log}")
        try:
            view = self.view()
        except Exception:  # not yet
            return False
        return view.brokers == len(wanted) and view.controller > 0

    def _cluster_id(self) -> str:
        """The id that this directory was formatted for; refuses another number of brokers."""
        file = self.data_dir / CLUSTER_FILE
        if file.exists():
            cluster = json.loads(file.read_text())
            if cluster["brokers"] != len(self.brokers):
                raise ConfigError(
                    f"{self.data_dir} holds a cluster of {cluster['brokers']} broker(s), not {len(self.brokers)}",
                    hint=f"keep --brokers {cluster['brokers']}, or take another --data-dir",
                )
            assert cluster.get("controllers", 0) == len(self.controllers), "the quorum's voters are written down"
            return str(cluster["id"])
        self.data_dir.mkdir(parents=True, exist_ok=True)
        cluster_id = urlsafe_b64encode(secrets.token_bytes(16)).decode().rstrip("=")
        if cluster_id.startswith("-"):  # the formatter would take it for an option
            cluster_id = "A" + cluster_id[1:]
        file.write_text(
            json.dumps({"id": cluster_id, "brokers": len(self.brokers), "controllers": len(self.controllers)})
        )
        return cluster_id

    def _format(self, java: list[str], cluster_id: str) -> None:
        """Once per node; a repeat leaves what is formatted alone."""
        unformatted = [node for node in self.nodes if not (node.directory / "log" / "meta.properties").exists()]
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(lambda broker: _format_storage(broker, java, cluster_id), unformatted))


def _format_storage(broker: Broker, java: list[str], cluster_id: str) -> None:
    tool = [
        "kafka.tools.StorageTool",
        "format",
        "--ignore-formatted",
        "-t",
        cluster_id,
        "-c",
        str(broker.settings_file),
    ]
    done = subprocess.run(
        [*java, *_logging_to(broker.log), *tool], capture_output=True, text=True, timeout=FORMAT_S, check=False
    )
    if done.returncode != 0:
        raise ConfigError(f"kafka's storage could not be formatted: {(done.stderr or done.stdout).strip()[-1000:]}")


def java_command(java: Path, jars: list[Path], *, quick_start: bool) -> list[str]:
    """Everything before the main class."""
    machine = [*HEAP, "-XX:-UsePerfData", "-Djava.awt.headless=true", *([QUICK_START] if quick_start else [])]
    return [str(java), *machine, "-cp", ":".join(map(str, jars))]


def tool_command(progress: Callable[[str], None] = lambda _: None, *, quick_start: bool = False) -> list[str]:
    """Everything before the main class of one of Kafka's own command line tools, which logs to no file."""
    jars = [*class_path(KAFKA_LOCK, progress), *class_path(KAFKA_TOOLS_LOCK, progress)]
    return java_command(find_java(), jars, quick_start=quick_start)


def _logging_to(log: Path) -> list[str]:
    """The one needs the other: without a file that is named, the settings make one of their own where we stand."""
    return [f"-Dlog4j2.configurationFile={LOG_SETTINGS}", f"-Dfairgate.log={log}"]


def _addresses(ports: Iterable[int]) -> str:
    return ",".join(f"{LOOPBACK}:{port}" for port in ports)


def _lock_names() -> list[str]:
    from fairgate.local.jars import read_lock

    return list(read_lock(KAFKA_LOCK))


def _tail(log: Path) -> str:
    try:
        return log.read_text(errors="replace")[-2_000:].strip()
    except OSError:
        return ""
