"""The habits that a machine can hold: short files and functions, and nothing of one machine in the repository."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILE_LINES_MAX, FUNCTION_LINES_MAX = 300, 60

# In pieces, so that this file does not contain what it forbids.
DOWNLOAD_HOSTS = (
    *("pypi" + ".org", "python" + "hosted.org", "npm" + "js.org", "npm" + "js.com", "yarn" + "pkg.com"),
    *("repo1.maven" + ".org", "repo.maven" + ".apache.org", "maven" + "central", "oss.sonatype" + ".org"),
    *("proxy.go" + "lang.org", "crates" + ".io", "ruby" + "gems.org", "ana" + "conda.org", "deb.deb" + "ian.org"),
)
OWN_PATHS = re.compile("/(?:ho" + "me/[a-z]|Use" + "rs/[A-Za-z]|ro" + "ot/|wo" + "rk/(?!flows))")
# Names of files that hold a resolver's answers, addresses included.
LOCKS_WITH_ADDRESSES = {"uv" + ".lock", "poetry" + ".lock", "Pipfile" + ".lock"}


@cache
def tracked() -> list[Path]:
    """The files of the repository, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def sources() -> list[Path]:
    return sorted((ROOT / "src").rglob("*.py"))


def functions(path: Path) -> Iterator[tuple[str, int]]:
    """Name and number of lines, decorators and docstring included."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min((decorator.lineno for decorator in node.decorator_list), default=node.lineno)
            assert node.end_lineno is not None
            yield f"{path.relative_to(ROOT)}:{node.lineno} {node.name}", node.end_lineno - first + 1


def text_of(path: Path) -> str:
    """Empty for what is no text."""
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def test_no_function_is_longer_than_a_screen() -> None:
    lengths = {name: lines for path in sources() for name, lines in functions(path)}
    assert {name: lines for name, lines in lengths.items() if lines > FUNCTION_LINES_MAX} == {}


def test_no_file_holds_more_than_one_duty_fits_in() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sources()}
    assert {name: lines for name, lines in lengths.items() if lines > FILE_LINES_MAX} == {}


def test_no_file_names_a_place_to_download_from() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {host}" for path in tracked() for host in DOWNLOAD_HOSTS if host in text_of(path)
    ]
    assert found == []


def test_no_file_names_a_developers_own_path() -> None:
    found = [f"{path.relative_to(ROOT)}: {hit[0]}" for path in tracked() if (hit := OWN_PATHS.search(text_of(path)))]
    assert found == []


def test_no_lock_file_with_addresses_is_tracked() -> None:
    assert [path for path in tracked() if path.name in LOCKS_WITH_ADDRESSES] == []


@pytest.mark.parametrize("name", ["uv", "build", "base", "dev"])
def test_every_locked_package_has_a_version_and_a_hash(name: str) -> None:
    lock = (ROOT / "requirements" / f"{name}.txt").read_text()
    packages = re.findall(r"(?m)^[A-Za-z0-9].*(?:\n {4}--hash=sha256:[0-9a-f]{64}.*)*", lock)
    assert packages
    assert [package for package in packages if "==" not in package or "--hash=" not in package] == []


def test_the_locks_agree_with_each_other() -> None:
    versions: dict[str, set[str]] = {}
    for lock in (ROOT / "requirements").glob("*.txt"):
        for name, version in re.findall(r"(?m)^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==(\S+)", lock.read_text()):
            versions.setdefault(name, set()).add(version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_the_locks_hold_what_pyproject_asks_for() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [*project["project"]["dependencies"], *project["project"]["optional-dependencies"]["local"]]
    locks = {"base": asked, "dev": [*asked, *project["dependency-groups"]["dev"]]}
    for lock, wanted in locks.items():
        pinned = set(
            re.findall(r"(?m)^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==", (ROOT / f"requirements/{lock}.txt").read_text())
        )
        assert {re.split(r"[^A-Za-z0-9_.-]", name)[0].lower() for name in wanted} <= pinned, f"{lock}: make lock"
