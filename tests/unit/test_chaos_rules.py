"""The pure parts of the chaos: who keeps a name at Kafka, how a site is laid out, what the nemesis draws."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from fairgate.chaos import soak
from fairgate.chaos.cluster import java_hash, murmur2
from fairgate.chaos.run import by_site
from fairgate.chaos.scenarios import ALL, MIX
from fairgate.chaos.scenarios.mix import MENU, schedule
from fairgate.chaos.settings import SiteSettings, config_of, links_of
from fairgate.config import Ports
from fairgate.local.roles import ops_port


@pytest.mark.parametrize(
    ("key", "value"),
    [("21", -973932308), ("foobar", -790332482), ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971)],
)
def test_a_key_finds_its_partition_as_java_does(key: str, value: int) -> None:
    assert murmur2(key) == value & 0x7FFFFFFF


def test_a_name_finds_its_keeper_as_java_does() -> None:
    assert java_hash("hello") == 99162322
    assert java_hash("ticket-processor-group") == hash_of("ticket-processor-group")


def hash_of(text: str) -> int:
    return sum(ord(letter) * 31 ** (len(text) - 1 - at) for at, letter in enumerate(text)) & 0x7FFFFFFF


def test_the_nemesis_draws_the_same_for_the_same_seed_and_something_else_for_another() -> None:
    drawn = [[(wait_s, [f.title for f in faults]) for wait_s, faults in schedule(seed, 300.0)] for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]
    assert len(drawn[0]) >= 15


def test_the_nemesis_never_takes_the_same_thing_twice_at_once() -> None:
    for seed in range(50):
        for _, faults in schedule(seed, 300.0):
            assert len({fault.takes for fault in faults}) == len(faults)


def test_the_nemesis_comes_to_every_fault_of_its_menu() -> None:
    drawn = {fault for seed in range(50) for _, faults in islice(schedule(seed, 300.0), 20) for fault in faults}
    assert drawn == set(MENU)


def test_there_is_one_scenario_for_each_of_the_eight_risks() -> None:
    assert [scenario.risk for scenario in ALL] == [f"R{number}" for number in range(1, 9)]
    assert MIX.risk == "mix"


def test_a_soak_has_a_crowd_until_its_end() -> None:
    assert soak.scenario(30.0).longest_s > 30 * 60
    assert soak.scenario(600.0).longest_s > 600 * 60


def test_no_link_of_a_site_takes_the_port_of_anything_else(tmp_path: Path) -> None:
    settings = SiteSettings(proxied=True, replica=True)
    config, ports = config_of(settings, tmp_path, 8080), Ports(8080)
    fronts = [front for front, _ in links_of(settings, ports, 8080).values()]
    taken = [ports.api, ports.live, ports.valkey, ports.postgres]
    taken += [
        port for n in (1, 2, 3) for port in (ports.kafka(n), ports.peer(n), ports.observer(n), ports.controller(n))
    ]
    taken += [ops_port(config, role, index) for role in Ports.ROLES for index in range(4)]
    assert len({*fronts, *taken}) == len(fronts) + len(taken)


def test_the_short_version_waits_shorter_and_only_that_one(tmp_path: Path) -> None:
    long = SiteSettings(quick_config={"group_session_s": 8})
    short = SiteSettings(quick=True, quick_config={"group_session_s": 8})
    assert config_of(long, tmp_path, 8080).group_session_s == 30
    assert config_of(short, tmp_path, 8080).group_session_s == 8


def test_scenarios_that_want_the_same_site_run_one_after_the_other_in_their_turn() -> None:
    ran = by_site([*ALL, MIX])
    assert [scenario.risk for scenario in ran] == ["R6", "R1", "R2", "R3", "R5", "mix", "R8", "R7", "R4"]
