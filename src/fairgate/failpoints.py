"""Named moments between two side effects, at which a process can be made to die or to stall, for tests and chaos.

    FAIRGATE_FAILPOINTS="admission.claimed=exit@1, relay.sent=exit@random:42:5, ticketing.taken=stall:90@3"

`exit` ends the process at once, as a power cut would: nothing is flushed, nobody is told. `stall:<seconds>` blocks the
thread that is there. `@<n>` is the hit at which it happens, once; `@random:<seed>:<max>` draws n from 1 to max.

Off, a failpoint is one test of an empty dict. It is armed by the environment of the process alone, at its start, with a
loud line in the log; nothing that comes by a request can arm it.
"""

from __future__ import annotations

import os
import random
import re
import threading
import time
from collections.abc import Mapping

import msgspec
import structlog

from fairgate.errors import ConfigError

ENVIRONMENT = "FAIRGATE_FAILPOINTS"
# Of no signal and of no other end of ours: who sees it knows that the failpoint was hit.
EXIT_STATUS = 86

# What is done when it is hit, and what comes next and does not happen.
CATALOGUE: Mapping[str, str] = {
    # ---- api
    "queue.joined": "Valkey has given the places of a batch of joins; nobody is answered yet.",
    "queue.left": "Valkey has taken somebody out of the line; the answer is next.",
    "tickets.issued": "SQL has the ticket that the shop asked for; the relay is not rung.",
    "tickets.moved": "SQL has confirmed or cancelled the ticket; the relay is not rung.",
    "tickets.rung": "The relay is rung for a changed ticket; the cache of outcomes is next.",
    # ---- admission
    "admission.leased": "The lease of a line is ours in SQL; the epoch is not in Valkey.",
    "admission.prepared": "Epoch and settings are in Valkey; no claim has been read.",
    "admission.claimed": "Waiters are claims in Valkey; SQL knows nothing of it.",
    "admission.admitted": "Admissions and outbox rows are committed; the relay is not rung.",
    "admission.rung": "The relay is rung for admissions; their claims are still there.",
    "admission.cleared": "The claims of admissions are cleared; the next round begins.",
    "admission.departed": "Departures and their messages are committed; the claims are still there.",
    "admission.gone": "The claims of departures are cleared; the next round begins.",
    "admission.sold_out": "SQL says that the line is sold out; nobody has been sent away.",
    "recovery.held": "The line is held in Valkey; SQL still has the old generation.",
    "recovery.renumbered": "SQL has the new generation; the journal is not read.",
    "recovery.read": "What the line shall be is known; Valkey still has what was left of it.",
    "recovery.restored": "Who waits is in the line again; marks and counters are not written.",
    "recovery.written": "The recovery is in SQL; the line is still held.",
    "recovery.opened": "The line is open again; the outcomes of others are not back in the cache.",
    # ---- relay
    "relay.read": "The oldest rows are read; nothing is sent.",
    "relay.sent_one": "One row of several is with Kafka's client; the next one is not.",
    "relay.sent": "All rows are with Kafka's client; no acknowledgement has come.",
    "relay.acknowledged": "Kafka has all records; the rows are not marked.",
    "relay.marked": "The rows are marked as sent; the next ones are not read.",
    "journal.taken": "Entries of the journal are read; Kafka has none of them.",
    "journal.published": "Kafka has the entries; they are still in Valkey.",
    "journal.forgotten": "Valkey has forgotten the entries that Kafka has; the next ones are not sent.",
    # ---- ticketing
    "consumer.polled": "The thread that polls has records; nobody has been handed any.",
    "ticketing.taken": "Records are taken; SQL has not settled them.",
    "ticketing.settled": "Tickets are committed in SQL; no transaction has begun.",
    "transaction.sent_one": "One record of the transaction is with Kafka's client; the others and the offsets are not.",
    "transaction.sent": "Kafka has all records of the transaction; its offsets are not in it.",
    "transaction.offsets": "The offsets are in the transaction; it is not committed.",
    "transaction.committed": "The transaction is committed; the process does not know its positions yet.",
    "tickets.expired": "SQL has expired tickets whose hold ran out; the relay is not rung.",
    # ---- notification
    "notification.taken": "Records are taken; no inbox row is written.",
    "notification.kept": "Inbox rows are committed; no channel has been told.",
    "notification.told": "The channels are told; outcomes and offsets are next.",
    "notification.remembered": "The cache knows the outcomes; offsets are not committed.",
    "notification.buried": "Kafka has the dead letters; the offsets of what died are not committed.",
    "notification.committed": "The offsets are committed; the next batch is not taken.",
    # ---- live
    "live.read": "Something for a user who is here was read; nothing is sent.",
    "live.emitted": "It is on its way to the sockets; no acknowledgement has come.",
    "live.acknowledged": "The client has acknowledged; SQL does not know.",
    "live.seen": "SQL knows the acknowledgement; the process still counts it as open.",
}


class Armed(msgspec.Struct):
    """One failpoint that will act, at its hit number `at`. `stall_s` None: exit."""

    name: str
    at: int
    stall_s: float | None = None
    hits: int = 0


_armed: dict[str, Armed] = {}
_lock = threading.Lock()

_ORDER = re.compile(
    r"(?P<name>[a-z_.]+)=(?:exit|stall:(?P<stall>\d+(?:\.\d+)?))"
    r"@(?:(?P<at>[1-9]\d*)|random:(?P<seed>\w+):(?P<max>[1-9]\d*))",
    re.ASCII,
)


def failpoint(name: str) -> None:
    """Nothing, unless this process was started with it armed. May be called from any thread."""
    if _armed:
        _hit(name)


def arm(environment: Mapping[str, str]) -> list[Armed]:
    """At the start of a process. Raises `ConfigError` for what cannot be understood or is not in the catalogue."""
    orders = [order.strip() for order in environment.get(ENVIRONMENT, "").split(",") if order.strip()]
    armed = [_understood(order) for order in orders]
    _armed.clear()
    _armed.update({one.name: one for one in armed})
    for one in armed:
        what = "exits" if one.stall_s is None else f"stalls for {one.stall_s:g} s"
        structlog.get_logger("fairgate.failpoints").warning(
            "A FAILPOINT IS ARMED: this process will fail on purpose", failpoint=one.name, at_hit=one.at, then=what
        )
    return armed


def _understood(order: str) -> Armed:
    found = _ORDER.fullmatch(order)
    if found is None:
        raise ConfigError(f"{ENVIRONMENT} cannot be understood: {order}", "for example admission.claimed=exit@1")
    if found["name"] not in CATALOGUE:
        raise ConfigError(f"{ENVIRONMENT}: there is no failpoint {found['name']}", "docs/failpoints.md names them all")
    at = int(found["at"]) if found["at"] else random.Random(found["seed"]).randint(1, int(found["max"]))
    return Armed(found["name"], at, float(found["stall"]) if found["stall"] else None)


def _hit(name: str) -> None:
    one = _armed.get(name)
    if one is None:
        return
    with _lock:
        one.hits += 1
        acts = one.hits == one.at
    if not acts:
        return
    if one.stall_s is None:
        os._exit(EXIT_STATUS)  # neither `atexit` nor buffers: a power cut has no last words
    time.sleep(one.stall_s)
