"""Documents that cannot fall behind: settings, commands, dependencies and links are compared with the code."""

from __future__ import annotations

import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
import typer
from pydantic import SecretStr
from pydantic_core import PydanticUndefined

from fairgate.cli.main import COMMANDS, build
from fairgate.config import Config

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def first_cells(page: Path) -> dict[str, list[str]]:
    """The code word that begins a table's row → the other cells."""
    rows = re.findall(r"(?m)^\| `([^`]+)` \|(.*)\|$", page.read_text(encoding="utf-8"))
    return {name: [cell.strip() for cell in rest.split(" | ")] for name, rest in rows}


@cache
def pages() -> list[Path]:
    """Every page of the repository, new ones included."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True).stdout
    return [ROOT / name for name in listed.splitlines() if (ROOT / name).is_file()]


# ---- settings


def shown(default: Any) -> str:
    match default:
        case None:
            return "unset"
        case "":
            return "empty"
        case ():
            return "`[]`"
        case bool():
            return f"`{str(default).lower()}`"
        case SecretStr():
            raise AssertionError("a secret has no default")
        case _:
            return f"`{default}`"


def test_every_setting_has_its_entry_with_its_default() -> None:
    documented = {
        name: cells[0] for name, cells in first_cells(DOCS / "configuration.md").items() if name.startswith("FAIRGATE_")
    }
    settings = {f"FAIRGATE_{name}".upper(): field.default for name, field in Config.model_fields.items()}
    assert PydanticUndefined not in settings.values()
    assert documented == {name: shown(default) for name, default in settings.items()}


# ---- commands


def commands() -> set[str]:
    """`fairgate up`, `fairgate events create`, …"""
    found = set()
    for name in COMMANDS:
        command = typer.main.get_command(build([name])).commands[name]  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {f"fairgate {name} {one}" for one in below} if below else {f"fairgate {name}"}
    return found


def test_every_command_has_its_entry() -> None:
    assert {name for name in first_cells(DOCS / "commands.md") if name.startswith("fairgate ")} == commands()


# ---- dependencies


def test_every_dependency_has_its_entry() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [
        *project["project"]["dependencies"],
        *(name for extra in project["project"]["optional-dependencies"].values() for name in extra),
        *(name for group in project["dependency-groups"].values() for name in group),
    ]
    assert set(first_cells(DOCS / "dependencies.md")) == {re.split(r"[^A-Za-z0-9_.-]", name)[0] for name in asked}


# ---- links


def anchors(page: Path) -> set[str]:
    """What a link may name behind `#`, as the usual hosts make it of the headings."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    headings = re.findall(r"(?m)^#+ (.+)$", text)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).strip().replace(" ", "-") for heading in headings}


def broken(page: Path) -> list[str]:
    """Links to files or headings that are not there."""
    text = re.sub(r"(?ms)^```.*?^```", "", page.read_text(encoding="utf-8"))
    found = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            found.append(link)
    return found


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page: Path) -> None:
    assert broken(page) == []


# ---- two languages


def skeleton(page: Path) -> list[str]:
    """What is the same in every language: code, the depth of headings, the targets of links."""
    text = page.read_text(encoding="utf-8")
    code = r"(?ms)^```.*?^```"
    prose = re.sub(code, "", text)
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", prose) if not link.startswith("README")]
    return [*re.findall(code, text), *re.findall(r"(?m)^#+(?= )", prose), *sorted(links)]


def test_both_readmes_have_the_same_commands_sections_and_links() -> None:
    assert skeleton(ROOT / "README.md") == skeleton(ROOT / "README.ko.md")


def test_both_readmes_tell_the_same_status() -> None:
    english, korean = (re.findall(r"(?m)^\| .* \| (\S+) \|$", (ROOT / name).read_text()) for name in _READMES)
    assert [_KOREAN.get(word, word) for word in korean] == english


_READMES = ("README.md", "README.ko.md")
_KOREAN = {"있음": "there", "다음": "next", "상태": "state"}
