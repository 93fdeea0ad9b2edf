"""The archives of a server: verified before each start, whatever the cache or the network brings."""

from __future__ import annotations

import hashlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fairgate.errors import ConfigError
from fairgate.local import jars

GOOD = b"the right bytes"


class Cache:
    """Stands for the resolver: one archive, fetched as `brings`."""

    def __init__(self, directory: Path, brings: bytes) -> None:
        self.repo_cache, self._brings, self.downloads = directory, brings, 0
        self.cached_path = directory / "thing-1.jar"

    def project(self, group: str, artifact: str) -> Any:
        return SimpleNamespace(at_version=lambda version: SimpleNamespace(artifact=lambda: self))

    def resolve(self) -> Path:
        if not self.cached_path.exists():
            self.downloads += 1
            self.cached_path.write_bytes(self._brings)
        return self.cached_path


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    file = tmp_path / "some.lock"
    file.write_text(f"# comment\n{hashlib.sha256(GOOD).hexdigest()}  group:thing:1\n")
    return file


def use(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, brings: bytes) -> Cache:
    cache = Cache(tmp_path, brings)
    monkeypatch.setattr(jars, "_resolver_context", lambda: cache)
    return cache


def test_a_download_with_other_bytes_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lock: Path) -> None:
    use(monkeypatch, tmp_path, b"something else")
    with pytest.raises(ConfigError, match=r"thing-1\.jar is not the file that the lock names"):
        jars.class_path(lock, lambda _: None)


def test_a_half_written_archive_is_fetched_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lock: Path) -> None:
    cache = use(monkeypatch, tmp_path, GOOD)
    cache.cached_path.write_bytes(GOOD[:5])
    assert jars.class_path(lock, lambda _: None) == [cache.cached_path]
    assert cache.downloads == 1


def test_a_filled_cache_needs_no_download_and_no_word(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lock: Path
) -> None:
    cache = use(monkeypatch, tmp_path, GOOD)
    cache.cached_path.write_bytes(GOOD)
    said: list[str] = []
    jars.class_path(lock, said.append)
    assert (cache.downloads, said) == (0, [])


def test_a_first_run_says_what_it_fetches_and_where_it_is_kept(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, lock: Path
) -> None:
    use(monkeypatch, tmp_path, GOOD)
    said: list[str] = []
    jars.class_path(lock, said.append)
    assert "downloading 1 of 1" in said[0]
    assert str(tmp_path) in said[0]
