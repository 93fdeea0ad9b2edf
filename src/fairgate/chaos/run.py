"""All scenarios that were asked for, one after another, each on a site that fits it; and where it ran."""

from __future__ import annotations

import asyncio
import gc
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import uvloop

from fairgate.chaos.disks import CannotMount, enter_namespace
from fairgate.chaos.play import Load, Play, Played
from fairgate.chaos.results import Environment, Report, Result
from fairgate.chaos.scenario import Scenario, SiteSettings
from fairgate.chaos.settings import config_of
from fairgate.chaos.site import Site, open_site
from fairgate.checker import history
from fairgate.errors import FairgateError
from fairgate.local.servers import Step
from fairgate.reports.machine import machine, now, versions_of

JOINS_PER_S = 150.0
NEVER = 1_000_000_000


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """`keep_in`: where the histories of a run that failed go; nowhere when None."""

    scenarios: tuple[Scenario, ...]
    quick: bool = False
    seed: int = 1998
    joins_per_s: float = JOINS_PER_S
    data_dir: Path | None = None
    keep_in: Path | None = None


Say = Callable[[str], None]


def run_chaos(options: Options, say: Say = lambda _: None) -> Report:
    """Blocks for all of it and leaves nothing running. What fails is in the report; interrupted, everything stops."""
    began = now()
    versions: dict[str, str] = {}
    # Before any thread.
    disks = any(scenario.settings.disk_bytes for scenario in options.scenarios) and enter_namespace()
    with _data_dir(options) as directory, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        sites = Sites(directory, options.quick, disks, versions, say)
        try:
            played = {one.risk: _one(one, options, sites, runner, say) for one in by_site(options.scenarios)}
        finally:
            sites.end()
    results = [played[scenario.risk] for scenario in options.scenarios]
    return Report(
        environment=Environment(
            **msgspec.structs.asdict(machine(began, versions)),
            seed=options.seed,
            quick=options.quick,
            shortened=shortened(options.scenarios) if options.quick else [],
        ),
        results=results,
    )


def by_site(scenarios: Sequence[Scenario]) -> list[Scenario]:
    """Those that want the same site one after the other, each in its turn, else in their order: a site takes half a
    minute to start.
    """
    wanted = [scenario.settings for scenario in scenarios]
    return sorted(scenarios, key=lambda scenario: (wanted.index(scenario.settings), scenario.turn))


@contextmanager
def _data_dir(options: Options) -> Iterator[Path]:
    if options.data_dir is not None:
        options.data_dir.mkdir(parents=True, exist_ok=True)
        yield options.data_dir
        return
    directory = Path(tempfile.mkdtemp(prefix="fairgate-chaos-"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class Sites:
    """One runs at a time, and goes on while the next scenario wants the same. `disks`: small ones can be had."""

    def __init__(self, directory: Path, quick: bool, disks: bool, versions: dict[str, str], say: Say) -> None:
        self._directory, self._quick, self._disks, self._versions, self._say = directory, quick, disks, versions, say
        self._site: Site | None = None
        self._count = 0

    def fitting(self, scenario: Scenario) -> Site:
        """Blocks until it runs. Raises `ConfigError`, `CannotMount`."""
        wanted = msgspec.structs.replace(scenario.settings, quick=self._quick)
        if not self._disks:
            if scenario.needs_disks:
                raise CannotMount
            wanted = msgspec.structs.replace(wanted, disk_bytes=None)
        if self._site is None or self._site.settings != wanted:
            self.end()
            self._count += 1
            began = time.monotonic()
            self._site = open_site(wanted, self._directory / f"site-{self._count}", self._tell)
            self._say(f"  the site runs: {_about(wanted)}, in {time.monotonic() - began:.0f} s")
            self._versions.update(versions_of(self._site.stack))
        return self._site

    def end(self) -> None:
        site, self._site = self._site, None
        if site is not None:
            site.end()

    def _tell(self, step: Step) -> None:
        if step.seconds is None:  # something was started again: that is what happens here all the time
            return
        self._say(f"    {step.title}")


def _about(settings: SiteSettings) -> str:
    parts = [f"{settings.brokers} brokers"]
    parts += [f"{settings.controllers} controllers apart"] if settings.controllers else []
    parts += ["proxies"] if settings.proxied else []
    parts += [f"disks of {settings.disk_bytes >> 20} MiB"] if settings.disk_bytes else []
    parts += ["a Valkey replica"] if settings.replica else []
    return ", ".join([*parts, f"{sum(settings.roles.values())} processes of Fairgate"])


def _one(scenario: Scenario, options: Options, sites: Sites, runner: asyncio.Runner, say: Say) -> Result:
    say(f"{scenario.risk} {scenario.title}: {scenario.about}")
    load = Load(joins_per_s=options.joins_per_s, seed=options.seed, quick=options.quick)
    try:
        site = sites.fitting(scenario)
    except CannotMount as error:
        return _told(_not_run(scenario, options, str(error) or "small file systems need root"), say)
    except FairgateError as error:
        return _told(_failed(scenario, options, f"the site did not start: {error}"), say)
    with _without_full_collections():
        played = runner.run(_play(scenario, site, load, say))
    if not played.sound:
        sites.end()
    _keep_histories(played, options)
    return _told(played.result, say)


@contextmanager
def _without_full_collections() -> Iterator[None]:
    """A crowd leaves millions of objects, and all fans stand still for seconds when Python looks through them: that
    waits until the scenario is over. What is young is collected as ever.
    """
    thresholds = gc.get_threshold()
    gc.set_threshold(*thresholds[:2], NEVER)
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.collect()


async def _play(scenario: Scenario, site: Site, load: Load, say: Say) -> Played:
    return await Play(scenario, site, load, say).played()


def _not_run(scenario: Scenario, options: Options, why: str) -> Result:
    return Result(risk=scenario.risk, title=scenario.title, about=scenario.about, seed=options.seed, not_run=why)


def _failed(scenario: Scenario, options: Options, why: str) -> Result:
    return Result(risk=scenario.risk, title=scenario.title, about=scenario.about, seed=options.seed, trouble=[why])


def _keep_histories(played: Played, options: Options) -> None:
    """Of a run that failed, so that it can be looked at, cut down and kept as a test."""
    if options.keep_in is not None and played.run is not None and played.result.violations:
        options.keep_in.mkdir(parents=True, exist_ok=True)
        history.write(options.keep_in / f"{played.result.risk.lower()}-histories.jsonl", played.run.histories)


def _told(result: Result, say: Say) -> Result:
    if result.verdict is not None:
        say(result.verdict.text(f"  verdict on {result.risk} after {result.took_s:.0f} s"))
    for trouble in result.trouble:
        say(f"  ✗ {trouble}")
    say(f"{result.risk} {result.outcome}{': ' + result.not_run if result.not_run else ''}\n")
    return result


# ---- where it ran


def shortened(scenarios: Sequence[Scenario]) -> list[str]:
    """Settings that `quick` makes other than in the full run, in words."""
    found: dict[str, None] = {}
    for scenario in scenarios:
        full, quick = (
            config_of(msgspec.structs.replace(scenario.settings, quick=quick), Path("data"), 20_000).model_dump()
            for quick in (False, True)
        )
        found |= dict.fromkeys(
            f"{name}: {quick[name]} instead of {full[name]}" for name in full if full[name] != quick[name]
        )
    return ["how long each fault lasts", *found]
