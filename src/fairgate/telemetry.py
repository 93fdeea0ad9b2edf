"""Metrics. Every metric's name is here and nowhere else, with its unit, its meaning and its alert.

A new metric is one line in the catalogue below. `alert` is the condition, in PromQL, at which somebody should look;
the alert rules are written from it. Counters are named in Prometheus' way: `fairgate_joins` shows as
`fairgate_joins_total`. Labels are closed sets or route templates, never a user, an event or an address.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterable, Iterator
from typing import Literal, Protocol

import msgspec
from prometheus_client import REGISTRY, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

Unit = Literal["count", "seconds", "bytes", "ratio"]


class Entry(msgspec.Struct, frozen=True):
    """One line of the catalogue."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    unit: Unit
    help: str
    labels: tuple[str, ...] = ()
    alert: str | None = None


CATALOGUE: dict[str, Entry] = {}


def _note(entry: Entry) -> Entry:
    assert entry.name not in CATALOGUE, f"{entry.name} is in the catalogue twice"
    CATALOGUE[entry.name] = entry
    return entry


def counter(name: str, help: str, *labels: str, unit: Unit = "count", alert: str | None = None) -> Counter:
    _note(Entry(name, "counter", unit, help, labels, alert))
    return Counter(name, help, labels)


def gauge(name: str, help: str, *labels: str, unit: Unit = "count", alert: str | None = None) -> Gauge:
    _note(Entry(name, "gauge", unit, help, labels, alert))
    return Gauge(name, help, labels)


# From a cached answer to a broker's failover: 1 ms to 30 s.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


def histogram(name: str, help: str, *labels: str, alert: str | None = None) -> Histogram:
    """Of seconds."""
    _note(Entry(name, "histogram", "seconds", help, labels, alert))
    return Histogram(name, help, labels, buckets=SECONDS)


# ---- the catalogue: queue
JOINS = counter("fairgate_joins", "Joins answered, by what became of them", "outcome")
POSITIONS = counter("fairgate_positions", "Positions answered, by where the answer was found", "source")
BATCH_SIZE = gauge("fairgate_batch_size", "Requests in the last batch to Valkey", "kind")
JOIN_SECONDS = histogram("fairgate_join_batch_seconds", "One batch of joins, from sent to answered")
# ---- users
SESSIONS = counter("fairgate_sessions", "Sessions by what happened to them", "event")
# ---- admission
ADMISSIONS = counter("fairgate_admissions", "Waiters whose turn came")
ADMISSION_BOUND = counter("fairgate_admission_bound", "Rounds of admission, by the bound that decided", "bound")
CLAIMS = gauge("fairgate_claims", "Waiters out of the line and not yet in the outbox")
CLAIM_AGE = gauge(
    "fairgate_claim_oldest_seconds",
    "Age of the oldest orphan",
    unit="seconds",
    alert="fairgate_claim_oldest_seconds > 10",
)
RECOVERIES = counter("fairgate_recoveries", "Lines restored after Valkey lost data, or on request", "cause")
PLACES_RESTORED = counter("fairgate_places_restored", "Places that came back after a loss, by what proved them", "by")
RECOVERING = gauge(
    "fairgate_lines_recovering", "Lines that are shut until restored", alert="fairgate_lines_recovering > 0"
)
# ---- outbox
OUTBOX_UNSENT = gauge("fairgate_outbox_unsent", "Outbox rows that Kafka has not acknowledged")
OUTBOX_AGE = gauge(
    "fairgate_outbox_oldest_seconds",
    "Age of the oldest unsent outbox row",
    unit="seconds",
    alert="fairgate_outbox_oldest_seconds > 10",
)
PUBLISHED = counter("fairgate_published", "Records that Kafka acknowledged", "topic")
# ---- ticketing
ISSUED = counter("fairgate_tickets_issued", "Tickets issued")
SETTLED = counter("fairgate_settled", "Messages of ticket-issue, by outcome", "outcome")
DEAD_LETTERS = counter(
    "fairgate_dead_letters",
    "Messages given up, by topic and type of reason",
    "topic",
    "reason",
    alert="increase(fairgate_dead_letters_total[10m]) > 0",
)
LAG = gauge(
    "fairgate_consumer_lag",
    "Messages that a group has not yet processed",
    "group",
    "topic",
    alert="fairgate_consumer_lag > 10000",
)
LAG_SECONDS = gauge(
    "fairgate_consumer_lag_seconds",
    "Age of the oldest message that a group has not yet processed",
    "group",
    "topic",
    unit="seconds",
    alert="fairgate_consumer_lag_seconds > 60",
)
BROKER_ROUND_TRIP = gauge(
    "fairgate_broker_round_trip_seconds",
    "Mean round trip to a broker, as the client measures it",
    "broker",
    unit="seconds",
    alert="fairgate_broker_round_trip_seconds > 0.1",
)
# ---- notification
NOTIFICATIONS = counter("fairgate_notifications", "Notifications by channel and result", "channel", "result")
SOCKETS = gauge("fairgate_sockets", "Sockets that are open at this process")
# ---- cluster and books
UNDER_REPLICATED = gauge(
    "fairgate_under_replicated_partitions",
    "Partitions with too few replicas in sync",
    alert="fairgate_under_replicated_partitions > 0",
)
DISK_USAGE = gauge(
    "fairgate_disk_usage_ratio",
    "Used part of a broker's log directory",
    "broker",
    unit="ratio",
    alert="fairgate_disk_usage_ratio > 0.8",
)
AUDIT_DIFFERENCE = gauge(
    "fairgate_audit_difference",
    "What the books do not account for; must be 0",
    "equation",
    alert="fairgate_audit_difference != 0",
)

