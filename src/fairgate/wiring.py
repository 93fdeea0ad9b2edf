"""The only file that knows everyone: what each role is made of, upstream first. Read `ROLES` and then upwards.

A role is a list of services. Starting goes from the sink to the source, stopping from the source to the sink, so that
intake ends first and the rest drains. The web frameworks are imported by the roles that serve the web: they cost a
second.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fairgate.admission.admit import Admission
from fairgate.admission.owner import Owner
from fairgate.admission.pace import Bounds, Ramp
from fairgate.admission.recovery import Recovery
from fairgate.admission.wake import JoinListener
from fairgate.config import Config
from fairgate.lifecycle import Service
from fairgate.links import Links
from fairgate.notification.channels import Channels, LiveChannel
from fairgate.notification.dead_letters import DeadLetters
from fairgate.notification.outcomes import Outcomes
from fairgate.notification.prune import Prune as InboxPrune
from fairgate.notification.tell import GROUP as NOTIFICATION_GROUP
from fairgate.notification.tell import Notification
from fairgate.ops.audit import Audit
from fairgate.ops.lag import LagWatch, readings
from fairgate.ops.orphans import ClaimWatch
from fairgate.outbox.journal import Journal
from fairgate.outbox.prune import Prune as OutboxPrune
from fairgate.outbox.relay import Relay
from fairgate.outbox.sweep import LostAdmissions, Sweep, UntoldTickets
from fairgate.outbox.watch import OutboxWatch
from fairgate.queue.lines import Lines
from fairgate.stores.accounts import Accounts
from fairgate.stores.journal import JournalStore
from fairgate.stores.keys import JOURNAL_CHANNEL, JOURNALED_CHANNEL
from fairgate.stores.notices import Listener
from fairgate.stores.outbox import OutboxStore
from fairgate.stores.users import UserStore
from fairgate.streams.journal import JournalReader
from fairgate.streams.producer import OrderedProducer
from fairgate.streams.publisher import Publisher
from fairgate.streams.topics import Names
from fairgate.ticketing.expire import Expire
from fairgate.ticketing.hints import Hints
from fairgate.ticketing.settle import GROUP as TICKETING_GROUP
from fairgate.ticketing.settle import Settle
from fairgate.ticketing.tickets import Tickets
from fairgate.users.keeper import SessionKeeper
from fairgate.users.limits import GuestLimit
from fairgate.users.users import Users

Ready = Callable[[], Mapping[str, str | None]]


def api(links: Links, ready: Ready) -> list[Service]:
    """HTTP: join, position, tickets, sessions, notifications, operators."""
    from fairgate.http import hot
    from fairgate.http.app import create_app
    from fairgate.http.gate import Gate
    from fairgate.http.headers import Headers
    from fairgate.http.server import ApiServer
    from fairgate.http.services import Services

    config = links.config
    services = Services(
        config=config,
        queue=links.queue,
        lines=Lines(links.database),
        tickets=Tickets(links.database, links.ticket_changed),
        inbox=links.inbox,
        sessions=links.sessions,
        users=Users(UserStore(links.database)),
        ready=ready,
        gate=Gate(config),
        headers=Headers(config),
        guests=GuestLimit(config.guest_rate_per_minute),
    )
    server = ApiServer(
        create_app(services),
        host=config.host,
        port=config.ports.api,
        protocol=hot.protocol(services),
        reuse_port=True,
    )
    ears: list[Service] = []
    if links.joins_wait:  # each join would ask; for leaves, asking is good enough
        ears = [Listener(links.valkey, JOURNALED_CHANNEL, links.journaled.heard, links.journaled.ask_all)]
    return [server, SessionKeeper(links.sessions), *ears, links.book]


def admission(links: Links, ready: Ready) -> list[Service]:
    """Line → claims → admissions and outbox rows."""
    shards = links.shards("lines")
    recovery = Recovery(links.database, links.book, links.line, shards, JournalReader(links.config))
    owner = Owner(
        links.database, links.book, links.line, shards, recovery=recovery, grace_s=links.config.recovery_grace_s
    )
    stage = Admission(links.database, owner, links.line, links.bell, bounds=_bounds(links.config))
    links.book.on_change(lambda line: stage.wake.set())
    links.book.on_notice(stage.stock_changed)
    shards.on_taken(stage.wake.set)
    recovery.on_restored(stage.wake.set)
    ear = JoinListener(links.valkey, stage.someone_joined, owner.sweep_soon)
    return [ear, stage, recovery, shards, links.slot, links.book]


def _bounds(config: Config) -> Bounds:
    return Bounds(
        unsettled_max=config.unsettled_hold,
        lag=Ramp(config.lag_slow_from, config.lag_hold_from),
        lag_s=Ramp(config.lag_slow_from_s, config.lag_hold_from_s),
        outbox_age_s=Ramp(config.outbox_age_slow_from_s, config.outbox_age_hold_s),
    )


def relay(links: Links, ready: Ready) -> list[Service]:
    """Outbox rows and the lines' journals → Kafka."""
    store, shards = OutboxStore(links.database), links.shards("outbox")
    config = links.config
    stage = Relay(links.database, store, shards, lambda: OrderedProducer(config, links.owner), config.topic_prefix)
    shards.on_taken(stage.wake.set)
    names = Names(config.topic_prefix)
    sweepers = [
        Sweep(LostAdmissions(links.database), links.log_of(TICKETING_GROUP), names.ticket_issue, shards),
        Sweep(UntoldTickets(links.database), links.log_of(NOTIFICATION_GROUP), names.ticket_issued, shards),
    ]
    publisher = Publisher(lambda: OrderedProducer(config, f"{links.owner}-journal"), "journal-producer")
    journal = Journal(
        *(JournalStore(links.line), links.book, shards, publisher, names.queue_journal),
        joins_wait=links.joins_wait,
    )
    ear = Listener(links.valkey, JOURNAL_CHANNEL, journal.heard, journal.sweep_soon)
    accounts = Accounts(links.database, links.line.channel)
    watches: list[Service] = [LagWatch(links.database, readings(config), shards), ClaimWatch(accounts, shards)]
    watches.append(Audit(accounts, shards, names.ticket_issue))
    duties: list[Service] = [*watches, OutboxPrune(store), OutboxWatch(links.database)]
    return [ear, journal, stage, *sweepers, *duties, shards, links.slot, links.book]


