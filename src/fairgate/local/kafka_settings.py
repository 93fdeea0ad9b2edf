"""`server.properties` of each node of the local cluster. Pure."""

from __future__ import annotations

from pathlib import Path

from fairgate.config import Ports
from fairgate.local.layout import Layout
from fairgate.local.ports import LOOPBACK

PROTOCOLS = "CLIENT:PLAINTEXT,OBSERVER:PLAINTEXT,PEER:PLAINTEXT,CONTROLLER:PLAINTEXT"
# Node ids of controllers that are no brokers begin behind this.
CONTROLLER_IDS = 100


def broker_settings(
    number: int, brokers: int, ports: Ports, directory: Path, layout: Layout | None = None
) -> dict[str, str]:
    """`server.properties` of one broker, which is controller too unless those are apart. Pure."""
    layout = layout or Layout()
    both = layout.controllers == 0
    listeners, told = _listeners(number, ports, layout)
    return {
        "process.roles": "broker,controller" if both else "broker",
        "node.id": str(number),
        "controller.quorum.voters": _voters(brokers, ports, layout),
        "listeners": ",".join([*listeners, *([_controller_listener(number, ports)] if both else [])]),
        "advertised.listeners": ",".join(told),
        "listener.security.protocol.map": PROTOCOLS,
        "inter.broker.listener.name": "PEER" if f"kafka-{number}-peer" in layout.fronts else "CLIENT",
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(directory / "log"),
        **_replication(*copies(brokers)),
        **_quick_on_two_cores(),
    }


def controller_settings(number: int, brokers: int, ports: Ports, directory: Path, layout: Layout) -> dict[str, str]:
    """`server.properties` of one controller that is no broker. Pure."""
    return {
        "process.roles": "controller",
        "node.id": str(CONTROLLER_IDS + number),
        "controller.quorum.voters": _voters(brokers, ports, layout),
        "listeners": _controller_listener(number, ports),
        "listener.security.protocol.map": PROTOCOLS,
        "controller.listener.names": "CONTROLLER",
        "log.dirs": str(directory / "log"),
        **_replication(*copies(brokers)),
        **_quick_on_two_cores(),
    }


def _listeners(number: int, ports: Ports, layout: Layout) -> tuple[list[str], list[str]]:
    """Where a broker listens, and what it tells others: the same, unless something stands before it."""
    listeners = [f"CLIENT://{LOOPBACK}:{ports.kafka(number)}"]
    told = [f"CLIENT://{LOOPBACK}:{layout.port(f'kafka-{number}', ports.kafka(number))}"]
    if f"kafka-{number}" in layout.fronts:  # a client is told the addresses of the listener that it asks
        listeners.append(f"OBSERVER://{LOOPBACK}:{ports.observer(number)}")
        told.append(listeners[-1])
    if (peer := layout.fronts.get(f"kafka-{number}-peer")) is not None:
        listeners.append(f"PEER://{LOOPBACK}:{ports.peer(number)}")
        told.append(f"PEER://{LOOPBACK}:{peer}")
    return listeners, told


def _controller_listener(number: int, ports: Ports) -> str:
    return f"CONTROLLER://{LOOPBACK}:{ports.controller(number)}"


def _voters(brokers: int, ports: Ports, layout: Layout) -> str:
    first = CONTROLLER_IDS if layout.controllers else 0
    voters = numbers(layout.controllers or brokers)
    return ",".join(f"{first + number}@{LOOPBACK}:{ports.controller(number)}" for number in voters)


def copies(brokers: int) -> tuple[int, int]:
    """Replicas, and how many of them must have a record before it counts."""
    return (3, 2) if brokers >= 3 else (1, 1)


def _replication(replicas: int, in_sync: int) -> dict[str, str]:
    return {
        "default.replication.factor": str(replicas),
        "min.insync.replicas": str(in_sync),
        "offsets.topic.replication.factor": str(replicas),
        "transaction.state.log.replication.factor": str(replicas),
        "transaction.state.log.min.isr": str(in_sync),
        "share.coordinator.state.topic.replication.factor": str(replicas),
        "share.coordinator.state.topic.min.isr": str(in_sync),
        "unclean.leader.election.enable": "false",
        "auto.create.topics.enable": "false",
    }


def _quick_on_two_cores() -> dict[str, str]:
    return {
        # A dead broker's partitions move after this; the default of 9 s is a long time in a rehearsal.
        "broker.session.timeout.ms": "6000",
        "broker.heartbeat.interval.ms": "1000",
        # So long a broker waits for another one that is frozen: to end a transaction there, or, where that one was the
        # controller, to get the ids of new producers. The defaults are 30 s.
        "request.timeout.ms": "6000",
        "controller.socket.timeout.ms": "6000",
        # A worker that died with a transaction open blocks all readers until somebody notices.
        "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
        "group.initial.rebalance.delay.ms": "0",
        "offsets.topic.num.partitions": "6",
        "transaction.state.log.num.partitions": "6",
        "share.coordinator.state.topic.num.partitions": "1",
        "num.network.threads": "2",
        "num.io.threads": "4",
        "background.threads": "2",
        "num.recovery.threads.per.data.dir": "2",
    }


def numbers(nodes: int) -> range:
    """Of brokers and of controllers, from 1."""
    return range(1, nodes + 1)