_FAILING = _note(
    Entry(
        "fairgate_service_failing",
        "gauge",
        "count",
        "1 while a duty of this process fails and tries again",
        ("service",),
        "fairgate_service_failing > 0",
    )
)
_REQUESTS = _note(
    Entry("fairgate_http_requests", "counter", "count", "Requests answered, by route and status", ("route", "status"))
)
_REQUEST_SECONDS = _note(
    Entry("fairgate_http_request_seconds", "histogram", "seconds", "From the head to the answer", ("route",))
)


class RequestTimes:
    """Counts requests without a lock: belongs to the event loop's thread; a scrape may see one request half counted.

    The library's own histogram costs 2 µs a request, a tenth of what the hot lane has.
    """

    def __init__(self) -> None:
        self._buckets: dict[str, list[int]] = defaultdict(lambda: [0] * (len(SECONDS) + 1))
        self._sums: dict[str, float] = defaultdict(float)
        self._statuses: dict[tuple[str, int], int] = defaultdict(int)

    def observe(self, route: str, status: int, seconds: float) -> None:
        """`route` is a template (`/tickets/{ticket_id}`), never a path."""
        self._buckets[route][bisect_left(SECONDS, seconds)] += 1
        self._sums[route] += seconds
        self._statuses[route, status] += 1

    def collect(self) -> Iterator[Metric]:
        times = HistogramMetricFamily(_REQUEST_SECONDS.name, _REQUEST_SECONDS.help, labels=_REQUEST_SECONDS.labels)
        for route, buckets in list(self._buckets.items()):
            times.add_metric([route], list(_cumulative(buckets)), self._sums[route])
        yield times
        counts = CounterMetricFamily(_REQUESTS.name, _REQUESTS.help, labels=_REQUESTS.labels)
        for (route, status), count in list(self._statuses.items()):
            counts.add_metric([route, str(status)], count)
        yield counts


def _cumulative(buckets: list[int]) -> Iterator[tuple[str, float]]:
    total = 0
    for bound, count in zip([*SECONDS, None], buckets, strict=True):
        total += count
        yield ("+Inf" if bound is None else str(bound)), total


REQUESTS = RequestTimes()
REGISTRY.register(REQUESTS)


class Duty(Protocol):
    """What a service shows: see `lifecycle.Service`."""

    name: str
    failing: str | None


class _Duties:
    def __init__(self) -> None:
        self.watched: list[Duty] = []

    def collect(self) -> Iterator[Metric]:
        family = GaugeMetricFamily(_FAILING.name, _FAILING.help, labels=_FAILING.labels)
        failing: dict[str, float] = {}
        for duty in self.watched:
            failing[duty.name] = max(failing.get(duty.name, 0.0), float(duty.failing is not None))
        for name, value in failing.items():
            family.add_metric([name], value)
        yield family


_DUTIES = _Duties()
REGISTRY.register(_DUTIES)


def watch(duties: Iterable[Duty]) -> None:
    """Show from now on whether these fail. Replaces what was watched before."""
    _DUTIES.watched = list(duties)


def exposition() -> bytes:
    """All metrics in Prometheus' text format."""
    return generate_latest(REGISTRY)
