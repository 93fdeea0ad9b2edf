"""The live role's rules that need no server: how often, how many, and what goes over the wire."""

from __future__ import annotations

from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from socketio.packet import EVENT, Packet

from fairgate.config import Config
from fairgate.domain.place import Place, Status
from fairgate.errors import TooManyRequests
from fairgate.http.live_pace import FAR_S, NEXT_S, pause_s
from fairgate.http.live_sockets import ASKS_BURST, PER_USER, Connection, Sockets
from fairgate.http.live_watch import TICK_S
from fairgate.http.live_wire import UNREAD_MAX, Wire, event

POSITIONS = st.integers(min_value=1, max_value=10_000_000)
RATES = st.floats(min_value=0.001, max_value=1_000_000)


def waiting(position: int) -> Place:
    return Place(Status.WAITING, position, position, position)


@given(POSITIONS, POSITIONS, RATES)
def test_nobody_nearer_to_the_head_is_told_less_often(one: int, other: int, rate: float) -> None:
    near, far = sorted((one, other))
    assert NEXT_S <= pause_s(waiting(near), rate) <= pause_s(waiting(far), rate) <= FAR_S


@given(POSITIONS, RATES)
def test_the_pace_is_smooth(position: int, rate: float) -> None:
    step = pause_s(waiting(position + 1), rate) - pause_s(waiting(position), rate)
    assert 0 <= step <= 0.1 / rate + 1e-6


def test_the_next_in_line_is_told_every_second_and_nobody_s_place_is_older_than_fifteen() -> None:
    assert pause_s(waiting(1), 10.0) == 1.0
    assert pause_s(waiting(1_000_000), 10.0) + 2 * TICK_S <= 15.0
    assert 1.0 < pause_s(waiting(400), 10.0) < pause_s(waiting(1_000_000), 10.0)


@pytest.mark.parametrize("status", [status for status in Status if status is not Status.WAITING])
def test_who_does_not_wait_has_a_pause_too(status: Status) -> None:
    assert NEXT_S <= pause_s(Place(status), 1.0) <= FAR_S


@given(
    st.dictionaries(st.text(max_size=20), st.one_of(st.integers(), st.text(max_size=50), st.none()), max_size=5),
    st.one_of(st.none(), st.integers(min_value=0, max_value=10**9)),
)
def test_an_event_on_the_wire_is_what_the_protocol_reads(payload: dict[str, object], ack_id: int | None) -> None:
    packet = Packet(encoded_packet=event("ticket:issued", msgspec.json.encode(payload), ack_id))

    assert (packet.packet_type, packet.namespace, packet.id) == (EVENT, None, ack_id)
    assert packet.data == ["ticket:issued", payload]


def test_the_first_and_the_last_socket_of_a_user_are_noticed() -> None:
    sockets = Sockets()
    first, second = Connection("s1", "e1", "u", "t"), Connection("s2", "e2", "u", "t")

    assert (sockets.add(first), sockets.add(second)) == (True, False)
    assert (sockets.remove("s1"), sockets.remove("s1")) == ((first, False), (None, False))
    assert sockets.remove("s2") == (second, True)
    assert (len(sockets), list(sockets.users), sockets.known("e1")) == (0, [], False)


def test_one_socket_too_many_is_refused_and_leaves_no_trace() -> None:
    sockets = Sockets()
    for n in range(PER_USER):
        sockets.add(Connection(f"s{n}", f"e{n}", "u", "t"))

    with pytest.raises(TooManyRequests):
        sockets.add(Connection("one more", "e", "u", "t"))
    assert (len(sockets), sockets.known("e")) == (PER_USER, False)


def test_who_asks_all_the_time_is_not_answered() -> None:
    connection = Connection("s", "e", "u", "t")
    answers = [connection.may_ask() for _ in range(100)]

    assert answers[: int(ASKS_BURST)] == [True] * int(ASKS_BURST)
    assert sum(answers) <= ASKS_BURST + 1


def test_rooms_are_named_by_nobody_but_the_process() -> None:
    one, other = Wire(Config(), lambda *_: None), Wire(Config(), lambda *_: None)

    assert one.room("u") == one.room("u")
    assert len({one.room("u"), other.room("u"), one.room("v")}) == 3
    assert "u1234" not in one.room("u1234")


async def test_who_reads_nothing_is_dropped_before_the_queue_grows_without_end() -> None:
    wire = Wire(Config(), lambda *_: None)
    closed: list[str] = []

    class Deaf:
        closed = False
        queue = SimpleNamespace(qsize=lambda: UNREAD_MAX, put_nowait=lambda _: None)

        async def close(self, **_: object) -> None:
            closed.append("closed")

    wire.sio.eio.sockets["e"] = Deaf()
    await wire.send("e", "2[]")

    assert closed == ["closed"]
    assert wire.transports() == []