def ticketing(links: Links, ready: Ready) -> list[Service]:
    """`ticket-issue` → tickets → `ticket-issued`; holds that ran out."""
    hints = Hints(links.presence, links.inbox_rows)
    stage = Settle(links.config, links.database, links.slot, issued=hints.issued)
    return [stage, Expire(links.database, links.ticket_changed), links.slot]


def notification(links: Links, ready: Ready) -> list[Service]:
    """`ticket-issued`, `notification` → inbox → channels."""
    names = Names(links.config.topic_prefix)
    outcomes = Outcomes(links.line.remember_each)
    stage = Notification(
        consumer=lambda: links.consumer(NOTIFICATION_GROUP, [names.ticket_issued, names.notification]),
        names=names,
        inbox=links.inbox_rows,
        outcomes=outcomes,
        channels=Channels([LiveChannel(links.presence)]),
        dead_letters=DeadLetters(links.config, NOTIFICATION_GROUP),
    )
    return [stage, outcomes, InboxPrune(links.inbox_rows, links.config.inbox_kept_days), links.slot]


def live(links: Links, ready: Ready) -> list[Service]:
    """Inbox and hints → sockets; places by distance."""
    from fairgate.http.live import LiveServer
    from fairgate.http.live_http import LiveHttp

    config = links.config
    server = LiveServer(
        config,
        inbox=links.inbox,
        presence=links.presence,
        authenticate=links.authenticate,
        queue=links.queue,
    )
    front = LiveHttp(server, host=config.host, port=config.ports.live)
    return [front, *server.services, SessionKeeper(links.sessions), links.book]


ROLES: Mapping[str, Callable[[Links, Ready], list[Service]]] = {
    "api": api,
    "admission": admission,
    "relay": relay,
    "ticketing": ticketing,
    "notification": notification,
    "live": live,
}
