"""Origins, credentials and addresses; and the limit per address."""

from __future__ import annotations

import pytest

from fairgate.config import Config
from fairgate.errors import ConfigError, NoSession, OriginRefused
from fairgate.http.gate import Gate, bearer_of, cookie_of, is_json
from fairgate.users.limits import GuestLimit, bucket_of
from tests.support.edge import ALLOWED, OPERATOR, SERVICE, config

GATE = Gate(config(public_url="https://wait.example", trusted_proxies=("10.0.0.0/8", "fd00::/8")))


@pytest.mark.parametrize("origin", ["https://wait.example", ALLOWED, ALLOWED.upper(), "http://here:8080"])
def test_our_own_and_allowed_origins_come_in(origin: str) -> None:
    GATE.admit_origin(origin, "here:8080", by_cookie=True)


@pytest.mark.parametrize(
    "origin",
    ["", "null", "https://", "here:8080", "ftp://here:8080", "http://here", "https://wait.example.evil", "http://evil"],
)
def test_every_other_origin_is_refused_with_and_without_a_cookie(origin: str) -> None:
    for by_cookie in (True, False):
        with pytest.raises(OriginRefused):
            GATE.admit_origin(origin, "here:8080", by_cookie=by_cookie)


def test_only_who_sends_no_cookie_may_leave_the_origin_out() -> None:
    GATE.admit_origin(None, "here", by_cookie=False)
    with pytest.raises(OriginRefused):
        GATE.admit_origin(None, "here", by_cookie=True)


def test_a_credential_fits_only_its_own_purpose() -> None:
    assert GATE.is_credential("service", SERVICE)
    assert GATE.is_credential("operator", OPERATOR)
    assert not GATE.is_credential("operator", SERVICE)
    assert not GATE.is_credential("service", OPERATOR)
    assert not GATE.is_credential("service", SERVICE + "é")


def test_an_unset_credential_fits_nobody() -> None:
    gate = Gate(Config(service_token=None, operator_token=None))
    assert not any(gate.is_credential("service", text) for text in ("", "None", SERVICE))


@pytest.mark.parametrize(
    ("peer", "hops", "address"),
    [
        ("1.1.1.1", "", "1.1.1.1"),
        ("1.1.1.1", "9.9.9.9", "1.1.1.1"),
        ("10.0.0.1", "2.2.2.2", "2.2.2.2"),
        ("10.0.0.1", "9.9.9.9, 2.2.2.2", "2.2.2.2"),
        ("10.0.0.1", "9.9.9.9,2.2.2.2 , 10.0.0.2", "2.2.2.2"),
        ("10.0.0.1", "10.0.0.3, 10.0.0.2", "10.0.0.3"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("fd00::1", "2001:db8::1", "2001:db8::1"),
        ("10.0.0.1", "not an address", "not an address"),
        ("", "9.9.9.9", ""),
    ],
)
def test_the_right_most_hop_that_is_not_ours_is_the_client(peer: str, hops: str, address: str) -> None:
    assert GATE.client_address(peer, hops) == address


def test_a_proxy_that_is_no_network_is_named() -> None:
    with pytest.raises(ConfigError, match="my-proxy"):
        Gate(config(trusted_proxies=("my-proxy",)))


@pytest.mark.parametrize("header", ["", "Bearer", "Bearer ", "Basic abc", "Bearer  ", "Bearer " + "x" * 513])
def test_no_bearer_is_no_session(header: str) -> None:
    with pytest.raises(NoSession):
        bearer_of(header)


def test_our_cookie_is_found_among_others() -> None:
    assert cookie_of("a=b; fairgate_session=s1.x; c=d") == "s1.x"
    assert cookie_of("xfairgate_session=s1.x; fairgate_session2=y") is None


@pytest.mark.parametrize("kind", ["application/json", "Application/JSON ; charset=UTF-8", "application/json;"])
def test_json_is_recognised(kind: str) -> None:
    assert is_json(kind)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/jsonp", "text/plain; application/json"])
def test_everything_else_is_not_json(kind: str) -> None:
    assert not is_json(kind)


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_an_address_gets_its_rate_and_no_more() -> None:
    clock = Clock()
    limit = GuestLimit(60, clock=clock)
    assert [limit.wait_s("1.1.1.1") for _ in range(60)] == [0.0] * 60
    assert limit.wait_s("1.1.1.1") == pytest.approx(1.0)
    assert limit.wait_s("2.2.2.2") == 0.0
    clock.now += 1.0
    assert limit.wait_s("1.1.1.1") == 0.0
    assert limit.wait_s("1.1.1.1") > 0


def test_one_who_has_a_whole_ipv6_network_has_one_bucket() -> None:
    assert bucket_of("2001:db8::1") == bucket_of("2001:db8:0:0:ffff::2%eth0")
    assert bucket_of("2001:db8::1") != bucket_of("2001:db8:0:1::1")


def test_the_table_of_addresses_stays_bounded() -> None:
    limit = GuestLimit(60, addresses_max=100, clock=Clock())
    for i in range(1_000):
        limit.wait_s(f"10.0.{i // 250}.{i % 250}")
    assert len(limit) == 100
